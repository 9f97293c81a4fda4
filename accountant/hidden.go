package accountant

import (
	"fmt"
	"math"
)

// LastIterate is a chain of noisy gradient steps of which only the last iterate is
// released. Where every step contracts, what a unit did to an early iterate
// fades, and the loss stops growing with the number of steps. With
// g = clip_C(∇ℓ), step sizes η_k, rate q and noise multipliers z_k the model is
//
//	x_k = x_{k−1} − η_k·( (1/q)·Σ_{i∈B} g_i(x_{k−1}) + ∇ρ(x_{k−1}) ) + Z_k,  Z_k ~ N(0, (η_k·z_k·C/q)²·I)
//
// with B a fresh Poisson sample at rate q (all units where q = 1) and −ρ the log
// prior. Everything is in the coordinates in which gradients are clipped.
//
// # Theorem
//
// Let every step's map without the unit in question be a contraction by c_k < 1 for
// every possible data set and sample ([LastIterate.Contraction]). The unit pushes
// a step by s_k = η_k·C/q at most (twice that under replace-one, as the difference
// of two units), and σ_k = η_k·z_k·C/q. Then the last iterate is no more
// revealing, as a trade-off between the two errors of a test (Dong, Roth & Su
// 2022), than
//
//   - q = 1: a Gaussian with μ² = Σ(a_k/σ_k)², for all a_k that keep
//     d_k = c_k·d_{k−1} + s_k − a_k ≥ 0, d_0 = 0, and end in d_K = 0;
//   - q < 1, constant parameters: the composition of τ steps at rate q with noise
//     multiplier z·√(1−β) and one Gaussian with
//     μ² = (c^τ·D)²/(β·σ²·Σ_{j<τ} c^(2j)), D = s·(1−c^(K−τ))/(1−c), for any
//     1 ≤ τ < K and 0 < β < 1.
//
// # Proof
//
// Let X_k be the iterates with the unit, X′_k those without it (or with the other
// one), and f ⊗ g the trade-off of two independent tests together. Let X̃ be any
// process with the law of X′ at the start. If for every x the law of X̃_k given
// X̃_{k−1} = x against that of X′_k given X′_{k−1} = x has a trade-off of f_k or more,
// then X̃_k against X′_k has at least f_k ⊗ that of X̃_{k−1} against X′_{k−1}: compose the
// two adaptively, then forget the earlier; hence f_1 ⊗ … ⊗ f_K in the end. The law
// of X̃_k given x may be a mixture over other variables as long as f_k holds given
// them: draw them on both sides from their law given X̃_{k−1} = x, compare, and
// forget them.
//
// Full batch (Bok, Su & Altschuler 2024, section 3). Write Φ_k and Φ′_k for the
// maps of the two data sets. Start with X̃_0 = X′_0 = X_0 and set
// X̃_k = Φ′_k(X̃_{k−1}) + h_k + Z_k, h_k = λ_k·(Φ_k(X_{k−1}) − Φ′_k(X̃_{k−1})), with the
// noise of X_k. Then X_k − X̃_k = (1−λ_k)·(Φ_k(X_{k−1}) − Φ′_k(X̃_{k−1})), and since
// |Φ_k(x) − Φ′_k(y)| ≤ c_k·|x−y| + s_k, it is at most d_k long, with
// a_k = λ_k·(c_k·d_{k−1} + s_k); d_K = 0 makes X̃_K = X_K. Given X̃_{k−1} = x and
// X_{k−1}, X̃_k is N(Φ′_k(x) + h_k, σ_k²·I) with |h_k| ≤ a_k, and X′_k given
// X′_{k−1} = x is N(Φ′_k(x), σ_k²·I): f_k is that of a Gaussian with μ = a_k/σ_k.
// Gaussians compose to the sum of their μ².
//
// Sampled. Write φ_B for the map of the other units in B, b for the unit's own coin
// and u(x) for its push, |u| ≤ s: X_k = φ_B(X_{k−1}) − b·u(X_{k−1}) + Z_k. Run both
// chains on the same B, b and Z up to K−τ: they stay within D of each other. Start
// the interpolation there, X̃_{K−τ} = X′_{K−τ}, split each later noise into independent
// Z = Z_a + Z_b of variances (1−β)σ² and βσ², and set
//
//	X̃_k = φ_B(X̃_{k−1}) − b·u(X_{k−1}) + h_k + Z_a + Z_b,  h_k = λ_k·(φ_B(X_{k−1}) − φ_B(X̃_{k−1})),
//
// with the B, b and Z of X_k: the unit's push is that of the true chain, at X_{k−1}.
// Then X_k − X̃_k = (1−λ_k)·(φ_B(X_{k−1}) − φ_B(X̃_{k−1})), at most d_k = c·d_{k−1} − a_k
// long, with d_{K−τ} = D and a_k = λ_k·c·d_{k−1}. Given X̃_{k−1} = x, X_{k−1} and B,
// the push u and h_k are fixed, b is a fresh coin, and X̃_k is a function of the pair
// (−b·u + Z_a, h_k + Z_b), X′_k the same function of (Z_a, Z_b). The first parts are
// one sampled Gaussian with noise multiplier z·√(1−β) against its other
// hypothesis, the second parts a Gaussian with μ = a_k/(√β·σ); they are independent.
// Hence f_k is the product, X̃_K = X_K where d_K = 0, and Σ a_k² is least, under
// Σ c^(K−k)·a_k = c^τ·D, for a_k proportional to c^(K−k).
//
// The other direction, X′ against X, interpolates from X_{K−τ}:
// X̃′_k = φ_B(X̃′_{k−1}) + h_k + Z, compared with X_k given X_{k−1} = x, which is φ_B(x) −
// b·u(x) + Z; the same steps give the same bound with the sampled pair exchanged.
// Under replace-one the other unit's push b·u′ stands on the side of X′, the
// sampled pair is the antipodal one, and D doubles.
//
// The theorem bounds the trade-off, so that any accountant may be asked for the cost
// of [LastIterate.Event], and events of several chains compose.
//
// Sources: Bok, Su & Altschuler 2024, arXiv:2403.00278; Feldman, Mironov, Talwar &
// Thakurta 2018, arXiv:1808.06651, and Altschuler & Talwar 2022,
// arXiv:2205.13710 (splitting the noise, in Rényi divergence).
type LastIterate struct {
	Adjacency        Adjacency
	SamplingRate     float64   // q in (0, 1]; 1: full batches
	NoiseMultiplier  float64   // z > 0
	NoiseMultipliers []float64 // one a step, in place of NoiseMultiplier; full batches only
	Steps            int64     // K ≥ 1; 0 with a list of step sizes
	StepSize         float64   // η > 0
	StepSizes        []float64 // one a step, in place of StepSize; full batches only

	PriorPrecision  float64 // least curvature of −log prior, > 0
	PriorSmoothness float64 // greatest one; 0: PriorPrecision
	UnitSmoothness  float64 // greatest curvature κ ≥ 0 of one unit's loss after clipping
	MaxUnits        int64   // the public bound N ≥ 1 on the number of units
	// Convex: each unit's loss is convex after clipping. Clipping the gradient of a
	// loss that depends on one linear predictor, as in a generalised linear model
	// with one row a unit, is a Huber loss and keeps it convex; clipping other
	// gradients does not.
	Convex bool
}

// Assumptions returns, in sentences, what the result rests on beyond the numbers
// that were checked.
func (l LastIterate) Assumptions() []string {
	list := []string{
		"Only the last iterate of the chain is released: no earlier iterate, no average or diagnostic of them.",
		"The start and all parameters were chosen without the data.",
		fmt.Sprintf("There are never more than %d units.", l.MaxUnits),
		fmt.Sprintf("Each unit's loss is convex after clipping, with curvature at most %g, for every value that a unit may have.", l.UnitSmoothness),
		fmt.Sprintf("The negative log prior has curvature between %g and %g everywhere.", l.PriorPrecision, l.priorSmoothness()),
		"Steps have no momentum, and nothing but a projection to a convex set is applied to an iterate between them.",
		"Arithmetic is exact: gradients are not rounded to a lattice.",
	}
	if l.SamplingRate < 1 {
		list = append(list, "Every step draws a fresh Poisson sample, and its sum is divided by the rate, not by the sample's size.")
		if l.Adjacency == ReplaceOne {
			list = append(list, "A sampled step is accounted by the antipodal pair.")
		}
	}
	return list
}

func (l LastIterate) priorSmoothness() float64 {
	if l.PriorSmoothness == 0 {
		return l.PriorPrecision
	}
	return l.PriorSmoothness
}

// check reports what is invalid (ErrDomain) or outside the theorem
// (ErrUnsupported).
func (l LastIterate) check() error {
	domain := func(text string) error { return fmt.Errorf("%w: last iterate: %s", ErrDomain, text) }
	positive := func(x float64) bool { return x > 0 && !math.IsInf(x, 1) }
	if _, err := ParseAdjacency(string(l.Adjacency)); err != nil {
		return err
	}
	switch {
	case !(l.SamplingRate > 0 && l.SamplingRate <= 1):
		return domain("the sampling rate must lie in (0, 1]")
	case l.NoiseMultipliers == nil && !positive(l.NoiseMultiplier), l.NoiseMultipliers != nil && l.NoiseMultiplier != 0:
		return domain("give a noise multiplier that is finite and positive, or a list of them")
	case l.StepSizes == nil && !positive(l.StepSize), l.StepSizes != nil && l.StepSize != 0:
		return domain("give a step size that is finite and positive, or a list of them")
	case l.Steps < 0 || l.Steps > maxCount, l.steps() < 1:
		return domain("there must be at least one step, and at most 2^53")
	case l.StepSizes != nil && int64(len(l.StepSizes)) != l.steps(), l.NoiseMultipliers != nil && int64(len(l.NoiseMultipliers)) != l.steps():
		return domain("lists of step sizes and noise multipliers must have one number for each step")
	case l.steps() > maxParts && l.schedule():
		return domain(fmt.Sprintf("a list may have %d steps at most", maxParts))
	case !(l.PriorPrecision >= 0) || math.IsInf(l.PriorPrecision, 1), !(l.PriorSmoothness >= 0) || math.IsInf(l.PriorSmoothness, 1):
		return domain("the prior's curvature must be finite and not negative")
	case l.PriorSmoothness != 0 && l.PriorSmoothness < l.PriorPrecision:
		return domain("the prior's greatest curvature is below its least")
	case !(l.UnitSmoothness >= 0) || math.IsInf(l.UnitSmoothness, 1):
		return domain("a unit's curvature must be finite and not negative")
	case l.MaxUnits < 1 || l.MaxUnits > maxCount:
		return domain("the public bound on the number of units must be at least 1, and at most 2^53")
	}
	for _, list := range [][]float64{l.NoiseMultipliers, l.StepSizes} {
		for _, x := range list {
			if !positive(x) {
				return domain("every step size and noise multiplier must be finite and positive")
			}
		}
	}
	refuse := func(text string) error { return fmt.Errorf("%w: last iterate: %s", ErrUnsupported, text) }
	switch {
	case !l.Convex:
		return refuse("the loss of a unit must be convex after clipping; a network's or a several-row unit's is not")
	case l.PriorPrecision == 0:
		return refuse("a prior with positive curvature everywhere is needed, such as a Gaussian")
	case l.SamplingRate < 1 && l.schedule():
		return refuse("with sampling, step size and noise multiplier must be constant")
	}
	return nil
}

func (l LastIterate) schedule() bool { return l.StepSizes != nil || l.NoiseMultipliers != nil }

func (l LastIterate) steps() int64 {
	if l.Steps == 0 && l.StepSizes != nil {
		return int64(len(l.StepSizes))
	}
	return l.Steps
}

// gap is 1 − c of a step of size eta, rounded down: with curvature between m and
// M, a step is a contraction by c = max(|1 − η·m|, |1 − η·M|).
func (l LastIterate) gap(eta float64) (float64, error) {
	greatest := up(up(float64(l.MaxUnits)*l.UnitSmoothness/l.SamplingRate, 2)+l.priorSmoothness(), 1)
	reach := up(eta*greatest, 1)
	if reach >= 2 {
		return 0, fmt.Errorf("%w: last iterate: a step of size %g may not contract: the curvature may reach %.4g, so step sizes must be below %.4g", ErrUnsupported, eta, greatest, 2/greatest)
	}
	gap := min(down(eta*l.PriorPrecision, 1), 2-reach)
	if gap == 0 {
		return 0, fmt.Errorf("%w: last iterate: a step of size %g does not contract in floating-point numbers", ErrUnsupported, eta)
	}
	return gap, nil
}

// Contraction returns the largest factor c, rounded up, by which any step
// contracts the distance of two iterates, whatever the data: with curvature from
// m = PriorPrecision to M = MaxUnits·UnitSmoothness/q + PriorSmoothness,
//
//	c = max(|1 − η·m|, |1 − η·M|)
//
// It is below 1. Errors: ErrDomain; ErrUnsupported where the theorem of LastIterate
// does not apply: not convex, no curvature of the prior, a step that may not
// contract, or a schedule with sampling.
func (l LastIterate) Contraction() (float64, error) {
	if err := l.check(); err != nil {
		return 0, err
	}
	etas := l.StepSizes
	if etas == nil {
		etas = []float64{l.StepSize}
	}
	least := 1.0
	for _, eta := range etas {
		gap, err := l.gap(eta)
		if err != nil {
			return 0, err
		}
		least = min(least, gap)
	}
	return min(up(1-least, 1), 1-ulp/2), nil
}

// Composition returns the event of releasing every iterate, which is what the chain
// costs without this analysis. Errors are those of Contraction.
func (l LastIterate) Composition() (Event, error) {
	if _, err := l.Contraction(); err != nil {
		return Event{}, err
	}
	if l.NoiseMultipliers != nil {
		return Event{Type: TypeGaussian, Adjacency: l.Adjacency, NoiseMultipliers: l.NoiseMultipliers, Count: 1}, nil
	}
	return PoissonGaussian(l.Adjacency, l.SamplingRate, l.NoiseMultiplier, l.steps()), nil
}

// Event returns an event that is at least as revealing as the last iterate: for full
// batches one Gaussian, with sampling the composition of the theorem at the τ
// and β that cost least at delta by RDP, or all steps where nothing costs less.
// Any accountant may convert it. Errors are those of Contraction, and ErrDomain
// where delta is not in (0, 1).
func (l LastIterate) Event(delta float64) (Event, error) {
	every, err := l.Composition()
	if err != nil {
		return Event{}, err
	}
	if !(delta > 0 && delta < 1) {
		return Event{}, fmt.Errorf("%w: delta must lie between 0 and 1", ErrDomain)
	}
	if l.SamplingRate < 1 {
		return l.sampledEvent(every, delta)
	}
	mu, err := l.fullBatchMu()
	if err != nil {
		return Event{}, err
	}
	if plain, err := MuGDP(every); err != nil || plain <= mu {
		return every, err
	}
	return Gaussian(l.Adjacency, max(down(l.Adjacency.distance()/mu, 2), 1/greatestNoise), 1), nil
}

// Epsilon returns the least ε, rounded up, at which the last iterate is (ε, delta)-DP
// by the named accountant, and rdp's order: the ε of Event, or of Composition
// where that is less. Errors are those of Event and of accountant.Epsilon.
func (l LastIterate) Epsilon(m Method, delta float64) (eps, order float64, err error) {
	e, err := l.Event(delta)
	if err != nil {
		return 0, 0, err
	}
	if eps, order, err = Epsilon(m, e, delta); err != nil {
		return 0, 0, err
	}
	every, err := l.Composition()
	if err != nil {
		return 0, 0, err
	}
	if plain, at, err := Epsilon(m, every, delta); err == nil && plain < eps {
		return plain, at, nil
	}
	return eps, order, nil
}

// fullBatchMu is the least μ of the theorem for full batches, rounded up. With
// constant parameters
//
//	μ = (s/σ)·√( (1−c^K)/(1+c^K)·(1+c)/(1−c) )
func (l LastIterate) fullBatchMu() (float64, error) {
	if l.schedule() {
		return l.scheduleMu()
	}
	g, err := l.gap(l.StepSize)
	if err != nil {
		return 0, err
	}
	fade := -math.Log1p(-g) // −log c
	spread := math.Tanh(float64(l.Steps)*fade/2) * ((2 - g) / g)
	return up(l.Adjacency.distance()/l.NoiseMultiplier*math.Sqrt(spread), 16), nil
}

// scheduleMu minimises μ² = Σ(a_k/σ_k)² over the feasible a_k, and rounds up. With
// w_k = Π_{j>k} c_j, the sums A_k = Σ_{j≤k} w_j·a_j must stay below
// S_k = Σ_{j≤k} w_j·s_j and end in S_K, and the cost is Σ(ΔA)²/Δτ with
// Δτ_k = (w_k·σ_k)². The least is at the greatest convex minorant of the points
// (τ_k, S_k) and (0, 0): its slopes are those of S, averaged where they fall.
//
// That only proposes the a_k. They are then made feasible step by step, with d_k
// rounded up, and what is left is paid in the last step, so that the result is a
// bound whatever the proposal.
func (l LastIterate) scheduleMu() (float64, error) {
	n := int(l.steps())
	largest := 0.0
	for k := range n {
		largest = max(largest, l.stepSize(k))
	}
	// In units of largest·C/q.
	push, noise, factor := make([]float64, n), make([]float64, n), make([]float64, n)
	for k := range n {
		eta := l.stepSize(k)
		gap, err := l.gap(eta)
		if err != nil {
			return 0, err
		}
		push[k] = up(l.Adjacency.distance()*eta/largest, 2)
		noise[k] = down(min(l.noiseMultiplier(k), greatestNoise)*eta/largest, 4)
		factor[k] = min(up(1-gap, 1), 1)
	}

	// w_k, as far back as its square is a number: earlier steps pay nothing.
	weight := make([]float64, n)
	first, w := 0, 1.0
	for k := n - 1; k >= 0; k-- {
		weight[k] = w
		if w *= factor[k]; w < 1e-120 {
			first = k
			break
		}
	}
	var d float64
	for k := range first {
		d = up(factor[k]*d+push[k], 2)
	}
	type block struct {
		rise, run float64
		end       int
	}
	var hull []block
	for k := first; k < n; k++ {
		b := block{weight[k] * push[k], weight[k] * weight[k] * noise[k] * noise[k], k + 1}
		if k == first {
			b.rise += weight[k] * factor[k] * d
		}
		for len(hull) > 0 {
			last := hull[len(hull)-1]
			if last.rise*b.run < b.rise*last.run {
				break
			}
			b.rise, b.run = b.rise+last.rise, b.run+last.run
			hull = hull[:len(hull)-1]
		}
		hull = append(hull, b)
	}

	squares := make([]float64, 0, n-first)
	k := first
	for _, b := range hull {
		for ; k < b.end; k++ {
			d = up(factor[k]*d+push[k], 2)
			pay := min(d, b.rise/b.run*weight[k]*noise[k]*noise[k])
			if k == n-1 || !(pay >= 0) {
				pay = d
			}
			d = up(d-pay, 1)
			if pay > 0 {
				ratio := pay / noise[k]
				squares = append(squares, up(ratio*ratio, 4))
			}
		}
	}
	return up(math.Sqrt(sum(squares)), 4), nil
}

func (l LastIterate) stepSize(k int) float64 {
	if l.StepSizes == nil {
		return l.StepSize
	}
	return l.StepSizes[k]
}

func (l LastIterate) noiseMultiplier(k int) float64 {
	if l.NoiseMultipliers == nil {
		return l.NoiseMultiplier
	}
	return l.NoiseMultipliers[k]
}

// lastSteps are the constants of the theorem with sampling.
type lastSteps struct {
	adj     Adjacency
	q, z    float64
	steps   float64 // K
	g, fade float64 // 1 − c and −log c
}

// amplitude is μ·√β·z/distance of the Gaussian, with an error of a few ulp:
//
//	c^τ·(1−c^(K−τ))·√( (1+c)/((1−c)·(1−c^(2τ))) )
func (l lastSteps) amplitude(tau float64) float64 {
	return math.Exp(-tau*l.fade) * -math.Expm1(-(l.steps-tau)*l.fade) * math.Sqrt((2-l.g)/l.g/-math.Expm1(-2*tau*l.fade))
}

// event is the theorem's composition, costs rounded up.
func (l lastSteps) event(tau, beta float64) Event {
	z := l.z * math.Sqrt(1-beta)
	ratio := up(z/l.z, 2)
	share := down((1-ratio)*(1+ratio), 4) // β as z has it
	size := up(l.amplitude(tau), 16+8*tau*l.fade)
	mu := up(l.adj.distance()/l.z*size/math.Sqrt(share), 16)
	return Compose(
		PoissonGaussian(l.adj, l.q, z, int64(tau)),
		Gaussian(l.adj, max(min(down(l.adj.distance()/mu, 2), greatestNoise), 1/greatestNoise), 1),
	)
}

// sampledEvent searches τ and β. At the order α the cost is
//
//	τ·R(z·√(1−β)) + α·μ₁²/(2β),   μ₁ the Gaussian's at β = 1,
//
// which were (√(τR) + μ₁·√(α/2))² at the best β if R were proportional to 1/z². Any
// τ and β are valid, so that the search need not be exact.
func (l LastIterate) sampledEvent(every Event, delta float64) (Event, error) {
	g, err := l.gap(l.StepSize)
	if err != nil {
		return Event{}, err
	}
	s := lastSteps{adj: l.Adjacency, q: l.SamplingRate, z: min(l.NoiseMultiplier, greatestNoise), steps: float64(l.Steps), g: g, fade: -math.Log1p(-g)}
	best := every
	least, order, err := Epsilon(MethodRDP, every, delta)
	if err != nil || l.Steps == 1 {
		return best, err
	}
	if least == 0 {
		return best, nil
	}
	if math.IsInf(least, 1) {
		order = 2
	}
	// The best order falls as τ does away with steps: begin at the order of all
	// steps and let each answer say where to look next.
	for range 12 {
		e := s.event(s.bestSplit(order))
		eps, at, err := Epsilon(MethodRDP, e, delta)
		if err != nil {
			return Event{}, err
		}
		settled := math.Abs(at-order) <= 1e-3*order
		if eps < least {
			least, best = eps, e
		}
		if settled || at == 0 {
			break
		}
		order = at
	}
	return best, nil
}

// bestSplit looks for the τ and β of least cost at the order alpha: τ for the best
// β were R proportional to 1/z², then each for the other.
func (l lastSteps) bestSplit(alpha float64) (tau, beta float64) {
	step := func(beta float64) float64 {
		return sampledGaussianRDP(sampledSteps{l.adj, l.q, l.z * math.Sqrt(1-beta), 1}, alpha)
	}
	gaussian := func(tau float64) float64 {
		mu := l.adj.distance() / l.z * l.amplitude(tau)
		return alpha * mu * mu / 2
	}
	r := step(0)
	tau = l.bestTau(func(tau float64) float64 { return math.Sqrt(tau*r) + math.Sqrt(gaussian(tau)) })
	for range 3 {
		fixed := gaussian(tau)
		beta = bestShare(func(beta float64) float64 { return tau*step(beta) + fixed/beta })
		r = step(beta)
		before := tau
		if tau = l.bestTau(func(tau float64) float64 { return tau*r + gaussian(tau)/beta }); tau == before {
			break
		}
	}
	return tau, beta
}

// bestTau minimises a cost over whole τ from 1 to K−1.
func (l lastSteps) bestTau(cost func(tau float64) float64) float64 {
	last := l.steps - 1
	const points = 128
	ratio := math.Pow(last, 1.0/points)
	best, least := 1.0, math.Inf(1)
	try := func(tau float64) float64 {
		c := cost(tau)
		if c < least {
			best, least = tau, c
		}
		return c
	}
	for i := range points + 1 {
		try(min(last, math.Round(math.Pow(ratio, float64(i)))))
	}
	low, high := max(1, math.Floor(best/ratio)-1), min(last, math.Ceil(best*ratio)+1)
	for high-low > 4 {
		x, y := math.Floor(low+(high-low)/3), math.Ceil(high-(high-low)/3)
		if try(x) <= try(y) {
			high = y
		} else {
			low = x
		}
	}
	for tau := low; tau <= high; tau++ {
		try(tau)
	}
	return best
}

// bestShare minimises a cost over 0 < β < 1 by golden section in log(β/(1−β)).
func bestShare(cost func(beta float64) float64) float64 {
	share := func(x float64) float64 { return 1 / (1 + math.Exp(-x)) }
	const golden = 0.6180339887498949
	low, high := -16.0, 6.0
	x, y := high-golden*(high-low), low+golden*(high-low)
	fx, fy := cost(share(x)), cost(share(y))
	for high-low > 0.05 {
		if fx <= fy {
			high, y, fy = y, x, fx
			x = high - golden*(high-low)
			fx = cost(share(x))
		} else {
			low, x, fx = x, y, fy
			y = low + golden*(high-low)
			fy = cost(share(y))
		}
	}
	return share((low + high) / 2)
}
