package sgld

import (
	"math"
	"slices"
	"testing"

	"github.com/privsgld/privsgld/accountant"
	"github.com/privsgld/privsgld/datasets"
	"github.com/privsgld/privsgld/privacy"
)

// planarTest runs the clipped chain on the two-dimensional data sets of the vectors, in
// time of that many units of the largest variance, and compares mean and covariance
// with the quadrature of the robust posterior.
//
// Momentum 0.9 leaves a discretisation bias of dt·λ(1−a)/(2(1+a)), below 0.3 % of a
// variance at dt·λ = 0.1, which is added to the band. Of the 20 assertions each is
// two-sided at 10⁻⁶/20, |z| < 5.45, with standard errors from a thousand batch means;
// what is noticed with probability 0.99, 7.8 of them, is held to power.
func planarTest(t *testing.T, time, power float64) {
	for i, v := range loadRobust(t).Planar {
		r := Request{Model: v.Model, Encoding: datasets.Encoding{
			Features:     []datasets.Feature{{Column: "x", Kind: datasets.Number, Lower: -1, Upper: 1, Offset: 1, Width: 1}},
			Coefficients: []string{"intercept", "x"}, Target: "y",
		}}
		enc := &r.Encoding
		x, target := make([]float64, len(v.X)), slices.Clone(v.Y)
		for k, row := range v.X {
			x[k] = row[1]
		}
		switch v.Model {
		case "linear":
			r.NoiseSD, enc.Outcome, enc.Lower, enc.Upper = &v.Sigma, datasets.Numeric, -1, 1
		case "poisson":
			// A bound so high that the posterior never meets it.
			enc.Outcome, enc.Upper = datasets.Numeric, 4096
			for k := range target {
				target[k] = 2*target[k]/enc.Upper - 1
			}
		}
		g, err := newDesign(lineRecords(x, target, enc.Outcome), *enc)
		if err != nil {
			t.Fatal(err)
		}
		if v.Model == "linear" {
			copy(g.target, v.Y) // one is beyond its bounds
		}
		of, err := newModel(&r)
		if err != nil {
			t.Fatal(err)
		}
		least := min(v.Covariance[0][0], v.Covariance[1][1]) / v.T
		dt := 0.1 * least / 2 // directions between the coordinates may be twice as steep
		z := math.Sqrt(2*v.T/dt) / v.C
		m, err := of.facts().metric(identityRoot(2), 0, nil, v.C, z)
		if err != nil {
			t.Fatal(err)
		}
		sum, err := newNoisySum(g, accountant.AddRemove, of, m, v.C, 1, privacy.NewSeeded(uint64(70+i), "planar"))
		if err != nil {
			t.Fatal(err)
		}
		c := newChain(&Plan{Rate: 1, Clip: v.C, Momentum: 0.9}, m, sum, densities{{"normal", 0, 1}, {"normal", 0, 1}}, 2)
		segment := &Segment{StepSize: dt, NoiseMultiplier: z}
		steps := int(time * max(v.Covariance[0][0], v.Covariance[1][1]) / v.T / dt)
		const batches = 1000
		var sums, squares [5]float64 // of two means, then of products of deviations
		for k := -steps / 100; k < 0; k++ {
			if err := c.step(segment, false); err != nil {
				t.Fatal(err)
			}
		}
		for range batches {
			var at [5]float64
			n := steps / batches
			for range n {
				if err := c.step(segment, false); err != nil {
					t.Fatal(err)
				}
				a, b := c.theta[0]-v.Mean[0], c.theta[1]-v.Mean[1]
				for k, d := range []float64{a, b, a * a, b * b, a * b} {
					at[k] += d / float64(n)
				}
			}
			for k, d := range at {
				sums[k] += d / batches
				squares[k] += d * d / batches
			}
		}
		s0, s1 := v.Covariance[0][0], v.Covariance[1][1]
		want := []float64{0, 0, s0, s1, v.Covariance[0][1]}
		unit := []float64{math.Sqrt(s0), math.Sqrt(s1), s0, s1, math.Sqrt(s0 * s1)}
		for k, what := range []string{"mean of 0", "mean of 1", "variance of 0", "variance of 1", "covariance"} {
			se := math.Sqrt((squares[k] - sums[k]*sums[k]) / (batches - 1))
			if d := math.Abs(sums[k] - want[k]); d > 5.45*se+0.004*unit[k] {
				t.Errorf("case %d, %s: %s is off by %.3g, %.1f standard errors", i, v.Model, what, sums[k]-want[k], d/se)
			}
			if 7.8*se+0.004*unit[k] > power*unit[k] {
				t.Errorf("case %d, %s: %s: an error of %.1f %% might not be noticed", i, v.Model, what, 100*(7.8*se/unit[k]+0.004))
			}
		}
	}
}

func TestPlanar(t *testing.T) {
	if testing.Short() {
		t.Skip("a million steps")
	}
	planarTest(t, 6_000, 0.25)
}
