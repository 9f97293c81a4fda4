package accountant

import (
	"math"
	"testing"
)

// A curve at 100 orders, fractional ones included.
func BenchmarkRDPCurve100(b *testing.B) {
	e := PoissonGaussian(AddRemove, 0.01, 1.1, 1000)
	orders := make([]float64, 100)
	for i := range orders {
		orders[i] = 1.1 + 62.4*float64(i)/99
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := RDPCurve(e, orders); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkEpsilonRDP(b *testing.B) {
	e := PoissonGaussian(AddRemove, 0.01, 1.1, 1000)
	b.ReportAllocs()
	for b.Loop() {
		mustEpsilon(b, MethodRDP, e, 1e-6)
	}
}

func BenchmarkDeltaRDP(b *testing.B) {
	e := PoissonGaussian(AddRemove, 0.01, 1.1, 1000)
	b.ReportAllocs()
	for b.Loop() {
		if _, _, err := Delta(MethodRDP, e, 2); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkCalibrateNoiseRDP(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		_, err := CalibrateNoise(MethodRDP, Target{Epsilon: 1, Delta: 1e-6}, func(z float64) Event {
			return PoissonGaussian(AddRemove, 0.01, z, 1000)
		})
		if err != nil {
			b.Fatal(err)
		}
	}
}

// Schedules of a million steps, no two with the same noise.
func BenchmarkHeterogeneousMillion(b *testing.B) {
	for _, c := range []struct {
		name string
		adj  Adjacency
		q    float64
		z    func(k float64) float64
	}{
		{"power", AddRemove, 0.01, func(k float64) float64 { return 1.1 * math.Pow(k, 0.1) }},
		{"langevin", AddRemove, 0.01, func(k float64) float64 { return 0.01 * math.Sqrt(2/(1e-5*math.Pow(1000+k, -0.33))) }},
		{"cosine", AddRemove, 0.001, func(k float64) float64 { return 0.9 / math.Sqrt(1e-9+(math.Cos(math.Pi*k/1e6)+1)/2) }},
		{"replace-one", ReplaceOne, 0.001, func(k float64) float64 { return 1.1 * math.Pow(k, 0.1) }},
	} {
		b.Run(c.name, func(b *testing.B) {
			e := Event{Type: TypePoissonGaussian, Adjacency: c.adj, SamplingRate: c.q, NoiseMultipliers: make([]float64, 1e6), Count: 1}
			for i := range e.NoiseMultipliers {
				e.NoiseMultipliers[i] = c.z(float64(i + 1))
			}
			b.ReportAllocs()
			for b.Loop() {
				mustEpsilon(b, MethodRDP, e, 1e-6)
			}
		})
	}
}

// A filter's cost of a schedule of hundreds of steps, at one order.
func BenchmarkFilterCost(b *testing.B) {
	f := mustFilter(b, terms(MethodRDP, "1", "1e-6"))
	e := Event{Type: TypePoissonGaussian, Adjacency: AddRemove, SamplingRate: 0.01, NoiseMultipliers: make([]float64, 300), Count: 1}
	for i := range e.NoiseMultipliers {
		e.NoiseMultipliers[i] = 1.1 * math.Pow(float64(i+1), 0.17)
	}
	b.ReportAllocs()
	for b.Loop() {
		mustCost(b, f, e)
	}
}

// The bounds of a long run by its privacy loss distribution.
func BenchmarkPLDEpsilon(b *testing.B) {
	e := PoissonGaussian(AddRemove, 0.004, 1, 10_000)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := PLDEpsilon(e, 1e-5, PLDOptions{}); err != nil {
			b.Fatal(err)
		}
	}
}
