package sgld

import (
	"fmt"
	"math"
	"runtime"
	"slices"
	"strconv"

	"github.com/privsgld/privsgld/accountant"
	"github.com/privsgld/privsgld/datasets"
	"github.com/privsgld/privsgld/privacy"
)

// Conflict is a request that cannot be planned: an unknown name, or settings
// that exclude each other. Its message names them.
type Conflict struct{ Message string }

func (c *Conflict) Error() string { return c.Message }

func conflictf(format string, args ...any) error {
	return &Conflict{Message: fmt.Sprintf(format, args...)}
}

// Metrics: the coordinates in which a chain runs.
const (
	MetricAuto     = "auto"     // the planner chooses
	MetricIdentity = "identity" // the coefficients themselves
	MetricPublic   = "public"   // from bounds, levels, prior and the number of units
	MetricBought   = "bought"   // from a noisy Gram matrix, charged
)

// Starting points of a chain.
const (
	InitZero  = "zero"
	InitPrior = "prior"
)

// Request is what a run is planned from: public facts and the user's settings.
// Nil pointers and zero counts mean "choose".
type Request struct {
	Encoding  datasets.Encoding
	Model     string   // one of Models; empty: logistic
	NoiseSD   *float64 // of the linear model, on the encoded target: known
	Rows      int64    // public number of units; 0: not public
	Adjacency accountant.Adjacency
	Method    accountant.Method // accountant of the job's (ε, δ)
	Epsilon   accountant.Amount // the most that the job may cost
	Delta     accountant.Amount
	Prior     Prior

	Temperature     *float64
	Clip            *float64
	Rate            *float64
	Steps           *int64
	StepSize        *float64
	NoiseMultiplier *float64
	Schedule        Schedule
	Sampler         string   // "" is SamplerAuto
	Momentum        *float64 // a of SamplerSGHMC, in [0, 1)
	Metric          string
	Init            string
	Chains, Draws   int // draws per chain
	Warmup          float64
	Thin            int64
}

// Plan is what will run. A plan that buys a count is completed by WithCount.
type Plan struct {
	Request         Request
	Units           float64 // public or noisy number of units that the plan reckons with; 0: unknown
	Metric          string
	Clip            float64
	Scale           float64 // residuals enter the sum over it: a power of two, and none is larger; 0: the model's
	Rate            float64
	Sampler         string
	Momentum        float64 // a of the recursion; 0 unless the sampler is SGHMC
	Steps           int64   // of each chain
	StepSize        float64 // of the first step, as its diffusion time: η/(1−a), and η without momentum
	NoiseMultiplier float64 // of the first step
	Temperature     float64 // effective temperature, T = step size·(zC/q)²/2, at the target
	DiffusionTime   float64 // of each chain: Σ η_k/(1−a)
	Warmup          int64   // steps dropped at the start of each chain
	Thin            int64
	Segments        []Segment

	CountEpsilon        *accountant.Amount // noisy count to buy first
	GramNoiseMultiplier float64            // noisy Gram matrix to buy; 0: none
	Explain             []string           // one line a choice
	Warnings            []string

	model    model
	facts    facts
	kappa    []float64 // precisions of the prior, of one copy of the coefficients and what is beside
	prospect *prospect // coordinates, clip and temperature by forecast; nil: the usual
	gramNu   float64   // spectral norm of the Gram noise, roughly
	curve    float64   // bound of the curvature in the metric
	muTotal  float64   // full batch: what all Gaussians may take, in Gaussian DP
	muSteps  float64   // what is left of it for the steps
}

// Segment is a run of equal steps of each chain.
type Segment struct {
	Steps           int64
	StepSize        float64 // diffusion time of a step
	NoiseMultiplier float64
	PublicNoise     float64 // standard deviation of noise added to the gradient apart from the data
	Hot             bool    // above the target's temperature: no draws
}

// Figures of the planner. They are habits, not guarantees: none of them enters
// the accounting.
const (
	gramShare      = 0.1   // of μ² that a Gram matrix may take
	gramEnough     = 1e-4  // noise per unit below which a Gram matrix needs no more budget
	gramFraction   = 100   // bought only if its noise is below units/gramFraction
	countShare     = 0.05  // of ε that a noisy count takes
	boughtClip     = 2.0   // C over the typical row norm √(d/(n·w)) in a bought metric
	boughtLeast    = 1.5   // of it where time is short: fewer than roomyTime relaxation times
	targetStep     = 0.05  // η·λ that discretisation is held to where compute allows
	surplusStep    = 0.1   // η·λ where the budget outlasts the compute
	roomyTime      = 100   // relaxation times up to which a budget is spent on time before it is on wider residuals
	residualRoom   = 4     // residuals that the lattice has room for, over that of the row with the largest norm
	shortTime      = 500   // relaxation times below which time matters more than bias
	longTime       = 20000 // relaxation times beyond which more buys nothing
	honestTime     = 40    // relaxation times that a chain at temperature 1 needs
	hotTime        = 30    // relaxation times that a hotter chain aims at
	hottest        = 10.0
	rowVisits      = 2.4e9 // row evaluations that a planned run aims to stay below
	dearVisit      = 4     // cost of a unit's contribution above which fewer are aimed at
	leastSteps     = 2000
	unknownUnits   = 1e4    // assumed where the number of units is neither public nor bought
	joinVisits     = 0.7    // visits that drawing a unit of a batch at q < 1 counts as
	visitSeconds   = 2e-9   // with the vector kernel
	visitSecondsBy = 5e-10  // more for each feature
	joinSeconds    = 1.2e-8 // to draw a unit that joins a batch at q < 1
	stepSeconds    = 1e-5   // a step's noise and update
)

// NewPlan chooses what the request leaves open. Errors: *Conflict for settings
// that exclude each other or exceed the budget, accountant.ErrUnsupported where
// the accountant has no rule for them.
func NewPlan(r Request) (*Plan, error) {
	if err := r.check(); err != nil {
		return nil, err
	}
	if r.Method == accountant.MethodGDP && r.Rate != nil && *r.Rate < 1 {
		return nil, fmt.Errorf("sampling rate %g: the gdp filter has no amplification by sampling, leave out --sampling-rate: %w", *r.Rate, accountant.ErrUnsupported)
	}
	p := &Plan{Request: r, Units: float64(r.Rows), Rate: 1}
	if err := p.know(); err != nil {
		return nil, err
	}
	if r.Rate != nil {
		p.Rate = *r.Rate
	}
	if r.Rows == 0 {
		if p.Rate == 1 {
			share := accountant.AmountDown(r.epsilon() * countShare)
			p.CountEpsilon = &share
			p.explain("count: the policy has no public number of rows, so %s of ε buys a noisy count (Laplace)", share)
		} else {
			p.Units = unknownUnits
			p.explain("units: not public and not bought at q < 1, so the plan reckons with %.0f", p.Units)
		}
	}
	if p.CountEpsilon != nil {
		p.Units = unknownUnits
	}
	if err := p.budget(); err != nil {
		return nil, err
	}
	if err := p.choose(); err != nil {
		return nil, err
	}
	return p, nil
}

// know takes what the planner must know of model and prior.
func (p *Plan) know() error {
	r := &p.Request
	of, err := newModel(r)
	if err != nil {
		return err
	}
	laws, err := r.Prior.bind(of.names(), r.Encoding)
	if err != nil {
		return err
	}
	p.model, p.facts = of, of.facts()
	d := len(r.Encoding.Coefficients)
	p.kappa = laws.precisions(d, p.facts.copies)
	switch dim := p.facts.dim(d); {
	case d+len(p.facts.beside) > privacy.MaxDim:
		return conflictf("the features have %d coefficients: at most %d are sampled", d, privacy.MaxDim)
	case float64(r.Draws)*float64(r.Chains)*float64(dim) > mostDraws:
		return conflictf("%d draws of %d chains with %d parameters are more than a run keeps: lower --draws or --chains", r.Draws, r.Chains, dim)
	}
	return nil
}

// WithCount completes a plan with the noisy number of units that it bought.
// Under full batches the accounting lets the rest depend on it: it spends the
// same μ whatever the answer.
func (p Plan) WithCount(units int64) (*Plan, error) {
	p.Units = math.Max(float64(units), 100)
	p.Explain = append([]string(nil), p.Explain[:1]...)
	p.Warnings = nil
	if err := p.budget(); err != nil {
		return nil, err
	}
	if err := p.choose(); err != nil {
		return nil, err
	}
	return &p, nil
}

// epsilon and delta are what is planned with: rounded down.
func (r *Request) epsilon() float64 { return r.Epsilon.Float64Down() }
func (r *Request) delta() float64   { return r.Delta.Float64Down() }

// mostDraws bounds the numbers that a run keeps: a gigabyte.
const mostDraws = 1 << 27

func (r *Request) check() error {
	d := len(r.Encoding.Coefficients)
	switch {
	case !(r.epsilon() > 0):
		return conflictf("epsilon must be positive")
	case !(r.delta() > 0 && r.delta() < 1):
		return conflictf("delta must lie between 0 and 1")
	case d < 1 || d > privacy.MaxDim:
		return conflictf("the features have %d coefficients: at most %d are sampled", d, privacy.MaxDim)
	case r.Chains < 1 || r.Chains > 1000:
		return conflictf("chains must lie between 1 and 1000")
	case r.Draws < 1 || r.Draws > 10_000_000:
		return conflictf("draws must lie between 1 and 10000000")
	case !(r.Warmup >= 0 && r.Warmup < 1):
		return conflictf("warmup is the share of the steps dropped: at least 0 and below 1")
	case r.Thin < 0:
		return conflictf("thin must be at least 1")
	case r.Steps != nil && (*r.Steps < 1 || *r.Steps > 1e9):
		return conflictf("steps must lie between 1 and 1000000000")
	case r.Rate != nil && !(*r.Rate > 0 && *r.Rate <= 1):
		return conflictf("sampling rate must be above 0 and at most 1")
	}
	if err := r.checkDynamics(); err != nil {
		return err
	}
	for name, v := range map[string]*float64{"clip": r.Clip, "step size": r.StepSize, "noise multiplier": r.NoiseMultiplier, "temperature": r.Temperature} {
		if v != nil && !(*v >= 1e-12 && *v <= 1e12) {
			return conflictf("%s must lie between 1e-12 and 1e12", name)
		}
	}
	if r.Steps != nil && r.Thin > 0 && r.need(r.Thin) > *r.Steps {
		return conflictf("%d steps with warmup %g and thin %d hold fewer than %d draws: lower --draws, --thin or --warmup, or raise --steps", *r.Steps, r.Warmup, r.Thin, r.Draws)
	}
	if r.Steps != nil && r.need(1) > *r.Steps {
		return conflictf("%d steps with warmup %g hold fewer than %d draws: lower --draws or --warmup, or raise --steps", *r.Steps, r.Warmup, r.Draws)
	}
	switch r.Metric {
	case MetricAuto, MetricIdentity, MetricPublic, MetricBought:
	default:
		return conflictf("unknown metric %q: use auto, identity, public or bought", r.Metric)
	}
	if r.Init != InitZero && r.Init != InitPrior {
		return conflictf("unknown start %q: use zero or prior", r.Init)
	}
	if r.Metric == MetricBought && r.Rate != nil && *r.Rate < 1 {
		return conflictf("a bought metric needs full batches: leave out --sampling-rate, or choose another --metric")
	}
	if r.Metric == MetricBought && r.byHand() {
		return conflictf("a bought metric chooses clip, step size and noise multiplier itself: leave those out, or choose another --metric")
	}
	return nil
}

// byHand says whether a setting that lives in the coordinates of the chain was
// given: then the coordinates are the coefficients themselves.
func (r *Request) byHand() bool {
	return r.Clip != nil || r.StepSize != nil || r.NoiseMultiplier != nil
}

// need returns the steps that hold all draws at that thinning.
func (r *Request) need(thin int64) int64 {
	return int64(math.Ceil(float64(r.Draws) * float64(thin) / (1 - r.Warmup) * (1 - 1e-12)))
}

func (p *Plan) explain(format string, args ...any) {
	p.Explain = append(p.Explain, fmt.Sprintf(format, args...))
}

func (p *Plan) warn(format string, args ...any) {
	p.Warnings = append(p.Warnings, fmt.Sprintf(format, args...))
}

// sensitivity is that of a full-batch sum in units of C.
func (p *Plan) sensitivity() float64 {
	if p.Request.Adjacency == accountant.ReplaceOne {
		return 2
	}
	return 1
}

// budget sets muTotal: the μ of full-batch Gaussians that fits into the job's
// (ε, δ) beside a noisy count, a hair below the limit so that sums of many steps
// stay within it. Beside a count it is what a filter of just this (ε, δ) leaves,
// so that a budget of the job's size takes the job.
func (p *Plan) budget() error {
	r := &p.Request
	if p.CountEpsilon == nil {
		p.muTotal = accountant.GaussianMu(r.Method, r.epsilon(), r.delta()) * (1 - 1e-9)
		return nil
	}
	f, err := accountant.NewFilter(accountant.Terms{Method: r.Method, Epsilon: r.Epsilon, Delta: r.Delta})
	if err != nil {
		return conflictf("no filter has this epsilon and delta: %v", err)
	}
	cost, err := f.Cost(accountant.Pure(r.Adjacency, *p.CountEpsilon, 1))
	if err != nil {
		return conflictf("the accountant cannot account for a noisy count: %v", err)
	}
	p.muTotal = f.GaussianLeft(cost) * (1 - 1e-9)
	if !(p.muTotal > 0) {
		return conflictf("epsilon is too small for a noisy count and a run: give the policy a public number of rows, or raise --epsilon")
	}
	return nil
}

// choose fills in everything from Units and the budget.
func (p *Plan) choose() error {
	r := &p.Request
	p.prospect = nil
	before := len(p.Explain)
	p.chooseMetric()
	if err := p.chooseClip(); err != nil {
		return err
	}
	if p.weigh(); p.prospect != nil {
		p.Explain = p.Explain[:before]
		p.chooseMetric()
		if err := p.chooseClip(); err != nil {
			return err
		}
		p.explain("forecast: against predictions without privacy these lose about %s", p.prospect.forecast)
	}
	if err := p.solve(); err != nil {
		return err
	}
	p.Thin = r.Thin
	if p.Thin == 0 {
		p.Thin = max(1, (p.Steps-p.Warmup)/int64(r.Draws))
	}
	if p.Warmup+p.Thin*int64(r.Draws) > p.Steps {
		return conflictf("%d steps with warmup %g and thin %d hold fewer than %d draws: lower --draws, --thin or --warmup", p.Steps, r.Warmup, p.Thin, r.Draws)
	}
	if err := p.feasible(); err != nil {
		return err
	}
	if fails := r.Schedule.robbinsMonro(); fails != "" {
		p.warn("%s", fails)
	}
	return nil
}

// mostNoise is the largest noise multiplier of a step.
const mostNoise = 0x1p30

func (p *Plan) largestNoise() float64 {
	z := 0.0
	for _, s := range p.Segments {
		z = math.Max(z, s.NoiseMultiplier)
	}
	return z
}

// feasible finds out, from public facts, whether lattice, clip and noise fit
// together: a run must not fail for that after its data was opened.
func (p *Plan) feasible() error {
	r := &p.Request
	d := len(r.Encoding.Coefficients)
	if z := p.largestNoise(); z > mostNoise {
		return conflictf("noise multiplier %.3g is beyond %.3g: ask for fewer steps, or for more epsilon", z, mostNoise)
	}
	g, err := privacy.Spacing(p.Clip, p.largestNoise())
	if err != nil {
		return conflictf("clip %.3g: %v", p.Clip, err)
	}
	for _, s := range p.levels() {
		if _, err := stepNoise(p.Clip, s.ratio*p.NoiseMultiplier, g); err != nil {
			return conflictf("noise multiplier %.3g at clip %.3g: %v", s.ratio*p.NoiseMultiplier, p.Clip, err)
		}
	}
	if p.Metric == MetricBought {
		if _, err := gramNoise(gramNorm(len(r.Encoding.Features), d), p.GramNoiseMultiplier); err != nil {
			return conflictf("epsilon is too small to buy a metric: choose --metric public")
		}
		return nil
	}
	root := identityRoot(d)
	if p.Metric == MetricPublic {
		if root, err = publicRoot(r.Encoding, p.Units, p.facts.weight, p.kappa); err != nil {
			return conflictf("the public metric has no root for this prior: %v", err)
		}
	}
	m, err := p.scaled(p.facts).metric(root, p.relaxingUnits(), p.kappa, p.Clip, p.largestNoise())
	if err == nil {
		var none *design
		if none, err = newDesign(nil, r.Encoding); err == nil {
			_, err = p.model.contribution(none, m, p.Clip)
		}
	}
	if err != nil {
		return conflictf("clip %.3g does not fit the metric: %v", p.Clip, err)
	}
	return nil
}

// relaxingUnits are the units of a metric in which time is counted in relaxation
// times; 0 in the coefficients' own units.
func (p *Plan) relaxingUnits() float64 {
	if p.relaxes() {
		return p.Units
	}
	return 0
}

// scaled returns facts with the plan's scale of residuals, where it has one.
func (p *Plan) scaled(f facts) facts {
	if p.Scale > 0 {
		f.scale = p.Scale
	}
	return f
}

func (p *Plan) chooseMetric() {
	r, mu := &p.Request, p.muTotal
	p.muSteps = mu
	p.Metric = r.Metric
	p.GramNoiseMultiplier = 0
	d := len(r.Encoding.Coefficients)
	norm := gramNorm(len(r.Encoding.Features), d)
	spread := 2 * math.Sqrt(float64(d)) * norm * p.sensitivity() // spectral norm of the noise at μ = 1, roughly
	muGram := math.Min(mu*math.Sqrt(gramShare), spread/(p.Units*gramEnough))
	nu := spread / muGram
	if p.Metric == MetricAuto {
		switch {
		case p.prospect != nil:
			p.Metric = p.prospect.metric
		case r.byHand():
			p.Metric = MetricIdentity
		case p.Rate == 1 && nu <= p.Units/gramFraction && norm*p.sensitivity()/muGram < 1<<19:
			p.Metric = MetricBought
		default:
			p.Metric = MetricPublic
		}
	}
	switch p.Metric {
	case MetricBought:
		p.GramNoiseMultiplier = p.sensitivity() / muGram
		p.gramNu = nu
		p.muSteps = math.Sqrt(mu*mu - muGram*muGram)
		p.explain("metric: bought; %.2g %% of the budget buys a noisy Gram matrix, after which all directions mix alike", 100*muGram*muGram/(mu*mu))
	case MetricPublic:
		p.explain("metric: public; from bounds, levels, prior and %.0f units", p.Units)
	default:
		p.explain("metric: identity; clip, step size and noise multiplier are in the coefficients' own units")
	}
}

// chooseClip sets C, the scale of residuals and the bound of the curvature in the
// chain's coordinates.
func (p *Plan) chooseClip() error {
	r, f := &p.Request, p.facts
	d, n := float64(len(r.Encoding.Coefficients)), p.Units
	wide := f.curvature / f.weight
	for _, b := range f.beside {
		wide = math.Max(wide, b.curvature/b.weight)
	}
	var norm, residual float64
	switch p.Metric {
	case MetricBought:
		typical := math.Sqrt(d / (n * f.weight))
		norm = boughtClip * typical
		if p.clipsProbability() {
			if time := p.timeAt(norm, p.temperatureOr(1)); time < roomyTime {
				norm = math.Max(boughtLeast, boughtClip*math.Sqrt(time/roomyTime)) * typical
			}
		}
		residual = p.residual(norm)
		p.Clip = norm * residual / f.share
		p.curve = 1.1 * wide
		// A budget that outlasts the longest useful run buys room instead.
		if room := p.muSteps / p.sensitivity() * math.Sqrt(2*p.temperatureOr(1)/longTime/float64(r.Chains)); room > p.Clip {
			p.Clip = room
		}
		p.explain("clip: %.4g, %.3g times the typical row norm in the metric%s", p.Clip, p.Clip/typical, p.ofResidual(residual))
	case MetricPublic:
		b2 := publicNorm2(r.Encoding)
		norm = math.Sqrt(b2/(n*f.weight)) * (1 + 1e-6)
		residual = p.residual(norm)
		p.Clip = norm * residual / f.share
		p.curve = 1 + b2*wide
		if residual < f.most {
			p.explain("clip: %.4g, the largest row norm in the metric%s", p.Clip, p.ofResidual(residual))
		} else {
			p.explain("clip: %.4g, the largest row norm in the metric%s: nothing is clipped", p.Clip, p.ofResidual(residual))
		}
	default:
		b2 := float64(1 + len(r.Encoding.Features))
		norm = math.Sqrt(b2) * (1 + 1e-6)
		residual = f.least
		if r.Clip != nil {
			// No row has a norm below 1, the intercept's.
			residual = *r.Clip
		}
		p.Clip = norm * residual / f.share
		p.curve = n*f.curvature*b2 + slices.Max(p.kappa)
		for _, b := range f.beside {
			p.curve = math.Max(p.curve, n*b.curvature+slices.Max(p.kappa))
		}
		p.explain("clip: %.4g", p.Clip)
	}
	if r.Clip != nil {
		p.Clip = *r.Clip
	}
	p.Scale = math.Min(f.scale, powerOfTwo(residualRoom*residual))
	if p.prospect != nil && p.prospect.share < 1 {
		p.Clip *= p.prospect.share
		p.explain("clip: lowered to %.4g, as time is short: residuals of the longest rows are cut at %.2g", p.Clip, p.prospect.share)
	}
	if !f.gradient {
		p.warn("the clipped contributions of this model are the gradient of no potential: where the clip binds, the law that is sampled has no closed form; means and standard deviations are those of the posterior only as far as few rows are clipped")
	}
	return nil
}

// residual is the residual at which a row of that norm is clipped: as wide as leaves
// the budget roomyTime relaxation times, between the model's bounds.
func (p *Plan) residual(norm float64) float64 {
	time := roomyTime * float64(p.Request.Chains)
	room := p.muSteps / p.sensitivity() * math.Sqrt(2*p.temperatureOr(1)/time) / norm * p.facts.share
	return math.Min(math.Max(room, p.facts.least), p.facts.most)
}

func (p *Plan) ofResidual(residual float64) string {
	if p.facts.least == 1 && p.facts.most == 1 {
		return ""
	}
	return fmt.Sprintf(" times a residual of %.3g (of at most %.3g)", residual, p.facts.most)
}

// RobustLikelihood says whether the clipped contributions are the gradient of a
// potential, so that the chain samples the posterior of a robust likelihood
// ([RobustLogistic] and its like), whichever rows are clipped.
func (p *Plan) RobustLikelihood() bool { return p.facts.gradient }

// relaxes says whether time is counted in relaxation times: in a metric a
// direction of unit curvature needs one.
func (p *Plan) relaxes() bool { return p.Metric != MetricIdentity }

func (p *Plan) temperatureOr(t float64) float64 {
	if p.Request.Temperature != nil {
		return *p.Request.Temperature
	}
	return t
}

// bought returns the events of the answers that the plan buys.
func (p *Plan) bought() []accountant.Event {
	var out []accountant.Event
	if p.CountEpsilon != nil {
		out = append(out, accountant.Pure(p.Request.Adjacency, *p.CountEpsilon, 1))
	}
	if p.GramNoiseMultiplier > 0 {
		out = append(out, accountant.Gaussian(p.Request.Adjacency, p.GramNoiseMultiplier, 1))
	}
	return out
}

// event returns all events for the schedule's shape at first multiplier z.
func (p *Plan) event(z float64, steps int64) accountant.Event {
	events := p.bought()
	for _, s := range p.Request.Schedule.levels(steps) {
		events = append(events, stepEvent(p.Request.Adjacency, p.Rate, z*s.ratio, s.steps*int64(p.Request.Chains)))
	}
	return accountant.Compose(events...)
}

// fits says whether the steps fit into the job's (ε, δ) beside what is bought.
func (p *Plan) fits(z float64, steps int64) (bool, error) {
	if p.Rate == 1 {
		// Gaussians add up in μ², and muTotal is what was, or will be, reserved.
		return p.sensitivity()*math.Sqrt(p.charges(steps)*float64(p.Request.Chains))/z <= p.muSteps, nil
	}
	eps, _, err := accountant.Epsilon(p.Request.Method, p.event(z, steps), p.Request.delta())
	return err == nil && eps <= p.Request.epsilon(), err
}

// calibrate returns the smallest first noise multiplier for that many steps.
func (p *Plan) calibrate(steps int64) (float64, error) {
	r := &p.Request
	if p.Rate < 1 {
		z, err := accountant.CalibrateNoise(r.Method, accountant.Target{Epsilon: r.epsilon(), Delta: r.delta()}, func(z float64) accountant.Event {
			return p.event(z, steps)
		})
		if err != nil {
			return 0, conflictf("no noise multiplier fits %d steps at sampling rate %g into epsilon", steps, p.Rate)
		}
		return z, nil
	}
	// Full batch: μ² = M·Σ_k (sensitivity/z_k)², exactly.
	return p.sensitivity() * math.Sqrt(p.charges(steps)*float64(r.Chains)) / p.muSteps * (1 + 1e-11), nil
}

// weight returns Σ_k η_k/η₁ over the quantised schedule: t = η₁·weight.
func (p *Plan) weight(steps int64) float64 {
	var sum float64
	for _, s := range p.Request.Schedule.shape(steps) {
		sum += float64(s.steps) * s.size
	}
	return sum
}

// charges returns Σ_k (z₁/z_k)² over the quantised schedule.
func (p *Plan) charges(steps int64) float64 {
	var sum float64
	for _, s := range p.Request.Schedule.levels(steps) {
		sum += float64(s.steps) / (s.ratio * s.ratio)
	}
	return sum
}

// langevinStep returns the first step's size 2T(q/(zC))², its temperature being the
// schedule's first; langevinNoise its inverse in z. With momentum the size is the
// step's diffusion time, so that both hold for all samplers.
func (p *Plan) langevinStep(z, t float64) float64 {
	v := p.Rate / (z * p.Clip)
	return 2 * t * p.Request.Schedule.heat() * v * v
}

func (p *Plan) langevinNoise(eta, t float64) float64 {
	return p.Rate * math.Sqrt(2*t*p.Request.Schedule.heat()/eta) / p.Clip
}

// leastStepsFor is the fewest steps that the planner chooses by itself.
func (p *Plan) leastStepsFor() int64 {
	thin := max(p.Request.Thin, 1)
	least := int64(leastSteps)
	if p.momentous() {
		least = leastMomentous
	}
	return max(least, p.Request.need(thin)+1)
}

func (p *Plan) mostSteps() int64 {
	visits := max(p.visits(), 1) * float64(p.Request.Chains) * max(p.facts.cost/dearVisit, 1)
	return max(p.leastStepsFor(), int64(math.Min(rowVisits/visits, 1e7)))
}

// solve chooses among steps, step size, noise multiplier and temperature what
// the request leaves open.
func (p *Plan) solve() error {
	r := &p.Request
	t := p.temperatureOr(1)
	switch {
	case r.NoiseMultiplier != nil:
		return p.solveNoise(*r.NoiseMultiplier, t)
	case r.StepSize != nil:
		return p.solveStep(*r.StepSize, t)
	case r.Steps != nil:
		z, err := p.calibrate(*r.Steps)
		if err != nil {
			return err
		}
		return p.finish(*r.Steps, z, t)
	}
	steps := p.leastStepsFor()
	most := p.mostSteps()
	for range 4 {
		z, err := p.calibrate(steps)
		if err != nil {
			return err
		}
		eta := p.langevinStep(z, p.autoTemperature(z, steps, t))
		want := int64(math.Ceil(float64(steps) * eta / p.stepWithin(targetStep, steps)))
		next := min(max(want, p.leastStepsFor()), most)
		if next == steps {
			break
		}
		steps = next
	}
	z, err := p.calibrate(steps)
	if err != nil {
		return err
	}
	return p.finish(steps, z, t)
}

// autoTemperature returns the temperature asked, or the one at which the
// budget's diffusion time mixes a direction of unit curvature.
func (p *Plan) autoTemperature(z float64, steps int64, asked float64) float64 {
	if p.Request.Temperature == nil && p.prospect != nil {
		return p.prospect.temperature
	}
	if p.Request.Temperature != nil || !p.relaxes() {
		return asked
	}
	time := p.langevinStep(z, 1) * p.weight(steps)
	if time >= honestTime {
		return 1
	}
	return math.Min(math.Max(hotTime/time, 1), hottest)
}

// finish sets the plan from steps and the smallest lawful z: step sizes beyond
// the useful or the stable are cut, which raises z and lowers the charge.
func (p *Plan) finish(steps int64, z, t float64) error {
	t = p.autoTemperature(z, steps, t)
	eta := p.langevinStep(z, t)
	limit := p.stepWithin(1, steps)
	surplus := p.stepWithin(surplusStep, steps)
	if p.relaxes() {
		w := p.weight(steps)
		limit = math.Min(limit, math.Min(longTime, math.Max(shortTime, surplus*w))/w)
	} else {
		limit = math.Min(limit, surplus*math.Max(1, float64(p.mostSteps())/float64(steps)))
	}
	if eta > limit && p.Request.Temperature == nil && t > 1 {
		// The steps and not the budget bind: cooler instead of faster.
		t = math.Max(1, limit/p.langevinStep(z, 1))
		eta = p.langevinStep(z, t)
	}
	if eta > limit {
		eta = limit
		z = math.Max(z, p.langevinNoise(eta, t)*(1+1e-12))
	}
	return p.set(steps, z, eta)
}

// solveNoise plans around a noise multiplier given by hand.
func (p *Plan) solveNoise(z, t float64) error {
	r := &p.Request
	steps := int64(0)
	if r.Steps != nil {
		steps = *r.Steps
		ok, err := p.fits(z, steps)
		if err != nil {
			return conflictf("the accountant cannot account for this run: %v", err)
		}
		if !ok {
			return conflictf("noise multiplier %g for %d steps costs more than epsilon %g: raise --noise-multiplier, or lower --steps", z, steps, r.epsilon())
		}
	} else {
		var err error
		if steps, err = p.stepsWithin(z); err != nil {
			return err
		}
	}
	eta := p.langevinStep(z, t)
	if r.StepSize != nil {
		eta = *r.StepSize
		v := z * p.Clip / p.Rate
		implied := eta * v * v / 2 / r.Schedule.heat()
		if r.Temperature != nil && math.Abs(implied / *r.Temperature - 1) > 1e-3 {
			return conflictf("clip, rate, step size and noise multiplier fix the temperature at %.4g, not %g: leave out one of them or --temperature", implied, *r.Temperature)
		}
	}
	return p.set(steps, z, eta)
}

// solveStep plans around a step size given by hand.
func (p *Plan) solveStep(eta, t float64) error {
	r := &p.Request
	z := p.langevinNoise(eta, t)
	if r.Steps != nil {
		ok, err := p.fits(z, *r.Steps)
		if err != nil {
			return conflictf("the accountant cannot account for this run: %v", err)
		}
		if ok {
			return p.set(*r.Steps, z, eta)
		}
		if r.Temperature != nil {
			return conflictf("%d steps of size %g at temperature %g cost more than epsilon %g: lower --steps or --step-size, or leave out --temperature", *r.Steps, eta, t, r.epsilon())
		}
		if z, err = p.calibrate(*r.Steps); err != nil {
			return err
		}
		return p.set(*r.Steps, z, eta)
	}
	steps, err := p.stepsWithin(z)
	if err != nil {
		return err
	}
	return p.set(steps, z, eta)
}

// stepsWithin returns the most steps at first multiplier z that fit, bounded by
// the compute that the planner allows itself.
func (p *Plan) stepsWithin(z float64) (int64, error) {
	least := p.Request.need(max(p.Request.Thin, 1))
	ok, err := p.fits(z, least)
	if err != nil {
		return 0, conflictf("the accountant cannot account for this run: %v", err)
	}
	if !ok {
		return 0, conflictf("the budget does not hold the %d steps that %d draws need at noise multiplier %.4g: lower --draws, or change the settings given by hand", least, p.Request.Draws, z)
	}
	lo, hi := least, max(p.mostSteps(), least)
	if ok, _ := p.fits(z, hi); ok {
		return hi, nil
	}
	for hi-lo > 1 {
		mid := lo + (hi-lo)/2
		if ok, _ := p.fits(z, mid); ok {
			lo = mid
		} else {
			hi = mid
		}
	}
	return lo, nil
}

// set writes the solution into the plan.
func (p *Plan) set(steps int64, z, eta float64) error {
	p.Steps, p.NoiseMultiplier, p.StepSize = steps, z, eta
	p.Warmup = int64(math.Ceil(float64(steps) * p.Request.Warmup * (1 - 1e-12)))
	v := z * p.Clip / p.Rate
	p.Temperature = tidy(eta * v * v / 2 / p.Request.Schedule.heat())
	p.DiffusionTime = eta * p.weight(steps)
	p.setDynamics()
	p.setSegments()
	if x := eta / p.stepWithin(1, steps); x > 1 {
		p.warn("step size times the curvature bound is %.2g: above 1 the chain may be unstable; lower --step-size", x)
	} else if x > 0.5 {
		p.warn("step size times the curvature bound is %.2g: the fastest directions may come out up to %.0f %% too wide", x, 100*(1/math.Sqrt(1-x/2)-1))
	}
	if p.Request.Temperature == nil && p.Temperature > 1.001 && p.byHandOnly() {
		p.warn("these settings do not reach temperature 1: the chain runs at temperature %.3g, so the draws' spread is the tempered posterior's, about %.2g times the posterior's; leave settings to the planner, or raise --epsilon", p.Temperature, math.Sqrt(p.Temperature))
	} else if p.Request.Temperature == nil && p.Temperature > 1.001 {
		p.warn("the budget does not reach temperature 1: the chain runs at temperature %.3g, so the draws' spread is the tempered posterior's, about %.2g times the posterior's; means are not affected to first order", p.Temperature, math.Sqrt(p.Temperature))
	}
	if p.Rate < 1 {
		heat := eta * p.Clip * p.Clip * p.Units * (1 - p.Rate) / (2 * p.Rate)
		p.warn("mini-batches add heat that the effective temperature leaves out: at most %.3g", heat)
	}
	p.explainDynamics()
	p.explain("steps: %d of size %.4g with noise multiplier %.4g", steps, eta, z)
	if p.relaxes() {
		p.explain("time: %.4g relaxation times of a direction of unit curvature: about %.3g effective draws, error of a mean about %.2g posterior standard deviations", p.DiffusionTime, p.EffectiveDraws(), p.MeanError())
	}
	return nil
}

// tidy rounds a derived figure to ten digits, so that a temperature of 1 reads 1.
func tidy(x float64) float64 {
	y, err := strconv.ParseFloat(strconv.FormatFloat(x, 'g', 10, 64), 64)
	if err != nil {
		return x
	}
	return y
}

// byHandOnly says whether settings given by hand, not the budget alone, bind.
func (p *Plan) byHandOnly() bool {
	r := &p.Request
	return r.byHand() || r.Steps != nil || r.Rate != nil
}

// EffectiveDraws is λt/2 for a direction of unit curvature in the metric, over
// the time after warm-up of all chains.
func (p *Plan) EffectiveDraws() float64 {
	return p.sampledTime() * float64(p.Request.Chains) / 2
}

// MeanError is the Monte Carlo error of a posterior mean along a direction of
// unit curvature, in standard deviations of the posterior at temperature 1:
// √(2T/t).
func (p *Plan) MeanError() float64 {
	return math.Sqrt(p.Temperature / p.EffectiveDraws())
}

// Seconds is a rough estimate of the run's time on this machine.
func (p *Plan) Seconds() float64 {
	perVisit := visitSeconds + visitSecondsBy*float64(len(p.Request.Encoding.Features))
	perVisit *= p.facts.cost
	perStep := stepSeconds + math.Max(p.Units*p.Rate, 1)*perVisit/float64(runtime.GOMAXPROCS(0))
	if p.Rate < 1 {
		perStep += p.Units * p.Rate * joinSeconds
	}
	return float64(p.Steps) * float64(p.Request.Chains) * perStep
}

// Bytes is a rough estimate of the run's memory: the table as the kernels read it, what
// finds equal rows in it, and the draws. Rows that repeat take less.
func (p *Plan) Bytes() int64 {
	var numbers, codes float64
	for _, f := range p.Request.Encoding.Features {
		if f.Kind == datasets.Number {
			numbers++
		} else {
			codes++
		}
	}
	key := 8*numbers + 2*codes + 1
	perUnit := key + // values
		8 + 8 + 8 + 4 + // weight, count, factor, unit
		2*key + 48 // entry of the map that finds equal rows
	draws := float64(p.Request.Draws) * float64(p.Request.Chains) * float64(p.facts.dim(len(p.Request.Encoding.Coefficients)))
	const base = 64 << 20
	return base + int64(p.Units*perUnit+draws*3*8)
}

// visits is the work of a step in rows read: drawing the units of a batch counts
// too.
func (p *Plan) visits() float64 {
	if p.Rate == 1 {
		return p.Units
	}
	return p.Units * p.Rate * (1 + joinVisits)
}

// Reserve returns the event to reserve before the run: what the plan will do,
// or, where it buys a count first, everything that it may do.
func (p *Plan) Reserve() accountant.Event {
	if p.CountEpsilon == nil {
		return p.event(p.NoiseMultiplier, p.Steps)
	}
	return accountant.Compose(accountant.Pure(p.Request.Adjacency, *p.CountEpsilon, 1),
		accountant.Gaussian(p.Request.Adjacency, p.sensitivity()/(p.muTotal*(1+1e-10)), 1))
}
