package sgld

import (
	"encoding/binary"
	"math/big"
	"slices"
	"testing"

	"github.com/privsgld/privsgld/privacy"
)

// addUp returns Σ times[i]·parts[units[i]] in integers of any size.
func addUp(d int, parts [][]int64, units []uint32, times []int64) []*big.Int {
	out := make([]*big.Int, d)
	for j := range out {
		out[j] = new(big.Int)
		for i, u := range units {
			v := big.NewInt(parts[u][j])
			out[j].Add(out[j], v.Mul(v, big.NewInt(times[i])))
		}
	}
	return out
}

func (s *noisySum) equals(want []*big.Int) bool {
	for j, v := range want {
		if !v.IsInt64() || v.Int64() != s.sum[j] {
			return false
		}
	}
	return true
}

// parts returns what each distinct unit adds by itself.
func (s *noisySum) parts(theta []float64) (out [][]int64) {
	for u := range s.design.y {
		s.exact(theta, []uint32{uint32(u)})
		out = append(out, slices.Clone(s.sum))
	}
	return out
}

// FuzzSum: whatever rows and iterate are, the rounded image of what a row adds
// has norm at most C, and the sum of any batch of up to 2³¹ − 1 rows, and of the
// whole table, is the sum of what its rows add by themselves, in integers of any
// size, for any number of workers, either kernel and any order of the table.
func FuzzSum(f *testing.F) {
	f.Add([]byte{})
	for i := range uint64(100) {
		f.Add(binary.LittleEndian.AppendUint64(nil, i))
	}
	kernels := []func(*operands){addBlocksGo}
	if useAVX2 {
		kernels = append(kernels, addBlocksVector)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		w := newWords(data)
		rows := make([]testRow, 1+w.next()%150)
		for i := range rows {
			if i > 0 && w.next()&3 == 0 {
				rows[i] = rows[w.next()%uint64(i)]
				continue
			}
			v := w.next()
			rows[i] = testRow{x: w.float(), b: uint16(v & 1), c: uint16(v >> 1 % 4), y: uint8(v >> 8 & 1)}
			if v>>16&15 == 0 {
				rows[i].b, rows[i].c, rows[i].y = uint16(v>>32), uint16(v>>48), uint8(v>>24)
			}
		}
		theta := make([]float64, 5)
		for i := range theta {
			theta[i] = w.float() * float64(1+w.next()%1000)
		}
		c := 0.004 + 0.05*float64(w.next()>>11)*0x1p-53
		s := testSum(t, rows, 1+int(w.next()%uint64(len(rows))), skewRoot(), c, 1)
		parts := s.parts(theta)
		for u := range parts {
			if !exactBelow(s.exact(theta, []uint32{uint32(u)}), c, s.metric.m.Spacing()) {
				t.Fatal("a row adds more than C")
			}
		}
		// A batch, a few of its units so often that all together are 2³¹ − 1.
		var units []uint32
		var times []int64
		left := int64(privacy.MaxUnits - 1)
		for u := range parts {
			if w.next()&1 == 0 {
				m := min(left, 1+int64(w.next()>>(33+w.next()%31)))
				if m == 0 {
					break
				}
				units, times, left = append(units, uint32(u)), append(times, m), left-m
			}
		}
		all := make([]uint32, len(parts))
		for u := range all {
			all[u] = uint32(u)
		}
		batch, full := addUp(5, parts, units, times), addUp(5, parts, all, s.design.count)

		for i := range rows {
			j := i + int(w.next()%uint64(len(rows)-i))
			rows[i], rows[j] = rows[j], rows[i]
		}
		other := testSum(t, rows, 1+int(w.next()%uint64(len(rows))), skewRoot(), c, 1)
		for _, add := range kernels {
			n := 1 + int(w.next()%64)
			s.workers, other.workers = s.employed(n, add), other.employed(n, add)
			if s.workers.sum(s.sum, theta, units, times, false); !s.equals(batch) {
				t.Fatal("the sum of a batch is not that of its rows")
			}
			if s.exact(theta, nil); !s.equals(full) {
				t.Fatal("the sum of the table is not that of its rows")
			}
			if other.exact(theta, nil); !other.equals(full) {
				t.Fatal("the sum depends on the order of the rows")
			}
		}
	})
}

// TestAttackSaturation: in a batch of 2³¹ − 1 rows that all push the same way, a
// last row is worth what it is by itself, and without it a bit is missing. A
// float64 that adds the same lattice points has lost it, a 32-bit integer and one
// of 64 bits with a lattice ten times finer have left their range.
func TestAttackSaturation(t *testing.T) {
	rows := []testRow{{x: 1, b: 1, c: 2}, {x: -0x1p-20, c: 1, y: 1}}
	theta := []float64{5, 5, 5, 5, 5}
	s := testSum(t, rows, 2, skewRoot(), 0.5, 1) // nobody is clipped
	parts := s.parts(theta)
	times := []int64{privacy.MaxUnits - 2, 1}
	units := []uint32{0, 1}
	s.workers.sum(s.sum, theta, units[:1], times[:1], false)
	without := slices.Clone(s.sum)
	s.workers.sum(s.sum, theta, units, times, false)
	if !s.equals(addUp(5, parts, units, times)) {
		t.Fatal("the sum is not that of its rows")
	}
	for j := range without {
		if s.sum[j]-without[j] != parts[1][j] {
			t.Error("the last row is worth something else in company")
		}
	}
	most := float64(times[0]) * float64(parts[0][1])
	if most+float64(parts[1][1]) != most || parts[1][1] == 0 {
		t.Error("a float64 keeps the last row: nothing is attacked")
	}
	if v := new(big.Int).Mul(big.NewInt(parts[0][1]), big.NewInt(times[0])); v.BitLen() <= 32 || new(big.Int).Mul(v, big.NewInt(10)).IsInt64() {
		t.Error("the sum is too small to leave any range: nothing is attacked")
	}
}
