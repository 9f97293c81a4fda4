package job

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/gowebpki/jcs"

	"github.com/privsgld/privsgld/accountant"
	"github.com/privsgld/privsgld/accountant/ledger"
	"github.com/privsgld/privsgld/sgld"
	"github.com/privsgld/privsgld/sgld/diagnostics"
)

// ReportSchema names the report object and its version.
const ReportSchema = "privsgld/report/v1"

// Report is what a run tells the analyst. Everything in it is a public fact or
// a function of released values. The same object is report.json and, with
// -o json, the standard output.
type Report struct {
	Schema       string        `json:"schema"`
	RunID        string        `json:"run_id"`
	Kind         string        `json:"kind"`
	Status       string        `json:"status"` // released, or planned for a dry run or a plan
	Policy       PolicyRef     `json:"policy"`
	Dataset      DatasetRef    `json:"dataset"`
	Analyst      string        `json:"analyst"`
	Purpose      string        `json:"purpose"`
	Request      *RequestRef   `json:"request,omitempty"` // where the policy asks for signed requests
	Time         string        `json:"time"`              // of the reservation, UTC
	Guarantee    Guarantee     `json:"guarantee"`
	Budget       ledger.Budget `json:"budget"`
	Sampler      SamplerReport `json:"sampler"`
	Outlook      []Outlook     `json:"outlook,omitempty"`      // what was expected of each coefficient before any row was read
	Alternatives []Alternative `json:"alternatives,omitempty"` // of a plan: what other budgets would buy
	Diagnostics  Diagnostics   `json:"diagnostics"`
	Attempts     []Attempt     `json:"attempts,omitempty"` // after the first, where the run was killed and went on
	Ledger       LedgerRef     `json:"ledger"`
	Warnings     []string      `json:"warnings"`
	Program      Program       `json:"program"`
	Files        []File        `json:"files"`
	Signature    *Signature    `json:"signature,omitempty"`
}

// PolicyRef names the policy by its content.
type PolicyRef struct {
	Name       string   `json:"name"`
	SHA256     string   `json:"sha256"`
	ApprovedBy []string `json:"approved_by,omitempty"` // public keys that signed it, where the policy asks for that
}

// DatasetRef names the data set as the policy does.
type DatasetRef struct {
	Name string `json:"name"`
}

// Guarantee is what was promised, with everything that it depends on.
//
// Epsilon is that of the reservation: what the run could have cost, whatever
// the answers that it bought. Events are what ran.
type Guarantee struct {
	Epsilon             Number               `json:"epsilon"`
	Delta               accountant.Amount    `json:"delta"`
	Accountant          accountant.Method    `json:"accountant"`
	PrivacyUnit         string               `json:"privacy_unit"`
	Adjacency           accountant.Adjacency `json:"adjacency"`
	Statement           string               `json:"statement"`
	EpsilonByAccountant EpsilonByAccountant  `json:"epsilon_by_accountant"`
	Charged             Number               `json:"epsilon_charged"` // of the events that ran: less where a bought answer made the run cheaper
	Events              []accountant.Event   `json:"events"`
	Assumptions         []string             `json:"assumptions"`

	// Amendments are those by which the budget came about: all that was released
	// under it, before them and after, is together within the newest one only.
	Amendments []ledger.AmendmentRef `json:"amendments,omitempty"`
}

// EpsilonByAccountant compares accountants; nil where one does not support the
// events. PLD is also nil where the plan follows an answer that it buys.
type EpsilonByAccountant struct {
	RDP *Number `json:"rdp"`
	PLD *Number `json:"pld"`
	GDP *Number `json:"gdp"`
}

// SamplerReport is how the draws were made. All of it is public.
type SamplerReport struct {
	Sampler              string   `json:"sampler"`
	Model                string   `json:"model"`
	Target               string   `json:"target"`
	Features             []string `json:"features"`    // columns, in the order of their coefficients
	Temperature          string   `json:"temperature"` // as asked: auto or a number
	EffectiveTemperature float64  `json:"effective_temperature"`
	Metric               string   `json:"metric"`
	Clip                 float64  `json:"clip"`
	SamplingRate         float64  `json:"sampling_rate"`
	Steps                int64    `json:"steps"`     // of each chain
	StepSize             float64  `json:"step_size"` // of the first step, as its diffusion time
	Momentum             float64  `json:"momentum"`  // the share of the last move that a step keeps
	Schedule             string   `json:"schedule"`
	NoiseMultiplier      float64  `json:"noise_multiplier"`
	DiffusionTime        float64  `json:"diffusion_time"` // of each chain
	Chains               int      `json:"chains"`
	Draws                int      `json:"draws"` // of each chain
	Warmup               int64    `json:"warmup_steps"`
	Thin                 int64    `json:"thin"`
	Init                 string   `json:"init"`
	Prior                string   `json:"prior"`
	NoiseSD              *float64 `json:"noise_sd,omitempty"` // of a linear model, where it is known
	Levels               []string `json:"levels,omitempty"`   // of the target of a softmax model, in order
	RobustLikelihood     bool     `json:"robust_likelihood"`  // clipping samples the posterior of a robust likelihood
	Bought               []string `json:"bought"`             // answers that the plan buys
	Explain              []string `json:"explain"`
	Seconds              float64  `json:"predicted_seconds,omitempty"` // of a plan
	Bytes                int64    `json:"predicted_bytes,omitempty"`   // of memory, of a plan
}

// Diagnostics describe the released draws.
type Diagnostics struct {
	Parameters []diagnostics.Summary `json:"parameters"`
	NotMixed   []string              `json:"not_mixed"`
}

// LedgerRef says where the charge stands.
type LedgerRef struct {
	ID         string `json:"id"`
	Entry      *int64 `json:"entry"`
	Checkpoint string `json:"checkpoint"`
}

// Program says what ran.
type Program struct {
	Version  string `json:"version"`
	Revision string `json:"revision"`
}

// File is one file beside the report.
type File struct {
	Name   string `json:"name"`
	SHA256 string `json:"sha256"`
	Bytes  int64  `json:"bytes"`
}

// Signature is the job key's, over the canonical JSON (RFC 8785) of the report
// without it.
type Signature struct {
	Key       string `json:"key"`
	Algorithm string `json:"algorithm"`
	Value     string `json:"value"` // base64
}

// Number marshals infinity as "inf".
type Number float64

// MarshalJSON writes a JSON number, "inf" for +∞, and null for NaN.
func (n Number) MarshalJSON() ([]byte, error) {
	switch v := float64(n); {
	case math.IsInf(v, 1):
		return []byte(`"inf"`), nil
	case math.IsNaN(v):
		return []byte("null"), nil
	default:
		return json.Marshal(v)
	}
}

// epsilons evaluates an event under every accountant that supports it. Privacy
// loss distributions are for plans that are fixed before the first answer.
func epsilons(e accountant.Event, delta float64, fixed bool) EpsilonByAccountant {
	one := func(m accountant.Method) *Number {
		eps, _, err := accountant.Epsilon(m, e, delta)
		if err != nil {
			return nil
		}
		n := Number(eps)
		return &n
	}
	out := EpsilonByAccountant{RDP: one(accountant.MethodRDP)}
	if fixed {
		out.PLD = one(accountant.MethodPLD)
	}
	if !sampled(e) {
		// Subsampling has no Gaussian-DP amplification: the figure would be that
		// of the unsampled steps, which nobody asked for.
		out.GDP = one(accountant.MethodGDP)
	}
	return out
}

// sampled says whether any event is Poisson-subsampled.
func sampled(e accountant.Event) bool {
	return e.Type == accountant.TypePoissonGaussian || slices.ContainsFunc(e.Events, sampled)
}

// sign returns the report's signature by the ledger's job key.
func (r Report) sign(l *ledger.Ledger) (*Signature, error) {
	r.Signature = nil
	canonical, err := canonicalJSON(r)
	if err != nil {
		return nil, err
	}
	key, sig, err := l.Sign(canonical)
	if err != nil {
		return nil, err
	}
	return &Signature{Key: key, Algorithm: "ed25519", Value: base64.StdEncoding.EncodeToString(sig)}, nil
}

func canonicalJSON(v any) ([]byte, error) {
	b, err := json.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("report: %w", err)
	}
	return jcs.Transform(b)
}

func fileOf(name string, content []byte) File {
	sum := sha256.Sum256(content)
	return File{Name: name, SHA256: hex.EncodeToString(sum[:]), Bytes: int64(len(content))}
}

// Thresholds of the warnings about released draws.
const (
	mixedRHat   = 1.1 // above: the halves of a chain disagree
	mixedESS    = 10  // below: the chain has hardly moved
	adequateESS = 100 // below: the error of a mean is worth a word
)

// judge finds the coefficients that have not mixed, out of released draws alone.
func judge(s []diagnostics.Summary) (notMixed, few []string) {
	for _, p := range s {
		switch {
		case math.IsNaN(p.RHat) || p.RHat > mixedRHat || !(p.ESSBulk >= mixedESS):
			notMixed = append(notMixed, p.Name)
		case p.ESSBulk < adequateESS:
			few = append(few, p.Name)
		}
	}
	return notMixed, few
}

func samplerReport(p *sgld.Plan, model, temperature string) SamplerReport {
	r := p.Request
	s := SamplerReport{
		Sampler: p.Sampler, Model: model, Target: r.Encoding.Target, Temperature: temperature,
		EffectiveTemperature: p.Temperature, Metric: p.Metric, Clip: p.Clip, SamplingRate: p.Rate, Steps: p.Steps,
		StepSize: p.StepSize, Momentum: p.Momentum, Schedule: r.Schedule.String(), NoiseMultiplier: p.NoiseMultiplier, DiffusionTime: p.DiffusionTime,
		Chains: r.Chains, Draws: r.Draws, Warmup: p.Warmup, Thin: p.Thin, Init: r.Init,
		Prior: r.Prior.String(), NoiseSD: r.NoiseSD, Levels: r.Encoding.Levels, RobustLikelihood: p.RobustLikelihood(), Bought: []string{}, Explain: p.Explain, Features: []string{},
	}
	if p.CountEpsilon != nil {
		s.Bought = append(s.Bought, fmt.Sprintf("count with epsilon %s", p.CountEpsilon))
	}
	if p.GramNoiseMultiplier > 0 {
		s.Bought = append(s.Bought, fmt.Sprintf("Gram matrix with noise multiplier %.6g", p.GramNoiseMultiplier))
	}
	for _, f := range r.Encoding.Features {
		s.Features = append(s.Features, f.Column)
	}
	return s
}

// utc writes a time as reports do.
func utc(t time.Time) string { return t.UTC().Format(time.RFC3339) }

func joinNames(names []string) string { return strings.Join(names, ", ") }
