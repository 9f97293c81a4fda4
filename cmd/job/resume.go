package job

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/privsgld/privsgld/accountant"
	"github.com/privsgld/privsgld/accountant/ledger"
	"github.com/privsgld/privsgld/datasets"
	"github.com/privsgld/privsgld/policies"
	"github.com/privsgld/privsgld/privacy/gate"
	"github.com/privsgld/privsgld/sgld"
)

// resumeSchema names the content of a resume point and its version.
const resumeSchema = "privsgld/resume/v1"

// againAssumption is what the guarantee of a run that went on rests on beside others'.
const againAssumption = "whether and when an attempt at this run was killed from outside did not depend on the data; the steps that were done a second time are charged"

// Resume goes on with a run that was killed, from its last resume point, under the
// reservation that it has: see the package comment.
type Resume struct {
	RunID  string
	OutDir string // empty: a folder named after the run

	Progress   sgld.Progress
	Guard      func(runID string, mark *os.File) (stop func(), err error) // as that of a Run
	OpenLedger func(context.Context) (*ledger.Ledger, error)
	Now        func() time.Time
	Program    Program
}

// An Attempt is one that a report tells of beside the first.
type Attempt struct {
	Attempt int64              `json:"attempt"` // from 2
	Entry   int64              `json:"entry"`   // of its charge in the ledger
	Events  []accountant.Event `json:"events"`  // charged for what it may have done again
}

// savedRun is a resume point with all that a later process needs. It holds outputs of
// charged mechanisms and public facts, beside the keyed fingerprint, and stays in the
// state folder.
type savedRun struct {
	Schema       string     `json:"schema"`
	RunID        string     `json:"run_id"`
	Attempt      int64      `json:"attempt"`
	Reserved     time.Time  `json:"reserved"`
	PolicySHA256 string     `json:"policy_sha256"`
	Identity     string     `json:"identity"` // of everything public that fixes the run
	Request      savedFlags `json:"request"`
	Fingerprint  []byte     `json:"fingerprint"` // of the rows
	Point        sgld.Point `json:"point"`
}

// savedFlags are those of the command line that began the run; paths are absolute.
type savedFlags struct {
	PolicyPath, DataPath, Epsilon, Delta, Model, Target string
	Features                                            []string
	Analyst, Purpose, Format                            string
	Memory                                              int64
	Sampler                                             sgld.Request
	Prior, Temperature, Request                         string
}

// points keep a run's resume points; nil keeps none.
type points struct {
	hold  *ledger.Hold
	saved savedRun
	from  *sgld.Point
	guard func(runID string, mark *os.File) (stop func(), err error)
	after []func() // undone at the end, the last first
}

// wantsPoints says, from public facts, whether the run keeps resume points, or goes on
// from one.
func (p *prepared) wantsPoints() bool {
	return p.run.resumed != nil || p.run.ReleaseAt == 0 && p.run.Guard != nil && p.plan.PointEvery() > 0
}

// keepPoints takes a new run in hand, where it is one that keeps resume points.
func (p *prepared) keepPoints(ctx context.Context) error {
	if !p.wantsPoints() {
		return nil
	}
	hold, err := p.ledger.Hold(ctx, p.request.RunID)
	var none *ledger.PointError
	if errors.As(err, &none) {
		return nil // the system has no locks
	}
	if err != nil {
		return err
	}
	p.points = &points{hold: hold, guard: p.run.Guard}
	p.points.saved, err = p.save(1)
	return err
}

// save is what all resume points of an attempt have in common.
func (p *prepared) save(attempt int64) (savedRun, error) {
	r := p.run
	s := savedRun{Schema: resumeSchema, RunID: p.request.RunID, Attempt: attempt, PolicySHA256: p.policy.SHA256}
	s.Request = savedFlags{
		PolicyPath: r.PolicyPath, DataPath: r.DataPath, Epsilon: r.Epsilon, Delta: r.Delta, Model: r.Model, Target: r.Target, Features: r.Features,
		Analyst: r.Analyst, Purpose: r.Purpose, Format: r.Format, Memory: r.Memory, Sampler: r.Sampler, Prior: r.Sampler.Prior.String(), Temperature: r.Temperature, Request: r.Request,
	}
	for _, path := range []*string{&s.Request.PolicyPath, &s.Request.DataPath, &s.Request.Request} {
		if *path == "" {
			continue
		}
		full, err := filepath.Abs(*path)
		if err != nil {
			return s, fmt.Errorf("job: the current folder is gone")
		}
		*path = full
	}
	var err error
	s.Identity, err = p.identity()
	return s, err
}

// identity is a digest of everything public that fixes what the run does: the plan, the
// charge, and the settings that it came of.
func (p *prepared) identity() (string, error) {
	text, err := json.Marshal(struct {
		RunID, Policy, Ledger, Dataset, Analyst, Purpose, Format string
		Epsilon, Delta                                           accountant.Amount
		Settings                                                 settings
		Plan                                                     *sgld.Plan
		Event                                                    accountant.Event
	}{p.request.RunID, p.policy.SHA256, p.ledger.ID(), p.policy.Dataset.Name, p.run.Analyst, p.run.Purpose, p.run.Format, p.epsilon, p.delta, p.settings(), p.plan, p.request.Event})
	if err != nil {
		return "", fmt.Errorf("job: the plan cannot be written: %w", err)
	}
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:]), nil
}

// begin has an attempt watched, once it is charged and before it reads a row: however
// the process ends by itself, it leaves no point to go on from.
func (k *points) begin(ctx context.Context, res ledger.Reservation) error {
	if k == nil {
		return nil
	}
	k.saved.Reserved = res.Time
	if err := k.watch(); err != nil {
		return err
	}
	// An interrupt is an end, at once and whatever the run is doing.
	stop := context.AfterFunc(ctx, func() { _ = k.hold.End() })
	k.after = append(k.after, func() { stop() })
	return nil
}

// watch leads the runtime's last words to the mark.
func (k *points) watch() error {
	if len(k.after) > 0 {
		return nil
	}
	stop, err := k.guard(k.saved.RunID, k.hold.Mark())
	if err != nil {
		return fmt.Errorf("job: the run cannot be watched: %w", err)
	}
	k.after = append(k.after, stop)
	return nil
}

// end says that the run ended by itself, or was settled. A panic passes through here.
func (k *points) end() {
	if k == nil {
		return
	}
	_ = k.hold.End() // where nothing can be written, there is nobody to tell
	for i := len(k.after) - 1; i >= 0; i-- {
		k.after[i]()
	}
	k.hold.Leave()
}

// sampler is what the sampler needs to keep points, and to go on.
func (k *points) sampler(f *datasets.Fingerprint) sgld.Points {
	if k == nil {
		return sgld.Points{}
	}
	return sgld.Points{From: k.from, Save: func(at *sgld.Point) error {
		var err error
		if k.saved.Fingerprint == nil {
			if k.saved.Fingerprint, err = f.Encode(); err != nil {
				return err
			}
		}
		k.saved.Point = *at
		return k.write()
	}}
}

// write puts the point in the place of the last. Where that fails the run goes on
// without: what may be done again must be as long as is charged.
func (k *points) write() error {
	text, err := json.Marshal(k.saved)
	if err == nil {
		err = k.hold.Save(text)
	}
	if err != nil {
		return k.hold.Drop()
	}
	return nil
}

// runID is the name of the run that goes on, or a new one.
func (s *savedRun) runID() (string, error) {
	if s != nil {
		return s.RunID, nil
	}
	return newRunID()
}

func (s *savedRun) samePolicy(p *policies.Policy) error {
	if s == nil || s.PolicySHA256 == p.SHA256 {
		return nil
	}
	return notResumed("the policy is not the one that the run began under", "restore the policy, or start a new run")
}

func (s *savedRun) sameRows(f *datasets.Fingerprint) error {
	if s == nil {
		return nil
	}
	if have, err := datasets.DecodeFingerprint(s.Fingerprint); err == nil && f != nil && f.Equal(have) {
		return nil
	}
	return &WrongRows{Message: "the rows are not those that the killed attempt read; nothing is released, and the charge stands", Hint: "start a new run"}
}

// notResumed is a refusal to go on with a run: exit code 4, nothing was charged.
func notResumed(message, hint string) error {
	return &policies.Refusal{Code: policies.PolicyViolation, Message: message, Hint: hint}
}

// Do goes on: it checks that nothing public has changed, charges the steps that may be
// done again, and only then reads the rows. Errors before the charge leave the resume
// point as it is, but for a run that can never go on; all others end the run.
func (r *Resume) Do(ctx context.Context) (*Report, error) {
	hold, saved, err := r.take(ctx)
	if err != nil {
		var none *ledger.PointError
		if errors.As(err, &none) {
			return nil, notResumed(none.Message, "a charge that was reserved stays; start a new run")
		}
		return nil, err
	}
	run, err := saved.run(r)
	if err != nil {
		hold.Leave()
		return nil, err
	}
	p, out, err := run.start(ctx)
	if err != nil {
		hold.Leave()
		return nil, err
	}
	r.OutDir = run.OutDir
	defer p.ledger.Close() //nolint:errcheck // every entry is durable when it is made
	defer out.Close()
	p.points = &points{hold: hold, guard: r.Guard, from: &saved.Point, saved: *saved}
	permit, err := p.chargeAgain(ctx)
	if err != nil {
		p.points.leave(err)
		return nil, err
	}
	defer p.points.end()
	// Before anything else: the next attempt must be charged for this one's steps.
	p.points.saved.Attempt = permit.attempt
	if err := p.points.write(); err != nil {
		return nil, err
	}
	return p.finish(ctx, permit.Permit, out)
}

// take reads the resume point, and takes the run in hand.
func (r *Resume) take(ctx context.Context) (*ledger.Hold, *savedRun, error) {
	if r.Guard == nil {
		return nil, nil, &ledger.PointError{Message: "this system keeps no resume points"}
	}
	l, err := r.OpenLedger(ctx)
	if err != nil {
		return nil, nil, err
	}
	defer l.Close() //nolint:errcheck // nothing was written
	now, err := l.Now(ctx)
	if err != nil {
		return nil, nil, err
	}
	hold, text, err := l.HoldAgain(ctx, r.RunID)
	if err != nil {
		return nil, nil, err
	}
	s := &savedRun{}
	if json.Unmarshal(text, s) != nil || s.Schema != resumeSchema || s.RunID != r.RunID {
		hold.Leave()
		return nil, nil, &ledger.PointError{Message: fmt.Sprintf("the resume point of run %s is another program's", r.RunID)}
	}
	if now.Sub(s.Reserved) > ledger.PointLifetime {
		err := hold.End()
		hold.Leave()
		return nil, nil, errors.Join(&ledger.PointError{Message: fmt.Sprintf("the resume point of run %s is older than 7 days, and was removed", r.RunID)}, err)
	}
	return hold, s, nil
}

// run is the run that began, for another attempt.
func (s *savedRun) run(r *Resume) (*Run, error) {
	f := s.Request
	prior, err := sgld.ParsePrior(f.Prior)
	if err != nil {
		return nil, err
	}
	f.Sampler.Prior = prior
	return &Run{
		PolicyPath: f.PolicyPath, DataPath: f.DataPath, Epsilon: f.Epsilon, Delta: f.Delta, OutDir: r.OutDir, Model: f.Model, Target: f.Target, Features: f.Features,
		Analyst: f.Analyst, Purpose: f.Purpose, Format: f.Format, Memory: f.Memory, Sampler: f.Sampler, Temperature: f.Temperature, Request: f.Request,
		Progress: r.Progress, Guard: r.Guard, OpenLedger: r.OpenLedger, Now: r.Now, Program: r.Program, resumed: s,
	}, nil
}

// leave gives a run back that was not charged again: as it is, or, where it can never
// go on, without its point.
func (k *points) leave(err error) {
	if errors.Is(err, ledger.ErrCharge) {
		_ = k.hold.End()
	}
	for i := len(k.after) - 1; i >= 0; i-- {
		k.after[i]()
	}
	k.hold.Leave()
}

// An attemptPermit is the permit of one attempt.
type attemptPermit struct {
	*gate.Permit
	attempt int64
}

// chargeAgain charges the steps that may be done again.
func (p *prepared) chargeAgain(ctx context.Context) (*attemptPermit, error) {
	s := p.run.resumed
	identity, err := p.identity()
	if err != nil {
		return nil, err
	}
	if identity != s.Identity {
		return nil, notResumed(fmt.Sprintf("run %s is planned otherwise than when it began, by another version of the program or for another ledger", s.RunID), "start a new run")
	}
	event := p.plan.AgainEvent(&s.Point)
	if err := p.againAllowed(ctx, event); err != nil {
		return nil, p.notAgain(err)
	}
	if err := p.points.watch(); err != nil {
		return nil, err
	}
	attempt := s.Attempt + 1
	permit, again, err := gate.ReserveAgain(ctx, p.ledger, s.RunID, attempt, event)
	if err != nil {
		err = p.refusal(err)
		var refusal *Refusal
		if errors.As(err, &refusal) {
			refusal.Requested, refusal.Hint = s.Request.Epsilon, "the resume point stays for 7 days; a settled job or an amended budget may make room"
		}
		return nil, p.notAgain(err)
	}
	p.again = again
	return &attemptPermit{permit, attempt}, nil
}

// notAgain says of a charge that is not there any more that the run cannot go on.
func (p *prepared) notAgain(err error) error {
	if errors.Is(err, ledger.ErrCharge) {
		return fmt.Errorf("%w (%w)", notResumed(fmt.Sprintf("run %s cannot go on: %v", p.request.RunID, err), "start a new run"), ledger.ErrCharge)
	}
	return err
}

// againAllowed holds the run with its steps done again to what the policy allows one
// job, and to what approvers signed.
func (p *prepared) againAllowed(ctx context.Context, event accountant.Event) error {
	before, err := p.ledger.Attempts(ctx, p.request.RunID)
	if err != nil {
		return err
	}
	parts := []accountant.Event{p.request.Event, event}
	for _, a := range before {
		parts = append(parts, a.Event)
	}
	eps, _, err := accountant.Epsilon(p.policy.Budget.Accountant, accountant.Compose(parts...).Merge(), p.delta.Float64Down())
	if err != nil {
		return err
	}
	if p.request.Approval != nil && eps > p.epsilon.Float64Down() {
		return notResumed("with the steps done again the run costs more than its signed request allows", "have a new request signed, and start a new run")
	}
	if c := p.policy.Budget.PerJob; c != nil && eps > c.Epsilon.Float64Down() {
		return &Refusal{Message: "with the steps done again the run costs more than the policy allows one job", Hint: "start a new run with less epsilon",
			Requested: strconv.FormatFloat(eps, 'g', -1, 64), By: []string{"job"}}
	}
	return nil
}

// withAgain composes an event with what was charged again.
func (p *prepared) withAgain(e accountant.Event) accountant.Event {
	parts := []accountant.Event{e}
	for _, a := range p.again {
		parts = append(parts, a.Event)
	}
	return accountant.Compose(parts...).Merge()
}

// composedAgain says in a statement what was charged again.
func (p *prepared) composedAgain() string {
	var steps int64
	for _, a := range p.again {
		for _, e := range eventList(a.Event) {
			steps += max(e.Count, 1)
		}
	}
	if steps == 0 {
		return ""
	}
	return fmt.Sprintf(", and %d steps that attempts after a kill may have done again", steps)
}

func attemptList(again []ledger.Attempt) (out []Attempt) {
	for _, a := range again {
		out = append(out, Attempt{a.Number, a.Entry, eventList(a.Event)})
	}
	return out
}
