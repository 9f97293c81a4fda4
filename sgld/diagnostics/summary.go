package diagnostics

import (
	"encoding/json"
	"math"

	"gonum.org/v1/gonum/stat"
)

// Summary describes the released draws of one parameter. Mean, SD, the
// quantiles and MCSE (of the mean) are in the parameter's unit.
type Summary struct {
	Name                   string
	Mean, SD               float64
	Q5, Q50, Q95           float64
	MCSE                   float64
	RHat, ESSBulk, ESSTail float64
}

// Summarize returns a Summary for each parameter, in the order of names, from
// draws[parameter][chain][draw]: moments and quantiles over all draws of all
// chains, each chain cut to the shortest, and [MCSEMean], [RHat], [ESSBulk] and
// [ESSTail]. What the draws do not determine is NaN.
//
// It panics unless there is one name a parameter.
func Summarize(names []string, draws [][][]float64) []Summary {
	if len(names) != len(draws) {
		panic("diagnostics: one name is needed for each parameter")
	}
	out := make([]Summary, len(names))
	for i, name := range names {
		s := newSample(draws[i])
		mean, sd := math.NaN(), math.NaN()
		if len(s.sorted) > 0 {
			mean, sd = stat.MeanStdDev(s.sorted, nil)
		}
		out[i] = Summary{
			Name: name,
			Mean: mean, SD: sd,
			Q5: quantile(s.sorted, 0.05), Q50: quantile(s.sorted, 0.5), Q95: quantile(s.sorted, 0.95),
			MCSE: s.mcseMean(),
			RHat: s.rhat(), ESSBulk: s.essBulk(), ESSTail: s.essTail(),
		}
	}
	return out
}

// MarshalJSON writes name, mean, sd, q5, q50, q95, mcse, rhat, ess_bulk and
// ess_tail, in this order. JSON has no NaN and no infinity: either is null.
func (s Summary) MarshalJSON() ([]byte, error) {
	return json.Marshal(struct {
		Name    string   `json:"name"`
		Mean    *float64 `json:"mean"`
		SD      *float64 `json:"sd"`
		Q5      *float64 `json:"q5"`
		Q50     *float64 `json:"q50"`
		Q95     *float64 `json:"q95"`
		MCSE    *float64 `json:"mcse"`
		RHat    *float64 `json:"rhat"`
		ESSBulk *float64 `json:"ess_bulk"`
		ESSTail *float64 `json:"ess_tail"`
	}{
		s.Name,
		finite(s.Mean), finite(s.SD),
		finite(s.Q5), finite(s.Q50), finite(s.Q95),
		finite(s.MCSE),
		finite(s.RHat), finite(s.ESSBulk), finite(s.ESSTail),
	})
}

// finite returns x, or nil where JSON has no number for it.
func finite(x float64) *float64 {
	if math.IsNaN(x) || math.IsInf(x, 0) {
		return nil
	}
	return &x
}
