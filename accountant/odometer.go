package accountant

import (
	"fmt"
	"math"
	"slices"
)

// Odometer says how much was spent so far, at every time at once. For events
// that may each be chosen after seeing all earlier answers, and neighbours P and
// Q, let L_t be the log of the ratio of the densities of the first t answers
// under P and Q. Then, under P,
//
//	Pr[ L_t ≤ Epsilon(state_t) at every t ] ≥ 1 − delta,
//
// so that one may stop at any time, for any reason, the figure itself included:
// for a stopping time T and constant e, P(answers in S, Epsilon(state_T) ≤ e) ≤
// exp(e)·Q(answers in S, Epsilon(state_T) ≤ e) + delta. A converted curve
// ([Epsilon]) does not give that: looked at again and again, with the right to
// stop where it is passed, it is passed more often than delta.
//
// Proof. Fix the finite set A of orders beforehand and let A_t(α) = ΣR_i(α) be
// the cost of the first t events. An event chosen from the past has
// E_P[exp((α−1)·(L_t − L_{t−1})) | past] ≤ exp((α−1)·R_t(α)), hence
//
//	M_t = (1/|A|)·Σ_{α∈A} exp((α−1)·(L_t − A_t(α)))
//
// is a non-negative supermartingale under P with M_0 = 1, and by Ville's inequality
// stays below 1/δ at all times with probability 1 − δ. M_t rises with L_t, so that
// L_t stays below the solution ε of
//
//	Σ_{α∈A} exp((α−1)·(ε − A_t(α))) = |A|/δ,
//
// which is never above what a union over A gives, the least of
// A_t(α) + log(|A|/δ)/(α−1). R bounds both directions, so the same holds with P
// and Q exchanged. Where every event has an ε of its own, L_t never exceeds their
// sum.
//
// An approximate (ε, δ) event is ε-DP unless it fails, which happens with
// probability δ; L_t is that of the answers that did not fail. The failures add up
// to a share of delta set when the odometer is made, past which Add refuses, and
// the inequality above is used with the rest of delta.
//
// Sources: Rogers, Roth, Ullman & Vadhan 2016, arXiv:1605.08294 (odometers);
// Feldman & Zrnic 2021, arXiv:2008.11193, Lecuyer 2021, arXiv:2103.01379, and
// Whitehouse, Ramdas, Rogers & Wu 2023, arXiv:2203.05481 (supermartingales);
// Ville 1939.
//
// An Odometer is immutable and safe for concurrent use.
type Odometer struct {
	share  Amount
	orders []float64
	target float64 // log(|A|/δ), rounded up
}

// OdometerState is what an odometer has counted; the zero value is nothing. It
// never changes: Add returns another.
type OdometerState struct {
	losses      []float64 // ΣR(α) at each order
	impure      bool      // some event has no ε of its own
	pureEpsilon Amount
	failures    Amount
}

// odometerOrders are 1 + 2^(k/2), from 1.125 to 16385. Within them a Gaussian
// costs at most 12 % more at δ = 10⁻⁶ than at one order chosen in hindsight,
// from ε = 0.01 to 300: log|A| = 3.6 against log(1/δ) = 13.8, of which the
// neighbours of the best order give back a part. Half the ratio costs as much,
// double the ratio up to 3 % more.
func odometerOrders() []float64 {
	var orders []float64
	for k := -6; k <= 28; k++ {
		orders = append(orders, 1+math.Exp2(float64(k)/2))
	}
	return orders
}

// NewOdometer returns an odometer that errs with probability delta at most,
// approximateDelta of it kept for approximate events. The orders must not
// depend on any answer; nil stands for 35 orders from 1.125 to 16385.
//
// Errors wrap ErrDomain: delta at least 1, less than approximateDelta, or an
// order that is not finite and above 1. With no delta beside approximateDelta
// only events with an ε of their own cost less than +Inf.
func NewOdometer(delta, approximateDelta Amount, orders []float64) (*Odometer, error) {
	if delta.Cmp(one) >= 0 {
		return nil, fmt.Errorf("%w: delta must be below 1", ErrDomain)
	}
	rest, ok := delta.Sub(approximateDelta)
	if !ok {
		return nil, fmt.Errorf("%w: approximateDelta exceeds delta", ErrDomain)
	}
	if orders == nil {
		orders = odometerOrders()
	}
	if len(orders) == 0 {
		return nil, fmt.Errorf("%w: an odometer needs an order", ErrDomain)
	}
	for _, alpha := range orders {
		if !(alpha > 1) || math.IsInf(alpha, 1) {
			return nil, fmt.Errorf("%w: an order must be finite and above 1", ErrDomain)
		}
	}
	target := math.Log(float64(len(orders))) - math.Log(rest.Float64Down())
	return &Odometer{share: approximateDelta, orders: slices.Clone(orders), target: up(target, 8)}, nil
}

// Add returns the state after one more event: a sum at each order, whatever the
// history. Errors: ErrDomain for an invalid event or a state of an odometer with
// other orders; ErrUnsupported for an event without a rule, and where approximate
// events would exceed their share.
func (o *Odometer) Add(s OdometerState, e Event) (OdometerState, error) {
	c, err := curveOf(e)
	if err != nil {
		return s, err
	}
	if s.losses != nil && len(s.losses) != len(o.orders) {
		return s, fmt.Errorf("%w: the state belongs to an odometer with other orders", ErrDomain)
	}
	failures := s.failures.Add(c.deltaSum)
	if failures.Cmp(o.share) > 0 {
		return s, fmt.Errorf("%w: approximate events would fail with probability %s, the odometer's share for them is %s", ErrUnsupported, failures, o.share)
	}
	next := OdometerState{
		losses:      make([]float64, len(o.orders)),
		impure:      s.impure || !c.pure,
		pureEpsilon: s.pureEpsilon.Add(c.pureSum),
		failures:    failures,
	}
	copy(next.losses, s.losses)
	for i, alpha := range o.orders {
		next.losses[i] = addUp(next.losses[i], c.rdp(alpha))
	}
	return next, nil
}

// Epsilon returns the ε, rounded up, that the loss of everything in the state has
// not exceeded; see Odometer. It is 0 where nothing happened, and +Inf where no
// order is finite.
func (o *Odometer) Epsilon(s OdometerState) float64 {
	plain := math.Inf(1)
	if !s.impure {
		plain = s.pureEpsilon.Float64Up()
	}
	if plain == 0 || len(s.losses) != len(o.orders) {
		return plain
	}
	union := math.Inf(1)
	for i, alpha := range o.orders {
		union = min(union, addUp(s.losses[i], up(o.target/(alpha-1), 4)))
	}
	if math.IsInf(union, 1) {
		return plain
	}
	// Each term's exponent is off by two roundings, the sum by one a term.
	reached := func(eps float64) bool {
		total, largest := 0.0, 0.0
		for i, alpha := range o.orders {
			x := (alpha - 1) * (eps - s.losses[i])
			if math.IsInf(x, -1) {
				continue
			}
			if x > largest {
				total, largest = total*math.Exp(largest-x), x
			}
			total += math.Exp(x - largest)
		}
		log := largest + math.Log(total)
		return log-4*ulp*(float64(len(o.orders))+2*largest+math.Abs(log)) >= o.target
	}
	if !reached(union) {
		return min(plain, union)
	}
	return min(plain, bisect(0, union, reached))
}
