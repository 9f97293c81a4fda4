package sgld

import (
	"math"
	"testing"

	"github.com/privsgld/privsgld/privacy"
)

func testNormal(t testing.TB, seed uint64) *normal {
	t.Helper()
	n, err := newNormal(privacy.NewSeeded(seed, "public"))
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// TestPreconditioner: the recursion of V and G is that of the vectors.
func TestPreconditioner(t *testing.T) {
	for _, c := range loadVectors(t).Preconditioner {
		u := lcg(c.Seed)
		v, used := 0.0, 1.0
		for k, row := range c.Rows {
			g := 4 * (u.uniform() - 0.5)
			close12(t, "g", g, row.G)
			if k > 0 {
				used = rawScale(v/(1-math.Pow(c.Beta, float64(k))), c.Lambda)
			}
			close12(t, "G", used, row.Used)
			close12(t, "V", v, row.V)
			v = nextSquare(v, g, c.Beta)
		}
	}
}

// TestFrozenPreconditioner: with G fixed the chain has the exact law of steps of size
// Gη at its temperature, and the noise that is added apart from the data is what the
// vectors say. A G² in place of G is noticed.
func TestFrozenPreconditioner(t *testing.T) {
	for i, c := range loadVectors(t).Frozen {
		const n = ensembleSize / 2
		x := ensemble(n, 0, &Plan{Sampler: SamplerPSGLD}, quadratic(c.Curvature, generator(uint64(500+i))))
		x.public = testNormal(t, uint64(510+i))
		for j := range x.scale {
			x.scale[j] = c.G
		}
		s := langevin(c.Eta, c.T, 1)
		extra := c.Eta * c.Eta * s.NoiseMultiplier * s.NoiseMultiplier * (c.G - c.G*c.G)
		close12(t, "extra noise", extra, c.Extra)
		a := 1 - c.Eta*c.G*c.Curvature
		r := generator(uint64(520 + i))
		for j := range x.phi {
			x.phi[j] = math.Sqrt(c.Variance) * r.NormFloat64()
		}
		copy(x.theta, x.phi)
		x.take(t, s, 6)
		checkZ(t, "mean", zOfMean(x.theta, 0, c.Variance))
		checkZ(t, "variance", zOfVariance(x.theta, 0, c.Variance))
		forgotten := 1 - math.Pow(a, 12)
		if short := c.Variance * (1 - forgotten*(1-c.G)); c.G < 1 && math.Abs(zOfVariance(x.theta, 0, short)) < mostZ {
			t.Error("noise with G² in place of G is not noticed")
		}
	}
}

// TestPreconditionerLags: the G of a step does not depend on that step's noise, and
// once adaptation ends it does not change.
func TestPreconditionerLags(t *testing.T) {
	path := func(last float64) (theta, scale []float64) {
		k := 0
		x := ensemble(3, 1, &Plan{Sampler: SamplerPSGLD}, sumFunc(func(dst, theta []float64, z float64) {
			k++
			for j, v := range theta {
				dst[j] = float64(j+1)*100*v + z*math.Sin(float64(k*(j+3)))
			}
			if k == 20 {
				dst[0] += last
			}
		}))
		x.public = testNormal(t, 530)
		s := langevin(1e-3, 1, 1)
		for i := range 20 {
			if i == 19 {
				scale = append([]float64(nil), x.scale...)
			}
			if err := x.step(&s, true); err != nil {
				t.Fatal(err)
			}
		}
		return x.theta, scale
	}
	one, g := path(0)
	two, h := path(50)
	for j := range g {
		if g[j] != h[j] {
			t.Error("G follows the noise that it multiplies")
		}
	}
	if moved := one[0] - two[0]; math.Abs(moved-1e-3*g[0]*50) > 1e-12 {
		t.Errorf("the step moved by %g for a gradient larger by 50", moved)
	}

	x := ensemble(3, 1, &Plan{Sampler: SamplerPSGLD}, quadratic(5, generator(531)))
	x.public = testNormal(t, 532)
	s := langevin(0.01, 1, 1)
	for k := range 40 {
		before := append([]float64(nil), x.scale...)
		if err := x.step(&s, k < 20); err != nil {
			t.Fatal(err)
		}
		for j := range before {
			if k >= 20 && x.scale[j] != before[j] {
				t.Fatal("G changes after warm-up")
			}
			if x.scale[j] > 1 {
				t.Fatal("G exceeds 1")
			}
		}
	}
}

// TestPreconditionerLearns: where gradients exceed the noise, G is smaller in steep
// directions; where noise hides them it learns nothing, and the chain is SGLD's.
func TestPreconditionerLearns(t *testing.T) {
	learn := func(slope float64) []float64 {
		x := ensemble(2, 0, &Plan{Sampler: SamplerPSGLD}, nil)
		x.public = testNormal(t, 540)
		r := generator(541)
		x.sum = sumFunc(func(dst, _ []float64, z float64) {
			dst[0] = slope + z*r.NormFloat64()
			dst[1] = 4*slope + z*r.NormFloat64()
		})
		s := langevin(1e-4, 1, 1)
		for range 500 {
			if err := x.step(&s, true); err != nil {
				t.Fatal(err)
			}
		}
		return x.scale
	}
	noise := math.Sqrt(2 / 1e-4)
	if g := learn(10 * noise); math.Abs(g[0]-1) > 0 || math.Abs(g[1]-0.25) > 0.02 {
		t.Errorf("slopes of 1 to 4 above the noise give G = %v", g)
	}
	if g := learn(0.01 * noise); g[0] != 1 || g[1] != 1 {
		t.Errorf("slopes below the noise give G = %v", g)
	}
}
