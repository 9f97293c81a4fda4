package datasets

import (
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/privsgld/privsgld/policies"
)

// What a fingerprint costs beside decoding and encoding the same file, in time of
// the processor, the decoder's start included; and hashing alone, one number and one
// text a row.
func BenchmarkFingerprint(b *testing.B) {
	policy, err := policies.Load("../policies/fertility.yaml")
	if err != nil {
		b.Fatal(err)
	}
	const path = "../testdata/fertility.parquet"
	const rows = 254654
	binding := mustBind(b, policy.Dataset)
	key := testKey(b, 1)
	for _, c := range []struct {
		name string
		key  *FingerprintKey
	}{{"without", nil}, {"with", key}} {
		b.Run(c.name, func(b *testing.B) {
			before := used(b, unix.RUSAGE_CHILDREN)
			for b.Loop() {
				t, err := open(b.Context(), path, binding, Options{Key: c.key})
				if err != nil {
					b.Fatal(err)
				}
				t.Close()
			}
			perRow(b, used(b, unix.RUSAGE_CHILDREN)-before, rows)
		})
	}
	b.Run("hash", func(b *testing.B) {
		const rows = blockRows
		table := smallTable(rows)
		specs := []columnSpec{{Name: "y", Type: typeCategory}, {Name: "x", Type: typeNumber}}
		r := newRowHasher(key.secret, specs, noPrefix)
		before := used(b, unix.RUSAGE_SELF)
		for b.Loop() {
			if err := r.record(table, []int{0, 1}); err != nil {
				b.Fatal(err)
			}
		}
		perRow(b, used(b, unix.RUSAGE_SELF)-before, rows)
	})
}

// used is the processor's time that this process or its children have had.
func used(b *testing.B, who int) time.Duration {
	b.Helper()
	var u unix.Rusage
	if err := unix.Getrusage(who, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func perRow(b *testing.B, cpu time.Duration, rows int) {
	b.Helper()
	b.ReportMetric(float64(cpu.Nanoseconds())/float64(b.N)/float64(rows), "cpu-ns/row")
}
