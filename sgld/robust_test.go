package sgld

import (
	"encoding/json"
	"math"
	"os"
	"testing"
)

// robustVectors are golden values that another program computed:
// testdata/golden/README-robust.md.
type robustVectors struct {
	GLM struct {
		Points []struct {
			Model    string
			U, Y, C  float64
			Sigma    float64
			Cap      *float64 `json:"log_mean_cap"`
			F        float64  `json:"potential"`
			Residual float64  `json:"clipped_residual"`
		}
		Rows []struct {
			Model    string
			X, Theta []float64
			Y, C     float64
			Small    float64 `json:"c"`
			Sigma    float64
			Cap      *float64  `json:"log_mean_cap"`
			F        float64   `json:"potential"`
			Gradient []float64 `json:"clipped_gradient"`
		}
	} `json:"robust_glm"`
	Planar []struct {
		Model      string
		X          [][]float64
		Y          []float64
		Sigma      float64
		C, T       float64
		Mean       []float64   `json:"posterior_mean"`
		Covariance [][]float64 `json:"posterior_covariance"`
	} `json:"robust_posterior_2d"`
	Curl []struct {
		U        []float64
		Y        int
		C        float64
		Residual []float64   `json:"clipped_residual"`
		Jacobian [][]float64 `json:"jacobian"`
	} `json:"softmax_curl"`
	Line []struct {
		X, Y     []float64
		C, T     float64
		Eta, Q   float64
		NoiseSD  float64 `json:"noise_sd_of_sum"`
		Box      float64
		Mean     float64 `json:"stationary_mean"`
		Variance float64 `json:"stationary_variance"`
	} `json:"clipped_sgld_stationary_1d"`
}

func loadRobust(t *testing.T) *robustVectors {
	t.Helper()
	text, err := os.ReadFile("../testdata/golden/robust.json")
	if err != nil {
		t.Fatal(err)
	}
	v := new(robustVectors)
	if err := json.Unmarshal(text, v); err != nil {
		t.Fatal(err)
	}
	return v
}

// robustAt is the potential of a model of the vectors.
func robustAt(model string, u, y, c, sigma float64, limit *float64) (potential, residual float64) {
	switch model {
	case "logistic":
		return RobustLogistic(u, y, c)
	case "linear":
		return RobustLinear(u, y, sigma, c)
	}
	most := math.Inf(1)
	if limit != nil {
		most = *limit
	}
	return RobustPoisson(u, y, most, c)
}

// TestRobustVectors: potentials, residuals and gradients are those of the vectors to
// 10⁻¹² of their size.
func TestRobustVectors(t *testing.T) {
	v := loadRobust(t)
	near := func(got, want float64) bool { return math.Abs(got-want) <= 1e-12*math.Max(1, math.Abs(want)) }
	for i, p := range v.GLM.Points {
		if f, r := robustAt(p.Model, p.U, p.Y, p.C, p.Sigma, p.Cap); !near(f, p.F) || !near(r, p.Residual) {
			t.Errorf("point %d: %g and %g, want %g and %g", i, f, r, p.F, p.Residual)
		}
	}
	for i, p := range v.GLM.Rows {
		var u, norm2 float64
		for j, x := range p.X {
			u += x * p.Theta[j]
			norm2 += x * x
		}
		c := p.C / math.Sqrt(norm2)
		f, r := robustAt(p.Model, u, p.Y, c, p.Sigma, p.Cap)
		if !near(f, p.F) {
			t.Errorf("row %d: potential %g, want %g", i, f, p.F)
		}
		for j, x := range p.X {
			if !near(r*x, p.Gradient[j]) {
				t.Errorf("row %d, coordinate %d: gradient %g, want %g", i, j, r*x, p.Gradient[j])
			}
		}
	}
	if len(v.GLM.Points) < 90 || len(v.GLM.Rows) < 5 {
		t.Error("vectors are missing")
	}
}

// TestRobustDerivative: the residual is the potential's derivative, and never falls.
func TestRobustDerivative(t *testing.T) {
	limit := 1.5
	for _, model := range []string{"logistic", "linear", "poisson"} {
		for _, y := range []float64{0, 1, 7} {
			if model == "logistic" && y > 1 {
				continue
			}
			for _, c := range []float64{0.2, 0.9, 2.5, 20} {
				last := math.Inf(-1)
				for u := -4.0; u < 4; u += 0.0317 {
					const h = 1e-5
					_, r := robustAt(model, u, y, c, 0.5, &limit)
					above, _ := robustAt(model, u+h, y, c, 0.5, &limit)
					below, _ := robustAt(model, u-h, y, c, 0.5, &limit)
					if d := (above - below) / (2 * h); math.Abs(d-r) > 2e-4 {
						t.Fatalf("%s, y %g, c %g, u %g: derivative %g, residual %g", model, y, c, u, d, r)
					}
					if r < last {
						t.Fatalf("%s, y %g, c %g, u %g: the residual falls", model, y, c, u)
					}
					last = r
				}
			}
		}
	}
}
