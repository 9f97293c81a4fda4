package datasets

import (
	"os"
	"testing"

	"github.com/privsgld/privsgld/policies"
)

// What a fingerprint costs beside decoding and encoding the same file, and hashing
// alone, row by row.
func BenchmarkFingerprint(b *testing.B) {
	policy, err := policies.Load("../policies/fertility.yaml")
	if err != nil {
		b.Fatal(err)
	}
	const path = "../testdata/fertility.parquet"
	binding := mustBind(b, policy.Dataset)
	key := testKey(b, 1)
	info, err := os.Stat(path)
	if err != nil {
		b.Fatal(err)
	}
	for name, k := range map[string]*FingerprintKey{"without": nil, "with": key} {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(info.Size())
			for b.Loop() {
				t, err := open(b.Context(), path, binding, Options{Key: k})
				if err != nil {
					b.Fatal(err)
				}
				t.Close()
			}
		})
	}
	b.Run("hash", func(b *testing.B) {
		rows := smallTable(1 << 14)
		specs := []columnSpec{{Name: "y", Type: typeCategory}, {Name: "x", Type: typeNumber}}
		r := newRowHasher(key.secret, specs, noPrefix)
		for b.Loop() {
			if err := r.record(rows, []int{0, 1}); err != nil {
				b.Fatal(err)
			}
		}
		b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(rows.NumRows()), "ns/row")
	})
}

func testKey(t testing.TB, n byte) *FingerprintKey {
	t.Helper()
	secret := make([]byte, 32)
	secret[0] = n
	k, err := NewFingerprintKey(secret)
	if err != nil {
		t.Fatal(err)
	}
	return k
}
