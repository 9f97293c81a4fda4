package sgld

import (
	"math"
	"math/rand/v2"
	"testing"
)

// gibbs is the target exp(−U/T) of the samplers below. They see all rows without noise
// and are for tests only: MALA's decisions depend on the data, so that no budget
// could pay for them.
type gibbs struct {
	temperature float64
	potential   func(theta []float64) float64
	gradient    func(dst, theta []float64)
}

// langevin is a step of exact-gradient Langevin dynamics: its bias is that of η.
func (l gibbs) langevin(theta []float64, eta float64, r *rand.Rand) {
	g := make([]float64, len(theta))
	l.gradient(g, theta)
	for j := range theta {
		theta[j] += math.Sqrt(2*eta*l.temperature)*r.NormFloat64() - eta*g[j]
	}
}

// mala is a Metropolis-adjusted step (Roberts and Tweedie 1996): it has the target
// for every η.
func (l gibbs) mala(theta []float64, eta float64, r *rand.Rand) (accepted bool) {
	d := len(theta)
	g, back, next := make([]float64, d), make([]float64, d), append([]float64(nil), theta...)
	l.gradient(g, theta)
	l.langevin(next, eta, r)
	l.gradient(back, next)
	var there, here float64
	for j := range theta {
		a, b := next[j]-theta[j]+eta*g[j], theta[j]-next[j]+eta*back[j]
		there += a * a
		here += b * b
	}
	ratio := -(l.potential(next)-l.potential(theta))/l.temperature - (here-there)/(4*eta*l.temperature)
	if math.Log(r.Float64()) >= ratio {
		return false
	}
	copy(theta, next)
	return true
}

// TestMetropolis: in one step from the target, Langevin dynamics changes E θ² by
// exactly Tη²λ, which is what detail balance with the target would forbid, and MALA
// does not; at ηλ = 1, where the one's variance is twice the target's, MALA keeps it.
func TestMetropolis(t *testing.T) {
	const n = 300_000
	for i, c := range []struct{ lambda, eta, temperature float64 }{{1, 1, 1}, {4, 0.15, 0.5}} {
		l := gibbs{c.temperature, func(x []float64) float64 { return c.lambda * x[0] * x[0] / 2 }, func(g, x []float64) { g[0] = c.lambda * x[0] }}
		r := generator(uint64(800 + i))
		v := c.temperature / c.lambda
		adjusted, plain := make([]float64, n), make([]float64, n)
		for k := range n {
			start := math.Sqrt(v) * r.NormFloat64()
			x := []float64{start}
			for range 3 {
				l.mala(x, c.eta, r)
			}
			adjusted[k] = x[0]
			x[0] = start
			l.langevin(x, c.eta, r)
			plain[k] = x[0]
		}
		checkZ(t, "MALA", zOfVariance(adjusted, 0, v))
		checkZ(t, "Langevin", zOfVariance(plain, 0, v+c.temperature*c.eta*c.eta*c.lambda))
		if math.Abs(zOfVariance(plain, 0, v)) < mostZ {
			t.Error("the bias of a step is not noticed")
		}
	}
}

// TestRobustReference: MALA on the robust potentials has the moments that quadrature
// finds for them.
func TestRobustReference(t *testing.T) {
	const n, steps = 4000, 12
	for i, c := range loadRobust(t).Planar {
		residuals := func(theta []float64, each func(x []float64, f, r float64)) {
			for k, x := range c.X {
				var u, n2 float64
				for j := range x {
					u += x[j] * theta[j]
					n2 += x[j] * x[j]
				}
				f, r := robustAt(c.Model, u, c.Y[k], c.C/math.Sqrt(n2), c.Sigma, nil)
				each(x, f, r)
			}
		}
		l := gibbs{c.T, func(theta []float64) float64 {
			u := (theta[0]*theta[0] + theta[1]*theta[1]) / 2
			residuals(theta, func(_ []float64, f, _ float64) { u += f })
			return u
		}, func(g, theta []float64) {
			copy(g, theta)
			residuals(theta, func(x []float64, _, r float64) {
				for j := range g {
					g[j] += r * x[j]
				}
			})
		}}
		r := generator(uint64(820 + i))
		root := cholesky(c.Covariance)
		eta := 0.8 * math.Min(c.Covariance[0][0], c.Covariance[1][1]) / c.T
		var points [2][]float64
		x := make([]float64, 2)
		for range n {
			correlated(x, root, r)
			for j := range x {
				x[j] += c.Mean[j]
			}
			for range steps {
				l.mala(x, eta, r)
			}
			for j := range x {
				points[j] = append(points[j], x[j])
			}
		}
		for j := range x {
			checkZ(t, c.Model+" mean", zOfMean(points[j], c.Mean[j], c.Covariance[j][j]))
			// The law is not Gaussian: the fourth moment is the sample's.
			var m2, m4 float64
			for _, v := range points[j] {
				e := (v - c.Mean[j]) * (v - c.Mean[j])
				m2 += e / n
				m4 += e * e / n
			}
			checkZ(t, c.Model+" variance", (m2-c.Covariance[j][j])/math.Sqrt((m4-m2*m2)/n))
		}
	}
}
