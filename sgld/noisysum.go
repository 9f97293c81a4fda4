package sgld

import (
	"math"

	"github.com/privsgld/privsgld/accountant"
	"github.com/privsgld/privsgld/privacy"
)

// noisySum is the one place where the sampler touches rows: clip, lattice,
// exact sum, noise. It remembers what it did, and events says so.
type noisySum struct {
	design    *design
	adjacency accountant.Adjacency
	metric    *metric
	clip      float64
	rate      float64
	coin      privacy.Bernoulli
	bits      privacy.Bits
	workers   *workers

	noiseOf map[float64]privacy.Gaussian // by noise multiplier: a bounded list
	ran     map[float64]int64            // steps done with each noise multiplier
	batch   batch
	noise   []int64
	sum     []int64
	image   []int64
}

func newNoisySum(g *design, adj accountant.Adjacency, of model, m *metric, clipNorm, rate float64, bits privacy.Bits) (*noisySum, error) {
	what, err := of.contribution(g, m, clipNorm)
	if err != nil {
		return nil, err
	}
	coin, err := privacy.NewBernoulli(rate)
	if err != nil {
		return nil, err
	}
	d := m.dim()
	s := &noisySum{
		design: g, adjacency: adj, metric: m, clip: clipNorm, rate: rate, coin: coin, bits: bits,
		workers: newWorkers(g, what, d),
		noiseOf: map[float64]privacy.Gaussian{}, ran: map[float64]int64{},
		noise: make([]int64, d), sum: make([]int64, d), image: make([]int64, d),
	}
	if rate < 1 {
		s.batch = newBatch(rate, len(g.unit))
	}
	return s, nil
}

// draw writes Σ_{i∈B} clip_C(Rᵀ∇ℓᵢ(θ)) + z·C·ξ to dst (of θ's length), a point of
// the output lattice. The noise is drawn before the batch, in one block, so
// that the time it takes says nothing about the sum.
func (s *noisySum) draw(dst, theta []float64, z float64) error {
	spacing := s.metric.m.Spacing()
	g, ok := s.noiseOf[z]
	if !ok {
		var err error
		if g, err = stepNoise(s.clip, z, spacing); err != nil {
			return err
		}
		s.noiseOf[z] = g
	}
	g.Fill(s.noise, s.bits)
	s.ran[z]++
	full := s.rate == 1
	if !full {
		s.batch.draw(s.coin, s.design.unit, s.bits)
	}
	s.workers.sum(s.sum, theta, s.batch.units, s.batch.times, full)
	s.metric.apply(s.image, s.sum)
	withhold(s.image, s.bits)
	for j := range dst {
		// An integer beyond 2⁵³ is rounded here: post-processing of the answer.
		dst[j] = float64(s.image[j]+s.noise[j]) * spacing
	}
	return nil
}

// stepNoise is the noise of a step: its standard deviation is raised by a few
// roundings, never below z·C.
func stepNoise(c, z, spacing float64) (privacy.Gaussian, error) {
	return privacy.NewGaussian(z*c*(1+0x1p-50), spacing)
}

// events returns what ran so far: one event for each noise multiplier.
func (s *noisySum) events() []accountant.Event {
	var out []accountant.Event
	for z, n := range s.ran {
		out = append(out, stepEvent(s.adjacency, s.rate, z, n))
	}
	return out
}

// stepEvent is the event of n steps with one noise multiplier.
func stepEvent(adj accountant.Adjacency, q, z float64, n int64) accountant.Event {
	if q == 1 {
		return accountant.Gaussian(adj, z, n)
	}
	return accountant.PoissonGaussian(adj, q, z, n)
}

// noisyGram returns Σᵢ xᵢxᵢᵀ plus symmetric Gaussian noise of standard deviation
// z·gramNorm on every entry on and above the diagonal, row-major d×d, and its
// event. The vector of those entries has 2-norm at most gramNorm.
func noisyGram(g *design, adj accountant.Adjacency, gramNorm, z float64, bits privacy.Bits) ([]float64, accountant.Event, error) {
	const spacing = 1.0 / privacy.Unit
	sampler, err := gramNoise(gramNorm, z)
	if err != nil {
		return nil, accountant.Event{}, err
	}
	entries := g.d * (g.d + 1) / 2
	noise := make([]int64, entries)
	sampler.Fill(noise, bits)
	row := make([]float64, g.d)
	sum := make([]int64, entries)
	for u, m := range g.count {
		g.dense(row, u)
		k := 0
		for i, a := range row {
			for _, b := range row[i:] {
				sum[k] += privacy.Round(float64(a*b)) * m
				k++
			}
		}
	}
	withhold(sum, bits)
	out := make([]float64, g.d*g.d)
	k := 0
	for i := range g.d {
		for j := i; j < g.d; j++ {
			v := float64(sum[k]+noise[k]) * spacing
			out[i*g.d+j], out[j*g.d+i] = v, v
			k++
		}
	}
	return out, accountant.Gaussian(adj, z, 1), nil
}

// gramNoise is the noise of noisyGram.
func gramNoise(gramNorm, z float64) (privacy.Gaussian, error) {
	return privacy.NewGaussian(z*gramNorm*(1+0x1p-50), 1.0/privacy.Unit)
}

// gramNorm bounds the 2-norm of the entries of xxᵀ on and above the diagonal,
// rounded to the lattice. With B² the largest ‖x‖² (the intercept, and one for
// every number, category and boolean),
//
//	Σ_{i≤j} (x_i x_j)² = ((Σx²)² + Σx⁴)/2 ≤ (B⁴ + B²)/2,
//
// and rounding moves each of the d(d+1)/2 entries by at most half a step (the
// allowance takes a whole one).
func gramNorm(features, d int) float64 {
	b2 := float64(features + 1)
	entries := float64(d) * float64(d+1) / 2
	return (math.Sqrt((b2*b2+b2)/2) + math.Sqrt(entries)/privacy.Unit) * (1 + 0x1p-48)
}
