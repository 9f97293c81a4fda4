package accountant

import "testing"

func BenchmarkPLDRegimes(b *testing.B) {
	for _, r := range []struct {
		name  string
		e     Event
		delta float64
	}{
		{"q=0.004,z=1,T=1e4", PoissonGaussian(AddRemove, 0.004, 1, 10000), 1e-5},
		{"q=0.01,z=1.1,T=1e3", PoissonGaussian(AddRemove, 0.01, 1.1, 1000), 1e-5},
		{"q=0.1,z=2,T=100", PoissonGaussian(AddRemove, 0.1, 2, 100), 1e-5},
		{"q=0.001,z=0.8,T=2e4", PoissonGaussian(AddRemove, 0.001, 0.8, 20000), 1e-6},
		{"q=1e-6,z=1,T=1e6", PoissonGaussian(AddRemove, 1e-6, 1, 1000000), 1e-5},
		{"q=0.001,z=2,T=1e8", PoissonGaussian(AddRemove, 0.001, 2, 100000000), 1e-5},
		{"Laplace,b=20,T=1000", Laplace(AddRemove, 20, 1000), 1e-6},
		{"pure,0.1,T=30", Pure(AddRemove, MustAmount("0.1"), 30), 1e-5},
	} {
		b.Run(r.name, func(b *testing.B) {
			b.ReportAllocs()
			c, err := curveOf(r.e)
			if err != nil {
				b.Fatal(err)
			}
			for b.Loop() {
				c.epsilonPLD(r.delta, 0)
			}
		})
	}
}
