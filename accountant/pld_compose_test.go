package accountant

import (
	"math"
	"math/cmplx"
	"math/rand/v2"
	"testing"

	"gonum.org/v1/gonum/dsp/fourier"
)

// tiltedSample is one step on a grid, and under a tilt.
func tiltedSample(p dominatingPair, h, theta float64) tiltedPart {
	f, b := p.outline(1e-20)
	g := &lattice{h: h, width: 1, most: 1, share: tailShare}
	g.beyond = []tailMass{newTailMass(f.loss, f.mass), newTailMass(reversed(b.loss, -1), reversed(b.mass, 1))}
	forward, _ := p.cells(g, 1e-20, false)
	return tilt(forward.high(), h, theta, false)
}

// Both transforms are within their bounds of one in extended precision by plain
// sums with exact phases.
func TestSpectraAreWithinTheirBounds(t *testing.T) {
	for _, p := range []dominatingPair{gaussianPair{sampledKind, 0.05, 1}, gaussianPair{mirroredKind, 1, 3}, laplacePair{0.4}, responsePair{0.3}} {
		part := tiltedSample(p, 1.0/1024, 1.5)
		for _, size := range []int64{768, 4096} {
			count := size/2 + 1
			direct, fast := directSpectrum(part, size, count), fastSpectrum(part, fourier.NewFFT(int(size)))
			for k := int64(0); k < count; k += 1 + size/100 {
				var re, im compensated
				for i, m := range part.mass {
					v := phase(k, reduce(part.at[i], size), size)
					re.add(m * real(v))
					im.add(m * imag(v))
				}
				want := complex(re.value(), im.value())
				if off := cmplx.Abs(direct[k] - want); off > (256+float64(len(part.at))/64)*ulp/2 {
					t.Fatalf("%v: direct spectrum at %d of %d is off by %g", p, k, size, off)
				}
				if off := cmplx.Abs(fast[k] - want); off > 64*math.Log2(float64(size))*ulp/2 {
					t.Fatalf("%v: fast spectrum at %d of %d is off by %g", p, k, size, off)
				}
			}
		}
	}
}

func TestPhaseIsExact(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for _, n := range []int64{12, 16, 20, 1 << 20, 5 << 26} {
		for range 1000 {
			k, m := r.Int64N(n), r.Int64N(1<<31)-1<<30
			// cos and sin of π·x for x = 2km/n, by the nearest eighth.
			x := math.Mod(2*float64(k*m%n)/float64(n), 2)
			want := complex(math.Cos(math.Pi*x), math.Sin(math.Pi*x))
			if off := cmplx.Abs(phase(k, m, n) - want); off > 8*ulp {
				t.Fatalf("phase(%d, %d, %d) is off by %g", k, m, n, off)
			}
		}
	}
}

// Where quiet leaves frequencies out, the product of the spectra is as small as it
// says, at every one of them.
func TestQuietFrequenciesAreQuiet(t *testing.T) {
	parts := []tiltedPart{
		tiltedSample(gaussianPair{sampledKind, 0.05, 1}, 1.0/256, 1),
		tiltedSample(gaussianPair{antipodalKind, 0.1, 2}, 1.0/256, 1),
		tiltedSample(laplacePair{0.4}, 1.0/256, 1),
	}
	for _, factors := range [][]lossFactor{
		{{0, 0, 0, 3000}},
		{{0, 0, 0, 100}, {1, 1, 0, 200}},
		{{0, 1, 0.3, 500}, {2, 2, 0, 10}},
		{{2, 2, 0, 4000}},
		{{0, 0, 0, 1}},
	} {
		const size = 1 << 13
		count, rest := quiet(parts, factors, size)
		if factors[0].n == 3000 && count > size/8 || factors[0].n == 1 && count < size/2 {
			t.Errorf("%v: %d of %d frequencies matter", factors, count, size)
		}
		var spectra [][]complex128
		for _, p := range parts {
			spectra = append(spectra, fastSpectrum(p, fourier.NewFFT(size)))
		}
		left := 0.0
		for k := count; k <= size/2; k++ {
			g := 1.0
			for _, f := range factors {
				v := complex(1-f.t, 0)*spectra[f.first][k] + complex(f.t, 0)*spectra[f.second][k]
				g *= math.Pow(cmplx.Abs(v), f.n)
			}
			left += 2 * g
		}
		if left > rest {
			t.Errorf("%v: Σ|G| over frequencies left out is %g, above %g", factors, left, rest)
		}
	}
}

// The series gives the δ of a composition by plain convolution, whatever the tilt
// and the window.
func TestSeriesIsTheConvolution(t *testing.T) {
	const h = 1.0 / 64
	p := gaussianPair{sampledKind, 0.2, 1}
	f, b := p.outline(1e-12)
	g := &lattice{h: h, width: 1, most: 1, share: tailShare}
	g.beyond = []tailMass{newTailMass(f.loss, f.mass), newTailMass(reversed(b.loss, -1), reversed(b.mass, 1))}
	forward, _ := p.cells(g, 1e-12, false)
	one := forward.high()
	sum := map[int64]float64{0: 1}
	for range 5 {
		next := map[int64]float64{}
		for at, m := range sum {
			for i, x := range one.at {
				next[at+x] += m * one.mass[i]
			}
		}
		sum = next
	}
	for _, theta := range []float64{0, 0.5, 3} {
		c := newSeries(lossProduct{factors: []lossFactor{{0, 0, 0, 5}}, parts: []lossPoints{one}, h: h, theta: theta,
			win: lossWindow{-512, 1536}, over: theta + 2, under: -2})
		if c == nil || !c.transform() {
			t.Fatal("no series")
		}
		for _, e := range []int64{-20, 0, 10, 64, 200} {
			want := -math.Expm1(5 * math.Log1p(-one.inf))
			for at, m := range sum {
				if at > e {
					want += m * -math.Expm1(h*float64(e-at))
				}
			}
			got, noise := c.delta(e), c.noise(e)
			if got < want*(1-1e-12) || got > want*(1+1e-9)+2*noise+math.Exp(c.logAbove) {
				t.Errorf("tilt %g: δ(%g) %.17g, by convolution %.17g, noise %g", theta, h*float64(e), got, want, noise)
			}
			if noise > 1e-10*want && theta == 3 {
				t.Errorf("tilt %g: noise %g in δ(%g) = %g", theta, noise, h*float64(e), want)
			}
		}
	}
}

func TestPowerIsRepeatedProduct(t *testing.T) {
	v := complex(0.999, 0.01)
	want := complex(1, 0)
	for n := 0; n < 300; n++ {
		if off := cmplx.Abs(power(v, float64(n))-want) / cmplx.Abs(want); off > 8*ulp*float64(n+1) {
			t.Fatalf("power %d is off by %g", n, off)
		}
		want *= v
	}
}
