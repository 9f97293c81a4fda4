package sgld

// state is the chain's position, in the metric's coordinates φ and as θ = Rφ.
type state struct {
	phi   []float64
	theta []float64
}

// step is one Euler step of overdamped Langevin dynamics from a noisy sum:
//
//	φ ← φ − η·( s/q + Rᵀθ/s² ),  θ ← Rφ
//
// with s the noisy clipped sum in φ coordinates and N(0, s²) the prior on every
// coefficient. The injected noise is already in s. Source: Welling and Teh
// 2011, equation 4, with the preconditioner fixed.
func (x *state) step(m *metric, noisy []float64, eta, q, priorPrecision float64) {
	for j := range x.phi {
		var prior float64
		for i, t := range x.theta {
			prior += m.root(i, j) * t
		}
		noisy[j] = noisy[j]/q + prior*priorPrecision
	}
	for j := range x.phi {
		x.phi[j] -= eta * noisy[j]
	}
	m.toTheta(x.theta, x.phi)
}
