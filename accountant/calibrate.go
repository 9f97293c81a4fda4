package accountant

import (
	"errors"
	"fmt"
	"math"
)

// Target is an (ε, δ) to be met.
type Target struct {
	Epsilon float64 // > 0
	Delta   float64 // in (0, 1)
}

// GaussianMu returns the largest μ of one full-batch Gaussian whose ε by the
// named accountant is at most eps at delta, rounded down by a relative 10⁻⁹:
// that leaves room for the rounding of z = √T/μ, so that T steps with that
// noise multiplier (2√T/μ under replace-one), or any sequence with
// Σ 1/z² = μ², are within (eps, delta) and are granted by a new filter of these
// terms. Outside 0 < eps, 0 < delta < 1, and for an unknown method, it returns 0.
//
//	rdp       μ² = max over α of 2·B(α)/α, B as in Filter.Limit (α to four digits)
//	pld, gdp  GaussianDelta(μ, eps) = delta
func GaussianMu(m Method, eps, delta float64) float64 {
	if !(eps > 0) || math.IsInf(eps, 1) || !(delta > 0 && delta < 1) {
		return 0
	}
	switch m {
	case MethodRDP:
		order := gaussianOrder(eps, delta)
		return math.Sqrt(2*limitRDP(order, eps, delta)/order) * usable
	case MethodPLD, MethodGDP:
		return gaussianMu(eps, delta) * usable
	}
	return 0
}

const usable = 1 - 1e-9

// Ranges that the calibrations search.
const (
	leastMultiplier    = 1e-9
	greatestMultiplier = 1e30
	leastRate          = 1e-18

	// searchTolerance is how far, in its logarithm, a calibrated number may lie
	// from the next one that was found not to meet the target.
	searchTolerance = 1e-5
)

// CalibrateNoise returns the smallest noise multiplier z, at most 10⁻⁴ above
// the true one and never below, for which build(z) is within the target by the
// named accountant; it searches from 10⁻⁹ to 10³⁰. build must cost less the
// larger z is. A schedule of fixed shape r is calibrated as a whole, by a build
// that returns the noise multipliers z·r₁, z·r₂, …
//
// A build of full-batch Gaussians alone also fits a new filter of the target's
// terms. Errors: ErrDomain where the target is out of range or no noise meets
// it (other parts of the event cost too much), and those of Epsilon.
func CalibrateNoise(m Method, t Target, build func(z float64) Event) (float64, error) {
	s, err := newSearch(m, t, build)
	if err != nil {
		return 0, err
	}
	in, err := s.try(1)
	if err != nil {
		return 0, err
	}
	out := in
	for factor := 2.0; !in.meets; factor *= 2 {
		if out = in; out.x >= greatestMultiplier {
			return 0, fmt.Errorf("%w: no amount of noise meets epsilon and delta", ErrDomain)
		}
		if in, err = s.try(min(out.x*factor, greatestMultiplier)); err != nil {
			return 0, err
		}
	}
	for factor := 2.0; out.meets; factor *= 2 {
		if in = out; in.x <= leastMultiplier {
			return in.x, nil
		}
		if out, err = s.try(max(in.x/factor, leastMultiplier)); err != nil {
			return 0, err
		}
	}
	return s.narrow(in, out, false)
}

// CalibrateRate returns the largest sampling rate q, at most 10⁻⁴ below the true
// one and never above, for which build(q) is within the target by the named
// accountant; it searches from 10⁻¹⁸ to 1. build must cost more the larger q is.
//
// Errors: ErrDomain where the target is out of range or no rate meets it, and
// those of Epsilon.
func CalibrateRate(m Method, t Target, build func(q float64) Event) (float64, error) {
	s, err := newSearch(m, t, build)
	if err != nil {
		return 0, err
	}
	in, err := s.try(1)
	if err != nil && !errors.Is(err, ErrUnsupported) {
		return 0, err
	}
	if in.meets {
		return 1, nil
	}
	out := trial{x: 1, eps: math.Inf(1)}
	for factor := 4.0; ; factor *= 4 {
		if in, err = s.try(max(out.x/factor, leastRate)); err != nil {
			return 0, err
		}
		if in.meets {
			return s.narrow(in, out, false)
		}
		if out = in; out.x <= leastRate {
			return 0, fmt.Errorf("%w: no sampling rate meets epsilon and delta", ErrDomain)
		}
	}
}

// CalibrateSteps returns the largest number of steps, at most 2⁵³, for which
// build(steps) is within the target by the named accountant: one step more is
// not. build must cost more the more steps there are.
//
// Errors: ErrDomain where the target is out of range or not even one step meets
// it, and those of Epsilon.
func CalibrateSteps(m Method, t Target, build func(steps int64) Event) (int64, error) {
	s, err := newSearch(m, t, func(x float64) Event { return build(int64(x)) })
	if err != nil {
		return 0, err
	}
	in, err := s.try(1)
	if err != nil {
		return 0, err
	}
	if !in.meets {
		return 0, fmt.Errorf("%w: not even one step meets epsilon and delta", ErrDomain)
	}
	for factor := 2.0; ; factor *= 2 {
		if in.x >= maxCount {
			return maxCount, nil
		}
		out, err := s.try(min(in.x*factor, maxCount))
		if err != nil {
			return 0, err
		}
		if !out.meets {
			steps, err := s.narrow(in, out, true)
			return int64(steps), err
		}
		in = out
	}
}

// search looks for the last value of one parameter that meets a target.
type search struct {
	method Method
	target Target
	build  func(x float64) Event
	mu     float64 // of plain Gaussians that a new filter admits
}

// trial is one value of the parameter, the ε that it costs, and whether it is
// within the target.
type trial struct {
	x, eps float64
	meets  bool
}

func newSearch(m Method, t Target, build func(x float64) Event) (*search, error) {
	if !(t.Epsilon > 0) || math.IsInf(t.Epsilon, 1) {
		return nil, fmt.Errorf("%w: epsilon must be positive and finite", ErrDomain)
	}
	if !(t.Delta > 0 && t.Delta < 1) {
		return nil, fmt.Errorf("%w: delta must lie between 0 and 1", ErrDomain)
	}
	return &search{m, t, build, GaussianMu(m, t.Epsilon, t.Delta)}, nil
}

func (s *search) try(x float64) (trial, error) {
	e := s.build(x)
	eps, _, err := Epsilon(s.method, e, s.target.Delta)
	if err != nil || eps > s.target.Epsilon {
		return trial{x, eps, false}, err
	}
	if s.method == MethodPLD {
		return trial{x, eps, true}, nil
	}
	// The filter's order is rounded: hold plain Gaussians to it.
	c, err := curveOf(e)
	if err == nil && c.onlyGaussians() {
		return trial{x, eps, c.mu2 <= s.mu*s.mu}, nil
	}
	return trial{x, eps, true}, err
}

// narrow closes in on the edge between in, which meets the target, and out,
// which does not, and returns the last value found to meet it. It interpolates
// log ε over log x and aims a little past the edge, alternately from either
// side, so that both ends move; each third step halves the distance.
func (s *search) narrow(in, out trial, whole bool) (float64, error) {
	for i := 0; ; i++ {
		a, b := math.Log(in.x), math.Log(out.x)
		width, margin := math.Abs(b-a), 0.3*searchTolerance
		if whole {
			if math.Abs(out.x-in.x) <= 1 {
				return in.x, nil
			}
			margin = 0.5 / in.x
		} else if width <= searchTolerance {
			return in.x, nil
		}
		part := 0.5
		below, above := math.Log(in.eps/s.target.Epsilon), math.Log(out.eps/s.target.Epsilon)
		if i%3 != 2 && below < above && !math.IsInf(above-below, 1) {
			part = min(1, max(0, -below/(above-below)))
		}
		if part < 0.5 {
			part += margin / width
		} else {
			part -= margin / width
		}
		x := math.Exp(a + part*(b-a))
		low, high := min(in.x, out.x), max(in.x, out.x)
		if whole {
			x = min(max(math.Round(x), low+1), high-1)
		} else if !(x > low && x < high) {
			x = math.Sqrt(low) * math.Sqrt(high)
		}
		next, err := s.try(x)
		if err != nil {
			return 0, err
		}
		if next.meets {
			in = next
		} else {
			out = next
		}
	}
}

// onlyGaussians reports whether nothing but unsampled Gaussians costs anything.
func (c *curve) onlyGaussians() bool {
	return len(c.sampled) == 0 && len(c.fixed) == 0 && c.rho == 0 && c.pureSum.IsZero() && c.deltaSum.IsZero()
}
