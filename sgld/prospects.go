package sgld

import (
	"math"
	"strconv"

	"gonum.org/v1/gonum/mat"

	"github.com/privsgld/privsgld/accountant"
	"github.com/privsgld/privsgld/datasets"
)

// A prospect is one choice of coordinates, clipping norm and temperature, with what
// it is expected to cost.
type prospect struct {
	metric      string
	share       float64 // of the largest row norm, at which rows are clipped
	temperature float64
	forecast    forecast
}

// Figures of the choice between prospects.
const (
	mostForecast    = 256  // coefficients up to which there is a forecast: it takes the cube of them
	levelEffect     = 0.5  // standard deviation of coefficients about the start, where the prior's is not smaller
	numberEffect    = 1    // of a number's, which goes from one bound to the other
	typicalLogistic = 0.15 // curvature of a binary outcome in its linear predictor, of at most ¼
)

var (
	prospectShares       = []float64{0.45, 0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95, 1}
	prospectTemperatures = []float64{1, 1.5, 2, 3, 4, 5, 7, 10, 14, 20}
)

// typicalCurvature is what a forecast expects of a unit in a linear predictor.
func (p *Plan) typicalCurvature() float64 {
	if p.clipsProbability() {
		return typicalLogistic
	}
	return p.facts.weight
}

// clipsProbability says whether residuals are those of probabilities, for which
// clipCost holds.
func (p *Plan) clipsProbability() bool {
	e := p.Request.Encoding
	return e.Outcome == datasets.Binary || e.Outcome == datasets.Levels && len(e.Levels) == 2
}

// forecasts says whether there is a forecast for the plan.
func (p *Plan) forecasts() bool {
	return len(p.Request.Encoding.Coefficients) <= mostForecast && p.Units > 0
}

// landscapes returns the landscape of each law in a metric, and the norm of
// a row there, between typical and largest, over that of the largest; none where there is no forecast.
func (p *Plan) landscapes(metric string, laws ...referenceLaw) (out []*landscape, typical float64) {
	r := &p.Request
	if !p.forecasts() {
		return nil, 0
	}
	d := len(r.Encoding.Coefficients)
	precision := p.kappa[:d]
	effect := make([]float64, d)
	for i, k := range precision {
		effect[i] = math.Min(levelEffect, 1/math.Sqrt(k))
	}
	for _, f := range r.Encoding.Features {
		if f.Kind == datasets.Number {
			effect[f.Offset] = math.Min(numberEffect, 1/math.Sqrt(precision[f.Offset]))
		}
	}
	largest := p.largestNorm(metric)
	for _, law := range laws {
		gram := law.gram(r.Encoding)
		var root *mat.Dense
		var err error
		switch metric {
		case MetricPublic:
			root, err = publicRoot(r.Encoding, p.Units, p.facts.weight, precision)
		case MetricBought:
			noisy := mat.NewSymDense(d, nil)
			noisy.CopySym(gram)
			for i := range d {
				noisy.SetSym(i, i, gram.At(i, i)+p.gramNu/p.Units)
			}
			root, err = regularisedRoot(noisy, p.Units*p.facts.weight, precision)
		}
		if err != nil {
			return nil, 0
		}
		l := newLandscape(gram, p.Units, p.typicalCurvature(), precision, root, effect)
		if l == nil {
			return nil, 0
		}
		out = append(out, l)
		typical += rootMeanSquareNorm(gram, root) / largest / float64(len(laws))
	}
	return out, (1 + typical) / 2
}

// rootMeanSquareNorm is √tr(RᵀGR) for G = E xxᵀ; a nil root is the identity.
func rootMeanSquareNorm(gram *mat.SymDense, root *mat.Dense) float64 {
	if root == nil {
		return math.Sqrt(mat.Trace(gram))
	}
	var t, rgr mat.Dense
	t.Mul(gram, root)
	rgr.Mul(root.T(), &t)
	return math.Sqrt(mat.Trace(&rgr))
}

// weigh chooses coordinates, clip and temperature by their forecast, where the budget
// does not buy a chain at temperature 1 that mixes in the planner's usual metric. It is
// for models of a binary outcome: of others the width of residuals sets the clip.
func (p *Plan) weigh() {
	r := &p.Request
	p.prospect = nil
	if !p.clipsProbability() || r.Metric != MetricAuto || r.byHand() || p.Rate < 1 || p.CountEpsilon != nil && p.Units == unknownUnits {
		return
	}
	enough := float64(honestTime)
	if p.Metric == MetricBought {
		enough /= 2 // there all directions mix alike
	}
	if !p.relaxes() || p.timeAt(p.Clip, p.temperatureOr(1)) >= enough {
		return
	}
	for _, metric := range []string{MetricIdentity, MetricPublic} {
		on, typical := p.landscapes(metric, referenceLaws...)
		norm := p.largestNorm(metric)
		for _, share := range prospectShares {
			cost := clipCost(share / typical)
			for _, t := range prospectTemperatures {
				if asked := p.temperatureOr(t); asked != t {
					if t != prospectTemperatures[0] {
						continue
					}
					t = asked
				}
				f := worst(on, p.courseOf(p.timeAt(norm*share, t), t))
				f.Clip = cost
				if len(on) > 0 && (p.prospect == nil || f.total() < p.prospect.forecast.total()) {
					p.prospect = &prospect{metric, share, t, f}
				}
			}
		}
	}
}

// largestNorm is the largest norm of a row in a metric.
func (p *Plan) largestNorm(metric string) float64 {
	if metric == MetricPublic {
		return math.Sqrt(publicNorm2(p.Request.Encoding)/(p.Units*p.facts.weight)) * (1 + 1e-6)
	}
	return math.Sqrt(float64(1+len(p.Request.Encoding.Features))) * (1 + 1e-6)
}

// timeAt is the time of each chain that the budget buys for full batches.
func (p *Plan) timeAt(clip, temperature float64) float64 {
	v := p.muSteps / (p.sensitivity() * clip)
	return 2 * temperature * v * v / float64(p.Request.Chains)
}

func (p *Plan) courseOf(time, temperature float64) course {
	return course{warmup: p.Request.Warmup * time, time: time, temperature: temperature, chains: float64(p.Request.Chains)}
}

// worst is the largest forecast over landscapes: the planner would rather do well on
// any table than best on an even one.
func worst(on []*landscape, c course) (f forecast) {
	for _, l := range on {
		if g := l.forecast(c); g.total() > f.total() {
			f = g
		}
	}
	return f
}

// Outlook returns what the plan expects for each coefficient of one linear predictor
// under a mildly uneven law of rows; nil where the number of units is unknown or the
// coefficients are too many for a forecast. It needs no data, so it cannot know which
// levels of a category are rare: all of them have the mean of their figures.
func (p *Plan) Outlook() []Outlook {
	on, _ := p.landscapes(p.Metric, outlookLaw)
	if len(on) == 0 {
		return nil
	}
	enc := p.Request.Encoding
	out := on[0].outlook(p.courseOf(p.DiffusionTime, p.Temperature), p.kappa)
	for i, name := range enc.Coefficients {
		out[i].Name = name
	}
	for _, f := range enc.Features {
		levels := out[f.Offset : f.Offset+f.Width]
		var mean Outlook
		for _, o := range levels {
			n := float64(len(levels))
			mean.Error += o.Error * o.Error / n
			mean.EffectiveDraws += o.EffectiveDraws / n
			mean.Reached += o.Reached / n
			mean.PriorDominated += o.PriorDominated / n
		}
		for i := range levels {
			mean.Name = levels[i].Name
			levels[i] = mean
			levels[i].Error = math.Sqrt(mean.Error)
		}
	}
	return out
}

// An Alternative is what another ε would buy.
type Alternative struct {
	Epsilon     accountant.Amount
	Temperature float64
	Steps       int64

	// Error is the root of the mean square of the expected errors of the posterior
	// means, in posterior standard deviations: NaN where there is no forecast.
	Error float64
}

// Alternatives plans the same run at a quarter, a half, twice and four times its ε,
// and at its own. An ε for which there is no plan is left out.
func (p *Plan) Alternatives() []Alternative {
	var out []Alternative
	for _, factor := range []float64{0.25, 0.5, 1, 2, 4} {
		q := p
		if factor != 1 {
			r := p.Request
			own, err := strconv.ParseFloat(r.Epsilon.String(), 64)
			if err != nil {
				continue
			}
			if r.Epsilon, err = accountant.ParseAmount(strconv.FormatFloat(own*factor, 'g', 10, 64)); err != nil {
				continue
			}
			if q, err = NewPlan(r); err != nil {
				continue
			}
		}
		a := Alternative{Epsilon: q.Request.Epsilon, Temperature: q.Temperature, Steps: q.Steps, Error: math.NaN()}
		if on := q.Outlook(); len(on) > 0 {
			var sum float64
			for _, o := range on {
				sum += o.Error * o.Error
			}
			a.Error = math.Sqrt(sum / float64(len(on)))
		}
		out = append(out, a)
	}
	return out
}
