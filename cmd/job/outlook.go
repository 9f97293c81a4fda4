package job

import (
	"fmt"
	"math"

	"github.com/privsgld/privsgld/accountant"
	"github.com/privsgld/privsgld/sgld"
)

// Outlook is what a plan expects for one coefficient, from public facts alone.
type Outlook struct {
	Name           string  `json:"name"`
	Error          float64 `json:"expected_error"`  // of its posterior mean, in posterior standard deviations
	EffectiveDraws float64 `json:"effective_draws"` // λt/2
	Reached        float64 `json:"reached"`         // share of the way from the start, 1 − e^−λt
	PriorDominated float64 `json:"prior_dominated"` // expected share of such coefficients of which the data say less than the prior
}

// Alternative is what the same plan would be at another ε.
type Alternative struct {
	Epsilon     accountant.Amount `json:"epsilon"`
	Temperature float64           `json:"effective_temperature"`
	Steps       int64             `json:"steps"`
	Error       *float64          `json:"expected_error"` // root mean square over the coefficients, in posterior standard deviations
}

func outlook(p *sgld.Plan) []Outlook {
	var out []Outlook
	for _, o := range p.Outlook() {
		out = append(out, Outlook{o.Name, threeDigits(o.Error), threeDigits(o.EffectiveDraws), threeDigits(o.Reached), threeDigits(o.PriorDominated)})
	}
	return out
}

func alternatives(p *sgld.Plan) []Alternative {
	var out []Alternative
	for _, a := range p.Alternatives() {
		b := Alternative{Epsilon: a.Epsilon, Temperature: a.Temperature, Steps: a.Steps}
		if !math.IsNaN(a.Error) {
			v := threeDigits(a.Error)
			b.Error = &v
		}
		out = append(out, b)
	}
	return out
}

// threeDigits rounds a forecast to what it may claim.
func threeDigits(x float64) float64 {
	if x == 0 || math.IsInf(x, 0) || math.IsNaN(x) {
		return x
	}
	scale := math.Pow(10, 2-math.Floor(math.Log10(math.Abs(x))))
	return math.Round(x*scale) / scale
}

// Summary says in one line what the outlook comes to; empty where there is none.
func Summary(all []Outlook) string {
	if len(all) == 0 {
		return ""
	}
	var square, prior float64
	var notReached []string
	for _, o := range all {
		square += o.Error * o.Error / float64(len(all))
		prior += o.PriorDominated
		if o.Reached < 1-1/math.E {
			notReached = append(notReached, o.Name)
		}
	}
	s := fmt.Sprintf("means are expected to be about %.2g posterior standard deviations off (root mean square over %d coefficients)", math.Sqrt(square), len(all))
	if len(notReached) > 0 {
		s += "; nearer to the start than to the posterior: " + someNames(notReached)
	}
	if prior >= 0.5 {
		s += fmt.Sprintf("; about %.0f of rare levels, which cannot be known here, stay the prior's whatever the budget", prior)
	}
	return s
}
