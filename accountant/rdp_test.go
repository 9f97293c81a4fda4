package accountant

import (
	"errors"
	"math"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// slack covers how far above the truth a bound may lie, where two of them are
// compared; TestRDPMeetsReference measures 2·10⁻¹².
const slack = 1 + 1e-10

func anyOrder(t *rapid.T) float64 {
	return 1 + math.Exp(rapid.Float64Range(math.Log(0.01), math.Log(200)).Draw(t, "log(order−1)"))
}

func anyRate(t *rapid.T) float64 {
	return math.Exp(rapid.Float64Range(math.Log(1e-7), math.Log(0.9999)).Draw(t, "log q"))
}

func anyNoise(t *rapid.T) float64 {
	return math.Exp(rapid.Float64Range(math.Log(0.2), math.Log(300)).Draw(t, "log z"))
}

func mustRDP(t interface{ Fatal(...any) }, e Event, alpha float64) float64 {
	r, err := RDP(e, alpha)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestRDPIsMonotone(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		adj, q, z, alpha := anyAdjacency(t), anyRate(t), anyNoise(t), anyOrder(t)
		factor := rapid.Float64Range(1, 1.5).Draw(t, "factor")
		r := mustRDP(t, PoissonGaussian(adj, q, z, 10), alpha)
		for what, more := range map[string]float64{
			"rate":  mustRDP(t, PoissonGaussian(adj, min(1, q*factor), z, 10), alpha),
			"noise": mustRDP(t, PoissonGaussian(adj, q, z/factor, 10), alpha),
			"order": mustRDP(t, PoissonGaussian(adj, q, z, 10), 1+(alpha-1)*factor),
			"count": mustRDP(t, PoissonGaussian(adj, q, z, 11), alpha),
			"full":  mustRDP(t, Gaussian(adj, z, 10), alpha),
		} {
			if r > more*slack {
				t.Fatalf("%s: %g at %s q %g z %g order %g is above %g (factor %g)", what, r, adj, q, z, alpha, more, factor)
			}
		}
		if replaced := mustRDP(t, PoissonGaussian(ReplaceOne, q, z, 10), alpha); r > replaced*slack {
			t.Fatalf("%s costs %g, replace-one %g", adj, r, replaced)
		}
	})
}

func TestRDPAtFullRate(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		adj, z, alpha := anyAdjacency(t), anyNoise(t), anyOrder(t)
		mu := adj.distance() / z
		full, want := mustRDP(t, PoissonGaussian(adj, 1, z, 1), alpha), alpha*mu*mu/2
		if full < want || full > want*slack {
			t.Fatalf("rate 1 costs %.17g, want %.17g", full, want)
		}
		// The replace-one pair is not continuous there: 1−q of both stays at 0.
		if almost := mustRDP(t, PoissonGaussian(adj, 1-1e-12, z, 1), alpha); adj == AddRemove && (almost > full*slack || almost < full*(1-1e-9)) {
			t.Fatalf("a rate of almost 1 costs %.17g, rate 1 %.17g", almost, full)
		}
		if none := mustRDP(t, PoissonGaussian(adj, 0, z, 1), alpha); none != 0 {
			t.Fatalf("rate 0 costs %g", none)
		}
	})
}

// binomialRDP is the add-remove divergence at an integer order:
//
//	E[(1+u)^α] − 1 = Σ_{k=2..α} C(α,k)·q^k·(1−q)^(α−k)·expm1(k(k−1)/(2z²))
//
// (Mironov, Talwar & Zhang 2019, section 3.3; the terms below k = 2 cancel.)
func binomialRDP(q, z, alpha float64) float64 {
	var logs []float64
	choose := math.Log(alpha)
	for k := 2.0; k <= alpha; k++ {
		choose += math.Log((alpha - k + 1) / k)
		y := k * (k - 1) / (2 * z * z)
		logs = append(logs, choose+k*math.Log(q)+(alpha-k)*math.Log1p(-q)+y+math.Log(-math.Expm1(-y)))
	}
	top, total := slices.Max(logs), 0.0
	for _, x := range logs {
		total += math.Exp(x - top)
	}
	if log := top + math.Log(total); log > 30 {
		return (log + math.Log1p(math.Exp(-log))) / (alpha - 1)
	}
	return math.Log1p(math.Exp(top)*total) / (alpha - 1)
}

// Quadrature and binomial sum agree at integer orders; the sum's own rounding
// grows with its exponents.
func TestRDPIsTheBinomialSum(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		q := math.Exp(rapid.Float64Range(math.Log(1e-9), math.Log(0.9999)).Draw(t, "log q"))
		z := math.Exp(rapid.Float64Range(math.Log(0.02), math.Log(1e4)).Draw(t, "log z"))
		alpha := math.Floor(math.Exp(rapid.Float64Range(math.Log(2), math.Log(2000)).Draw(t, "log order")))
		got, want := mustRDP(t, PoissonGaussian(AddRemove, q, z, 1), alpha), binomialRDP(q, z, alpha)
		error := 1e-14 * (10 + alpha*math.Abs(math.Log(q))/max(1, (alpha-1)*want))
		if off := got/want - 1; off < -error || off > error+1e-9 {
			t.Fatalf("q %g z %g order %g: %.17g, sum %.17g (off by %.2g, error %.2g)", q, z, alpha, got, want, off, error)
		}
	})
}

// The replace-one pair against a plain sum of P^α·Q^(1−α), where that can be
// taken without care.
func TestReplaceOnePairIsTheFormula(t *testing.T) {
	for _, c := range []struct{ q, z, alpha float64 }{{0.5, 1, 2}, {0.3, 2, 3.5}, {0.9, 1.5, 5}, {0.99, 1, 8.25}, {0.2, 0.7, 1.5}} {
		density := func(x, mean float64) float64 {
			return math.Exp(-(x-mean)*(x-mean)/(2*c.z*c.z)) / (c.z * math.Sqrt(2*math.Pi))
		}
		total, step := 0.0, c.z/200
		for x := -30 * c.z; x < 2*c.alpha+30*c.z; x += step {
			p := (1-c.q)*density(x, 0) + c.q*density(x, 1)
			o := (1-c.q)*density(x, 0) + c.q*density(x, -1)
			if o > 0 {
				total += step * math.Pow(p/o, c.alpha) * o
			}
		}
		want := math.Log(total) / (c.alpha - 1)
		got, err := RDP(PoissonGaussian(ReplaceOne, c.q, c.z, 1), c.alpha)
		if err != nil || math.Abs(got/want-1) > 1e-9 {
			t.Errorf("q %g z %g order %g: %.15g (%v), plain sum %.15g", c.q, c.z, c.alpha, got, err, want)
		}
	}
}

// Bounds that hold for every pure mechanism, and Laplace is one.
func TestPureAndLaplaceBounds(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		eps := math.Exp(rapid.Float64Range(math.Log(1e-9), math.Log(1e4)).Draw(t, "log ε"))
		alpha := anyOrder(t)
		pure, laplace := responseRDP(eps, alpha), laplaceRDP(eps, alpha)
		if limit := min(eps, alpha*eps*eps/2); pure > limit*slack || laplace > pure*slack || laplace <= 0 {
			t.Fatalf("ε %g order %g: pure %g, Laplace %g, bound %g", eps, alpha, pure, laplace, limit)
		}
		if more := responseRDP(eps, 1+(alpha-1)*1.3); more*slack < pure {
			t.Fatalf("ε %g: pure falls with the order", eps)
		}
		if more := laplaceRDP(eps*1.3, alpha); more*slack < laplace {
			t.Fatalf("ε %g: Laplace falls with ε", eps)
		}
	})
}

// discreteLaplaceSum is the divergence of discrete Laplace noise as a sum over
// the integers between the neighbours, of Q·(1−e^(−(α−1)ℓ))·(e^(αℓ)−1) over ℓ > 0.
func discreteLaplaceSum(eps float64, shift int, alpha float64) float64 {
	a := eps / float64(shift)
	top := math.Exp(-eps) / (1 + math.Exp(-a)) // Q at and below the lower neighbour
	total := top * -math.Expm1(-(alpha-1)*eps) * math.Expm1(alpha*eps)
	for x := 1; x < shift; x++ {
		if loss := a * float64(shift-2*x); loss > 0 {
			mass := math.Tanh(a/2) * math.Exp(-a*float64(shift-x))
			total += mass * -math.Expm1(-(alpha-1)*loss) * math.Expm1(alpha*loss)
		}
	}
	return math.Log1p(total) / (alpha - 1)
}

func TestDiscreteLaplaceIsTheSum(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		eps := math.Exp(rapid.Float64Range(math.Log(1e-9), math.Log(20)).Draw(t, "log ε"))
		alpha := 1 + math.Exp(rapid.Float64Range(math.Log(1e-6), math.Log(30)).Draw(t, "log gap"))
		shift := rapid.OneOf(rapid.IntRange(1, 10), rapid.IntRange(1, 5000)).Draw(t, "shift")
		got, want := discreteLaplaceRDP(eps, float64(shift), alpha), discreteLaplaceSum(eps, shift, alpha)
		if off := got/want - 1; off < -1e-14*math.Sqrt(float64(shift)) || off > 1e-12 {
			t.Fatalf("ε %g shift %d order %g: %.17g, sum %.17g (off by %.2g)", eps, shift, alpha, got, want, off)
		}
		if response := responseRDP(eps, alpha); shift == 1 && math.Abs(got/response-1) > 1e-12 || got > response*slack {
			t.Fatalf("ε %g shift %d order %g: %.17g, randomised response %.17g", eps, shift, alpha, got, response)
		}
		if finer := discreteLaplaceRDP(eps, float64(shift+1), alpha); finer > got*slack {
			t.Fatalf("ε %g order %g: shift %d costs %.17g, the next %.17g", eps, alpha, shift, got, finer)
		}
		if laplace := laplaceRDP(eps, alpha); laplace > got*slack {
			t.Fatalf("ε %g shift %d order %g: %.17g, Laplace %.17g", eps, shift, alpha, got, laplace)
		} else if far := discreteLaplaceRDP(eps, 1e9, alpha); far > laplace*(1+1e-10) {
			t.Fatalf("ε %g order %g: a great shift costs %.17g, Laplace %.17g", eps, alpha, far, laplace)
		}
	})
	// Scale b and sensitivity k: ε = 1/b, and 2/b at twice the shift under replace-one.
	for adj, want := range map[Adjacency]float64{AddRemove: discreteLaplaceSum(0.5, 3, 4), ReplaceOne: discreteLaplaceSum(1, 6, 4)} {
		if got := mustRDP(t, DiscreteLaplace(adj, 2, 3, 1), 4); math.Abs(got/want-1) > 1e-12 {
			t.Errorf("%s: %.17g, want %.17g", adj, got, want)
		}
	}
}

func TestRDPDomain(t *testing.T) {
	e := Gaussian(AddRemove, 1, 1)
	for _, alpha := range []float64{1, 0.5, -1, math.NaN(), math.Inf(1)} {
		if _, err := RDP(e, alpha); !errors.Is(err, ErrDomain) {
			t.Errorf("order %g: %v", alpha, err)
		}
	}
	if _, err := RDP(Approximate(AddRemove, one, MustAmount("1e-9"), 1), 2); !errors.Is(err, ErrUnsupported) {
		t.Errorf("approximate: %v", err)
	}
	for name, e := range map[string]Event{"Gaussian": Gaussian(AddRemove, 0, 1), "sampled": PoissonGaussian(AddRemove, 0.1, 0, 1),
		"Laplace": Laplace(AddRemove, 0, 1)} {
		if r, err := RDP(e, 2); err != nil || !math.IsInf(r, 1) {
			t.Errorf("%s without noise costs %g, %v", name, r, err)
		}
		if eps, _, err := Epsilon(MethodRDP, e, 1e-6); err != nil || !math.IsInf(eps, 1) {
			t.Errorf("%s without noise has ε %g, %v", name, eps, err)
		}
	}
	if r, err := RDP(Compose(), 2); r != 0 || err != nil {
		t.Errorf("nothing costs %g, %v", r, err)
	}
}

// Extreme but valid parameters give a number on the safe side, never NaN, and
// never 0 for something that happened.
func TestExtremesStaySound(t *testing.T) {
	for _, adj := range []Adjacency{AddRemove, ReplaceOne} {
		for _, q := range []float64{5e-324, 1e-300, 1e-20, 0.5, 1 - 1e-16, 1} {
			for _, z := range []float64{5e-324, 1e-200, 1e-5, 0.09, 0.11, 1, 1e5, 1e60, 1e200, math.MaxFloat64} {
				for _, alpha := range []float64{1 + ulp, 1 + 1e-9, 1.5, 2, 1000, 1e5, 1e300} {
					r, err := RDP(PoissonGaussian(adj, q, z, 1), alpha)
					if err != nil || !(r > 0) {
						t.Errorf("%s q %g z %g order %g: %g, %v", adj, q, z, alpha, r, err)
					}
				}
			}
		}
	}
	for _, sample := range []int64{1, 1 << 30, 1<<53 - 1} {
		for _, z := range []float64{5e-324, 1e-200, 1e-5, 0.02, 0.11, 1, 1e5, 1e60, math.MaxFloat64} {
			for _, alpha := range []float64{1 + ulp, 1 + 1e-9, 1.5, 2, 1000, 1e5, 1e300} {
				if r, err := RDP(FixedSizeGaussian(ReplaceOne, sample, 1<<53, z, 1), alpha); err != nil || !(r > 0) {
					t.Errorf("%d of 2⁵³ z %g order %g: %g, %v", sample, z, alpha, r, err)
				}
			}
		}
	}
	for _, sensitivity := range []int64{1, 3, 1 << 31} {
		for _, b := range []float64{5e-324, 1e-200, 1e-3, 1, 1e5, 1e60, math.MaxFloat64} {
			for _, alpha := range []float64{1 + ulp, 1 + 1e-9, 1.5, 2, 1000, 1e300} {
				if r, err := RDP(DiscreteLaplace(ReplaceOne, b, sensitivity, 1), alpha); err != nil || !(r > 0) {
					t.Errorf("discrete Laplace b %g sensitivity %d order %g: %g, %v", b, sensitivity, alpha, r, err)
				}
			}
		}
	}
	for _, text := range []string{"1e-999", "1e-300", "1e-9", "1", "1e5", "1e999"} {
		for _, alpha := range []float64{1 + ulp, 1.5, 2, 1e5, 1e300} {
			if r, err := RDP(Pure(AddRemove, MustAmount(text), 1), alpha); err != nil || !(r > 0) {
				t.Errorf("pure %s order %g: %g, %v", text, alpha, r, err)
			}
		}
		if mu, err := MuGDP(Pure(AddRemove, MustAmount(text), 1)); err != nil || !(mu > 0) {
			t.Errorf("pure %s: μ %g, %v", text, mu, err)
		}
	}
}

// Values of log(p·e^((α−1)ε) + (1−p)·e^(−(α−1)ε))/(α−1) in 50 digits, where 1−p
// in float64 has lost its own.
func TestResponseRDPOfLargeEpsilon(t *testing.T) {
	for _, c := range []struct{ eps, alpha, want float64 }{
		{26.2291, 1.0796567275755684, 26.229099999949774},
		{10.0018, 1.01378, 10.00100771427014},
		{29, 1.02, 28.999999999991267},
		{18.5, 1.5, 18.4999999815251},
	} {
		if got := responseRDP(c.eps, c.alpha); got < c.want || got > c.want*(1+1e-10) {
			t.Errorf("ε %g, order %g: %.17g, want %.17g", c.eps, c.alpha, got, c.want)
		}
	}
}
