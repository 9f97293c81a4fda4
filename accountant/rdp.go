package accountant

import (
	"fmt"
	"math"
)

// RDP returns the Rényi divergence R of order alpha, rounded up, by which e is
// (alpha, R)-RDP; the costs of parts add up:
//
//	Gaussian   alpha·μ²/2, μ = 1/z (2/z under replace-one)     Mironov 2017
//	sampled    log E_Q[(dP/dQ)^alpha]/(alpha−1) of the pair     Mironov, Talwar & Zhang 2019
//	           P = (1−q)·N(0,z²)+q·N(1,z²), Q = N(0,z²), or under replace-one
//	           Q = (1−q)·N(0,z²)+q·N(−1,z²)
//	Laplace    log(a/(2a−1)·e^((a−1)/b) + (a−1)/(2a−1)·e^(−a/b))/(a−1)
//	pure       log(p·e^((a−1)ε) + (1−p)·e^(−(a−1)ε))/(a−1), p = 1/(1+e^−ε)
//
//	fixed size    the divergence of mirrored's pair, σ = z/2    Balle, Barthe & Gaboardi 2018
//	discrete Laplace  the exact sum over the integers
//	zcdp          alpha·ρ; discrete Gaussian alpha·μ²/2          Bun & Steinke 2016
//
// For add-remove sampling both directions of the pair count; the one above is
// the larger (Mironov, Talwar & Zhang 2019, Theorem 5). Sampled divergences are
// 10⁻⁹ above the true ones at most (mostly 10⁻¹³), and 10⁻⁶ where a schedule has hundreds of
// noise multipliers at one rate. Below z = 0.01 (0.02 under replace-one), and
// where quadrature would need more than 10⁵ points, an upper bound stands in.
//
// Domain alpha > 1, finite, else ErrDomain, as for an invalid event. An
// approximate event with δ > 0 has no finite divergence: ErrUnsupported. The
// result is +Inf where a noise multiplier is 0.
//
// Sources: Mironov 2017, arXiv:1702.07476; Mironov, Talwar & Zhang 2019,
// arXiv:1908.10530; Kairouz, Oh & Viswanath 2015, arXiv:1311.0776; Balle, Barthe
// & Gaboardi 2018, arXiv:1807.01647; Bun & Steinke 2016, arXiv:1605.02065.
func RDP(e Event, alpha float64) (float64, error) {
	list, err := RDPCurve(e, []float64{alpha})
	if err != nil {
		return 0, err
	}
	return list[0], nil
}

// RDPCurve returns what RDP does, for every order of a list, in one pass over
// the event.
func RDPCurve(e Event, orders []float64) ([]float64, error) {
	for _, alpha := range orders {
		if !(alpha > 1) || math.IsInf(alpha, 1) {
			return nil, fmt.Errorf("%w: an order must be finite and above 1", ErrDomain)
		}
	}
	c, err := curveOf(e)
	if err != nil {
		return nil, err
	}
	if c.deltaInf > 0 {
		return nil, fmt.Errorf("%w: approximate events have no Rényi divergence", ErrUnsupported)
	}
	list := make([]float64, len(orders))
	for i, alpha := range orders {
		list[i] = c.rdp(alpha)
	}
	return list, nil
}

// responseRDP is the divergence of randomised response with loss ±eps, which
// dominates every eps-DP mechanism, rounded up. As in mirrored,
//
//	E − 1 = (1 − e^(−(α−1)ε))·(e^(αε) − 1)/(1+e^ε).
func responseRDP(eps, alpha float64) float64 {
	if eps == 0 || math.IsInf(eps, 1) {
		return eps
	}
	var log float64
	if alpha*eps > 30 {
		log = (alpha-1)*eps - math.Log1p(math.Exp(-eps)) + math.Log1p(math.Exp(-(2*alpha-1)*eps))
	} else {
		log = math.Log1p(-math.Expm1(-(alpha-1)*eps) * math.Expm1(alpha*eps) / (1 + math.Exp(eps)))
	}
	return min(eps, up(log/(alpha-1), closedRounding))
}

// laplaceRDP is the divergence of Laplace noise of scale 1/eps, rounded up.
func laplaceRDP(eps, alpha float64) float64 {
	if eps == 0 || math.IsInf(eps, 1) {
		return eps
	}
	beta, eta := alpha-1, 2*alpha-1
	var log float64
	if alpha*eps > 30 {
		log = beta*eps + math.Log1p(-beta/eta) + math.Log1p(beta/alpha*math.Exp(-eta*eps))
	} else {
		// The first-order terms of both exponentials cancel: leave them out.
		log = math.Log1p((alpha*expExcess(beta*eps) + beta*expExcess(-alpha*eps)) / eta)
	}
	return min(eps, up(log/beta, closedRounding))
}

// discreteLaplaceRDP is the divergence of noise on the integers that falls by
// e^−a a step, a = eps/shift, between neighbours shift ≥ 1 integers apart,
// rounded up: randomised response at shift 1, Laplace noise in the limit. The
// loss is eps−2ja for j = 0 … shift; summing the geometric series,
//
//	E = (1−B)·e^((α−1)ε) + B·e^(−αε),  B = e^−a/(1+e^−a)·(1−e^(−2(α−1)a))/(1−e^(−ηa)),  η = 2α−1,
//
// which is Laplace's with B in place of (α−1)/η ≥ B. Where αε is small the
// difference ν = (α−1)/η − B is taken apart: with b = (α−1)a,
//
//	ν = ((α−1)·(cosh a − 1)·sinh b + (sinh(a)/a − 1)·b·cosh b + b·cosh b − sinh b) / (2η·cosh(a/2)·sinh(ηa/2))
//	E − 1 = (Laplace's E − 1) + ν·(e^((α−1)ε) − e^(−αε))
func discreteLaplaceRDP(eps, shift, alpha float64) float64 {
	if eps == 0 || math.IsInf(eps, 1) {
		return eps
	}
	a := up(eps/shift, 2) // the divergence rises with it
	beta, eta := alpha-1, 2*alpha-1
	var log float64
	if alpha*eps > 30 {
		low := math.Exp(-a) / (1 + math.Exp(-a)) * math.Expm1(-2*beta*a) / math.Expm1(-eta*a)
		log = beta*eps + math.Log1p(low*math.Expm1(-eta*eps))
	} else {
		half, b := math.Sinh(a/2), beta*a
		more := 2*beta*half*half*math.Sinh(b) + sinhExcess(a)/a*b*math.Cosh(b) + coshExcess(b)
		more /= 2 * eta * math.Cosh(a/2) * math.Sinh(eta*a/2)
		laplace := (alpha*expExcess(beta*eps) + beta*expExcess(-alpha*eps)) / eta
		log = math.Log1p(laplace + more*(math.Expm1(beta*eps)-math.Expm1(-alpha*eps)))
	}
	return min(eps, up(log/beta, closedRounding))
}

// closedRounding bounds the rounding of the closed forms above, in ulp.
const closedRounding = 512

// sinhExcess is sinh x − x and coshExcess x·cosh x − sinh x, for x ≥ 0.
func sinhExcess(x float64) float64 {
	if x > 1 {
		return math.Sinh(x) - x
	}
	total, term := 0.0, x
	for k := 2.0; k < 24; k += 2 {
		term *= x * x / (k * (k + 1))
		total += term
	}
	return total
}

func coshExcess(x float64) float64 {
	if x > 1 {
		return x*math.Cosh(x) - math.Sinh(x)
	}
	total, term := 0.0, x
	for k := 2.0; k < 24; k += 2 {
		term *= x * x / (k * (k + 1))
		total += k * term
	}
	return total
}
