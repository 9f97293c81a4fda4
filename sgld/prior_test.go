package sgld

import (
	"math"
	"testing"

	"github.com/privsgld/privsgld/privacy"
)

// TestParsePrior: what is read is written back, and what is not a prior is refused.
func TestParsePrior(t *testing.T) {
	for text, want := range map[string]string{
		"normal:1":                   "",
		"normal:0.25":                "",
		"student-t:4:2.5":            "",
		"horseshoe:0.1":              "",
		"normal:1,x=normal:0.5":      "",
		"normal:1e-3":                "normal:0.001",
		"x=normal:2":                 "normal:1,x=normal:2",
		"normal:1,c=p=horseshoe:1":   "",
		"normal:1,a, b=c:d=normal:2": "", // a level may be called anything
	} {
		if want == "" {
			want = text
		}
		p, err := ParsePrior(text)
		if err != nil || p.String() != want {
			t.Errorf("%q: %q, %v", text, p, err)
		}
		if again, err := ParsePrior(p.String()); err != nil || again.String() != want {
			t.Errorf("%q again: %q, %v", text, again, err)
		}
	}
	if (Prior{}).String() != "normal:1" {
		t.Error("the zero prior")
	}
	for _, text := range []string{
		"", "normal", "normal:", "normal:0", "normal:-1", "normal:1e7", "normal:x", "normal:1,", ",normal:1", "cauchy:1", "student-t:4", "student-t:0:1",
		"student-t:4:1:1", "horseshoe", "normal:1,normal:2", "x=normal:1,normal:2", "normal:1,=normal:2", "x=", "NORMAL:1", "normal:1 ", "normal:0x1",
	} {
		if p, err := ParsePrior(text); err == nil {
			t.Errorf("%q is read as %q", text, p)
		}
	}
}

// TestPriorNames: a law goes to the coefficients that its name means, the last one
// holds, and a name of nothing is refused.
func TestPriorNames(t *testing.T) {
	r := testRequest(1)
	p, err := ParsePrior("normal:3,c=normal:2,c=r=normal:5,x=student-t:4:1")
	if err != nil {
		t.Fatal(err)
	}
	laws, err := p.bind(r.Encoding.Coefficients, r.Encoding)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"normal:3", "student-t:4:1", "normal:3", "normal:2", "normal:5"}
	for i, law := range laws {
		if law.String() != want[i] {
			t.Errorf("coefficient %d: %s, want %s", i, law, want[i])
		}
	}
	for _, text := range []string{"normal:1,z=normal:1", "normal:1,c=z=normal:1", "normal:1,y=normal:1"} {
		if r.Prior, err = ParsePrior(text); err != nil {
			t.Fatal(err)
		}
		if _, err := NewPlan(r); err == nil {
			t.Errorf("%q names nothing and is planned with", text)
		}
	}
}

// logDensity is the logarithm of a law's density, up to a constant, from its formula.
func logDensity(kind string, nu, s, x float64) float64 {
	switch kind {
	case "student-t":
		return -(nu + 1) / 2 * math.Log(1+x*x/(nu*s*s))
	case "horseshoe":
		return math.Log(math.Log(1 + s*s/(x*x+s*s/100)))
	}
	return -x * x / (2 * s * s)
}

// TestPriorGradients: gradients are those of the formulas, the curvature at 0 is that
// of the formula, and no larger curvature is found.
func TestPriorGradients(t *testing.T) {
	for _, law := range []density{{"normal", 0, 0.5}, {"student-t", 3, 2}, {"student-t", 0.5, 0.1}, {"horseshoe", 0, 0.7}, {"horseshoe", 0, 1}} {
		rho := func(x float64) float64 { return -logDensity(law.kind, law.nu, law.scale, x) }
		for x := -9.7 * law.scale; x < 10*law.scale; x += 0.0631 * law.scale {
			h := 1e-5 * law.scale
			want := (rho(x+h) - rho(x-h)) / (2 * h)
			if got := law.gradient(x); math.Abs(got-want) > 1e-6*(1+math.Abs(want)) {
				t.Fatalf("%s at %g: gradient %g, want %g", law, x, got, want)
			}
			if c := (law.gradient(x+h) - law.gradient(x-h)) / (2 * h); c > law.curvature()*(1+1e-6) {
				t.Fatalf("%s at %g: curvature %g, stated %g", law, x, c, law.curvature())
			}
		}
		h := 1e-4 * law.scale
		if c := law.gradient(h) / h; math.Abs(c/law.curvature()-1) > 1e-4 {
			t.Errorf("%s: curvature at 0 is %g, stated %g", law, c, law.curvature())
		}
	}
}

// TestPriorDraws: 40,000 draws have the law's distribution function, from the
// trapezoidal rule over its formula on a grid of logarithms (beyond it, a share of
// 10⁻⁵): Kolmogorov–Smirnov, false alarms 10⁻⁷ a law; a shift of 1.6 % of probability
// is noticed with probability 0.99, and a scale that is off by 10 % must be.
func TestPriorDraws(t *testing.T) {
	const n = 40_000
	for i, law := range []density{{"normal", 0, 0.5}, {"student-t", 3, 2}, {"horseshoe", 0, 0.7}} {
		// |x|·density is what the rule adds up over log|x|.
		const cells = 4000
		var grid, below [cells + 1]float64
		at := func(k int) float64 { return law.scale * math.Exp(-14+28*float64(k)/cells) }
		for k := range grid {
			grid[k] = at(k)
			if k > 0 {
				f := func(x float64) float64 { return x * math.Exp(logDensity(law.kind, law.nu, law.scale, x)) }
				below[k] = below[k-1] + (f(grid[k])+f(grid[k-1]))/2
			}
		}
		src := privacy.NewSeeded(uint64(i), "prior")
		draws := make([]float64, n)
		for k := range draws {
			v, err := law.draw(src)
			if err != nil {
				t.Fatal(err)
			}
			draws[k] = v
		}
		distance := func(scale float64) float64 {
			var counts [cells + 1]int
			up := 0
			for _, v := range draws {
				k := int(math.Ceil((math.Log(math.Abs(v)*scale/law.scale) + 14) * cells / 28))
				counts[min(max(k, 0), cells)]++
				if v > 0 {
					up++
				}
			}
			d := math.Abs(float64(up)/n - 0.5)
			sum := 0
			for k := range counts {
				sum += counts[k]
				d = math.Max(d, math.Abs(float64(sum)/n-below[k]/below[cells]))
			}
			return d
		}
		const limit = 2.9 / 200 // √(log(2·10⁷)/2)/√n
		if d := distance(1); d > limit {
			t.Errorf("%s: distance %.4f", law, d)
		}
		if d := distance(1.1); d < limit {
			t.Errorf("%s: a scale that is off by 10 %% is not noticed: %.4f", law, d)
		}
	}
}
