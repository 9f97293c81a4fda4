package job

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/privsgld/privsgld/sgld/diagnostics"
)

// DiagnosisSchema names the object that Diagnose returns and its version.
const DiagnosisSchema = "privsgld/diagnosis/v1"

// Diagnose asks how far released draws can be trusted. Several paths are further
// chains, or runs, of one posterior.
type Diagnose struct {
	Paths  []string // output folders of runs, or files of draws
	Memory int64    // limit of the decoder in bytes; 0: its default
}

// A Diagnosis says how far draws can be trusted.
type Diagnosis struct {
	Schema     string               `json:"schema"`
	Inputs     []DiagnosedInput     `json:"inputs"`
	Chains     int                  `json:"chains"`
	Draws      int                  `json:"draws"` // of each chain that are used
	Parameters []DiagnosedParameter `json:"parameters"`
	NotMixed   []string             `json:"not_mixed"`
	Warnings   []string             `json:"warnings"`

	// Values holds the draws that were used, [parameter][chain][draw], for plots.
	Values [][][]float64 `json:"-"`
}

// DiagnosedInput is one of the paths.
type DiagnosedInput struct {
	Path   string `json:"path"`
	RunID  string `json:"run_id,omitempty"` // of a folder
	Chains int    `json:"chains"`
	Draws  int    `json:"draws"` // of all chains
}

// DiagnosedParameter is a summary with the rest of the diagnostics.
type DiagnosedParameter struct {
	diagnostics.Summary
	ESSMean                  float64
	MCSESD                   float64
	MCSEQ5, MCSEQ50, MCSEQ95 float64
}

// MarshalJSON writes what [diagnostics.Summary] writes, then ess_mean, mcse_sd,
// mcse_q5, mcse_q50 and mcse_q95; what is undefined is null.
func (p DiagnosedParameter) MarshalJSON() ([]byte, error) {
	head, err := json.Marshal(p.Summary)
	if err != nil {
		return nil, err
	}
	tail, err := json.Marshal(struct {
		ESSMean Number `json:"ess_mean"`
		MCSESD  Number `json:"mcse_sd"`
		MCSEQ5  Number `json:"mcse_q5"`
		MCSEQ50 Number `json:"mcse_q50"`
		MCSEQ95 Number `json:"mcse_q95"`
	}{Number(p.ESSMean), Number(p.MCSESD), Number(p.MCSEQ5), Number(p.MCSEQ50), Number(p.MCSEQ95)})
	if err != nil {
		return nil, err
	}
	return slices.Concat(head[:len(head)-1], []byte(","), tail[1:]), nil
}

// Do reads the draws and diagnoses them. Errors: *UsageError, *BadDraws, the
// context's.
func (d *Diagnose) Do(ctx context.Context) (*Diagnosis, error) {
	if len(d.Paths) == 0 {
		return nil, &UsageError{Message: "no draws", Hint: "give the output folder of a run, or a file of draws"}
	}
	if d.Memory != 0 && d.Memory < LeastMemory {
		return nil, &UsageError{Message: "the memory limit is too small to decode a table", Hint: "give at least 256MiB"}
	}
	out := &Diagnosis{Schema: DiagnosisSchema, NotMixed: []string{}, Warnings: []string{}}
	var names []string
	var reports []*releasedRun
	var lengths []int
	for i, path := range d.Paths {
		report, draws, err := readDraws(ctx, path, d.Memory)
		if err != nil {
			return nil, err
		}
		if i == 0 {
			names = draws.Names
			out.Values = make([][][]float64, len(names))
		}
		input := DiagnosedInput{Path: path, Chains: len(draws.Lengths)}
		if report != nil {
			input.RunID = report.RunID
			reports = append(reports, report)
		}
		for j, name := range names {
			at := slices.Index(draws.Names, name)
			if at < 0 || len(draws.Names) != len(names) {
				return nil, &BadDraws{Message: fmt.Sprintf("%s and %s have other coefficients: they are no draws of one posterior", d.Paths[0], path), Hint: "compare runs of one model under one policy"}
			}
			from := 0
			for _, n := range draws.Lengths {
				out.Values[j] = append(out.Values[j], draws.Values[at][from:from+n])
				from += n
			}
		}
		for _, n := range draws.Lengths {
			input.Draws += n
			lengths = append(lengths, n)
		}
		out.Inputs = append(out.Inputs, input)
	}
	if len(names) == 0 || len(lengths) == 0 {
		return nil, &BadDraws{Message: fmt.Sprintf("%s holds no draws", d.Paths[0])}
	}
	out.Chains, out.Draws = len(lengths), slices.Min(lengths)
	for j := range out.Values {
		for c := range out.Values[j] {
			out.Values[j][c] = out.Values[j][c][:out.Draws]
		}
	}
	for j, s := range diagnostics.Summarize(names, out.Values) {
		v := out.Values[j]
		out.Parameters = append(out.Parameters, DiagnosedParameter{
			Summary: s, ESSMean: diagnostics.ESSMean(v), MCSESD: diagnostics.MCSESD(v),
			MCSEQ5: diagnostics.MCSEQuantile(v, 0.05), MCSEQ50: diagnostics.MCSEQuantile(v, 0.5), MCSEQ95: diagnostics.MCSEQuantile(v, 0.95),
		})
	}
	out.warn(reports, lengths)
	return out, nil
}

// Thresholds of the warnings, beside those of a run.
const (
	goodRHat   = 1.01 // Vehtari et al. 2021: below it, chains agree
	leastDraws = 10   // of a chain, below which no ESS is defined
)

// warn says in words what is wrong with the draws, and what to do about it.
func (d *Diagnosis) warn(reports []*releasedRun, lengths []int) {
	say := func(format string, args ...any) { d.Warnings = append(d.Warnings, fmt.Sprintf(format, args...)) }
	for what, of := range map[string]func(*releasedRun) string{
		"policies":     func(r *releasedRun) string { return r.Policy.SHA256 },
		"models":       func(r *releasedRun) string { return r.Sampler.Model },
		"targets":      func(r *releasedRun) string { return r.Sampler.Target },
		"priors":       func(r *releasedRun) string { return r.Sampler.Prior },
		"temperatures": func(r *releasedRun) string { return fmt.Sprintf("%.3g", r.Sampler.EffectiveTemperature) },
	} {
		if slices.ContainsFunc(reports, func(r *releasedRun) bool { return of(r) != of(reports[0]) }) {
			say("the runs have different %s: they sample different posteriors, so that R-hat says little; compare runs with equal settings", what)
		}
	}
	slices.Sort(d.Warnings)
	var ids []string
	for _, r := range reports {
		if slices.Contains(ids, r.RunID) {
			say("run %s is given twice: its draws count double, so that R-hat and ESS look better than they are; give each run once", r.RunID)
		}
		ids = append(ids, r.RunID)
	}
	if slices.Max(lengths) != d.Draws {
		say("the chains have different lengths: only the first %d draws of each are used; draw equally many to use all", d.Draws)
	}
	if d.Draws < leastDraws {
		say("fewer than %d draws a chain: no effective sample size is defined; draw more, with --draws", leastDraws)
		return
	}
	var still, apart, nearly, few []string
	for j, p := range d.Parameters {
		switch {
		case constant(d.Values[j]):
			still = append(still, p.Name)
		case math.IsNaN(p.RHat) || p.RHat > mixedRHat || !(p.ESSBulk >= mixedESS):
			apart = append(apart, p.Name)
		default:
			if p.RHat > goodRHat {
				nearly = append(nearly, p.Name)
			}
			if !(min(p.ESSBulk, p.ESSTail) >= adequateESS) {
				few = append(few, p.Name)
			}
		}
	}
	d.NotMixed = append(append(d.NotMixed, still...), apart...)
	if len(still) > 0 {
		say("all draws are equal: %s: the chain did not move; this is no posterior, draw again", someNames(still))
	}
	if len(apart) > 0 {
		say("not mixed (R-hat above %g, or fewer than %d effective draws): %s: do not rely on these coefficients; a larger --epsilon buys the diffusion time that they lack", mixedRHat, mixedESS, someNames(apart))
	}
	if len(nearly) > 0 {
		say("not fully mixed (R-hat above %g): %s: chains still differ a little; use the means with their mcse, and intervals with care, or draw for longer", goodRHat, someNames(nearly))
	}
	if len(few) > 0 {
		say("few effective draws (below %d): %s: see mcse for the error of their means; their 5 %% and 95 %% points are rougher still", adequateESS, someNames(few))
	}
	if d.Chains == 1 {
		say("one chain: R-hat compares only its two halves, which is weak evidence; compare several runs, or draw with --chains")
	}
}

// constant says whether all draws of all chains are one value.
func constant(chains [][]float64) bool {
	for _, c := range chains {
		for _, x := range c {
			if x != chains[0][0] {
				return false
			}
		}
	}
	return true
}

// mostNames is how many names a warning lists.
const mostNames = 12

func someNames(names []string) string {
	if more := len(names) - mostNames; more > 0 {
		return joinNames(names[:mostNames]) + fmt.Sprintf(" and %d more", more)
	}
	return strings.Join(names, ", ")
}
