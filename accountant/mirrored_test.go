package accountant

import (
	"math"
	"testing"

	"gonum.org/v1/gonum/integrate/quad"
	"pgregory.net/rapid"
)

// In 34 digits, by adaptive Gauss–Legendre quadrature (mpmath) of
// Q·(r^α + r^(1−α) − r − 1) on x > ½, Q = N(0, z²/4), r = 1−q + q·e^((4x−2)/z²).
func TestFixedSizeMeetsReference(t *testing.T) {
	for _, c := range []struct{ q, z, alpha, want float64 }{
		{1e-09, 0.05, 1.001, 1.18163966467108735e-6},
		{1e-09, 1.1, 1.001, 2.57535411501923252e-17},
		{1e-09, 4, 1.5, 2.95366738373828035e-19},
		{1e-09, 60, 90.5, 5.16434729873461948e-20},
		{0.0001, 0.05, 1.001, 0.120682903734013904},
		{0.0001, 0.05, 90.5, 72390.686750797044},
		{0.0001, 0.2, 90.5, 4515.68675079705151},
		{0.0001, 1.1, 8, 2.69703823355961446},
		{0.0001, 4, 90.5, 1.99925273549595528},
		{0.01, 1.1, 1.001, 0.00147510116757057265},
		{0.01, 4, 1.001, 0.0000195583781204859097},
		{0.3, 0.05, 1.001, 312.905726173360534},
		{0.3, 1.1, 90.5, 148.369351845073972},
		{0.3, 60, 90.5, 0.00464419005645794282},
		{0.9, 0.2, 90.5, 4524.89346227187622},
		{0.9, 60, 1.5, 0.000676766223659739519},
		{0.999999999, 0.05, 1.001, 800.799999447969483},
		{0.999999999, 0.2, 1.001, 50.0499999501818553},
		{0.999999999, 0.2, 90.5, 4524.99999999898832},
		{0.999999999, 1.1, 90.5, 149.586776858492935},
		{0.999999999, 4, 8, 0.999999999055763284},
		{0.999999999, 10000.0, 1.001, 2.00199999599631933e-8},
	} {
		got := newPair(fixedSize, c.q, c.z).rdp(c.alpha)
		if off := got/c.want - 1; off < -ulp || off > 1e-10 {
			t.Errorf("q %g z %g order %g: %.17g, reference %.17g (off by %.2g)", c.q, c.z, c.alpha, got, c.want, off)
		}
	}
}

// fixedSizeByPanels is the divergence by a composite Gauss rule on the formula as
// it stands, where that can be taken without care.
func fixedSizeByPanels(q, z, alpha float64) float64 {
	s := z / 2
	integrand := func(x float64) float64 {
		r := 1 + q*math.Expm1((2*x-1)/(2*s*s))
		return math.Exp(-x*x/(2*s*s)) / (s * math.Sqrt(2*math.Pi)) * (math.Pow(r, alpha) + math.Pow(r, 1-alpha) - r - 1)
	}
	total, width := 0.0, min(s, s*s)/2
	for x := 0.5; x < alpha+14*s+1; x += width {
		total += quad.Fixed(integrand, x, x+width, 24, nil, 0)
	}
	return math.Log1p(total) / (alpha - 1)
}

func TestFixedSizeIsTheFormula(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		sample := rapid.Int64Range(1, 99).Draw(t, "sample")
		z := rapid.Float64Range(1.5, 20).Draw(t, "z")
		alpha := rapid.Float64Range(1.2, 12).Draw(t, "order")
		e := FixedSizeGaussian(ReplaceOne, sample, 100, z, 1)
		got, want := mustRDP(t, e, alpha), fixedSizeByPanels(float64(sample)/100, z, alpha)
		// The formula as it stands cancels: its terms are near 1.
		error := 1e-12 + 1e-13/((alpha-1)*want)
		if off := got/want - 1; off < -error || off > error {
			t.Fatalf("%d of 100, z %g, order %g: %.17g, panels %.17g", sample, z, alpha, got, want)
		}
	})
}

// Neighbours that occur must not cost more than the pair that is said to
// dominate them: a unit that adds ±1 where all others add nothing (the antipodal
// pair), and one that differs by 2 from what displaces it, in both directions.
func TestFixedSizeDominates(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		q, z, alpha := anyRate(t), anyNoise(t), anyOrder(t)
		bound := newPair(fixedSize, q, z).rdp(alpha)
		if r := newPair(antipodal, q, z).rdp(alpha); r > bound*slack {
			t.Fatalf("q %g z %g order %g: the antipodal pair costs %.17g, the bound is %.17g", q, z, alpha, r, bound)
		}
		if r := newPair(poisson, q, z/2).rdp(alpha); r > bound*slack {
			t.Fatalf("q %g z %g order %g: a displaced unit costs %.17g, the bound is %.17g", q, z, alpha, r, bound)
		}
	})
}

func TestFixedSizeIsMonotone(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		z, alpha := anyNoise(t), anyOrder(t)
		source := rapid.Int64Range(2, 1e9).Draw(t, "source")
		sample := rapid.Int64Range(1, source-1).Draw(t, "sample")
		r := mustRDP(t, FixedSizeGaussian(ReplaceOne, sample, source, z, 1), alpha)
		factor := rapid.Float64Range(1, 1.5).Draw(t, "factor")
		for what, more := range map[string]Event{
			"sample": FixedSizeGaussian(ReplaceOne, sample+1, source, z, 1),
			"source": FixedSizeGaussian(ReplaceOne, sample, source-1, z, 1),
			"noise":  FixedSizeGaussian(ReplaceOne, sample, source, z/factor, 1),
			"all":    Gaussian(ReplaceOne, z, 1),
		} {
			if above := mustRDP(t, more, alpha); r > above*slack {
				t.Fatalf("%s: %d of %d, z %g, order %g cost %.17g, above %.17g", what, sample, source, z, alpha, r, above)
			}
		}
		// Nearly everything costs nearly what everything does.
		almost, full := mustRDP(t, FixedSizeGaussian(ReplaceOne, 1e12-1, 1e12, z, 1), alpha), mustRDP(t, Gaussian(ReplaceOne, z, 1), alpha)
		if almost > full*slack || almost < full*(1-1e-9) {
			t.Fatalf("z %g order %g: all but one in 10¹² cost %.17g, all %.17g", z, alpha, almost, full)
		}
	})
}

// wangBalleKasiviswanathan is the upper bound of Wang, Balle & Kasiviswanathan
// 2019, arXiv:1808.00087, Theorem 9, at an integer order, for a Gaussian of
// divergence j·μ²/2, μ = 2/z.
func wangBalleKasiviswanathan(q, z, alpha float64) float64 {
	rate := func(j float64) float64 { return j * 2 / (z * z) }
	choose := alpha * (alpha - 1) / 2
	total := q * q * choose * min(4*math.Expm1(rate(2)), 2*math.Exp(rate(2)))
	for j := 3.0; j <= alpha; j++ {
		choose *= (alpha - j + 1) / j
		total += 2 * math.Exp(j*math.Log(q)+math.Log(choose)+(j-1)*rate(j))
	}
	return math.Log1p(total) / (alpha - 1)
}

func TestFixedSizeIsBelowTheOlderBound(t *testing.T) {
	// dp_accounting 0.6.0, _compute_rdp_sample_wor_gaussian(q, z/2, [order]).
	for _, c := range []struct{ q, z, alpha, theirs float64 }{
		{0.01, 2.2, 2, 0.00045693226930741801},
		{0.01, 2.2, 8, 0.0020421531238429191},
		{0.01, 2.2, 32, 8.491776020153317},
		{0.001, 1.0, 2, 0.00010919033858429168},
		{0.001, 1.0, 8, 8.2044435648906244},
		{0.001, 1.0, 32, 56.891773492036499},
		{0.1, 6.0, 2, 0.0046897486673647586},
		{0.1, 6.0, 8, 0.020486902007035589},
		{0.1, 6.0, 32, 0.069129258153706324},
		{0.5, 10.0, 2, 0.040000000000000042},
		{0.5, 10.0, 8, 0.14305954320414851},
		{0.5, 10.0, 32, 0.27515578891277731},
	} {
		got := newPair(fixedSize, c.q, c.z).rdp(c.alpha)
		if got > c.theirs {
			t.Errorf("q %g z %g order %g: %.17g, dp_accounting's bound %.17g", c.q, c.z, c.alpha, got, c.theirs)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		q, z := anyRate(t), rapid.Float64Range(0.5, 100).Draw(t, "z")
		alpha := float64(rapid.IntRange(2, 64).Draw(t, "order"))
		got, older := newPair(fixedSize, q, z).rdp(alpha), wangBalleKasiviswanathan(q, z, alpha)
		if got > older*slack {
			t.Fatalf("q %g z %g order %g: %.17g, Theorem 9 gives %.17g", q, z, alpha, got, older)
		}
	})
}
