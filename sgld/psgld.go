package sgld

import (
	"math"

	"github.com/privsgld/privsgld/privacy"
)

// Constants of pSGLD.
const (
	squareDecay = 0.99 // β of the moving average
	scaleFloor  = 1e-5 // λ of G = 1/(λ + √V)
	// learnable is the share of the known noise below which an average of squares
	// says nothing: three of its standard deviations, √(2(1−β)/(1+β)) of the noise.
	learnable = 0.3
)

// precondition turns g into G·g + e, with the diagonal preconditioner of pSGLD (Li,
// Chen, Carlson and Carin 2016), computed from noisy gradients alone, and so
// post-processing:
//
//	G_k = 1/(λ + √V̂_{k−1}),  V_k = βV_{k−1} + (1−β)g_k²,  V̂_k = V_k/(1−β^k)
//
// It lags by a step: G_k does not depend on the noise that it multiplies. V̂ holds
// gradient² and the mechanism's noise; the noise is known, taken off, and what is
// left is kept above learnable of it. The chain adapts during warm-up and keeps G
// fixed from then on, so that no draw needs the drift term ∂G/∂θ.
//
// G multiplies a noise N that is equal in all directions: scaled to 1 at its largest
// it leaves the variance short by N²(G − G²), which e makes up. The other way,
// clipping and noise in the coordinates of G, would waste none, but needs the exact
// map of the sum, its rounding bound and the clip proved again for each metric that
// the answers chose.
func (c *chain) precondition(s *Segment, noise float64, adapt bool) {
	mechanism := noise * noise
	whole := mechanism + s.PublicNoise*s.PublicNoise
	for j, g := range c.noisy {
		if adapt {
			c.square[j] = nextSquare(c.square[j], g, squareDecay)
		}
		G := c.scale[j]
		c.noisy[j] = G * g
		if short := G*whole - G*G*mechanism; short > 0 {
			c.noisy[j] += math.Sqrt(short) * c.public.draw()
		}
	}
	if adapt {
		learnScale(c.scale, c.square, c.done+1, mechanism)
	}
}

// learnScale sets G from the averages after k steps, of gradients with noise of that
// variance, with 1 as its largest entry.
func learnScale(scale, square []float64, k int64, mechanism float64) {
	seen := 1 - math.Pow(squareDecay, float64(k))
	largest := 0.0
	for j, v := range square {
		scale[j] = rawScale(math.Max(v/seen-mechanism, learnable*mechanism), scaleFloor)
		largest = math.Max(largest, scale[j])
	}
	for j := range scale {
		scale[j] /= largest
	}
}

func nextSquare(v, g, beta float64) float64 { return beta*v + (1-beta)*g*g }

func rawScale(v, floor float64) float64 { return 1 / (floor + math.Sqrt(v)) }

// normal draws standard normal numbers, on a lattice fine enough not to matter:
// public randomness, apart from the data.
type normal struct {
	g    privacy.Gaussian
	bits privacy.Bits
}

const normalSpacing = 0x1p-40

func newNormal(b privacy.Bits) (*normal, error) {
	g, err := privacy.NewGaussian(1, normalSpacing)
	if err != nil {
		return nil, err
	}
	return &normal{g: g, bits: b}, nil
}

func (n *normal) draw() float64 { return float64(n.g.Draw(n.bits)) * normalSpacing }
