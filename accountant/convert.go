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

// Orders that Epsilon and Delta search, by their distance from 1.
const (
	leastGap    = 1e-6
	greatestGap = 1e11
)

// Epsilon returns the least ε, rounded up, at which e is (ε, delta)-DP by the
// named accountant, and for rdp the order that attains it (0 for the others, and
// where the plain sum of pure ε is the least):
//
//	rdp   ε = min over α of R(α) + log((α−1)/α) − (log δ + log α)/(α−1)
//	      and 0 where 1 − e^(−R(α)) ≤ δ² for some α (total variation)
//	gdp   the ε of GaussianEpsilon at the μ of MuGDP
//	pld   the upper bound of PLDEpsilon, or what rdp gives where that is less
//
// Approximate events fail with probability δ∞ = 1 − Π(1−δᵢ) in all; the rest
// is converted at (δ−δ∞)/(1−δ∞), and ε is +Inf where that is not positive.
// Events that are all pure or Laplace never cost more than the sum of their ε.
//
// Domain 0 ≤ delta; delta ≥ 1 gives 0, delta = 0 the sum of ε or +Inf. Any order
// gives a valid bound, so that a missed optimum is looser, never unsound. Errors:
// ErrDomain; ErrUnsupported for sampled events under gdp, and for zCDP
// events and discrete Gaussians without sensitivity under pld.
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
		eps = math.Inf(1)
		if delta >= c.deltaInf {
			eps = GaussianEpsilon(up(math.Sqrt(mu2), 2), c.remainingDelta(delta))
		}
	case MethodPLD:
		if err := c.refusePLD(); err != nil {
			return 0, 0, err
		}
		eps, _, _ = c.epsilonPLD(delta, 0)
		if bound, _ := c.epsilonRDP(delta); bound < eps {
			eps = bound
		}
	default:
		return 0, 0, unknownMethod(m)
	}
	if plain := c.plain(delta); plain <= eps {
		return plain, 0, nil
	}
	return eps, order, nil
}

// Delta returns the least δ, rounded up, at which e is (eps, δ)-DP by the named
// accountant, and for rdp the order that attains it (0 for the others, and
// where e consists of pure and approximate events with ε of eps at most in all):
//
//	rdp   log δ = min over α of (α−1)·(R(α) − ε) + α·log1p(−1/α) − log(α−1)
//	      or √(1 − e^(−R(α))) where that is less for some α (total variation)
//	gdp   GaussianDelta at the μ of MuGDP
//	pld   the upper bound of PLDDelta, or what rdp gives where that is less
//
// Approximate events fail with probability δ∞ = 1 − Π(1−δᵢ) in all, which gives
// δ∞ + (1−δ∞)·δ of the rest. Where a δ is below the smallest float64 it is that.
//
// Domain eps ≥ 0, else ErrDomain; the other errors are those of Epsilon, whose
// sources these are too.
func Delta(m Method, e Event, eps float64) (delta, order float64, err error) {
	if !(eps >= 0) {
		return 0, 0, fmt.Errorf("%w: epsilon must be a number that is not negative", ErrDomain)
	}
	c, err := curveOf(e)
	if err != nil {
		return 0, 0, err
	}
	if c.bounded() && c.pureSum.Float64Up() <= eps {
		if m != MethodRDP && m != MethodGDP && m != MethodPLD {
			return 0, 0, unknownMethod(m)
		}
		return c.deltaInf, 0, nil
	}
	switch m {
	case MethodRDP:
		delta, order = c.deltaRDP(eps)
	case MethodGDP:
		mu2, err := c.gdp()
		if err != nil {
			return 0, 0, err
		}
		delta = GaussianDelta(up(math.Sqrt(mu2), 2), eps)
	case MethodPLD:
		if err := c.refusePLD(); err != nil {
			return 0, 0, err
		}
		delta, _, _ = c.deltaPLD(eps, 0)
		if bound, _ := c.deltaRDP(eps); bound < delta {
			delta = bound
		}
	default:
		return 0, 0, unknownMethod(m)
	}
	return c.withFailures(delta), order, nil
}

// withFailures is the δ of everything where the rest has delta, rounded up.
func (c *curve) withFailures(delta float64) float64 {
	if c.deltaInf == 0 {
		return delta
	}
	// 1−δ∞ is exact to one rounding.
	return min(1, addUp(c.deltaInf, up(delta*(1-c.deltaInf), 2)))
}

// bounded reports whether nothing but the failures of approximate events can
// lose more than pureSum.
func (c *curve) bounded() bool {
	return c.mu2 == 0 && c.rho == 0 && !c.zcdp && len(c.sampled)+len(c.fixed)+len(c.gaussian) == 0
}

func (c *curve) deltaRDP(eps float64) (delta, order float64) {
	log, order := leastOrder(math.Inf(-1), func(alpha float64) float64 { return logDeltaAt(alpha, c.rdp(alpha), eps) })
	delta = math.SmallestNonzeroFloat64
	if log > -745 {
		delta = up(math.Exp(log), 4+math.Abs(log))
	}
	if total := up(math.Sqrt(up(-math.Expm1(-c.rdp(1+leastGap)), 4)), 4); total < delta {
		delta, order = total, 1+leastGap
	}
	return min(1, delta), order
}

// logDeltaAt converts one order, rounded up.
func logDeltaAt(alpha, r, eps float64) float64 {
	if math.IsInf(r, 1) {
		return r
	}
	if math.IsInf(eps, 1) {
		return math.Inf(-1)
	}
	gap := alpha - 1
	// (α−1)·log(α−1) − α·log α; the two nearly cancel at large orders.
	own := gap*math.Log(gap) - alpha*math.Log(alpha)
	size := gap*math.Abs(math.Log(gap)) + alpha*math.Log(alpha)
	if alpha > 2 {
		edge := alpha * math.Log1p(-1/alpha)
		own, size = edge-math.Log(gap), math.Abs(edge)+math.Log(gap)
	}
	loss := gap * (r - eps)
	return loss + own + 4*ulp*(gap*(r+eps)+math.Abs(loss)+size+1)
}

func unknownMethod(m Method) error {
	return fmt.Errorf("%w: accountant %q is unknown", ErrDomain, clip(string(m)))
}

// plain is the sum of all ε where every event has one, and δ covers their failures;
// else +Inf.
func (c *curve) plain(delta float64) float64 {
	if c.bounded() && delta >= c.deltaInf {
		return c.pureSum.Float64Up()
	}
	return math.Inf(1)
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
	plain := c.plain(delta)
	delta = c.remainingDelta(delta)
	if delta >= 1 {
		return 0, 0
	}
	if delta == 0 {
		return plain, 0
	}
	// R never falls: total variation is least at the smallest order.
	if r := c.rdp(1 + leastGap); down(delta*delta, 4) >= up(-math.Expm1(-r), 4) {
		return 0, 1 + leastGap
	}
	eps, order = leastOrder(0, func(alpha float64) float64 { return epsilonAt(alpha, c.rdp(alpha), delta) })
	return max(0, eps), order
}

// leastOrder finds the order at which f is least, and f there: the α of
// Epsilon, where f is a convex function of α over α − 1, hence quasi-convex, and
// of Delta, where it is convex (log E_Q[(P/Q)^α] is convex in α, and so is
// (α−1)·log(α−1) − α·log α). It stops early where f is at most enough.
//
// Steps of growing length from the middle of the range bracket the minimum in
// log(α−1), and Brent's method narrows it: f is smooth there, so that an order
// known to 10⁻⁶ leaves 10⁻¹² of f.
func leastOrder(enough float64, f func(alpha float64) float64) (least, order float64) {
	least, order = math.Inf(1), 2.0
	try := func(t float64) float64 {
		alpha := 1 + math.Exp(t)
		y := f(alpha)
		if y < least {
			least, order = y, alpha
		}
		return y
	}
	first, last := math.Log(leastGap), math.Log(greatestGap)
	const growth = 1.6
	middle, step := 1.5, 0.8 // α about 5.5
	fMiddle := try(middle)
	low, high := middle-step, middle+step
	if fHigh := try(high); fHigh < fMiddle {
		for fHigh < fMiddle && high < last && least > enough {
			low, middle, fMiddle = middle, high, fHigh
			step *= growth
			high = min(last, high+step)
			fHigh = try(high)
		}
	} else {
		// An infinite f says that the order is too large.
		for fLow := try(low); (fLow < fMiddle || math.IsInf(fLow, 1)) && low > first && least > enough; fLow = try(low) {
			high, middle, fMiddle = middle, low, fLow
			step *= growth
			low = max(first, low-step)
		}
	}
	if least <= enough || math.IsInf(least, 1) {
		return least, order
	}
	brent(low, middle, high, fMiddle, func(t float64) (float64, bool) {
		y := try(t)
		return y, least <= enough
	})
	return least, order
}

// brent narrows the bracket low < x < high of a minimum of f, where f(x) = fx,
// by parabolas through the three best points so far, and by golden sections
// where they do not help (Brent 1973, chapter 5), until x is known to 10⁻⁶ or f
// says that it is done.
func brent(low, x, high, fx float64, f func(float64) (y float64, done bool)) {
	const tolerance, golden = 1e-6, 0.3819660112501051
	second, third, fSecond, fThird := x, x, fx, fx
	step, before := 0.0, 0.0 // the last step and the one before it
	for range 100 {
		middle := (low + high) / 2
		if math.Abs(x-middle) <= 2*tolerance-(high-low)/2 {
			return
		}
		parabolic := false
		if math.Abs(before) > tolerance {
			r := (x - second) * (fx - fThird)
			q := (x - third) * (fx - fSecond)
			p := (x-third)*q - (x-second)*r
			if q = 2 * (q - r); q > 0 {
				p = -p
			}
			q = math.Abs(q)
			// NaN from infinite values fails the test.
			if math.Abs(p) < math.Abs(q*before/2) && p > q*(low-x) && p < q*(high-x) {
				before, step, parabolic = step, p/q, true
				if u := x + step; u-low < 2*tolerance || high-u < 2*tolerance {
					step = math.Copysign(tolerance, middle-x)
				}
			}
		}
		if !parabolic {
			if before = high - x; x >= middle {
				before = low - x
			}
			step = golden * before
		}
		if math.Abs(step) < tolerance {
			step = math.Copysign(tolerance, step)
		}
		u := x + step
		fu, done := f(u)
		if done {
			return
		}
		if fu <= fx {
			if u >= x {
				low = x
			} else {
				high = x
			}
			third, fThird, second, fSecond, x, fx = second, fSecond, x, fx, u, fu
			continue
		}
		if u < x {
			low = u
		} else {
			high = u
		}
		if fu <= fSecond || second == x {
			third, fThird, second, fSecond = second, fSecond, u, fu
		} else if fu <= fThird || third == x || third == second {
			third, fThird = u, fu
		}
	}
}

// epsilonAt converts one order, rounded up; a negative ε says that ε = 0 holds.
func epsilonAt(alpha, r, delta float64) float64 {
	if math.IsInf(r, 1) {
		return r
	}
	room, rounding := conversion(alpha, delta)
	eps := r - room
	return eps + rounding + 2*ulp*(math.Abs(eps)+r)
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
