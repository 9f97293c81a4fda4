package accountant

import (
	"fmt"
	"math"
)

// Method names an accountant.
type Method string

const (
	// MethodRDP: Rényi divergences, over all orders.
	MethodRDP Method = "rdp"
	// MethodPLD: privacy loss distributions, for events fixed in advance.
	MethodPLD Method = "pld"
	// MethodGDP: Gaussian DP.
	MethodGDP Method = "gdp"
)

// ParseMethod reads "rdp", "pld" or "gdp" and refuses anything else.
func ParseMethod(text string) (Method, error) {
	switch m := Method(text); m {
	case MethodRDP, MethodPLD, MethodGDP:
		return m, nil
	}
	return "", fmt.Errorf("%w: accountant %q is unknown; write rdp, pld or gdp", ErrDomain, clip(text))
}

// Orders that Epsilon searches, by their distance from 1.
const (
	leastGap    = 1e-6
	usualGap    = 0.01 // smaller ones serve only where ε is in the thousands
	greatestGap = 1e11
)

// Epsilon returns the least ε, rounded up, at which e is (ε, delta)-DP by the
// named accountant, and for rdp the order that attains it (0 for gdp, and where
// the plain sum of pure ε is the least):
//
//	rdp   ε = min over α of R(α) + log((α−1)/α) − (log δ + log α)/(α−1)
//	      and 0 where 1 − e^(−R(α)) ≤ δ² for some α (total variation)
//	gdp   the ε of GaussianEpsilon at the μ of MuGDP
//
// Approximate events fail with probability δ∞ = 1 − Π(1−δᵢ) in all; the rest
// is converted at (δ−δ∞)/(1−δ∞), and ε is +Inf where that is not positive.
// Events that are all pure or Laplace never cost more than the sum of their ε.
//
// Domain 0 ≤ delta; delta ≥ 1 gives 0, delta = 0 the sum of ε or +Inf. Any order
// gives a valid bound, so that a missed optimum is looser, never unsound. Errors:
// ErrDomain; ErrUnsupported for sampled events under gdp.
//
// Sources: Canonne, Kamath & Steinke 2020, arXiv:2004.00010, Proposition 12;
// Balle & Wang 2018, arXiv:1805.06530, Theorem 8; Bretagnolle & Huber 1979.
func Epsilon(m Method, e Event, delta float64) (eps, order float64, err error) {
	if !(delta >= 0) {
		return 0, 0, fmt.Errorf("%w: delta must be a number that is not negative", ErrDomain)
	}
	c, err := curveOf(e)
	if err != nil {
		return 0, 0, err
	}
	switch m {
	case MethodRDP:
		eps, order = c.epsilonRDP(delta)
	case MethodGDP:
		mu2, err := c.gdp()
		if err != nil {
			return 0, 0, err
		}
		eps = GaussianEpsilon(up(math.Sqrt(mu2), 2), c.remainingDelta(delta))
	default:
		return 0, 0, fmt.Errorf("%w: accountant %q is unknown", ErrDomain, clip(string(m)))
	}
	if c.pure {
		if plain := c.pureSum.Float64Up(); plain <= eps {
			return plain, 0, nil
		}
	}
	return eps, order, nil
}

// remainingDelta is the δ at which everything but the failures of approximate
// events is converted, rounded down; 0 where they use it all.
func (c *curve) remainingDelta(delta float64) float64 {
	if c.deltaInf == 0 || delta >= 1 {
		return delta
	}
	// δ − δ∞ is exact to one rounding; δ∞ is an upper bound already.
	return down(max(0, delta-c.deltaInf)/(1-c.deltaInf), 4)
}

func (c *curve) epsilonRDP(delta float64) (eps, order float64) {
	delta = c.remainingDelta(delta)
	if delta >= 1 {
		return 0, 0
	}
	if delta == 0 {
		if c.pure {
			return c.pureSum.Float64Up(), 0
		}
		return math.Inf(1), 0
	}
	best, bestOrder := math.Inf(1), 1+usualGap
	try := func(t float64) (eps, r float64) {
		alpha := 1 + math.Exp(t)
		r = c.rdp(alpha)
		eps = epsilonAt(alpha, r, delta)
		if eps < best {
			best, bestOrder = eps, alpha
		}
		return eps, r
	}

	const coarse = 0.25 // in log(α−1)
	first := math.Log(usualGap)
	try(math.Log(leastGap)) // where total variation allows the most
	for t := first; t <= math.Log(greatestGap); t += coarse {
		// R never falls, and what the conversion adds is never below −4/α.
		if _, r := try(t); r-4*math.Exp(-t) > best || best == 0 {
			break
		}
	}
	if best == 0 || math.IsInf(best, 1) {
		return best, bestOrder
	}
	for bestOrder == 1+math.Exp(first) && first > math.Log(leastGap) {
		first -= coarse
		try(first)
	}
	// Golden section around the best: the optimum is smooth, hence its ε is
	// found to the square of the order's error.
	const golden = 0.6180339887498949
	t := math.Log(bestOrder - 1)
	low, high := max(first, t-coarse), t+coarse
	x, y := high-golden*(high-low), low+golden*(high-low)
	fx, _ := try(x)
	fy, _ := try(y)
	for high-low > 1e-6 && best > 0 {
		if fx <= fy {
			high, y, fy = y, x, fx
			x = high - golden*(high-low)
			fx, _ = try(x)
		} else {
			low, x, fx = x, y, fy
			y = low + golden*(high-low)
			fy, _ = try(y)
		}
	}
	return best, bestOrder
}

// epsilonAt converts one order, rounded up and never below 0.
func epsilonAt(alpha, r, delta float64) float64 {
	if math.IsInf(r, 1) {
		return r
	}
	if down(delta*delta, 4) >= up(-math.Expm1(-r), 4) {
		return 0
	}
	room, rounding := conversion(alpha, delta)
	eps := r - room
	return max(0, eps+rounding+2*ulp*(math.Abs(eps)+r))
}

// conversion is what an order leaves between R and ε: ε = R − room, with the
// absolute error of room:
//
//	room = (log δ + log α)/(α−1) − log1p(−1/α)
func conversion(alpha, delta float64) (room, rounding float64) {
	logDelta, logAlpha := math.Log(delta), math.Log(alpha)
	edge := math.Log1p(-1 / alpha)
	room = (logDelta+logAlpha)/(alpha-1) - edge
	// The subtraction α−1 is exact below 2 and relative to α above.
	rounding = 4 * ulp * ((math.Abs(logDelta)+logAlpha)/(alpha-1) + math.Abs(edge) + 1/(alpha-1))
	return room, rounding
}

// limitRDP is the greatest divergence at the order that converts to at most
// (eps, delta), rounded down: the conversion solved for R, or what total
// variation allows where that is more.
func limitRDP(alpha, eps, delta float64) float64 {
	room, rounding := conversion(alpha, delta)
	limit := eps + room
	limit -= rounding + 4*ulp*(math.Abs(limit)+eps)
	return max(limit, down(delta*delta, 8), 0) // −log1p(−δ²) ≥ δ²
}

// gaussianOrder is the order, to four significant digits, at which the most
// noise-free Gaussian fits into (eps, delta): it maximises limit(α)/α.
func gaussianOrder(eps, delta float64) float64 {
	worth := func(t float64) float64 {
		alpha := 1 + math.Exp(t)
		return limitRDP(alpha, eps, delta) / alpha
	}
	const coarse = 0.25
	first, last := math.Log(leastGap), math.Log(greatestGap)
	best := first
	for t := first; t <= last; t += coarse {
		if worth(t) > worth(best) {
			best = t
		}
	}
	low, high := max(first, best-coarse), min(last, best+coarse)
	for range 100 {
		x, y := low+(high-low)/3, high-(high-low)/3
		if worth(x) >= worth(y) {
			high = y
		} else {
			low = x
		}
	}
	gap := math.Exp((low + high) / 2)
	digits := math.Pow(10, 3-math.Floor(math.Log10(gap)))
	order := 1 + math.Round(gap*digits)/digits
	if order < 2 {
		return order
	}
	digits = math.Pow(10, 3-math.Floor(math.Log10(order)))
	return math.Round(order*digits) / digits
}
