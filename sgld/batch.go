package sgld

import (
	"math"

	"github.com/privsgld/privsgld/privacy"
)

// batch holds the distinct units of a step with the number of rows for which
// each counts. Everything in it is private, its size too.
type batch struct {
	rows  []uint32 // rows that joined, increasing
	units []uint32 // their distinct units, increasing
	times []int64  // and how many of the rows are of that unit
}

// newBatch claims room for a batch of rate q from n rows, eight standard
// deviations above its mean, so that a step does not allocate.
func newBatch(q float64, n int) batch {
	mean := q * float64(n)
	room := min(n, int(mean+8*math.Sqrt(mean))+64)
	return batch{
		rows:  make([]uint32, 0, room),
		units: make([]uint32, room),
		times: make([]int64, room),
	}
}

// String keeps the batch out of any message.
func (*batch) String() string { return "sgld.batch" }

// GoString returns the same constant as String.
func (*batch) GoString() string { return "sgld.batch" }

// draw samples the rows and gathers those of one unit. unit is the distinct
// unit of every row and does not decrease: rows of one unit are neighbours, so
// the runs of a unit in the batch are its count, which has the law
// Binomial(multiplicity, q) at no cost in random words.
func (b *batch) draw(coin privacy.Bernoulli, unit []uint32, bits privacy.Bits) {
	b.rows = coin.Sample(b.rows, len(unit), bits)
	if len(b.rows) > cap(b.units) {
		b.units = make([]uint32, cap(b.rows))
		b.times = make([]int64, cap(b.rows))
	}
	units, times := b.units[:len(b.rows)], b.times[:len(b.rows)]
	k, start, last := -1, 0, uint32(math.MaxUint32)
	for i, r := range b.rows {
		u := unit[r]
		if u != last {
			k++
			start = i
		}
		units[k] = u
		times[k] = int64(i + 1 - start)
		last = u
	}
	b.units, b.times = units[:k+1], times[:k+1]
}
