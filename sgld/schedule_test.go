package sgld

import (
	"math"
	"strings"
	"testing"
)

// TestCyclicalSteps: the vectors' steps to 10⁻¹²; cycles of many steps within the
// grid of the formula; and as many steps as asked, whole cycles or not.
func TestCyclicalSteps(t *testing.T) {
	for _, c := range loadVectors(t).Cyclical {
		var eta []float64
		for _, s := range (Schedule{Cycles: c.M}).shape(c.K) {
			for range s.steps {
				eta = append(eta, c.Eta0*s.size)
			}
		}
		if len(eta) != len(c.Eta) {
			t.Fatalf("%d steps, want %d", len(eta), len(c.Eta))
		}
		for k, want := range c.Eta {
			close12(t, "step", eta[k], want)
		}
	}
	for _, c := range []struct{ steps, cycles int64 }{{100_000, 3}, {99_999, 7}, {1003, 2}, {1000, 1000}, {7, 5}} {
		for _, hot := range []bool{false, true} {
			var k int64
			l := (c.steps + c.cycles - 1) / c.cycles
			for _, s := range (Schedule{Cycles: c.cycles, Hot: hot}).shape(c.steps) {
				for range s.steps {
					exact := (math.Cos(math.Pi*float64(k%l)/float64(l)) + 1) / 2
					if s.size < exact*(1-1e-9) || s.size > exact*gridRatio*gridRatio*(1+1e-6) {
						t.Fatalf("%v: step %d of %d has size %g, want within the grid above %g", c, k+1, c.steps, s.size, exact)
					}
					if want := 1 / math.Sqrt(s.size); hot && s.ratio != 1 || !hot && math.Abs(s.ratio/want-1) > 1e-12 {
						t.Fatalf("%v: step %d has noise %g", c, k+1, s.ratio)
					}
					k++
				}
			}
			if k != c.steps {
				t.Errorf("%v: %d steps", c, k)
			}
		}
	}
}

// TestPolynomialSteps: η_k ∝ (b + k)^−α, exactly where steps are few.
func TestPolynomialSteps(t *testing.T) {
	for _, s := range []Schedule{{Alpha: 0.55}, {Alpha: 1, Offset: 12.5}} {
		for k, g := range s.shape(300) {
			want := math.Pow(s.Offset+float64(k+1), -s.Alpha) / math.Pow(s.Offset+1, -s.Alpha)
			close12(t, "step", g.size, want)
			close12(t, "noise", g.ratio*g.ratio*g.size, 1)
		}
		var k int64
		for _, g := range s.shape(200_000) {
			want := math.Pow((s.Offset+float64(k+1))/(s.Offset+1), -s.Alpha)
			if g.size < want*(1-1e-9) || g.size > want*gridRatio*gridRatio*(1+1e-6) {
				t.Fatalf("step %d has size %g, want %g", k+1, g.size, want)
			}
			k += g.steps
		}
	}
}

// TestScheduleNames: text and schedule are the inverse of each other.
func TestScheduleNames(t *testing.T) {
	for _, text := range []string{"constant", "poly:0.55", "poly:1:20", "poly:0.3333333333333333:0.25", "cyclical:1", "cyclical:12:hot"} {
		s, err := ParseSchedule(text)
		if err != nil || s.String() != text || s.check() != nil {
			t.Errorf("%s: %v, %v", text, s, err)
		}
	}
}

// TestRobbinsMonro: the plan names the condition that fails, where one does.
func TestRobbinsMonro(t *testing.T) {
	for text, fails := range map[string]bool{"constant": false, "poly:1": false, "poly:0.51": false, "poly:0.5": true, "poly:0.3333": true, "cyclical:4": true} {
		r := testRequest(1)
		var err error
		if r.Schedule, err = ParseSchedule(text); err != nil {
			t.Fatal(err)
		}
		p, err := NewPlan(r)
		if err != nil {
			t.Fatal(err)
		}
		named := strings.Contains(strings.Join(p.Warnings, "\n"), "squared step sizes do not add up")
		if named != fails {
			t.Errorf("%s: warnings %q", text, p.Warnings)
		}
	}
}
