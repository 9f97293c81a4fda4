package accountant

import (
	"fmt"
	"math"
)

// PLDOptions tune a privacy loss distribution; the zero value is the usual choice.
type PLDOptions struct {
	// Interval is the spacing of the grid of losses, in nats; 0: chosen so that
	// the grid makes ε about 10⁻⁵ too large, relatively.
	Interval float64
}

// Bounds enclose a true value: Lower ≤ value ≤ Upper, both certified.
type Bounds struct {
	Lower, Upper float64
	Interval     float64 // spacing used for Upper; 0 where no grid was needed
}

// PLDEpsilon bounds the least ε at which e is (ε, delta)-DP from both sides.
func PLDEpsilon(e Event, delta float64, o PLDOptions) (Bounds, error) {
	if !(delta >= 0) {
		return Bounds{}, fmt.Errorf("%w: delta must be a number that is not negative", ErrDomain)
	}
	c, err := o.curve(e)
	if err != nil {
		return Bounds{}, err
	}
	upper, h, foci := c.epsilonPLD(delta, o.Interval)
	return Bounds{lowerBound(c.epsilonPLDLow(delta, o.Interval, foci), upper), upper, h}, nil
}

// PLDDelta bounds the least δ at which e is (eps, δ)-DP from both sides.
func PLDDelta(e Event, eps float64, o PLDOptions) (Bounds, error) {
	if !(eps >= 0) {
		return Bounds{}, fmt.Errorf("%w: epsilon must be a number that is not negative", ErrDomain)
	}
	c, err := o.curve(e)
	if err != nil {
		return Bounds{}, err
	}
	upper, h, foci := c.deltaPLD(eps, o.Interval)
	upper = c.withFailures(upper)
	return Bounds{lowerBound(c.deltaPLDLow(eps, o.Interval, foci), upper), upper, h}, nil
}

// lowerBound is low, or 0 where it was lost to overflow.
func lowerBound(low, upper float64) float64 {
	if !(low >= 0) {
		return 0
	}
	return min(low, upper)
}

func (o PLDOptions) curve(e Event) (*curve, error) {
	if o.Interval != 0 && !(o.Interval > 0 && o.Interval <= 1e6) {
		return nil, fmt.Errorf("%w: interval must be positive, or 0", ErrDomain)
	}
	c, err := curveOf(e)
	if err != nil {
		return nil, err
	}
	return c, c.refusePLD()
}

// refusePLD is the error of events that have no privacy loss distribution.
func (c *curve) refusePLD() error {
	if c.zcdp {
		return fmt.Errorf("%w: a zCDP event has no privacy loss distribution; use rdp", ErrUnsupported)
	}
	for _, d := range c.gaussian {
		if d.shift == 0 {
			return fmt.Errorf("%w: a discrete Gaussian has a privacy loss distribution for one coordinate of known sensitivity only; give sensitivity, or use rdp", ErrUnsupported)
		}
	}
	return nil
}

// epsilonPLD is an upper bound on ε, with the spacing that it was found with and
// where.
func (c *curve) epsilonPLD(delta, interval float64) (eps, h float64, foci []focus) {
	plain := c.plain(delta)
	delta = c.remainingDelta(delta)
	if delta >= 1 {
		return 0, 0, nil
	}
	if delta == 0 {
		return plain, 0, nil
	}
	u := c.uses(false)
	eps, h, foci, ok := u.epsilon(delta, interval, nil)
	if !ok {
		eps, _ = c.epsilonRDP(delta)
	}
	return min(eps, plain), h, foci
}

// epsilonPLDLow is a lower bound on ε.
func (c *curve) epsilonPLDLow(delta, interval float64, foci []focus) float64 {
	inf := c.deltaInfDown()
	if delta < inf {
		return math.Inf(1)
	}
	delta = up((delta-inf)/(1-inf), 4)
	if delta >= 1 {
		return 0
	}
	if delta == 0 {
		if c.pure {
			return down(c.pureSum.Float64Down(), 4)
		}
		return 0
	}
	eps, _, _, _ := c.uses(true).epsilon(delta, interval, foci)
	return eps
}

// deltaPLD is an upper bound on δ but for failures, with the spacing that it was
// found with and where.
func (c *curve) deltaPLD(eps, interval float64) (delta, h float64, foci []focus) {
	if c.bounded() && c.pureSum.Float64Up() <= eps {
		return 0, 0, nil
	}
	delta, h, foci, ok := c.uses(false).delta(eps, interval, nil)
	if !ok {
		delta, _ = c.deltaRDP(eps)
	}
	return delta, h, foci
}

// deltaPLDLow is a lower bound on δ.
func (c *curve) deltaPLDLow(eps, interval float64, foci []focus) float64 {
	inf := c.deltaInfDown()
	delta, _, _, _ := c.uses(true).delta(eps, interval, foci)
	return down(inf+down((1-inf)*delta, 4), 4)
}

// deltaInfDown is deltaInf, rounded down.
func (c *curve) deltaInfDown() float64 {
	return down(c.deltaInf, 64+16*float64(len(c.response)))
}

// epsilon bounds ε at delta; where ok is false there is no bound but 0 from below.
func (u *pairUses) epsilon(delta, interval float64, foci []focus) (eps, h float64, _ []focus, ok bool) {
	if len(u.factors) == 0 {
		return 0, 0, nil, true
	}
	if !u.low {
		if delta = down((delta-u.tail)*math.Exp(-u.grow), 8); !(delta > 0) {
			return 0, 0, nil, false
		}
	}
	if p := u.single(); p != nil {
		if eps, ok := p.profileEpsilon(delta, u.low); ok {
			return addUp(eps, u.shift), 0, nil, true
		}
	}
	p := newProblem(u, interval)
	if eps, ok = p.epsilon(delta, foci); !ok || math.IsNaN(eps) {
		return 0, 0, nil, false
	}
	return addUp(eps, u.shift), p.h, p.foci, true
}

// delta bounds δ at eps; where ok is false there is no bound but 0 from below.
func (u *pairUses) delta(eps, interval float64, foci []focus) (delta, h float64, _ []focus, ok bool) {
	if len(u.factors) == 0 {
		return 0, 0, nil, true
	}
	eps = down(max(0, eps-u.shift), 2)
	if u.low {
		eps = up(eps, 2)
	}
	ok = false
	if p := u.single(); p != nil {
		delta, ok = p.profileDelta(eps, u.low)
	}
	if !ok {
		if math.IsInf(eps, 1) {
			return 0, 0, nil, false
		}
		p := newProblem(u, interval)
		if delta, ok = p.delta(eps, foci); !ok || math.IsNaN(delta) {
			return 0, 0, nil, false
		}
		h, foci = p.h, p.foci
	}
	if u.grow > 0 {
		delta = up(delta*math.Exp(u.grow), 8) + u.tail
	}
	return min(1, delta), h, foci, true
}
