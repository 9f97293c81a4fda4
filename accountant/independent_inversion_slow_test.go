//go:build slow || soak

package accountant_test

import (
	"fmt"
	"math"
	"math/cmplx"
	"math/rand/v2"
	"strings"
	"testing"

	. "github.com/privsgld/privsgld/accountant"
)

// Long compositions, without a grid of losses: with K(t) = Σ log E_P[e^(tL)] of
// all steps, the profile is an inverse Laplace transform,
//
//	δ(ε) = (1/2πi)·∫ e^(K(t) − tε)/(t(t+1)) dt  along Re t = θ, for any θ > 0,
//
// because (1−e^(−y))₊ has the transform 1/(t(t+1)). Along the saddle point nothing
// cancels, however small δ is.

// transform is log E_P[e^(tL)] of a part of the composition.
type transform func(t complex128) complex128

// node is x of a quadrature under Q: weight·density, and w = P/Q − 1.
type node struct{ mass, w, logRatio float64 }

// powerExcess is (1+w)^a − 1 − a·w.
func (n node) powerExcess(a complex128) complex128 {
	if cmplx.Abs(a)*math.Abs(n.w) < 0.03 && math.Abs(n.w) < 0.03 {
		w := complex(n.w, 0)
		sum, term := complex128(1), complex128(1)
		for k := 2.0; k < 14; k++ {
			term *= (a - complex(k, 0)) / complex(k+1, 0) * w
			sum += term
		}
		return a * (a - 1) / 2 * w * w * sum
	}
	return cmplx.Exp(a*complex(n.logRatio, 0)) - 1 - a*complex(n.w, 0)
}

func logOnePlus(m complex128) complex128 {
	if cmplx.Abs(m) < 1e-3 {
		sum, power := complex128(0), m
		for k := 1.0; k < 8; k++ {
			sum += power / complex(k, 0)
			power *= -m
		}
		return sum
	}
	return cmplx.Log(1 + m)
}

// nodes integrates over [low, high] in panels of the pair's scales.
func (p sampledPair) nodes(low, high float64) []node {
	r := rule20()
	var list []node
	points := p.panels(low, high)
	soft := func(y float64) (excess, log float64) {
		if y > 30 {
			log = y + math.Log(p.q) + math.Log1p((1-p.q)/p.q*math.Exp(-y))
			return math.Expm1(log), log
		}
		excess = p.q * math.Expm1(y)
		if excess < -0.5 {
			return excess, math.Log((1 - p.q) + p.q*math.Exp(y))
		}
		return excess, math.Log1p(excess)
	}
	for i := 1; i < len(points); i++ {
		// Thirds: the phase of e^(isL) turns within a panel.
		for third := range 3 {
			width := (points[i] - points[i-1]) / 3
			left := points[i-1] + float64(third)*width
			for j, t := range r.nodes {
				x := left + width/2*(1+float(t))
				n := node{mass: float(r.weights[j]) * width / 2 * math.Exp(-x*x/(2*p.z*p.z)) / (p.z * math.Sqrt(2*math.Pi))}
				n.w, n.logRatio = soft((2*x - 1) / (2 * p.z * p.z))
				if p.antipodal {
					v, log := soft((-2*x - 1) / (2 * p.z * p.z))
					n.w, n.logRatio = (n.w-v)/(1+v), n.logRatio-log
					n.mass *= 1 + v
				}
				if n.mass > 0 {
					list = append(list, n)
				}
			}
		}
	}
	return list
}

// sampledTransforms are the two directions of count steps; they are the same for
// the antipodal pair.
func sampledTransforms(p sampledPair, count float64, reach float64) [2]transform {
	list := p.nodes(-reach-15*p.z, reach+15*p.z)
	moment := func(a complex128) complex128 {
		total := complex128(0)
		for _, n := range list {
			total += complex(n.mass, 0) * n.powerExcess(a)
		}
		return complex(count, 0) * logOnePlus(total)
	}
	remove := func(t complex128) complex128 { return moment(1 + t) }
	if p.antipodal {
		return [2]transform{remove, remove}
	}
	return [2]transform{remove, func(t complex128) complex128 { return moment(-t) }}
}

// fixedSizeTransform: the pair of fixedSizeStep folded to x > ½.
func fixedSizeTransform(m, n int64, z, count, reach float64) transform {
	p := sampledPair{q: float64(m) / float64(n), z: z / 2}
	list := p.nodes(0.5, reach+15*p.z)
	return func(t complex128) complex128 {
		total := complex128(0)
		for _, n := range list {
			total += complex(n.mass, 0) * (n.powerExcess(1+t) + n.powerExcess(-t))
		}
		return complex(count, 0) * logOnePlus(total)
	}
}

func gaussianTransform(mu2 float64) transform {
	return func(t complex128) complex128 { return complex(mu2/2, 0) * t * (t + 1) }
}

func responseTransform(eps, count float64) transform {
	p := 1 / (1 + math.Exp(-eps))
	return func(t complex128) complex128 {
		return complex(count, 0) * cmplx.Log(complex(p, 0)*cmplx.Exp(t*complex(eps, 0))+complex(1-p, 0)*cmplx.Exp(-t*complex(eps, 0)))
	}
}

func laplaceTransform(e, count float64) transform {
	return func(t complex128) complex128 {
		// (1+t)/(1+2t)·e^(te) + t/(1+2t)·e^(−(1+t)e)
		return complex(count, 0) * cmplx.Log(((1+t)*cmplx.Exp(t*complex(e, 0))+t*cmplx.Exp(-(1+t)*complex(e, 0)))/(1+2*t))
	}
}

// invert is δ at eps. The error is what halving the step changes, and 10⁻¹⁰.
func invert(parts []transform, eps float64) (delta, err float64, ok bool) {
	k := func(t complex128) complex128 {
		total := complex128(0)
		for _, part := range parts {
			total += part(t)
		}
		return total
	}
	exponent := func(theta float64) float64 {
		return real(k(complex(theta, 0))) - theta*eps - math.Log(theta) - math.Log1p(theta)
	}
	// The saddle point on the real line, by golden section in log θ.
	low, high := math.Log(1e-4), math.Log(maxTheta)
	const golden = 0.6180339887498949
	x, y := high-golden*(high-low), low+golden*(high-low)
	fx, fy := exponent(math.Exp(x)), exponent(math.Exp(y))
	for high-low > 1e-3 {
		if fx < fy || math.IsInf(fy, 1) || math.IsNaN(fy) {
			high, y, fy = y, x, fx
			x = high - golden*(high-low)
			fx = exponent(math.Exp(x))
		} else {
			low, x, fx = x, y, fy
			y = low + golden*(high-low)
			fy = exponent(math.Exp(y))
		}
	}
	theta := math.Exp(x)
	if theta > maxTheta/1.1 {
		return 0, 0, false
	}
	top := exponent(theta)
	h := theta * 0.02
	curvature := (exponent(theta+h) - 2*top + exponent(theta-h)) / (h * h)
	step := min(theta/3, 1/math.Sqrt(curvature))
	at := func(s float64) float64 {
		t := complex(theta, s)
		return real(cmplx.Exp(k(t) - t*complex(eps, 0) - cmplx.Log(t) - cmplx.Log(1+t) - complex(top, 0)))
	}
	sum := at(0) / 2
	previous := math.NaN()
	// First at the step, then at the points between, until it stands.
	last := 0
	for i, small := 1, 0; ; i++ {
		v := at(float64(i) * step)
		sum += v
		if small++; math.Abs(v) > 1e-15 {
			small = 0
		}
		if last = i; small > 30 {
			break
		}
		if i > 20000 {
			return 0, 0, false
		}
	}
	value := sum * step
	for range 4 {
		for i := range last {
			sum += at((float64(i) + 0.5) * step)
		}
		step, last = step/2, 2*last
		previous, value = value, sum*step
		if math.Abs(value-previous) < 1e-12*value {
			break
		}
	}
	delta = value / math.Pi * math.Exp(top)
	return delta, math.Abs(value-previous)/math.Pi*math.Exp(top) + 1e-10*delta, delta > 0
}

const maxTheta = 400

// longRun is a random composition of many steps and its transforms, by direction.
type longRun struct {
	name  string
	event Event
	parts [2][]transform
}

func anyLongRun(r *rand.Rand, adj Adjacency) longRun {
	var run longRun
	var names []string
	var events []Event
	both := func(f transform) {
		for d := range 2 {
			run.parts[d] = append(run.parts[d], f)
		}
	}
	distance := 1.0
	if adj == ReplaceOne {
		distance = 2
	}
	// Where Q's tilted mass lies, at the largest θ.
	reach := func(z float64) float64 { return min(2*maxTheta+3, 40*z*z+40*z+3) }
	for range 1 + r.IntN(3) {
		p := sampledPair{min(logUniform(r, 1e-5, 1), 0.999), logUniform(r, 0.5, 60), adj == ReplaceOne}
		// Σ q²(e^(1/z²)−1) of about 0.01 to 10
		count := math.Ceil(logUniform(r, 0.01, 10) / (p.q * p.q * math.Expm1(1/(p.z*p.z))))
		count = min(max(count, 20), 1e7)
		n := int64(count)
		if adj == ReplaceOne && r.IntN(3) == 0 {
			size := int64(logUniform(r, 10, 1e6))
			m := max(1, int64(p.q*float64(size)))
			names = append(names, fmt.Sprintf("%d × %d of %d z %.17g", n, m, size, p.z))
			events = append(events, FixedSizeGaussian(adj, m, size, p.z, n))
			both(fixedSizeTransform(m, size, p.z, count, reach(p.z/2)))
			continue
		}
		names = append(names, fmt.Sprintf("%d × q %.17g z %.17g", n, p.q, p.z))
		events = append(events, PoissonGaussian(adj, p.q, p.z, n))
		for d, f := range sampledTransforms(p, count, reach(p.z)) {
			run.parts[d] = append(run.parts[d], f)
		}
	}
	if r.IntN(3) == 0 {
		z := logUniform(r, 1, 50)
		names, events = append(names, fmt.Sprintf("gaussian z %.17g", z)), append(events, Gaussian(adj, z, 1))
		both(gaussianTransform(distance * distance / (z * z)))
	}
	if r.IntN(3) == 0 {
		text, n := fmt.Sprintf("%.4g", logUniform(r, 1e-3, 0.5)), 1+r.Int64N(20)
		names, events = append(names, fmt.Sprintf("%d pure %s", n, text)), append(events, Pure(adj, MustAmount(text), n))
		both(responseTransform(float(literal(text)), float64(n)))
	}
	if r.IntN(3) == 0 {
		b, n := logUniform(r, 2, 100), 1+r.Int64N(20)
		names, events = append(names, fmt.Sprintf("%d laplace %.17g", n, b)), append(events, Laplace(adj, b, n))
		both(laplaceTransform(distance/b, float64(n)))
	}
	run.name, run.event = strings.Join(names, ", "), Compose(events...)
	return run
}

func TestIndependentProfileOfMany(t *testing.T) {
	y := profileTally{tight: 1e-3}
	forEach(points/4, func(i int) {
		r := draws(15, i)
		adj := adjacencies[i%2]
		run := anyLongRun(r, adj)
		rdp, _, err := Epsilon(MethodRDP, run.event, logUniform(r, 1e-12, 0.01))
		if err != nil {
			t.Error(err)
			return
		}
		eps := rdp * (0.7 + 0.25*r.Float64())
		if eps == 0 || rdp > 100 {
			return
		}
		var want truth
		for d := range 2 {
			delta, off, ok := invert(run.parts[d], eps)
			if !ok {
				return
			}
			if d == 0 || delta > float(want.value) {
				want = truth{num(delta), num(off)}
			}
		}
		y.check(t, fmt.Sprintf("case %d: %s %s", i, adj, run.name), run.event, eps, want)
	})
	y.report(t, points/8, points/300)
}

// Schedules of more noise multipliers than PLD tells apart.
func TestIndependentProfileOfSchedules(t *testing.T) {
	y := profileTally{tight: 5e-3} // replace-one: noise is rounded down to a node
	forEach(points/100, func(i int) {
		r := draws(16, i)
		adj := adjacencies[i%2]
		q, z, spread, repeats := logUniform(r, 0.01, 0.2), logUniform(r, 1.5, 4), logUniform(r, 0.02, 1.5), 1+r.Int64N(30)
		zs := make([]float64, 120)
		var parts [2][]transform
		for k := range zs {
			zs[k] = z * math.Pow(1+spread, float64(k)/float64(len(zs)))
			for d, f := range sampledTransforms(sampledPair{q, zs[k], adj == ReplaceOne}, float64(repeats), 40) {
				parts[d] = append(parts[d], f)
			}
		}
		e := Event{Type: TypePoissonGaussian, Adjacency: adj, SamplingRate: q, NoiseMultipliers: zs, Count: repeats}
		rdp, _, err := Epsilon(MethodRDP, e, logUniform(r, 1e-9, 1e-3))
		if err != nil {
			t.Error(err)
			return
		}
		eps := 0.9 * rdp
		var want truth
		for d := range 2 {
			delta, off, ok := invert(parts[d], eps)
			if !ok {
				return
			}
			if d == 0 || delta > float(want.value) {
				want = truth{num(delta), num(off)}
			}
		}
		y.check(t, fmt.Sprintf("case %d: %s q %.17g z from %.17g by %.17g, %d times", i, adj, q, z, spread, repeats), e, eps, want)
	})
	y.report(t, points/150, 0)
}

// The inversion against the closed form of Gaussians and against quadrature over
// the losses of two and three steps.
func TestInversionAgrees(t *testing.T) {
	for _, mu := range []float64{0.1, 1, 5} {
		for _, ratio := range []float64{0.1, 1, 4, 8} {
			eps := mu * (mu/2 + ratio)
			want := float(gaussianStep(num(mu)).delta(num(eps)))
			got, off, ok := invert([]transform{gaussianTransform(mu * mu)}, eps)
			if !ok || math.Abs(got-want) > off || off > 1e-8*want {
				t.Errorf("μ %g ε %g: %.15g (±%.2g, %t), exact %.15g", mu, eps, got, off, ok, want)
			}
		}
	}
	for i, p := range []sampledPair{{0.8, 4, false}, {0.6, 3, true}, {0.9, 5, false}} {
		for d, remove := range []bool{true, false} {
			for _, eps := range []float64{0.2, 0.8} {
				step := sampledStep(p, remove)
				want := deltaOf([]lossStep{step, step}, num(eps), 1e-12)
				got, off, ok := invert([]transform{sampledTransforms(p, 2, 40*p.z)[d]}, eps)
				if !ok || math.Abs(got/float(want.value)-1) > 1e-7 {
					t.Errorf("pair %d, direction %d, ε %g: %.15g (±%.2g, %t), quadrature %.15g", i, d, eps, got, off, ok, float(want.value))
				}
			}
		}
	}
	step := fixedSizeStep(3, 10, 4)
	smooth := gaussianStep(num(0.3))
	want := deltaOf([]lossStep{step, smooth}, num(0.8), 1e-12)
	got, off, ok := invert([]transform{fixedSizeTransform(3, 10, 4, 1, 100), gaussianTransform(0.09)}, 0.8)
	if !ok || math.Abs(got/float(want.value)-1) > 1e-8 {
		t.Errorf("fixed size: %.15g (±%.2g, %t), quadrature %.15g", got, off, ok, float(want.value))
	}
}
