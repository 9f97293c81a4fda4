package accountant

import (
	"math"
	"testing"
)

// δ is owed to the large loss of one step, while the others lose next to nothing:
// the bounds are close to each other all the same. Replacing one record costs no
// less than adding one.
func TestPLDOneBigJump(t *testing.T) {
	for _, c := range []struct {
		delta, q, z float64
		n           int64
		gap         float64 // relative
	}{
		{math.Exp(-27.631021115928547), math.Exp(-6.581550890492508), 0.8510945591205257, 79, 1e-3},
		{math.Exp(-25), math.Exp(-9.204878807067871), 0.9443303541672385, 22, 1e-2},
		{1e-12, 1e-3, 0.7, 10, 1e-3},
		{1e-10, 2e-3, 0.9, 50, 1e-3},
		{1e-8, 1e-3, 0.65, 30, 4e-3},
		{math.Exp(-8.914168715), 0.00026935996081111811, 1.095410531024813, 102, 1e-3},
	} {
		var upper [2]float64
		for i, a := range []Adjacency{AddRemove, ReplaceOne} {
			b, err := PLDEpsilon(PoissonGaussian(a, c.q, c.z, c.n), c.delta, PLDOptions{})
			if err != nil {
				t.Fatal(err)
			}
			if !(b.Lower > 0) || b.Upper > b.Lower*(1+c.gap) {
				t.Errorf("%v %+v: %v < ε ≤ %v, a gap of %.2g", a, c, b.Lower, b.Upper, b.Upper/b.Lower-1)
			}
			upper[i] = b.Upper
		}
		if upper[0] > upper[1]*(1+1e-3) {
			t.Errorf("%+v: add-remove %v, replace-one %v", c, upper[0], upper[1])
		}
	}
}
