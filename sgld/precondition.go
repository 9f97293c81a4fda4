package sgld

import (
	"errors"
	"math"

	"gonum.org/v1/gonum/mat"

	"github.com/privsgld/privsgld/datasets"
	"github.com/privsgld/privsgld/privacy"
)

// metric is the public preconditioner P = R Rᵀ, fixed for a run. R is held by
// the exact linear map of the noisy sum, so that the mechanism and the chain
// use the very same entries. Where a model has several linear predictors, each
// has a copy of the encoding's coefficients, and R is the same for all of them.
//
// Sums are of residuals over a public scale, a power of two, that keeps them within
// [−1, 1]; the map has the scale as a factor of each row of R.
type metric struct {
	m      *privacy.Map // of one copy: output j, input i: R[i][j]·scale[i]
	copies int
	inv    []float64 // 1/scale[i]
	flat   bool      // R is the identity
}

// dim returns the number of parameters.
func (m *metric) dim() int { return m.copies * m.m.Dim() }

// root returns R[i][j] of one copy: θ_i = Σ_j R[i][j] φ_j.
func (m *metric) root(i, j int) float64 { return m.m.At(j, i) * m.inv[i] }

// toTheta writes Rφ to theta.
func (m *metric) toTheta(theta, phi []float64) {
	if m.flat {
		copy(theta, phi)
		return
	}
	d := m.m.Dim()
	for ; len(theta) > 0; theta, phi = theta[d:], phi[d:] {
		for i := range theta[:d] {
			var v float64
			for j, p := range phi[:d] {
				v += m.root(i, j) * p
			}
			theta[i] = v
		}
	}
}

// pull writes Rᵀg, the gradient in the metric's coordinates, to dst.
func (m *metric) pull(dst, g []float64) {
	if m.flat {
		copy(dst, g)
		return
	}
	d := m.m.Dim()
	for ; len(dst) > 0; dst, g = dst[d:], g[d:] {
		for j := range dst[:d] {
			var v float64
			for i, t := range g[:d] {
				v += m.root(i, j) * t
			}
			dst[j] = v
		}
	}
}

// apply writes the image of an exact sum to dst, in steps of the output lattice.
func (m *metric) apply(dst, sum []int64) {
	d := m.m.Dim()
	for ; len(dst) > 0; dst, sum = dst[d:], sum[d:] {
		m.m.Apply(dst[:d], sum[:d])
	}
}

// toPhi solves Rφ = θ: for a start other than zero.
func (m *metric) toPhi(phi, theta []float64) error {
	d := m.m.Dim()
	r := mat.NewDense(d, d, nil)
	for i := range d {
		for j := range d {
			r.Set(i, j, m.root(i, j))
		}
	}
	for ; len(phi) > 0; phi, theta = phi[d:], theta[d:] {
		var x mat.VecDense
		if err := x.SolveVec(r, mat.NewVecDense(d, append([]float64(nil), theta[:d]...))); err != nil {
			var cond mat.Condition
			if !errors.As(err, &cond) {
				return errMetric
			}
		}
		copy(phi, x.RawVector().Data)
	}
	return nil
}

var errMetric = errors.New("the metric is not positive definite")

// newMetric returns the metric with root r (R[i][j]) of each of the copies, for
// residuals of a scale for each coefficient, a clipping norm c and noise multipliers
// up to z: the map of the noisy sum applies Rᵀ.
func newMetric(r *mat.Dense, copies int, scale []float64, c, z float64) (*metric, error) {
	d, _ := r.Dims()
	g, err := privacy.Spacing(c, z)
	if err != nil {
		return nil, err
	}
	t := make([]float64, d*d)
	inv := make([]float64, d)
	for i, s := range scale {
		inv[i] = 1 / s
		for j := range d {
			t[j*d+i] = r.At(i, j) * s
		}
	}
	m, err := privacy.NewMap(t, d, g)
	if err != nil {
		return nil, err
	}
	return &metric{m: m, copies: copies, inv: inv, flat: mat.Equal(r, identityRoot(d))}, nil
}

// inverseRoot returns R with R Rᵀ = A⁻¹ for a positive-definite A = L Lᵀ:
// R = L⁻ᵀ.
func inverseRoot(a *mat.SymDense) (*mat.Dense, error) {
	var ch mat.Cholesky
	if !ch.Factorize(a) {
		return nil, errMetric
	}
	var l mat.TriDense
	ch.LTo(&l)
	var inv mat.TriDense
	if err := inv.InverseTri(&l); err != nil {
		return nil, errMetric
	}
	return mat.DenseCopyOf(inv.T()), nil
}

// identityRoot is the metric of θ itself.
func identityRoot(d int) *mat.Dense {
	r := mat.NewDense(d, d, nil)
	for i := range d {
		r.Set(i, i, 1)
	}
	return r
}

// publicGram returns E xxᵀ under the reference law that the encoding implies:
// independent columns, levels equally likely, numbers uniform on [−1, 1].
func publicGram(enc datasets.Encoding) *mat.SymDense {
	d := len(enc.Coefficients)
	mean := make([]float64, d)
	mean[0] = 1
	e := mat.NewSymDense(d, nil)
	for _, f := range enc.Features {
		if f.Kind == datasets.Number {
			e.SetSym(f.Offset, f.Offset, 1.0/3)
			continue
		}
		l := 1 / float64(f.Width+1)
		for i := f.Offset; i < f.Offset+f.Width; i++ {
			mean[i] = l
			for j := i; j < f.Offset+f.Width; j++ {
				v := -l * l
				if i == j {
					v += l
				}
				e.SetSym(i, j, v)
			}
		}
	}
	for i := range d {
		for j := i; j < d; j++ {
			e.SetSym(i, j, e.At(i, j)+mean[i]*mean[j])
		}
	}
	return e
}

// publicNorm2 returns the largest xᵀ(E₀)⁻¹x of an encoded row under the
// reference law of publicGram: 1 for the intercept, 3 for a number at its
// bound, L−1 for any level of a category with L levels.
func publicNorm2(enc datasets.Encoding) float64 {
	s := 1.0
	for _, f := range enc.Features {
		if f.Kind == datasets.Number {
			s += 3
		} else {
			s += float64(f.Width)
		}
	}
	return s
}

// publicRoot returns the root of P = (n·w·E₀ + K)⁻¹ with w the curvature that the
// model expects of a unit and K the diagonal matrix of the prior's precisions.
func publicRoot(enc datasets.Encoding, n, w float64, priorPrecision []float64) (*mat.Dense, error) {
	return regularisedRoot(publicGram(enc), n*w, priorPrecision)
}

// boughtRoot returns the root of P = (w·(G₊ + νI) + K)⁻¹ from a noisy Gram
// matrix G with noise of spectral norm about ν: G₊ has its negative eigenvalues
// set to zero, so that G₊ + νI dominates the true Gram matrix but for a tail of
// the noise. Post-processing of a released answer.
func boughtRoot(gram []float64, d int, nu, w float64, priorPrecision []float64) (*mat.Dense, error) {
	var eig mat.EigenSym
	if !eig.Factorize(mat.NewSymDense(d, append([]float64(nil), gram...)), true) {
		return nil, errMetric
	}
	var vec mat.Dense
	eig.VectorsTo(&vec)
	values := eig.Values(nil)
	g := mat.NewSymDense(d, nil)
	for i := range d {
		for j := i; j < d; j++ {
			var v float64
			for k, l := range values {
				v += vec.At(i, k) * (math.Max(l, 0) + nu) * vec.At(j, k)
			}
			g.SetSym(i, j, v)
		}
	}
	return regularisedRoot(g, w, priorPrecision)
}

func regularisedRoot(e *mat.SymDense, scale float64, priorPrecision []float64) (*mat.Dense, error) {
	d := e.SymmetricDim()
	a := mat.NewSymDense(d, nil)
	for i := range d {
		for j := i; j < d; j++ {
			v := scale * e.At(i, j)
			if i == j {
				v += priorPrecision[i]
			}
			a.SetSym(i, j, v)
		}
	}
	return inverseRoot(a)
}

// rootNormBound bounds ‖Rᵀx‖ over every encodable row by the triangle
// inequality: the intercept's row of R, each number's, and the largest of each
// category's.
func rootNormBound(r *mat.Dense, enc datasets.Encoding) float64 {
	norm := func(i int) float64 {
		return mat.Norm(r.RowView(i), 2)
	}
	s := norm(0)
	for _, f := range enc.Features {
		var largest float64
		for i := f.Offset; i < f.Offset+f.Width; i++ {
			largest = max(largest, norm(i))
		}
		s += largest
	}
	return s
}
