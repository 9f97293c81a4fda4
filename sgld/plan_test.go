package sgld

import (
	"context"
	"errors"
	"math"
	"strconv"
	"testing"

	"github.com/privsgld/privsgld/accountant"
	"github.com/privsgld/privsgld/privacy"
)

func testRequest(eps float64) Request {
	return Request{
		Encoding: testEncoding(), Rows: 100_000, Adjacency: accountant.AddRemove, Method: accountant.MethodRDP,
		Epsilon: accountant.MustAmount(strconv.FormatFloat(eps, 'f', -1, 64)), Delta: accountant.MustAmount("1e-6"), Metric: MetricAuto, Init: InitZero, Chains: 1, Draws: 1000, Warmup: 0.3,
	}
}

func ptr[T any](v T) *T { return &v }

// TestPlansStayWithinEpsilon tries the combinations of settings: whatever is
// planned costs at most ε, the temperature is that of the formula, and the
// draws fit.
func TestPlansStayWithinEpsilon(t *testing.T) {
	planned := 0
	for _, eps := range []float64{0.05, 1, 8, 1e7} {
		for _, method := range []accountant.Method{accountant.MethodRDP, accountant.MethodGDP} {
			for _, adj := range []accountant.Adjacency{accountant.AddRemove, accountant.ReplaceOne} {
				for i, change := range []func(*Request){
					func(*Request) {},
					func(r *Request) { r.Rows = 0 },
					func(r *Request) { r.Chains = 4 },
					func(r *Request) { r.Schedule.Alpha = 0.6 },
					func(r *Request) { r.Steps = ptr[int64](3000) },
					func(r *Request) { r.Clip = ptr(2.0) },
					func(r *Request) { r.NoiseMultiplier = ptr(900.0) },
					func(r *Request) { r.StepSize = ptr(1e-6); r.Steps = ptr[int64](2000) },
					func(r *Request) { r.Metric = MetricPublic; r.Temperature = ptr(2.0) },
					func(r *Request) { r.Metric = MetricIdentity; r.Rows = 0 },
					func(r *Request) { r.Rate = ptr(0.05); r.Steps = ptr[int64](2000) },
					func(r *Request) { r.Sampler = SamplerSGLD },
					func(r *Request) {
						r.Sampler = SamplerSGHMC
						r.Momentum = ptr(0.95)
						r.Schedule = Schedule{Alpha: 1, Offset: 20}
					},
					func(r *Request) { r.Sampler = SamplerPSGLD },
					func(r *Request) { r.Schedule.Cycles = 7 },
					func(r *Request) { r.Schedule = Schedule{Cycles: 3, Hot: true} },
				} {
					if i == 10 && (method == accountant.MethodGDP || eps > 100) {
						continue
					}
					r := testRequest(eps)
					r.Method, r.Adjacency = method, adj
					change(&r)
					p, err := NewPlan(r)
					var c *Conflict
					if errors.As(err, &c) {
						continue
					}
					if err != nil {
						t.Fatalf("case %d, ε %g: %v", i, eps, err)
					}
					planned++
					checkPlan(t, p, i)
					if p.CountEpsilon != nil {
						q, err := p.WithCount(54_321)
						if err != nil {
							t.Fatalf("case %d, ε %g after the count: %v", i, eps, err)
						}
						checkPlan(t, q, i)
						full, _ := accountant.RDP(p.Reserve(), 4)
						used, _ := accountant.RDP(q.event(q.NoiseMultiplier, q.Steps), 4)
						if used > full {
							t.Errorf("case %d, ε %g: a plan after its count costs more than was reserved", i, eps)
						}
					}
				}
			}
		}
	}
	if planned < 120 {
		t.Errorf("only %d plans were made", planned)
	}
}

func checkPlan(t *testing.T, p *Plan, i int) {
	t.Helper()
	r := p.Request
	eps, _, err := accountant.Epsilon(r.Method, p.Reserve(), r.delta())
	if err != nil || eps > r.epsilon() {
		t.Errorf("case %d: the plan costs %g of %g, %v", i, eps, r.epsilon(), err)
	}
	v := p.NoiseMultiplier * p.Clip / p.Rate
	if want := p.StepSize * v * v / 2 / r.Schedule.heat(); math.Abs(p.Temperature/want-1) > 1e-9 {
		t.Errorf("case %d: temperature %g, want %g", i, p.Temperature, want)
	}
	if r.Temperature != nil && math.Abs(p.Temperature / *r.Temperature - 1) > 1e-6 {
		t.Errorf("case %d: temperature %g, asked %g", i, p.Temperature, *r.Temperature)
	}
	var steps int64
	for _, s := range p.Segments {
		steps += s.Steps
	}
	if steps != p.Steps || p.Warmup+p.Thin*int64(r.Draws) > p.Steps || p.Thin < 1 {
		t.Errorf("case %d: %d steps in segments of %d, warm-up %d, thin %d, draws %d", i, steps, p.Steps, p.Warmup, p.Thin, r.Draws)
	}
}

// TestCountFitsItsOwnBudget: a run that buys a count fits into a fresh budget of
// the ε that it asks for, under the filter's own order.
func TestCountFitsItsOwnBudget(t *testing.T) {
	for _, eps := range []float64{0.1, 1, 4, 8} {
		for _, method := range []accountant.Method{accountant.MethodRDP, accountant.MethodGDP} {
			r := testRequest(eps)
			r.Rows, r.Method = 0, method
			p, err := NewPlan(r)
			if err != nil {
				t.Fatal(err)
			}
			f, err := accountant.NewFilter(accountant.Terms{Method: method, Epsilon: r.Epsilon, Delta: r.Delta})
			if err != nil {
				t.Fatal(err)
			}
			cost, err := f.Cost(p.Reserve())
			if err != nil || !f.Admits(cost) {
				t.Errorf("ε %g by %s: the run does not fit its own budget, %v", eps, method, err)
			}
		}
	}
}

// TestPlansThatRun: what is planned at the ends of the range can be built.
func TestPlansThatRun(t *testing.T) {
	g, err := newDesign(testRecords(testRows(30, testTheta, 0, 8), 30), testEncoding())
	if err != nil {
		t.Fatal(err)
	}
	for i, change := range []func(*Request){
		func(r *Request) { r.Epsilon = accountant.MustAmount("1e-5") },
		func(r *Request) { r.Epsilon = accountant.MustAmount("0.001"); r.Steps = ptr[int64](100_000) },
		func(r *Request) {
			r.Epsilon = accountant.MustAmount("0.005")
			r.Steps = ptr[int64](1_000_000)
			r.Schedule.Alpha = 1
		},
		func(r *Request) { r.Epsilon = accountant.MustAmount("1e7"); r.Rows = 1_000_000_000 },
		func(r *Request) { r.Rows = 1; r.Prior = Prior{all: density{scale: 1e6}} },
		func(r *Request) { r.Metric = MetricBought; r.Rows = 10 },
	} {
		r := testRequest(1)
		change(&r)
		p, err := NewPlan(r)
		if err != nil {
			t.Errorf("case %d: %v", i, err)
			continue
		}
		// A few steps of it, with the noise of its last.
		p.Segments = []Segment{{Steps: 3, StepSize: p.StepSize, NoiseMultiplier: p.largestNoise()}}
		p.Steps, p.Request.Draws, p.Thin = 3, 2, 1
		if _, err := run(context.Background(), p, g, func(use string) privacy.Bits { return privacy.NewSeeded(1, use) }, nil); err != nil {
			t.Errorf("case %d was planned and does not run: %v", i, err)
		}
	}
}

// TestConflicts: settings that exclude each other are named.
func TestConflicts(t *testing.T) {
	for i, change := range []func(*Request){
		func(r *Request) { r.NoiseMultiplier = ptr(0.5); r.Steps = ptr[int64](5000) },
		func(r *Request) { r.NoiseMultiplier = ptr(900.0); r.StepSize = ptr(0.1); r.Temperature = ptr(1.0) },
		func(r *Request) { r.StepSize = ptr(0.5); r.Steps = ptr[int64](5000); r.Temperature = ptr(1.0) },
		func(r *Request) { r.Steps = ptr[int64](10) },
		func(r *Request) { r.Steps = ptr[int64](2000); r.Thin = 50 },
		func(r *Request) { r.Metric = "best" },
		func(r *Request) { r.Sampler = "hmc" },
		func(r *Request) { r.Momentum = ptr(1.0) },
		func(r *Request) { r.Momentum = ptr(0.5); r.Sampler = SamplerSGLD },
		func(r *Request) { r.Warmup = 0; r.Sampler = SamplerPSGLD },
		func(r *Request) { r.Schedule = Schedule{Cycles: 2, Hot: true}; r.Sampler = SamplerPSGLD },
		func(r *Request) { r.Schedule = Schedule{Cycles: 2, Alpha: 1} },
		func(r *Request) { r.Schedule.Cycles = 900; r.Steps = ptr[int64](800); r.Draws = 10 },
		func(r *Request) { r.Metric = MetricBought; r.Clip = ptr(1.0) },
		func(r *Request) { r.Init = "mode" },
		func(r *Request) { r.Epsilon = accountant.Amount{} },
		func(r *Request) { r.Delta = accountant.MustAmount("1") },
		func(r *Request) { r.Warmup = 1 },
		func(r *Request) { r.Rate = ptr(1.5) },
		func(r *Request) { r.Clip = ptr(math.Inf(1)) },
		func(r *Request) { r.Draws = 0 },
		func(r *Request) { r.Draws = 10_000_000; r.Chains = 100 },
		func(r *Request) { r.Clip = ptr(1e-8) },
		func(r *Request) { r.Encoding.Coefficients = make([]string, 2000) },
		func(r *Request) { r.Epsilon = accountant.MustAmount("1e-9"); r.Steps = ptr[int64](1_000_000_000) },
	} {
		r := testRequest(1)
		change(&r)
		var c *Conflict
		if _, err := NewPlan(r); !errors.As(err, &c) || c.Message == "" {
			t.Errorf("case %d: %v", i, err)
		}
	}
	for _, s := range []string{"poly:0", "poly:2", "poly:x", "cosine", "", "poly:1:", "poly:1:-1", "poly:1:x", "cyclical", "cyclical:0", "cyclical:1001", "cyclical:2:cold", "cyclical:01", "constant:hot"} {
		if _, err := ParseSchedule(s); err == nil {
			t.Errorf("schedule %q is accepted", s)
		}
	}
}

// TestMomentumSavesSteps: at equal budget and equal bias of a step the planner needs
// a fifth of the steps or less in a metric whose fastest direction is much faster
// than the slowest, and less than half where all are alike. It stays away from
// momentum where that would slow down a direction of unit curvature, and where it
// gains nothing.
func TestMomentumSavesSteps(t *testing.T) {
	plan := func(change func(*Request)) *Plan {
		r := testRequest(0.5)
		r.Draws = 100
		change(&r)
		p, err := NewPlan(r)
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	for metric, least := range map[string]int64{MetricPublic: 5, MetricBought: 2} {
		with := plan(func(r *Request) { r.Metric = metric })
		without := plan(func(r *Request) { r.Metric, r.Sampler = metric, SamplerSGLD })
		if with.Sampler != SamplerSGHMC || without.Sampler != SamplerSGLD || without.Momentum != 0 {
			t.Fatalf("samplers %s and %s", with.Sampler, without.Sampler)
		}
		if with.Steps*least > without.Steps {
			t.Errorf("%s: %d steps with momentum, %d without", metric, with.Steps, without.Steps)
		}
		if math.Abs(with.DiffusionTime/without.DiffusionTime-1) > 1e-6 || math.Abs(with.Temperature/without.Temperature-1) > 1e-6 {
			t.Errorf("%s: time %g at temperature %g, without momentum %g at %g", metric, with.DiffusionTime, with.Temperature, without.DiffusionTime, without.Temperature)
		}
		if bias := with.StepSize * with.curve / gain(with.Momentum); bias > targetStep*1.02 {
			t.Errorf("%s: the bias of a step is %g", metric, bias)
		}
		if rate := (1 - with.Momentum) / 2; rate < with.StepSize*(1-1e-9) {
			t.Errorf("%s: a direction of unit curvature relaxes by %g a step, not %g", metric, rate, with.StepSize)
		}
	}
	for _, p := range []*Plan{
		plan(func(r *Request) { r.Steps = ptr[int64](25); r.Draws = 5 }),
		plan(func(r *Request) { r.Schedule.Alpha = 0.5 }),
		plan(func(r *Request) { r.Rate = ptr(0.1); r.Steps = ptr[int64](1000) }),
	} {
		if p.Sampler != SamplerSGLD || p.Momentum != 0 {
			t.Errorf("%s with momentum %g", p.Sampler, p.Momentum)
		}
	}
}
