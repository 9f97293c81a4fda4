package job

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/privsgld/privsgld/accountant/ledger"
	"github.com/privsgld/privsgld/accountant/ledger/signed"
	"github.com/privsgld/privsgld/policies"
)

// settings are the flags that decide what a run does, as they were asked for; what
// is left out, and what depends on the policy, follows from the rest.
type settings struct {
	Model           string   `json:"model"`
	Target          string   `json:"target"`
	Features        []string `json:"features,omitempty"` // left out: all
	Temperature     *float64 `json:"temperature,omitempty"`
	Prior           string   `json:"prior"`
	NoiseSD         *float64 `json:"noise_sd,omitempty"`
	Clip            *float64 `json:"clip,omitempty"`
	Rate            *float64 `json:"sampling_rate,omitempty"`
	Steps           *int64   `json:"steps,omitempty"`
	StepSize        *float64 `json:"step_size,omitempty"`
	NoiseMultiplier *float64 `json:"noise_multiplier,omitempty"`
	Schedule        string   `json:"schedule"`
	Sampler         string   `json:"sampler"`
	Momentum        *float64 `json:"momentum,omitempty"`
	Metric          string   `json:"metric"`
	Init            string   `json:"init"`
	Chains          int      `json:"chains"`
	Draws           int      `json:"draws"`
	Warmup          float64  `json:"warmup"`
	Thin            int64    `json:"thin,omitempty"`
}

func (p *prepared) settings() settings {
	q := p.run.Sampler
	return settings{
		Model: p.model, Target: p.binding.Encoding().Target, Features: p.run.Features, Temperature: q.Temperature, Prior: q.Prior.String(), NoiseSD: q.NoiseSD,
		Clip: q.Clip, Rate: q.Rate, Steps: q.Steps, StepSize: q.StepSize, NoiseMultiplier: q.NoiseMultiplier,
		Schedule: q.Schedule.String(), Sampler: q.Sampler, Momentum: q.Momentum, Metric: q.Metric, Init: q.Init, Chains: q.Chains, Draws: q.Draws, Warmup: q.Warmup, Thin: q.Thin,
	}
}

// requestBody is what approvers of this job sign, but for its name and window.
func (p *prepared) requestBody() (ledger.SignedRequest, error) {
	flags, err := json.Marshal(p.settings())
	if err != nil {
		return ledger.SignedRequest{}, fmt.Errorf("job: the settings cannot be written: %w", err)
	}
	return ledger.SignedRequest{
		Ledger: p.ledger.ID(), Dataset: p.policy.Dataset.Name, PolicyName: p.policy.Metadata.Name, PolicySHA256: p.policy.SHA256,
		Kind: policies.Run, Analyst: p.run.Analyst, Purpose: p.run.Purpose, Epsilon: p.epsilon.String(), Delta: p.delta.String(),
		Settings: flags,
	}, nil
}

// writeRequest writes the request of a plan to a new file, for approvers to sign.
func (p *prepared) writeRequest() error {
	if p.policy.Approvals.Requests.AtLeast == 0 {
		return &UsageError{Message: "the policy asks for no signed request", Hint: "leave --request-to out"}
	}
	body, err := p.requestBody()
	if err != nil {
		return err
	}
	if body.ID, err = ledger.NewRequestID(); err != nil {
		return err
	}
	holds := p.run.RequestHolds
	if holds == 0 {
		holds = defaultRequestHolds
	}
	now := p.run.Now()
	body.NotBefore, body.NotAfter = utc(now), utc(now.Add(holds))
	text, err := signed.Text(signed.JobRequest, body)
	if err != nil {
		return err
	}
	return signed.WriteText(p.run.RequestTo, text)
}

// readRequest reads the request that a run names.
func (r *Run) readRequest(p *policies.Policy) ([]byte, error) {
	if r.Request == "" {
		return nil, nil
	}
	if p.Approvals.Requests.AtLeast == 0 {
		return nil, &UsageError{Message: "the policy asks for no signed request", Hint: "leave --request out"}
	}
	file, err := signed.ReadFile(r.Request)
	if err != nil {
		return nil, err
	}
	if file == nil {
		return nil, &UsageError{Message: fmt.Sprintf("the request %s does not exist", r.Request), Hint: "write it with plan --request-to"}
	}
	if _, err := ledger.ReadRequest(signed.TextOf(file)); err != nil {
		return nil, &UsageError{Message: fmt.Sprintf("%s is no request, or was changed", r.Request), Hint: "write it with plan --request-to"}
	}
	return file, nil
}

// attachRequest binds the signed request to the charge, having checked that it is
// for this very job. All but the settings is checked again by the ledger, in its
// transaction.
func (p *prepared) attachRequest() error {
	file := p.approvals.request
	if file == nil {
		return nil
	}
	text := signed.TextOf(file)
	asked, err := ledger.ReadRequest(text)
	if err != nil {
		return err
	}
	body, err := p.requestBody()
	if err != nil {
		return err
	}
	body.ID, body.NotBefore, body.NotAfter = asked.ID, asked.NotBefore, asked.NotAfter
	is, err := signed.Text(signed.JobRequest, body)
	if err != nil {
		return err
	}
	if is != text {
		return &policies.Refusal{Code: policies.PolicyViolation, Hint: "run it as it was signed, or have another request signed",
			Message: "the signed request is for another job: " + firstDifference(asked, body)}
	}
	p.request.Approval = &ledger.Approval{Note: string(file), Rule: p.policy.Approvals.Requests}
	for _, k := range p.policy.Approvals.Requests.Signers(text, file) {
		p.approvals.requestBy = append(p.approvals.requestBy, k.String())
	}
	return nil
}

func firstDifference(asked, is ledger.SignedRequest) string {
	for _, f := range []struct{ what, signed, is string }{
		{"ledger", asked.Ledger, is.Ledger}, {"data set", asked.Dataset, is.Dataset}, {"policy", asked.PolicyName, is.PolicyName},
		{"version of the policy", asked.PolicySHA256, is.PolicySHA256}, {"kind", asked.Kind, is.Kind}, {"analyst", asked.Analyst, is.Analyst},
		{"purpose", asked.Purpose, is.Purpose}, {"epsilon", asked.Epsilon, is.Epsilon}, {"delta", asked.Delta, is.Delta},
	} {
		if f.signed != f.is {
			return fmt.Sprintf("its %s is %q, not %q", f.what, f.signed, f.is)
		}
	}
	return fmt.Sprintf("its settings are %s, not %s", asked.Settings, is.Settings)
}

// defaultRequestHolds is how long a request may be used unless the plan says
// otherwise.
const defaultRequestHolds = 7 * 24 * time.Hour

// RequestRef names the signed request that a job was approved by.
type RequestRef struct {
	ID         string   `json:"id"`
	ApprovedBy []string `json:"approved_by"` // public keys
}

func (p *prepared) requestRef() *RequestRef {
	if p.request.Approval == nil {
		return nil
	}
	asked, err := ledger.ReadRequest(signed.TextOf(p.approvals.request))
	if err != nil {
		return nil
	}
	return &RequestRef{ID: asked.ID, ApprovedBy: p.approvals.requestBy}
}
