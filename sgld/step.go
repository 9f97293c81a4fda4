package sgld

// state is the chain's position, in the metric's coordinates φ and as θ = Rφ.
type state struct {
	phi   []float64
	theta []float64

	grad, pulled []float64 // of the prior, in θ and φ: memory of a step
}

func newState(d int) *state {
	return &state{make([]float64, d), make([]float64, d), make([]float64, d), make([]float64, d)}
}

// step is one Euler step of overdamped Langevin dynamics from a noisy sum:
//
//	φ ← φ − η·( s/q + Rᵀ∇ρ(θ) ),  θ ← Rφ
//
// with s the noisy clipped sum in φ coordinates and ρ = −log prior. The injected
// noise is already in s. Source: Welling and Teh 2011, equation 4, with the
// preconditioner fixed.
func (x *state) step(m *metric, noisy []float64, eta, q float64, of prior) {
	of.Gradient(x.grad, x.theta)
	m.pull(x.pulled, x.grad)
	for j := range x.phi {
		noisy[j] = noisy[j]/q + x.pulled[j]
	}
	for j := range x.phi {
		x.phi[j] -= eta * noisy[j]
	}
	m.toTheta(x.theta, x.phi)
}
