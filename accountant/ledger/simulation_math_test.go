package ledger

import (
	"fmt"
	"math"
	"math/big"
)

// Arithmetic of the simulation's judge, apart from that of the accountant: 256
// bits, formulas as their sources print them, no rounding direction and no error
// bound. It takes nothing from the packages under test.

const judgeBits = 256

func bigFloat(x float64) *big.Float { return new(big.Float).SetPrec(judgeBits).SetFloat64(x) }

func bigRat(r *big.Rat) *big.Float { return new(big.Float).SetPrec(judgeBits).SetRat(r) }

func bigAdd(a, b *big.Float) *big.Float { return new(big.Float).SetPrec(judgeBits).Add(a, b) }
func bigSub(a, b *big.Float) *big.Float { return new(big.Float).SetPrec(judgeBits).Sub(a, b) }
func bigMul(a, b *big.Float) *big.Float { return new(big.Float).SetPrec(judgeBits).Mul(a, b) }
func bigQuo(a, b *big.Float) *big.Float { return new(big.Float).SetPrec(judgeBits).Quo(a, b) }

// bigExp is Taylor's series after halving, squared back.
func bigExp(x *big.Float) *big.Float {
	const halvings = 16
	y := new(big.Float).SetMantExp(x, -halvings-max(0, x.MantExp(nil)))
	term, sum := bigFloat(1), bigFloat(1)
	for n := 1.0; term.Sign() != 0 && term.MantExp(nil) > -judgeBits-32; n++ {
		term = bigQuo(bigMul(term, y), bigFloat(n))
		sum = bigAdd(sum, term)
	}
	for range halvings + max(0, x.MantExp(nil)) {
		sum = bigMul(sum, sum)
	}
	return sum
}

// bigLog is Halley's iteration on exp.
func bigLog(x *big.Float) *big.Float {
	mantissa := new(big.Float)
	exponent := x.MantExp(mantissa)
	m, _ := mantissa.Float64()
	y := bigFloat(math.Log(m) + float64(exponent)*math.Ln2)
	for range 4 {
		e := bigExp(y)
		y = bigAdd(y, bigQuo(bigMul(bigFloat(2), bigSub(x, e)), bigAdd(x, e)))
	}
	return y
}

var bigPi = func() *big.Float {
	// Machin: π = 16·arctan(1/5) − 4·arctan(1/239).
	arctan := func(inverse float64) *big.Float {
		power, sum := bigQuo(bigFloat(1), bigFloat(inverse)), bigFloat(0)
		for n := 0; n < 2*judgeBits; n++ {
			term := bigQuo(power, bigFloat(float64(2*n+1)))
			if n%2 == 1 {
				term.Neg(term)
			}
			sum = bigAdd(sum, term)
			power = bigQuo(power, bigFloat(inverse*inverse))
		}
		return sum
	}
	return bigSub(bigMul(bigFloat(16), arctan(5)), bigMul(bigFloat(4), arctan(239)))
}()

// bigPhi is the normal distribution function by its power series
// ½ + φ(x)·(x + x³/3 + x⁵/(3·5) + …).
func bigPhi(x *big.Float) *big.Float {
	square := bigMul(x, x)
	term, sum := new(big.Float).Copy(x), new(big.Float).Copy(x)
	for n := 3.0; term.Sign() != 0 && term.MantExp(nil) > -judgeBits-32; n += 2 {
		term = bigQuo(bigMul(term, square), bigFloat(n))
		sum = bigAdd(sum, term)
	}
	density := bigQuo(bigExp(bigQuo(square, bigFloat(-2))), new(big.Float).SetPrec(judgeBits).Sqrt(bigMul(bigFloat(2), bigPi)))
	return bigAdd(bigFloat(0.5), bigMul(density, sum))
}

// bigRoot bisects for the root of a rising function.
func bigRoot(low, high float64, f func(x *big.Float) *big.Float) *big.Float {
	a, b := bigFloat(low), bigFloat(high)
	for range 120 {
		m := bigQuo(bigAdd(a, b), bigFloat(2))
		if f(m).Sign() < 0 {
			a = m
		} else {
			b = m
		}
	}
	return a
}

// limitOf is what a filter admits. rdp: Canonne, Kamath and Steinke 2020,
// Proposition 12, solved for the divergence at the order, or δ² where that is
// more; gdp: the square of the μ whose curve passes through (ε, δ), Dong, Roth and
// Su 2022, Corollary 1.
func limitOf(method string, eps, delta *big.Rat, order float64) *big.Float {
	e, d := bigRat(eps), bigRat(delta)
	if method == "gdp" {
		mu := bigRoot(1e-9, 100, func(mu *big.Float) *big.Float {
			ratio, half := bigQuo(e, mu), bigQuo(mu, bigFloat(2))
			at := bigSub(bigPhi(bigSub(half, ratio)), bigMul(bigExp(e), bigPhi(bigSub(bigSub(bigFloat(0), ratio), half))))
			return bigSub(at, d)
		})
		return bigMul(mu, mu)
	}
	a := bigFloat(order)
	less := bigSub(a, bigFloat(1))
	limit := bigSub(e, bigLog(bigQuo(less, a)))
	limit = bigAdd(limit, bigQuo(bigAdd(bigLog(d), bigLog(a)), less))
	if square := bigMul(d, d); limit.Cmp(square) < 0 {
		return square
	}
	return limit
}

// A judgeEvent is a mechanism as the export writes it.
type judgeEvent struct {
	Type            string       `json:"type"`
	SamplingRate    float64      `json:"sampling_rate"`
	NoiseMultiplier float64      `json:"noise_multiplier"`
	Epsilon         string       `json:"epsilon"`
	Count           int64        `json:"count"`
	Events          []judgeEvent `json:"events"`
}

// lossOf is what one mechanism costs a filter, times its count. rdp at an order α:
// α·s²/2z² for a Gaussian of sensitivity s (2 under replace-one); randomised
// response for a pure event; Mironov 2017, Table II, for Laplace; for a sampled
// Gaussian the integral of its divergence, under add-remove of the mixture from the
// Gaussian, under replace-one of the two mixtures at +1 and −1. gdp: s²/z², also
// where a Gaussian is sampled, and (2Φ⁻¹(e^ε/(1+e^ε)))² for a pure event.
func lossOf(method, adjacency string, order float64, e judgeEvent) *big.Float {
	sensitivity := 1.0
	if adjacency == "replace-one" {
		sensitivity = 2
	}
	count := bigFloat(float64(e.Count))
	z := bigFloat(e.NoiseMultiplier)
	a := bigFloat(order)
	less := bigSub(a, bigFloat(1))
	gaussian := bigQuo(bigFloat(sensitivity*sensitivity), bigMul(z, z))
	var eps *big.Float
	switch e.Type {
	case "pure":
		eps = bigRat(mustRat(e.Epsilon))
	case "laplace":
		eps = bigQuo(bigFloat(sensitivity), z)
	}
	var loss *big.Float
	switch {
	case method == "gdp" && eps == nil:
		loss = gaussian
	case method == "gdp":
		odds := bigExp(eps)
		half := bigRoot(0, 30, func(x *big.Float) *big.Float {
			return bigSub(bigPhi(x), bigQuo(odds, bigAdd(odds, bigFloat(1))))
		})
		loss = bigMul(bigFloat(4), bigMul(half, half))
	case e.Type == "gaussian":
		loss = bigQuo(bigMul(a, gaussian), bigFloat(2))
	case e.Type == "pure":
		// p^α·(1−p)^(1−α) + (1−p)^α·p^(1−α) with p = e^ε/(1+e^ε).
		odds := bigExp(eps)
		up := bigExp(bigMul(a, eps))
		down := bigExp(bigMul(bigSub(bigFloat(1), a), eps))
		loss = bigQuo(bigLog(bigQuo(bigAdd(up, down), bigAdd(odds, bigFloat(1)))), less)
	case e.Type == "laplace":
		twice := bigSub(bigMul(bigFloat(2), a), bigFloat(1))
		first := bigMul(bigQuo(a, twice), bigExp(bigMul(less, eps)))
		second := bigMul(bigQuo(less, twice), bigExp(bigSub(bigFloat(0), bigMul(a, eps))))
		loss = bigQuo(bigLog(bigAdd(first, second)), less)
	case e.Type == "poisson_gaussian":
		loss = bigQuo(bigLog(sampledMoment(adjacency, a, e.SamplingRate, e.NoiseMultiplier)), less)
	default:
		panic("no formula for " + e.Type)
	}
	return bigMul(count, loss)
}

// sampledMoment is E_Q[(P/Q)^α] by the trapezoidal rule. The integrand is the
// normal density times what has its next singularity at a distance πz from the
// real line, so that steps of 1/4 are off by less than e^(π²z²/2 − 8π²z), below
// 10⁻⁴⁰ for z in [2, 5].
func sampledMoment(adjacency string, a *big.Float, q, z float64) *big.Float {
	if z < 2 || z > 5 {
		panic("the step is for other noise")
	}
	mixture := func(t, sign float64) *big.Float { // density at z·t over that of N(0, z²)
		shift := bigQuo(bigSub(bigMul(bigFloat(2*sign*t), bigFloat(z)), bigFloat(1)), bigMul(bigFloat(2*z), bigFloat(z)))
		return bigAdd(bigSub(bigFloat(1), bigFloat(q)), bigMul(bigFloat(q), bigExp(shift)))
	}
	const step = 0.25
	root := new(big.Float).SetPrec(judgeBits).Sqrt(bigMul(bigFloat(2), bigPi))
	sum := bigFloat(0)
	for t := -18.0; t <= 30; t += step {
		ratio, under := mixture(t, 1), bigFloat(1)
		if adjacency == "replace-one" {
			under = mixture(t, -1)
			ratio = bigQuo(ratio, under)
		}
		power := bigExp(bigSub(bigMul(a, bigLog(ratio)), bigFloat(t*t/2)))
		sum = bigAdd(sum, bigMul(under, power))
	}
	return bigQuo(bigMul(sum, bigFloat(step)), root)
}

func mustRat(text string) *big.Rat {
	r, ok := new(big.Rat).SetString(text)
	if !ok {
		panic(fmt.Sprintf("%q is no number", text))
	}
	return r
}
