package privacy

import (
	"fmt"
	"math"
	"slices"
	"testing"
	"time"

	"github.com/google/differential-privacy/go/v2/noise"
)

// BenchmarkNoise is behind the README's figure: a value of ours, in blocks as a
// step draws them, against one of the Google library's Gaussian and one of
// Karney's sampler. They take turns of some 100 µs, and the medians of the turns
// are reported, so that what else the machine does falls on none of them.
func BenchmarkNoise(b *testing.B) {
	g, err := NewGaussian(0x1.8p30, 1)
	if err != nil {
		b.Fatal(err)
	}
	karney, google := newKarney(0x1.8p30), noise.Gaussian()
	s := NewSource("bench")
	block := make([]int64, 4096)
	var turns [3][]float64
	turn := func(i, n int, f func()) {
		begin := time.Now()
		f()
		turns[i] = append(turns[i], float64(time.Since(begin))/float64(n))
	}
	for b.Loop() {
		turn(0, len(block), func() { g.Fill(block, s) })
		turn(1, 512, func() {
			for range 512 {
				karney.draw(s)
			}
		})
		turn(2, 8, func() {
			for range 8 {
				if _, err := google.AddNoiseFloat64(0, 1, 1, 1, 1e-5); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
	median := func(i int) float64 {
		slices.Sort(turns[i])
		return turns[i][len(turns[i])/2]
	}
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(median(0), "ns/value")
	b.ReportMetric(median(1)/median(0), "karney/ours")
	b.ReportMetric(median(2)/median(0), "google/ours")
}

// BenchmarkDiscrete puts the discrete laws beside the rounded Gaussian of the same
// scale and the Google library's noise for whole numbers, in turns as
// [BenchmarkNoise] does: values in nanoseconds, and how many of ours are drawn in
// the time of one of the library's.
func BenchmarkDiscrete(b *testing.B) {
	rounded, err := NewGaussian(0x1.8p30, 1)
	if err != nil {
		b.Fatal(err)
	}
	gaussian, err := NewDiscreteGaussian(0x1.8p30, 1)
	if err != nil {
		b.Fatal(err)
	}
	laplace, err := NewDiscreteLaplace(0x1.8p30, 1)
	if err != nil {
		b.Fatal(err)
	}
	s := NewSource("bench")
	block := make([]int64, 1024)
	var turns [5][]float64
	turn := func(i, n int, f func()) {
		begin := time.Now()
		f()
		turns[i] = append(turns[i], float64(time.Since(begin))/float64(n))
	}
	for b.Loop() {
		turn(0, len(block), func() { rounded.Fill(block, s) })
		turn(1, len(block), func() { gaussian.Fill(block, s) })
		turn(2, len(block), func() { laplace.Fill(block, s) })
		turn(3, 8, func() {
			for range 8 {
				if _, err := noise.Gaussian().AddNoiseInt64(0, 1, 1, 1, 1e-5); err != nil {
					b.Fatal(err)
				}
			}
		})
		turn(4, 8, func() {
			for range 8 {
				if _, err := noise.Laplace().AddNoiseInt64(0, 1, 1, 1, 0); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
	var ns [5]float64
	for i := range turns {
		slices.Sort(turns[i])
		ns[i] = turns[i][len(turns[i])/2]
	}
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(ns[0], "rounded-ns/value")
	b.ReportMetric(ns[1], "gaussian-ns/value")
	b.ReportMetric(ns[2], "laplace-ns/value")
	b.ReportMetric(ns[3]/ns[1], "google/gaussian")
	b.ReportMetric(ns[4]/ns[2], "google/laplace")
}

func BenchmarkFill(b *testing.B) {
	for _, log := range []int{0, 30, 36, 45, 50} {
		b.Run(fmt.Sprintf("2^%d", log), func(b *testing.B) {
			g, err := NewGaussian(math.Ldexp(1, log), 1)
			if err != nil {
				b.Fatal(err)
			}
			s := NewSource("bench")
			dst := make([]int64, 1024)
			b.ReportAllocs()
			n := 0
			for b.Loop() {
				g.Fill(dst, s)
				n += len(dst)
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(n), "ns/value")
		})
	}
}

func BenchmarkWord(b *testing.B) {
	s := NewSource("bench")
	for b.Loop() {
		s.Uint64()
	}
}

func BenchmarkStageThree(b *testing.B) {
	g, _ := NewGaussian(0x1.8p30, 1)
	for _, z := range []float64{0.1, 1, 3, 8} {
		w1, w2, _ := beside(g, 0x1.8p30, z, 0, 0)
		b.Run(fmt.Sprint(z), func(b *testing.B) {
			s := NewSource("bench")
			for b.Loop() {
				g.decide(w1, w2, s)
			}
		})
	}
}

func BenchmarkGaussian(b *testing.B) {
	g, err := NewGaussian(0x1.8p32, 1)
	if err != nil {
		b.Fatal(err)
	}
	s := NewSource("bench")
	b.ReportAllocs()
	for b.Loop() {
		g.Draw(s)
	}
}
