package accountant

import (
	"math"
	"math/rand/v2"
	"testing"
)

// The lemma of putSampled: the profile of a step is at most that of the mixture of
// two others with the same total variation at rate 1, in both directions, above
// and below 0.
func TestMixtureOfNodesDominates(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	gaussian := func(mu, eps float64) float64 {
		return upperTail(eps/mu-mu/2) - math.Exp(eps)*upperTail(eps/mu+mu/2)
	}
	for range 20000 {
		q := math.Exp(-6 * r.Float64())
		z1 := math.Exp(6*r.Float64() - 2)
		z2 := z1 * (1 + r.Float64())
		z := z1 * math.Pow(z2/z1, r.Float64())
		level := mixture(gaussianPair{sampledKind, q, z}, z1, z2, false)
		weight := float64(level) / mostLevels
		eps := 4*r.Float64()*math.Log1p(1/z) - math.Log1p(1/z)
		profile := func(z float64) float64 {
			s := 1 + math.Expm1(eps)/q
			if s <= 0 {
				return -math.Expm1(eps)
			}
			return q * gaussian(1/z, math.Log(s))
		}
		one, two := profile(z), (1-weight)*profile(z2)+weight*profile(z1)
		if one > two+1e-15*q+1e-12*two {
			t.Fatalf("q %g, z %g of %g and %g: δ(%g) %.17g, mixture %.17g", q, z, z1, z2, eps, one, two)
		}
	}
}

// A schedule by nodes costs hardly more than step by step, and never less.
func TestSchedulesByNodes(t *testing.T) {
	if testing.Short() {
		t.Skip("pure functions: nothing for the race detector")
	}
	const steps, nodes, delta = 49, 25, 1e-6
	for _, kind := range []struct {
		name   string
		kind   gaussianKind
		q, z   float64 // rate and least noise multiplier
		excess float64
	}{
		{"add-remove", sampledKind, 0.01, 1, 6e-3},
		{"fixed size", mirroredKind, 0.005, 0.5, 7e-3},
		{"replace-one", antipodalKind, 0.01, 1, 4e-2},
	} {
		group := make([]gaussianSteps, steps)
		each := &pairUses{}
		for i := range group {
			z := kind.z * (1 + 2*math.Pow(float64(i)/(steps-1), 2))
			group[i] = gaussianSteps{gaussianPair{kind.kind, kind.q, z}, 6}
			each.put(group[i].gaussianPair, group[i].n)
		}
		least := *each
		least.low = true
		upper, lower := &pairUses{}, &pairUses{low: true}
		upper.putGroup(group, nodes)
		lower.putGroup(group, nodes)
		if len(upper.pairs) > nodes || len(lower.pairs) > nodes {
			t.Fatalf("%s: %d and %d pairs", kind.name, len(upper.pairs), len(lower.pairs))
		}
		var eps [4]float64
		for i, u := range []*pairUses{lower, &least, each, upper} {
			var ok bool
			if eps[i], _, _, ok = u.epsilon(delta, 0, nil); !ok {
				t.Fatalf("%s: no bound", kind.name)
			}
		}
		t.Logf("%s: lower by nodes, lower and upper step by step, upper by nodes: %.9g", kind.name, eps)
		if eps[0] > eps[2] || eps[3] < eps[1] || eps[3] > eps[2]*(1+kind.excess) || eps[0] < eps[1]*0.8 {
			t.Errorf("%s: ε %.9g by nodes, at least %.9g; step by step between %.9g and %.9g", kind.name, eps[3], eps[0], eps[1], eps[2])
		}
	}
}

// Many rates are rounded up, or down for a lower bound.
func TestManyRates(t *testing.T) {
	var parts []Event
	for i := range 3 * mostPairs {
		parts = append(parts, PoissonGaussian(AddRemove, 0.001*math.Exp(float64(i)/100), 1.5, 5))
	}
	b, err := PLDEpsilon(Compose(parts...), 1e-6, PLDOptions{})
	if err != nil || b.Lower > b.Upper || b.Lower < 0.8*b.Upper {
		t.Errorf("bounds %v (%v)", b, err)
	}
	rdp, _, err := Epsilon(MethodRDP, Compose(parts...), 1e-6)
	if err != nil || b.Upper > rdp {
		t.Errorf("ε %g, by RDP %g (%v)", b.Upper, rdp, err)
	}
}

// A discrete Gaussian of large sigma as a rounded Gaussian costs hardly more than
// point by point, and no less.
func TestSmoothIsAnUpperBound(t *testing.T) {
	const delta = 1e-7
	for _, p := range []discreteGaussianPair{{2000, 500}, {20000, 40000}} {
		direct := &pairUses{}
		direct.put(p, 3)
		low := *direct
		low.low = true
		most, _, _, ok1 := direct.epsilon(delta, 0, nil)
		least, _, _, ok2 := low.epsilon(delta, 0, nil)
		smooth := &pairUses{}
		mu2 := smooth.smooth(p, 3)
		smooth.put(gaussianPair{mirroredKind, 1, 1 / math.Sqrt(mu2) * (1 - 4*ulp)}, 1)
		got, _, _, ok3 := smooth.epsilon(delta, 0, nil)
		if !ok1 || !ok2 || !ok3 || got < least || got > most*(1+1e-4) {
			t.Errorf("%v: ε %.9g as a Gaussian, between %.9g and %.9g point by point", p, got, least, most)
		}
	}
	// And end to end, on both sides of the limit.
	for _, s := range []int64{1 << 13, 1 << 14} { // sigma is 3·s
		b, err := PLDEpsilon(DiscreteGaussian(AddRemove, 3, s, 10), delta, PLDOptions{})
		want := GaussianEpsilon(math.Sqrt(10)/3, delta)
		if err != nil || b.Upper < want*(1-1e-6) || b.Upper > want*(1+1e-4) {
			t.Errorf("sensitivity %d: ε %.9g (%v), as a Gaussian %.9g", s, b.Upper, err, want)
		}
	}
}
