package sgld

import (
	"encoding/json"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"github.com/privsgld/privsgld/accountant"
)

// The statistical tests here run many independent chains and look at one fixed
// step, whose law on a Gaussian target is known exactly, start included. Every
// assertion compares a standard normal number with mostZ: at most 400 assertions of
// this package use it, so that a run of the suite with other seeds fails by chance
// with probability below 400·2Φ(−6.1) < 10⁻⁶. With ensembleSize chains a variance
// that is off by 2 % is 8.9 standard errors away, and noticed with probability 0.997.
const (
	mostZ        = 6.1
	ensembleSize = 400_000
)

// vectors is testdata/golden/dynamics.json.
type vectors struct {
	ULA []struct {
		Curvature, Eta, T, AR1, Variance float64
		EtaMax                           float64 `json:"eta_max"`
	} `json:"ula_stationary"`
	Multivariate []struct {
		H, Covariance [][]float64
		Eta, T        float64
	} `json:"ula_multivariate"`
	Poisson struct {
		X             [][]float64
		Y             []float64
		Sigma         float64
		PriorSD       float64     `json:"prior_sd"`
		Hessian       [][]float64 `json:"hessian"`
		PosteriorMean []float64   `json:"posterior_mean"`
		Cases         []struct {
			Eta, Q     float64
			NoiseSD    float64 `json:"noise_sd_of_sum"`
			TEff       float64 `json:"T_eff"`
			Covariance [][]float64
			Frozen     [][]float64 `json:"covariance_if_gradient_noise_frozen_at_mode"`
		}
	} `json:"sgld_poisson_linear"`
	Decreasing struct {
		Cases []struct {
			Curvature, T, C, Alpha, Theta0 float64
			Results                        []struct {
				K            int64
				EtaK         float64 `json:"eta_k"`
				SumEta       float64 `json:"sum_eta"`
				Mean         float64
				Variance     float64
				WeightedMean float64   `json:"weighted_mean_theta"`
				Left         ofSquares `json:"theta_sq_left"`
				Right        ofSquares `json:"theta_sq_right"`
				Unweighted   ofSquares `json:"theta_sq_unweighted"`
			}
		}
		Rates []struct {
			Alpha, C, Curvature, T, Theta0 float64
			MSE                            [][2]float64 `json:"mse"`
			Slope                          float64      `json:"slope_last"`
		}
	} `json:"decreasing_steps"`
	MSE []mseBlock `json:"mse_theta_sq"`
	HMC struct {
		Stationary []underdampedCase
		Limit      []struct {
			Curvature, T, Eta, Theta0 float64
			K                         int
			Seed                      uint32  `json:"noise_seed"`
			Final                     float64 `json:"sgld_final_theta"`
			Rows                      []struct {
				A     float64
				Error float64 `json:"max_abs_error"`
				Final float64 `json:"final_theta"`
			}
			Slopes []float64
		}
	} `json:"sghmc"`
	Frozen []struct {
		Curvature, Eta, T, G, Variance float64
		Extra                          float64 `json:"extra_noise_variance_needed_if_mechanism_noise_is_2_eta_T_G_squared"`
	} `json:"psgld_frozen"`
	Preconditioner []struct {
		Seed         uint32
		K            int
		Beta, Lambda float64
		Rows         []struct {
			G    float64 `json:"noisy_gradient"`
			Used float64 `json:"G_used"`
			V    float64 `json:"V_before"`
		}
	} `json:"psgld_preconditioner"`
	Cyclical []struct {
		K, M int64
		Eta0 float64
		Eta  []float64
	}
	Injection []struct {
		Q, T, Eta, C float64
		K            int64
		Z            float64
		TEff         float64 `json:"T_eff_from_z"`
		Time         float64 `json:"t"`
		Mu           float64 `json:"mu_full_batch_limit"`
	}
	GDP []struct {
		Epsilon, Delta, Mu float64
		AddRemove          float64 `json:"time_at_C1_T1_add_remove"`
		ReplaceOne         float64 `json:"time_at_C1_T1_replace_one"`
	}
}

type ofSquares struct{ Mean, Variance, MSE float64 }

type mseBlock struct {
	Curvature, T float64
	Table        []struct {
		N                        int
		Eta, Bias, Variance, MSE float64
		BiasZero                 float64 `json:"bias_from_zero"`
		VarianceZero             float64 `json:"variance_from_zero"`
	}
	Optimum []struct {
		N   int
		Eta float64 `json:"eta_opt"`
		MSE float64 `json:"mse_opt"`
	}
	Slopes []struct {
		From int     `json:"n_from"`
		To   int     `json:"n_to"`
		Eta  float64 `json:"slope_eta"`
		MSE  float64 `json:"slope_mse"`
	}
}

type underdampedCase struct {
	Integrator                            string
	Curvature, T, H, Gamma, Mass, Eta, Dt float64
	A                                     float64 `json:"decay_a"`
	Stable                                float64 `json:"stability_eta_lambda_max"`
	Z                                     float64 `json:"z_times_C_over_q"`
	Transition                            [][]float64
	Noise                                 []float64
	Covariance                            [][]float64 `json:"stationary_covariance"`
	Variance                              float64     `json:"position_variance"`
	ACF                                   []float64   `json:"acf_theta_lags_1_to_5"`
}

func loadVectors(t testing.TB) *vectors {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "testdata", "golden", "dynamics.json"))
	if err != nil {
		t.Fatal(err)
	}
	v := new(vectors)
	if err := json.Unmarshal(text, v); err != nil {
		t.Fatal(err)
	}
	return v
}

// close12 fails unless got is want to 10⁻¹², relatively above 1.
func close12(t testing.TB, what string, got, want float64) {
	t.Helper()
	if !(math.Abs(got-want) <= 1e-12*math.Max(1, math.Abs(want))) {
		t.Errorf("%s: %.15g, want %.15g", what, got, want)
	}
}

// lcg is the generator that the golden file prescribes.
type lcg uint32

func (g *lcg) uniform() float64 {
	*g = *g*1664525 + 1013904223
	return (float64(*g) + 0.5) / (1 << 32)
}

// sumFunc stands for the noisy sum: any law of it may be tried, with ordinary
// noise, and nothing of it is released.
type sumFunc func(dst, theta []float64, z float64)

func (f sumFunc) draw(dst, theta []float64, z float64) error {
	f(dst, theta, z)
	return nil
}

// noPrior is flat.
type noPrior struct{}

func (noPrior) Gradient(dst, _ []float64) { clear(dst) }

func generator(seed uint64) *rand.Rand { return rand.New(rand.NewPCG(seed, 0x9e3779b97f4a7c15)) }

// quadratic is the noisy sum of the potential λθ²/2 in every coordinate, which
// makes the coordinates independent chains. The clip is 1.
func quadratic(lambda float64, r *rand.Rand) sumFunc {
	return func(dst, theta []float64, z float64) {
		for j, x := range theta {
			dst[j] = lambda*x + z*r.NormFloat64()
		}
	}
}

// ensemble is a chain of n independent coordinates at the start x, without a prior.
func ensemble(n int, x float64, p *Plan, sum access) *chain {
	if p.Rate == 0 {
		p.Rate = 1
	}
	if p.Clip == 0 {
		p.Clip = 1
	}
	c := newChain(p, &metric{flat: true}, sum, noPrior{}, n)
	for j := range c.phi {
		c.phi[j], c.theta[j] = x, x
	}
	return c
}

// take takes n steps.
func (c *chain) take(t testing.TB, s Segment, n int) {
	t.Helper()
	for range n {
		if err := c.step(&s, false); err != nil {
			t.Fatal(err)
		}
	}
}

// langevin is a step of that diffusion time at temperature T, clip 1 and rate q.
func langevin(time, temperature, q float64) Segment {
	p := Plan{Clip: 1, Rate: q}
	return Segment{Steps: 1, StepSize: time, NoiseMultiplier: p.langevinNoise(time, temperature)}
}

// zOfMean and zOfVariance are standard normal, the latter to O(1/√n), where the
// values are independent N(mean, variance).
func zOfMean(x []float64, mean, variance float64) float64 {
	var s float64
	for _, v := range x {
		s += v - mean
	}
	return s / math.Sqrt(float64(len(x))*variance)
}

func zOfVariance(x []float64, mean, variance float64) float64 {
	var s float64
	for _, v := range x {
		s += (v - mean) * (v - mean)
	}
	n := float64(len(x))
	return (s/(n*variance) - 1) * math.Sqrt(n/2)
}

func checkZ(t testing.TB, what string, z float64) {
	t.Helper()
	if !(math.Abs(z) < mostZ) {
		t.Errorf("%s: %.1f standard errors off", what, z)
	}
}

// relaxed is the number of steps in which the variance of a chain with that
// coefficient forgets all but a tenth of its start, but no more than 12.
func relaxed(a float64) int {
	return max(1, min(12, int(math.Ceil(-1.15/math.Log(math.Abs(a))))))
}

// TestOverdamped: steps of finite size have the mean and variance of the first-order
// autoregression that they are, whose limit is the stationary law of the vectors.
// Mutants are caught: noise of half the variance, and a temperature that is off by
// as much as the step's bias.
func TestOverdamped(t *testing.T) {
	for i, c := range loadVectors(t).ULA {
		a := 1 - c.Eta*c.Curvature
		close12(t, "ar1", a, c.AR1)
		k := relaxed(a)
		x := ensemble(ensembleSize, 2, &Plan{}, quadratic(c.Curvature, generator(uint64(100+i))))
		x.take(t, langevin(c.Eta, c.T, 1), k)
		mean, share := 2*math.Pow(a, float64(k)), 1-math.Pow(a, float64(2*k))
		checkZ(t, "mean", zOfMean(x.theta, mean, c.Variance*share))
		checkZ(t, "variance", zOfVariance(x.theta, mean, c.Variance*share))
		if math.Abs(zOfVariance(x.theta, mean, c.Variance*share/2)) < mostZ {
			t.Error("a variance of half the size is not noticed")
		}
		if bias := c.Variance*c.Curvature/c.T - 1; bias > 0.03 && math.Abs(zOfVariance(x.theta, mean, c.T/c.Curvature*share)) < mostZ {
			t.Errorf("the bias of a step, %.2g, is not noticed", bias)
		}
	}
}

// TestOverdampedMultivariate: the covariance T(H − ηH²/2)⁻¹ in two and three
// dimensions, from a start that has it.
func TestOverdampedMultivariate(t *testing.T) {
	for i, c := range loadVectors(t).Multivariate {
		d := len(c.H)
		n := ensembleSize / 2
		r := generator(uint64(200 + i))
		sum := sumFunc(func(dst, theta []float64, z float64) {
			for o := 0; o < len(theta); o += d {
				for j := range d {
					var g float64
					for l := range d {
						g += c.H[j][l] * theta[o+l]
					}
					dst[o+j] = g + z*r.NormFloat64()
				}
			}
		})
		x := ensemble(n*d, 0, &Plan{}, sum)
		root := cholesky(c.Covariance)
		for o := 0; o < n*d; o += d {
			correlated(x.phi[o:o+d], root, r)
		}
		copy(x.theta, x.phi)
		x.take(t, langevin(c.Eta, c.T, 1), 12)
		checkCovariance(t, x.theta, make([]float64, d), root, 1)
	}
}

// cholesky returns L with LLᵀ = s.
func cholesky(s [][]float64) [][]float64 {
	l := make([][]float64, len(s))
	for i := range s {
		l[i] = make([]float64, len(s))
		for j := range i + 1 {
			v := s[i][j]
			for k := range j {
				v -= l[i][k] * l[j][k]
			}
			if i == j {
				l[i][j] = math.Sqrt(v)
			} else {
				l[i][j] = v / l[j][j]
			}
		}
	}
	return l
}

// correlated writes a draw of N(0, LLᵀ) to dst.
func correlated(dst []float64, l [][]float64, r *rand.Rand) {
	for i := range dst {
		dst[i] = r.NormFloat64()
	}
	for i := len(dst) - 1; i >= 0; i-- {
		var v float64
		for k := range i + 1 {
			v += l[i][k] * dst[k]
		}
		dst[i] = v
	}
}

// checkCovariance whitens the points x of length d with L and looks at every mean,
// variance and correlation. widen ≥ 1 is a bound of the standard deviation of a
// product's average over that of Gaussian points.
func checkCovariance(t testing.TB, x, mean []float64, l [][]float64, widen float64) (worst float64) {
	t.Helper()
	d := len(mean)
	n := float64(len(x) / d)
	first := make([]float64, d)
	second := make([]float64, d*d)
	w := make([]float64, d)
	for o := 0; o < len(x); o += d {
		for i := range d {
			v := x[o+i] - mean[i]
			for k := range i {
				v -= l[i][k] * w[k]
			}
			w[i] = v / l[i][i]
			first[i] += w[i]
			for k := range i + 1 {
				second[i*d+k] += w[i] * w[k]
			}
		}
	}
	for i := range d {
		worst = math.Max(worst, math.Abs(first[i]/math.Sqrt(n)))
		for k := range i + 1 {
			z := second[i*d+k] / math.Sqrt(n)
			if i == k {
				z = (second[i*d+k]/n - 1) * math.Sqrt(n/2)
			}
			worst = math.Max(worst, math.Abs(z)/widen)
		}
	}
	checkZ(t, "covariance", worst)
	return worst
}

// integrators are the constructors by the names of the vectors.
var integrators = map[string]func(Underdamped) Recursion{
	"euler": Underdamped.Euler, "implicit": Underdamped.ImplicitFriction, "obabo": Underdamped.OBABO,
}

// TestUnderdamped: each integrator comes to the recursion of the vectors; the
// chain's step has their transition and noise to 10⁻¹²; the stationary covariance
// is a fixed point of that step; and chains have the exact law of a fixed step. The
// noise of a step that leaves out 1 − a is caught. BAOAB, which the vectors list for
// reference, is not offered.
func TestUnderdamped(t *testing.T) {
	for i, c := range loadVectors(t).HMC.Stationary {
		construct, ok := integrators[c.Integrator]
		if !ok {
			if c.Integrator != "baoab" {
				t.Errorf("no integrator %s", c.Integrator)
			}
			continue
		}
		rec := construct(Underdamped{Step: c.H, Friction: c.Gamma, Mass: c.Mass})
		close12(t, c.Integrator+" a", rec.Momentum, c.A)
		close12(t, c.Integrator+" η", rec.StepSize, c.Eta)
		close12(t, c.Integrator+" time", rec.Time(), c.Dt)
		close12(t, "stable", 2*gain(c.A)*(1-c.A), c.Stable)
		s := langevin(rec.Time(), c.T, 1)
		close12(t, "z", s.NoiseMultiplier, c.Z)

		// One step from (1, 0), from (0, 1), and from (0, 0) with the noise 1.
		plan := &Plan{Momentum: rec.Momentum}
		var m [2][2]float64
		for col := range 2 {
			x := ensemble(1, 0, plan, sumFunc(func(dst, theta []float64, _ float64) { dst[0] = c.Curvature * theta[0] }))
			if col == 0 {
				x.phi[0], x.theta[0] = 1, 1
			} else {
				x.move[0] = 1
			}
			x.take(t, s, 1)
			m[0][col], m[1][col] = x.phi[0], x.move[0]
			close12(t, "transition", m[0][col], c.Transition[0][col])
			close12(t, "transition", m[1][col], c.Transition[1][col])
		}
		x := ensemble(1, 0, plan, sumFunc(func(dst, _ []float64, z float64) { dst[0] = -z }))
		x.take(t, s, 1)
		noise := [2]float64{x.phi[0], x.move[0]}
		close12(t, "noise", noise[0], c.Noise[0])
		close12(t, "noise", noise[1], c.Noise[1])

		after := propagate(m, noise, [2][2]float64{{c.Covariance[0][0], c.Covariance[0][1]}, {c.Covariance[1][0], c.Covariance[1][1]}})
		for a := range 2 {
			for b := range 2 {
				close12(t, "stationary covariance", after[a][b], c.Covariance[a][b])
			}
		}
		close12(t, "variance", c.T/c.Curvature/(1-c.Eta*c.Curvature/(2*(1+c.A))), c.Variance)
		row := [2]float64{c.Covariance[0][0], c.Covariance[1][0]}
		for _, want := range c.ACF {
			row = [2]float64{m[0][0]*row[0] + m[0][1]*row[1], m[1][0]*row[0] + m[1][1]*row[1]}
			close12(t, "autocorrelation", row[0]/c.Covariance[0][0], want)
		}

		const steps = 4
		y := ensemble(ensembleSize, 1, plan, quadratic(c.Curvature, generator(uint64(300+i))))
		y.take(t, s, steps)
		mean := [2]float64{1, 0}
		var law [2][2]float64
		for range steps {
			mean = [2]float64{m[0][0]*mean[0] + m[0][1]*mean[1], m[1][0]*mean[0] + m[1][1]*mean[1]}
			law = propagate(m, noise, law)
		}
		points := make([]float64, 0, 2*ensembleSize)
		for j := range y.phi {
			points = append(points, y.phi[j], y.move[j])
		}
		root := cholesky([][]float64{law[0][:], law[1][:]})
		checkCovariance(t, points, mean[:], root, 1)
		if c.A > 0.1 && math.Abs(zOfVariance(y.phi, mean[0], law[0][0]/(1-c.A))) < mostZ {
			t.Error("noise without the factor 1 − a is not noticed")
		}
	}
}

// propagate returns MSMᵀ + nnᵀ.
func propagate(m [2][2]float64, n [2]float64, s [2][2]float64) (out [2][2]float64) {
	for a := range 2 {
		for b := range 2 {
			v := n[a] * n[b]
			for k := range 2 {
				for l := range 2 {
					v += m[a][k] * s[k][l] * m[b][l]
				}
			}
			out[a][b] = v
		}
	}
	return out
}

// TestUnderdampedLimit: as the momentum goes to zero the chain goes to SGLD's,
// driven by the same noise, in proportion; without momentum it is the same, bit for
// bit.
func TestUnderdampedLimit(t *testing.T) {
	for _, c := range loadVectors(t).HMC.Limit {
		// The noise has a fixed size in v: √(2(1−a)ηT)·ξ.
		path := func(a float64) []float64 {
			g := lcg(c.Seed)
			sum := sumFunc(func(dst, theta []float64, z float64) {
				xi := math.Sqrt(12) * (g.uniform() - 0.5)
				dst[0] = c.Curvature*theta[0] - z*xi
			})
			x := ensemble(1, c.Theta0, &Plan{Momentum: a}, sum)
			var out []float64
			for range c.K {
				x.take(t, langevin(c.Eta/(1-a), c.T, 1), 1)
				out = append(out, x.theta[0])
			}
			return out
		}
		// SGLD written apart: θ ← θ − ηλθ + √(2ηT)·ξ.
		g := lcg(c.Seed)
		theta := c.Theta0
		z := math.Sqrt(2*c.T/c.Eta) / 1
		var plain []float64
		for range c.K {
			xi := math.Sqrt(12) * (g.uniform() - 0.5)
			theta -= float64(c.Eta * (c.Curvature*theta - float64(z*xi)))
			plain = append(plain, theta)
		}
		close12(t, "SGLD", plain[c.K-1], c.Final)
		var errs []float64
		for _, row := range c.Rows {
			var worst float64
			for k, x := range path(row.A) {
				worst = math.Max(worst, math.Abs(x-plain[k]))
			}
			close12(t, "final", path(row.A)[c.K-1], row.Final)
			if row.A == 0 {
				if worst != 0 {
					t.Errorf("without momentum the chain is %g from SGLD's", worst)
				}
				continue
			}
			if math.Abs(worst-row.Error) > 1e-12 {
				t.Errorf("a = %g: %.15g from SGLD, want %.15g", row.A, worst, row.Error)
			}
			errs = append(errs, worst)
		}
		for i, want := range c.Slopes {
			if slope := math.Log10(errs[i] / errs[i+1]); math.Abs(slope-want) > 1e-9 {
				t.Errorf("slope %d is %g, want %g", i, slope, want)
			}
		}
	}
}

// TestInjection: noise multiplier, temperature, time and budget of a step size are
// those of the formulas, by the code that plans and by the accountant.
func TestInjection(t *testing.T) {
	for _, c := range loadVectors(t).Injection {
		p := Plan{Clip: c.C, Rate: c.Q, Request: Request{Chains: 1}}
		z := p.langevinNoise(c.Eta, c.T)
		close12(t, "z", z, c.Z)
		p.curve = 1
		if err := p.set(c.K, z, c.Eta); err != nil {
			t.Fatal(err)
		}
		if math.Abs(p.Temperature/c.TEff-1) > 1e-9 { // rounded to ten digits for reports
			t.Errorf("temperature %g, want %g", p.Temperature, c.TEff)
		}
		close12(t, "time", p.DiffusionTime, c.Time)
		if c.Q == 1 {
			close12(t, "μ", math.Sqrt(float64(c.K))/z, c.Mu)
		}
	}
	for _, c := range loadVectors(t).GDP {
		mu := accountant.GaussianMu(accountant.MethodGDP, c.Epsilon, c.Delta)
		if mu > c.Mu || mu < c.Mu*(1-1.001e-9) { // the allowance of what decides
			t.Errorf("ε %g, δ %g: μ = %.15g, want %.15g, rounded down", c.Epsilon, c.Delta, mu, c.Mu)
		}
		// t = 2Tμ²/C², a quarter of it where the sensitivity is 2C.
		for adj, want := range map[accountant.Adjacency]float64{accountant.AddRemove: c.AddRemove, accountant.ReplaceOne: c.ReplaceOne} {
			p := Plan{Clip: 1, Rate: 1, Request: Request{Chains: 1, Adjacency: adj}, muSteps: c.Mu}
			z, err := p.calibrate(1000)
			if err != nil {
				t.Fatal(err)
			}
			if got := 1000 * p.langevinStep(z, 1); math.Abs(got/want-1) > 1e-9 {
				t.Errorf("ε %g, δ %g, %v: time %.15g, want %.15g", c.Epsilon, c.Delta, adj, got, want)
			}
		}
	}
}
