package main

import (
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/jedib0t/go-pretty/v6/table"

	"github.com/privsgld/privsgld/accountant"
	"github.com/privsgld/privsgld/cmd/job"
)

// bounds are two ends between which the true value lies, for certain.
type bounds [2]job.Number

// answer is the result of every calculator; those that it does not concern are
// left out.
type answer struct {
	Epsilon    any                  `json:"epsilon"` // exact where it was given
	Delta      any                  `json:"delta"`   // likewise
	Accountant accountant.Method    `json:"accountant"`
	Adjacency  accountant.Adjacency `json:"adjacency"`
	Order      *optional            `json:"order,omitempty"` // rdp only

	NoiseMultiplier     *float64 `json:"noise_multiplier,omitempty"`
	NoiseMultiplierLast *float64 `json:"noise_multiplier_last,omitempty"`
	SamplingRate        *float64 `json:"sampling_rate,omitempty"`
	Steps               *int64   `json:"steps,omitempty"`
	Schedule            string   `json:"schedule,omitempty"`
	Clip                *float64 `json:"clip,omitempty"`
	NoiseSD             *float64 `json:"noise_sd,omitempty"`

	TargetEpsilon *accountant.Amount `json:"target_epsilon,omitempty"`

	EpsilonByAccountant *job.EpsilonByAccountant `json:"epsilon_by_accountant,omitempty"`
	DeltaByAccountant   *job.EpsilonByAccountant `json:"delta_by_accountant,omitempty"`
	EpsilonBounds       *bounds                  `json:"epsilon_bounds,omitempty"` // pld only
	DeltaBounds         *bounds                  `json:"delta_bounds,omitempty"`   // pld only
	Grid                float64                  `json:"grid,omitempty"`           // of the upper bound; left out where it needed none
	EpsilonAllIterates  *job.Number              `json:"epsilon_all_iterates,omitempty"`
	Contraction         *float64                 `json:"contraction,omitempty"`
	Assumptions         []string                 `json:"assumptions,omitempty"`
	RhoZCDP             *job.Number              `json:"rho_zcdp,omitempty"`
	EpsilonEstimate     *job.Number              `json:"epsilon_estimate,omitempty"` // central limit: decides nothing
	Plot                string                   `json:"plot,omitempty"`

	epsilon float64
	figures []figure
}

// optional is a number, or null where there is none.
type optional float64

// MarshalJSON writes null for 0.
func (o optional) MarshalJSON() ([]byte, error) {
	if o == 0 {
		return []byte("null"), nil
	}
	return strconv.AppendFloat(nil, float64(o), 'g', -1, 64), nil
}

// figure is what one accountant says: an ε or a δ.
type figure struct {
	method accountant.Method
	value  float64
	order  float64
	err    error
	bounds *accountant.Bounds // of pld, where asked for
}

var methods = []accountant.Method{accountant.MethodRDP, accountant.MethodPLD, accountant.MethodGDP}

// compare asks all accountants; the error is that of the one that decides.
func compare(decides accountant.Method, of func(accountant.Method) (value, order float64, err error)) ([]figure, *figure, error) {
	figures := make([]figure, 0, len(methods))
	for _, m := range methods {
		f := figure{method: m}
		f.value, f.order, f.err = of(m)
		if f.err != nil && (m == decides || !errors.Is(f.err, accountant.ErrUnsupported)) {
			return nil, nil, accountError(f.err)
		}
		figures = append(figures, f)
	}
	for i := range figures {
		if figures[i].method == decides {
			return figures, &figures[i], nil
		}
	}
	return nil, nil, fmt.Errorf("account: unknown accountant")
}

// byAccountant is the comparison as reports have it.
func byAccountant(figures []figure) *job.EpsilonByAccountant {
	out := &job.EpsilonByAccountant{}
	for _, f := range figures {
		if f.err != nil {
			continue
		}
		n := job.Number(f.value)
		switch f.method {
		case accountant.MethodRDP:
			out.RDP = &n
		case accountant.MethodPLD:
			out.PLD = &n
		case accountant.MethodGDP:
			out.GDP = &n
		}
	}
	return out
}

// price fills in what an event costs at delta.
func (q *question) price(a *answer, e accountant.Event, delta accountant.Amount) error {
	d := delta.Float64Down()
	figures, deciding, err := compare(q.method, func(m accountant.Method) (float64, float64, error) {
		return accountant.Epsilon(m, e, d)
	})
	if err != nil {
		return err
	}
	if q.method == accountant.MethodPLD {
		b, err := accountant.PLDEpsilon(e, d, accountant.PLDOptions{Interval: q.grid})
		if err != nil {
			return accountError(err)
		}
		deciding.bounds, deciding.value = &b, min(deciding.value, b.Upper)
		a.EpsilonBounds, a.Grid = &bounds{job.Number(b.Lower), job.Number(b.Upper)}, b.Interval
	}
	a.set(q, figures, deciding)
	a.Epsilon, a.Delta, a.EpsilonByAccountant = job.Number(deciding.value), delta, byAccountant(figures)
	a.epsilon = deciding.value
	// Without sampling the estimate is what gdp says exactly; ρ ignores sampling.
	if sampled(e) {
		if mu, err := accountant.EstimateMu(e); err == nil {
			n := job.Number(accountant.GaussianEpsilon(mu, d))
			a.EpsilonEstimate = &n
		}
	} else if rho, err := accountant.RhoZCDP(e); err == nil {
		n := job.Number(rho)
		a.RhoZCDP = &n
	}
	return nil
}

// sampled says whether any part reads a sample.
func sampled(e accountant.Event) bool {
	return e.SamplingRate > 0 && e.SamplingRate < 1 || e.SampleSize < e.SourceSize || slices.ContainsFunc(e.Events, sampled)
}

// set fills in what ε and δ share.
func (a *answer) set(q *question, figures []figure, deciding *figure) {
	a.figures = figures
	a.Accountant, a.Adjacency = q.method, q.steps.adjacency
	if q.method == accountant.MethodRDP {
		order := optional(deciding.order)
		if math.IsInf(deciding.value, 1) {
			order = 0
		}
		a.Order = &order
	}
}

// describe fills in the steps.
func (a *answer) describe(s steps) {
	z, rate, count := s.z, s.q, s.count
	a.NoiseMultiplier, a.SamplingRate, a.Steps = &z, &rate, &count
	if s.alpha != 0 {
		last := s.last()
		a.NoiseMultiplierLast, a.Schedule = &last, s.schedule()
	}
}

// epsilonText says ε and δ, rounded up.
func (a *answer) epsilonText() string {
	return fmt.Sprintf("ε = %s at δ = %s", lossText(a.epsilon), a.Delta)
}

// lossText shows a loss, rounded up.
func lossText(v float64) string {
	if math.IsInf(v, 1) {
		return "inf"
	}
	return shortUp(v)
}

func (a *answer) underText() string {
	return fmt.Sprintf("%s (%s accountant)", a.Adjacency, a.Accountant)
}

// table compares the accountants.
func (a *answer) table(w io.Writer, what string) {
	t := newTable(w)
	t.AppendHeader(table.Row{"accountant", what, ""})
	for _, f := range a.figures {
		shown, note := lossText(f.value), ""
		switch {
		case f.err != nil:
			shown, note = "-", strings.TrimPrefix(f.err.Error(), accountant.ErrUnsupported.Error()+": ")
		case math.IsInf(f.value, 1):
		case f.bounds != nil:
			note = fmt.Sprintf("certified: between %s and %s", shortDown(f.bounds.Lower), lossText(f.bounds.Upper))
			if f.bounds.Interval > 0 {
				note += ", grid of " + short(f.bounds.Interval)
			}
		case f.order > 0:
			note = "at order " + short(f.order)
		}
		t.AppendRow(table.Row{string(f.method), shown, note})
	}
	if a.EpsilonEstimate != nil {
		t.AppendRow(table.Row{"estimate", lossText(float64(*a.EpsilonEstimate)), "by the central limit: no bound, decides nothing"})
	}
	if a.RhoZCDP != nil {
		t.AppendRow(table.Row{"ρ", lossText(float64(*a.RhoZCDP)), "zero-concentrated DP"})
	}
	t.Render()
	if a.Plot != "" {
		fmt.Fprintf(w, "wrote %s\n", a.Plot)
	}
}
