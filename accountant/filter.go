package accountant

import (
	"fmt"
	"math"
)

// Terms fix a filter for the life of a budget.
type Terms struct {
	Method  Method `json:"method"`
	Epsilon Amount `json:"epsilon"`
	Delta   Amount `json:"delta"`
	// ApproximateDelta is the share of Delta for approximate events; 0: none.
	ApproximateDelta Amount `json:"approximate_delta"`
	// PureEpsilon is the share of Epsilon set aside for events with an ε of
	// their own, added up plainly; 0: they go through the filter.
	PureEpsilon Amount `json:"pure_epsilon"`
	// Order is the one order α > 1 of an RDP filter; 0 asks NewFilter for the
	// best order of a Gaussian-like use. It is 0 for gdp.
	Order float64 `json:"order"`
}

// Spent is what a filter has granted so far; the zero value is nothing.
type Spent struct {
	Loss             float64 `json:"loss"` // R(α) in nats, or μ²
	PureEpsilon      Amount  `json:"pure_epsilon"`
	ApproximateDelta Amount  `json:"approximate_delta"`
}

// Filter decides whether one more event may be charged to a budget. What it
// admits is (ε, δ)-DP in all, even when each event is chosen after seeing the
// answers of all earlier ones (fully adaptive composition):
//
//   - rdp: ΣR(α) ≤ B(α) at one order fixed beforehand. Feldman & Zrnic 2021,
//     arXiv:2008.11193; Lecuyer 2021, arXiv:2103.01379. With L_t the privacy loss
//     and A_t the sum after t events, exp((α−1)·(L_t − A_t)) is a supermartingale
//     that starts at 1, and A_t never exceeds B: the divergence of everything
//     released, at the order α, is at most B, which converts to (ε, δ).
//   - gdp: Σμ² ≤ μ*². Smith & Thakurta 2022, arXiv:2210.17520; Koskela,
//     Tobaben & Honkela 2023, arXiv:2209.15596.
//
// Neither gives away much: adversaries exist that reach 0.98·δ and δ. The order may
// not be chosen by outcome: a rule that admits whatever fits at any of twelve orders
// lets an adversary reach 1.8·δ, and so does an exact composition of the events that
// happened to be chosen. See the tests of adversaries. A filter says what may still
// be charged; for what has been spent at a time picked by its user see [Odometer].
//
// The filter runs on ε − PureEpsilon and δ − ApproximateDelta. Beside it, the
// shares add up plainly: the ratio of densities of the events charged to
// PureEpsilon never exceeds e^PureEpsilon, and approximate events fail with
// probability ApproximateDelta at most, so that both add to the filter's ε and δ.
//
// Whether an event draws on a share depends on its type and the terms alone,
// never on what is left: filters may not be mixed by outcome.
//
// A Filter is immutable and safe for concurrent use.
type Filter struct {
	terms Terms
	limit float64
}

// NewFilter checks the terms and fills in the order. Errors wrap ErrDomain.
func NewFilter(t Terms) (*Filter, error) {
	if t.Method != MethodRDP && t.Method != MethodGDP {
		return nil, fmt.Errorf("%w: a filter's accountant is rdp or gdp, not %q", ErrDomain, clip(string(t.Method)))
	}
	fail := func(text string) (*Filter, error) { return nil, fmt.Errorf("%w: %s", ErrDomain, text) }
	eps, ok := t.Epsilon.Sub(t.PureEpsilon)
	switch {
	case t.Epsilon.IsZero():
		return fail("a budget's epsilon must be positive")
	case !ok:
		return fail("pureEpsilon exceeds epsilon")
	case t.Delta.Cmp(one) >= 0:
		return fail("delta must be below 1")
	}
	delta, ok := t.Delta.Sub(t.ApproximateDelta)
	switch {
	case !ok:
		return fail("approximateDelta exceeds delta")
	case delta.IsZero() && !eps.IsZero():
		return fail("the filter has no delta; leave some beside approximateDelta, or set pureEpsilon to all of epsilon")
	case t.Method == MethodGDP && t.Order != 0:
		return fail("an order belongs to the accountant rdp only")
	case t.Order != 0 && !(t.Order > 1 && t.Order <= greatestGap):
		return fail("an order must lie between 1 and 1e11")
	}

	f := &Filter{terms: t}
	e, d := eps.Float64Down(), delta.Float64Down()
	nothing := e == 0 || d == 0
	switch {
	case t.Method == MethodGDP && nothing:
	case t.Method == MethodGDP:
		mu := gaussianMu(e, d)
		f.limit = down(mu*mu, 2)
	case nothing:
		if t.Order == 0 {
			f.terms.Order = 2 // any: the limit is 0 at each
		}
	default:
		if t.Order == 0 {
			f.terms.Order = gaussianOrder(e, d)
		}
		f.limit = limitRDP(f.terms.Order, e, d)
	}
	return f, nil
}

// Terms returns the terms with Order filled in.
func (f *Filter) Terms() Terms { return f.terms }

// Limit returns the most Loss that the filter admits, rounded down: for rdp
//
//	B(α) = ε − log((α−1)/α) + (log δ + log α)/(α−1)
//
// or δ² where that is more (1 − e^−R ≤ δ² bounds the total variation by δ), and
// never below 0; for gdp the square of the largest μ that is (ε, δ)-DP. ε and δ
// are those outside the shares. Source: Canonne, Kamath & Steinke 2020,
// arXiv:2004.00010, Proposition 12, solved for R.
func (f *Filter) Limit() float64 { return f.limit }

// Cost returns what e draws on the filter and its shares, rounded up.
//
// Events with an ε of their own (pure, approximate, partition selection, and
// Laplace and discrete Laplace with ε = 1/b, 2/b under replace-one, rounded up to
// 20 digits) draw ε on PureEpsilon where the terms set it, otherwise Loss as in
// RDP and MuGDP. Approximate events and partition selections also draw δ on
// ApproximateDelta, and are ErrUnsupported where that is 0. Under gdp a sampled
// step costs μ = 1/z (2/z), as if it were not sampled, and a zCDP or discrete
// Gaussian event is ErrUnsupported. An invalid event is ErrDomain.
func (f *Filter) Cost(e Event) (Spent, error) {
	c, err := curveOf(e)
	if err != nil {
		return Spent{}, err
	}
	if !c.deltaSum.IsZero() && f.terms.ApproximateDelta.IsZero() {
		return Spent{}, fmt.Errorf("%w: the budget sets no approximateDelta aside, so approximate events are refused", ErrUnsupported)
	}
	s := Spent{ApproximateDelta: c.deltaSum}
	if !f.terms.PureEpsilon.IsZero() {
		s.PureEpsilon = c.pureSum
		c.response, c.laplace, c.discrete = nil, nil, nil
	}
	if f.terms.Method == MethodRDP {
		s.Loss = c.rdp(f.terms.Order)
		return s, nil
	}
	s.Loss, err = c.gdpWithoutAmplification()
	return s, err
}

// Add returns a + b: amounts exactly, the loss rounded up.
func (f *Filter) Add(a, b Spent) Spent {
	return Spent{
		Loss:             addUp(a.Loss, b.Loss),
		PureEpsilon:      a.PureEpsilon.Add(b.PureEpsilon),
		ApproximateDelta: a.ApproximateDelta.Add(b.ApproximateDelta),
	}
}

// Admits reports whether a total stays within the filter and both shares. A
// total that is not a number is not admitted.
func (f *Filter) Admits(total Spent) bool {
	return total.Loss >= 0 && total.Loss <= f.limit &&
		total.PureEpsilon.Cmp(f.terms.PureEpsilon) <= 0 &&
		total.ApproximateDelta.Cmp(f.terms.ApproximateDelta) <= 0
}

// Fraction returns how much of the budget a total uses, in [0, 1]: of filter,
// PureEpsilon and ApproximateDelta the one that is used most. For display.
func (f *Filter) Fraction(total Spent) float64 {
	share := func(used, limit float64) float64 {
		switch {
		case used <= 0:
			return 0
		case !(used < limit):
			return 1
		}
		return used / limit
	}
	return max(share(total.Loss, f.limit),
		share(total.PureEpsilon.Float64Up(), f.terms.PureEpsilon.Float64Down()),
		share(total.ApproximateDelta.Float64Up(), f.terms.ApproximateDelta.Float64Down()))
}

// GaussianLeft returns the largest μ of one more full-batch Gaussian that
// Admits, rounded down by a relative 10⁻⁹ like GaussianMu; 0 where none fits.
func (f *Filter) GaussianLeft(total Spent) float64 {
	if !f.Admits(total) {
		return 0
	}
	// The total may round up by an ulp once the charge is added.
	left := f.limit - total.Loss - 4*ulp*f.limit
	if left <= 0 {
		return 0
	}
	if f.terms.Method == MethodRDP {
		left = 2 * left / f.terms.Order
	}
	return math.Sqrt(left) * usable
}
