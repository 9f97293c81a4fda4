package sgld

import (
	"context"
	"errors"
	"fmt"
	"math"
	"reflect"

	"gonum.org/v1/gonum/mat"

	"github.com/privsgld/privsgld/accountant"
	"github.com/privsgld/privsgld/datasets"
	"github.com/privsgld/privsgld/privacy"
)

// Result is what a run releases and what it did. All of it is covered by the
// events.
type Result struct {
	Plan   *Plan // completed with the answers that it bought
	Draws  Draws
	Events []accountant.Event
}

// Event returns everything that ran as one event.
func (r *Result) Event() accountant.Event { return accountant.Compose(r.Events...).Merge() }

// Progress is told the steps done, of how many. Both are public.
type Progress func(done, total int64)

// Run buys what the plan buys, runs its chains over the table and returns the
// draws with the events of what it did. The label names the reservation and
// separates the random streams of different runs. On an error or a cancelled
// context it returns no draws; whatever was reserved stays charged.
func Run(ctx context.Context, p *Plan, t *datasets.Table, label string, progress Progress) (*Result, error) {
	return RunFrom(ctx, p, t, label, Points{}, progress)
}

// RunFrom is Run with resume points: it keeps them where points says how, and goes on
// from one. The label names the attempt as well. The events are those of the whole run,
// what the point counts among them; what was done a second time is charged by itself.
func RunFrom(ctx context.Context, p *Plan, t *datasets.Table, label string, points Points, progress Progress) (*Result, error) {
	if !reflect.DeepEqual(t.Encoding(), p.Request.Encoding) {
		return nil, errors.New("the plan was made for another encoding than the table's")
	}
	g, err := newDesign(t.Records(), t.Encoding())
	if err != nil {
		return nil, err
	}
	var sources []*privacy.Source
	defer func() {
		for _, s := range sources {
			s.Erase()
		}
	}()
	return runFrom(ctx, p, g, func(use string) privacy.Bits {
		s := privacy.NewSource(label + "/" + use)
		sources = append(sources, s)
		return s
	}, points, progress)
}

// run is Run over any generator, for tests with seeds.
func run(ctx context.Context, p *Plan, g *design, bits func(use string) privacy.Bits, progress Progress) (*Result, error) {
	return runFrom(ctx, p, g, bits, Points{}, progress)
}

// runFrom is RunFrom over any generator.
func runFrom(ctx context.Context, p *Plan, g *design, bits func(use string) privacy.Bits, points Points, progress Progress) (*Result, error) {
	res := &Result{}
	r := &p.Request
	at := points.From
	keep := &keeper{save: points.Save, last: -1}
	if p.CountEpsilon != nil {
		var n int64
		var err error
		switch {
		case at == nil:
			if n, err = privacy.NoisyCount(int64(len(g.unit)), p.CountEpsilon.Float64Down()); err != nil {
				return nil, err
			}
		case at.Count == nil:
			return nil, errPoint
		default:
			n = *at.Count
		}
		keep.made.Count = &n
		res.Events = append(res.Events, accountant.Pure(r.Adjacency, *p.CountEpsilon, 1))
		if p, err = p.WithCount(n); err != nil {
			// No usage error any more: the data was opened and the charge stands.
			return nil, fmt.Errorf("after the noisy count the settings given by hand do not fit (%v); the charge stands", err)
		}
		r = &p.Request
	}
	of, err := newModel(r)
	if err != nil {
		return nil, err
	}
	f := of.facts()
	laws, err := r.Prior.bind(of.names(), r.Encoding)
	if err != nil {
		return nil, err
	}
	kappa := laws.precisions(g.d, f.copies)
	var root *mat.Dense
	switch p.Metric {
	case MetricBought:
		norm := gramNorm(len(g.numbers)+g.cats, g.d)
		var gram []float64
		event := accountant.Gaussian(r.Adjacency, p.GramNoiseMultiplier, 1)
		if at == nil {
			if gram, event, err = noisyGram(g, r.Adjacency, norm, p.GramNoiseMultiplier, bits("gram")); err != nil {
				return nil, err
			}
		} else if gram = at.Gram; len(gram) != g.d*g.d {
			return nil, errPoint
		}
		keep.made.Gram = gram
		res.Events = append(res.Events, event)
		if root, err = boughtRoot(gram, g.d, p.gramNu, f.weight, kappa); err != nil {
			return nil, err
		}
		p = p.withBound(rootNormBound(root, r.Encoding) * f.most / f.share)
	case MetricPublic:
		if root, err = publicRoot(r.Encoding, p.Units, f.weight, kappa); err != nil {
			return nil, err
		}
	default:
		root = identityRoot(g.d)
	}
	m, err := p.scaled(f).metric(root, p.relaxingUnits(), kappa, p.Clip, p.largestNoise())
	if err != nil {
		return nil, err
	}
	sum, err := newNoisySum(g, r.Adjacency, of, m, p.Clip, p.Rate, bits("steps"))
	if err != nil {
		return nil, err
	}
	res.Plan = p
	res.Draws.Names = of.names()
	keep.plan, keep.sum = p, sum
	if points.Save != nil {
		keep.every = p.PointEvery()
	}
	first := 0
	if at != nil {
		if !at.fits(p) {
			return nil, errPoint
		}
		keep.every, keep.last = at.Every, at.Done
		first = int(at.Done / p.Steps)
		for _, draws := range at.Draws[:first] {
			res.Draws.Chains = append(res.Draws.Chains, plain(draws))
		}
	}
	start := bits("start")
	var public *normal
	if p.addsNoise() {
		if public, err = newNormal(bits("public")); err != nil {
			return nil, err
		}
	}
	for i := first; i < r.Chains; i++ {
		c := newChain(p, m, sum, laws, m.dim())
		c.public = public
		switch {
		case at != nil && i == first:
			err = at.restore(p, c, sum)
		case r.Init == InitPrior:
			err = c.fromPrior(laws, start)
		default:
			err = c.fromZero(f)
		}
		if err != nil {
			return nil, err
		}
		keep.chains = res.Draws.Chains
		err = c.run(ctx, p, keep, func(done int64) {
			if progress != nil {
				progress(int64(i)*p.Steps+done, int64(r.Chains)*p.Steps)
			}
		})
		if err != nil {
			return nil, err
		}
		res.Draws.Chains = append(res.Draws.Chains, c.draws)
	}
	res.Events = append(res.Events, sum.events()...)
	return res, nil
}

// withBound lowers the clipping norm to a bound that no encodable row exceeds,
// where the plan had room for more, and keeps the noise: the noise multiplier
// rises, so the steps cost no more than planned.
func (p *Plan) withBound(bound float64) *Plan {
	bound = max(bound*(1+1e-6), p.Clip*p.largestNoise()/mostNoise)
	if bound >= p.Clip {
		return p
	}
	q := *p
	ratio := p.Clip / bound
	q.Clip = bound
	q.Explain = append(append([]string(nil), p.Explain...),
		fmt.Sprintf("clip: lowered to %.4g, a bound of all row norms in the bought metric; the noise multiplier rises to %.4g and the steps cost less", bound, p.NoiseMultiplier*ratio))
	q.NoiseMultiplier *= ratio
	q.Segments = append([]Segment(nil), p.Segments...)
	for i := range q.Segments {
		q.Segments[i].NoiseMultiplier *= ratio
	}
	return &q
}

// progressEvery is the number of steps between two reports: fixed, so that the
// reports tell no more than the step count.
const progressEvery = 64

// run takes the plan's steps and draws, those that are not done.
func (c *chain) run(ctx context.Context, p *Plan, points *keeper, report func(int64)) error {
	// The last draw of equal steps is the last iterate; what thinning leaves over is
	// warm-up.
	first := p.Steps - int64(p.Request.Draws-1)*p.Thin
	timed := p.timed()
	draws := float64(p.Request.Draws) / p.sampledTime() // for each unit of time
	var before float64                                  // sampled time before the segment
	var done int64                                      // steps before it
	for i := range p.Segments {
		s := &p.Segments[i]
		for n := min(max(c.done-done, 0), s.Steps); n < s.Steps; n++ {
			if c.done%progressEvery == 0 {
				if ctx.Err() != nil {
					return context.Cause(ctx)
				}
				report(c.done)
			}
			if err := points.at(c); err != nil {
				return err
			}
			if timed {
				// One draw for each middle of a spacing that lies in this step's time.
				for float64(len(c.draws))+0.5 < (before+p.sampled(s, done, n+1))*draws && len(c.draws) < p.Request.Draws {
					if err := c.keep(); err != nil {
						return err
					}
				}
			}
			if err := c.step(s, c.done < p.Warmup); err != nil {
				return err
			}
			if !timed && c.done >= first && (c.done-first)%p.Thin == 0 {
				if err := c.keep(); err != nil {
					return err
				}
			}
		}
		before += p.sampled(s, done, s.Steps)
		done += s.Steps
	}
	report(c.done)
	return nil
}

// keep adds the present iterate to the draws.
func (c *chain) keep() error {
	for _, v := range c.theta {
		if math.IsNaN(v) || math.IsInf(v, 0) {
			return errDiverged
		}
	}
	c.draws = append(c.draws, append([]float64(nil), c.theta...))
	return nil
}

var errDiverged = fmt.Errorf("the chain left the range of numbers: lower --step-size")

// fromPrior starts at a draw from the prior: public randomness.
func (c *chain) fromPrior(laws densities, b privacy.Bits) error {
	for i, law := range laws {
		v, err := law.draw(b)
		if err != nil {
			return err
		}
		c.theta[i] = v
	}
	return c.metric.toPhi(c.phi, c.theta)
}

// fromZero starts at zero, but for parameters that have a start of their own.
func (c *chain) fromZero(f facts) error {
	for i, b := range f.beside {
		c.theta[len(c.theta)-len(f.beside)+i] = b.start
	}
	if len(f.beside) == 0 {
		return nil
	}
	return c.metric.toPhi(c.phi, c.theta)
}
