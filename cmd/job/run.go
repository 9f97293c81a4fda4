package job

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/privsgld/privsgld/accountant"
	"github.com/privsgld/privsgld/accountant/ledger"
	"github.com/privsgld/privsgld/datasets"
	"github.com/privsgld/privsgld/policies"
	"github.com/privsgld/privsgld/privacy/gate"
	"github.com/privsgld/privsgld/sgld"
	"github.com/privsgld/privsgld/sgld/diagnostics"
)

// LeastMemory is the least that the decoder starts with, in bytes.
const LeastMemory = 256 << 20

// Run is a request for posterior draws. Zero values mean the defaults of the
// command line.
type Run struct {
	PolicyPath string
	DataPath   string
	Epsilon    string // exact decimal text
	Delta      string // exact decimal text; empty: the policy's
	OutDir     string // empty: a folder named after the run
	Model      string // empty: logistic where the target has a positive level
	Target     string
	Features   []string
	Analyst    string
	Purpose    string
	Format     string // parquet, arrow or csv
	Memory     int64  // limit of the decoder in bytes; 0: its default

	// Settings of the sampler; the encoding, the budget and the facts of the
	// policy are filled in.
	Sampler     sgld.Request
	Temperature string // as asked, for the report

	// Request is the file of a signed request, where the policy asks for one; a plan
	// writes one for this job to the new file RequestTo, which may be used for
	// RequestHolds (0: seven days).
	Request      string
	RequestTo    string
	RequestHolds time.Duration

	Progress sgld.Progress

	// Guard, where it is given, lets a long run keep resume points. It is called once
	// the run is charged, and makes all that the Go runtime writes to standard error go
	// to the mark until the function that it returns is called.
	Guard func(runID string, mark *os.File) (stop func(), err error)

	// Register has the first run of a data set register its rows, as the holder's
	// own terminal does.
	Register bool

	// ReleaseAt, where it is not 0, has the run end, well or not, no earlier than the
	// next whole multiple of it in UTC after it has computed: see [gate.Await]. It
	// divides a day. After is time.After where it is nil.
	ReleaseAt time.Duration
	After     func(time.Duration) <-chan time.Time

	OpenLedger func(context.Context) (*ledger.Ledger, error)
	Now        func() time.Time
	Program    Program

	resumed *savedRun // where this goes on from; nil: a new run
}

// prepared is a run that was approved and planned: public facts only.
type prepared struct {
	run     *Run
	policy  *policies.Policy
	binding *datasets.Binding
	plan    *sgld.Plan
	ledger  *ledger.Ledger
	rows    *identity // what the ledger knows of the data set's rows
	request ledger.Request
	epsilon accountant.Amount
	delta   accountant.Amount
	model   string

	comparison EpsilonByAccountant // of what is reserved
	approvals  approvals

	points *points          // resume points; nil: none
	again  []ledger.Attempt // later attempts, which charged steps again
}

// Plan approves and plans the run and asks the ledger what it would decide. It
// reads no data and reserves nothing.
func (r *Run) Plan(ctx context.Context) (*Report, error) {
	p, err := r.prepare(ctx, planned)
	if err != nil {
		return nil, err
	}
	defer p.ledger.Close() //nolint:errcheck // nothing was written
	budget, err := p.ledger.Preview(ctx, p.request)
	if err != nil {
		return nil, p.refusal(err)
	}
	if r.RequestTo != "" {
		if err := p.writeRequest(); err != nil {
			return nil, err
		}
	}
	report, err := p.report(p.plan, p.request.Event, budget)
	if err != nil {
		return nil, err
	}
	report.Sampler.Seconds = p.plan.Seconds()
	report.Sampler.Bytes = p.plan.Bytes()
	report.Alternatives = alternatives(p.plan)
	report.Warnings = append(p.approvals.missing, report.Warnings...)
	return report, nil
}

// Do runs the job: the order is the guarantee, see the package comment.
func (r *Run) Do(ctx context.Context) (*Report, error) {
	p, out, err := r.start(ctx)
	if err != nil {
		return nil, err
	}
	defer p.ledger.Close() //nolint:errcheck // every entry is durable when it is made
	defer out.Close()
	if err := p.keepPoints(ctx); err != nil {
		return nil, err
	}
	defer p.points.end()
	permit, err := gate.Reserve(ctx, p.ledger, p.request)
	if err != nil {
		return nil, p.refusal(err)
	}
	if ctx.Err() != nil {
		return nil, giveBack(ctx, permit.Void)
	}
	return p.finish(ctx, permit, out)
}

// finish does what comes after the charge of an attempt.
func (p *prepared) finish(ctx context.Context, permit *gate.Permit, out *gate.Output) (*Report, error) {
	if err := p.points.begin(ctx, permit.Reservation()); err != nil {
		return nil, err
	}
	result, err := held(ctx, p.run, func() (*sgld.Result, error) { return p.compute(ctx, permit) })
	if err != nil {
		return nil, err
	}
	return p.release(ctx, permit, out, result)
}

// start does all that comes before the reservation.
func (r *Run) start(ctx context.Context) (*prepared, *gate.Output, error) {
	p, err := r.prepare(ctx, forReal)
	if err != nil {
		return nil, nil, err
	}
	if r.OutDir == "" {
		r.OutDir = "privsgld-" + p.request.RunID
	}
	out, err := gate.PrepareOutput(r.OutDir)
	if err == nil {
		if p.rows.key != nil {
			p.binding = p.binding.Whole()
		}
		if err = datasets.Check(gate.StructurePermit(), r.DataPath, p.binding); err == nil {
			return p, out, nil
		}
		out.Close() //nolint:errcheck // nothing was written
	}
	p.ledger.Close() //nolint:errcheck // nothing was written
	return nil, nil, err
}

// giveBack voids the charge of a run that was cancelled before it opened anything:
// the gate can prove it.
func giveBack(ctx context.Context, void func(context.Context) error) error {
	if err := void(context.WithoutCancel(ctx)); err != nil {
		return err
	}
	return context.Cause(ctx)
}

// prepare reads the policy, approves the request against it and plans.
func (r *Run) prepare(ctx context.Context, what intent) (*prepared, error) {
	policy, err := LoadPolicy(r.PolicyPath)
	if err != nil {
		return nil, err
	}
	p := &prepared{run: r, policy: policy}
	if err := r.resumed.samePolicy(policy); err != nil {
		return nil, err
	}
	if p.approvals, err = r.readApprovals(policy, what); err != nil {
		return nil, err
	}
	if p.epsilon, err = amount("epsilon", r.Epsilon); err != nil {
		return nil, err
	}
	if p.epsilon.Cmp(accountant.MustAmount("1e-9")) < 0 {
		return nil, &UsageError{Message: "epsilon is below 1e-9", Hint: "ask for at least 1e-9"}
	}
	if p.epsilon.Cmp(accountant.MustAmount("1e9")) > 0 {
		return nil, &UsageError{Message: "epsilon is above 1e9", Hint: "no policy has more"}
	}
	p.delta = policy.Budget.Delta
	if r.Delta != "" {
		if p.delta, err = amount("delta", r.Delta); err != nil {
			return nil, err
		}
		if p.delta.IsZero() || p.delta.Cmp(accountant.MustAmount("1")) >= 0 {
			return nil, &UsageError{Message: "delta must lie between 0 and 1"}
		}
	}
	if err := errors.Join(checkName("analyst", r.Analyst), checkName("purpose", r.Purpose)); err != nil {
		return nil, err
	}
	if err := p.bind(); err != nil {
		return nil, err
	}
	if err := r.checkReleaseAt(); err != nil {
		return nil, err
	}
	if r.Memory != 0 && r.Memory < LeastMemory {
		return nil, &UsageError{Message: "the memory limit is too small to decode a table", Hint: "give at least 256MiB"}
	}
	if !slices.Contains([]string{"parquet", "arrow", "csv"}, r.Format) {
		return nil, &UsageError{Message: fmt.Sprintf("unknown format %q: use parquet, arrow or csv", r.Format)}
	}
	if err := p.makePlan(); err != nil {
		return nil, err
	}
	if p.ledger, err = r.OpenLedger(ctx); err != nil {
		return nil, err
	}
	err = p.approve(ctx)
	if err == nil {
		p.rows, err = openIdentity(ctx, p.ledger, policy, r.Register || what == forReal && p.wantsPoints())
	}
	if err != nil {
		p.ledger.Close() //nolint:errcheck // nothing was written
		return nil, err
	}
	return p, nil
}

func amount(name, text string) (accountant.Amount, error) {
	if text == "" {
		return accountant.Amount{}, &UsageError{Message: name + " is missing", Hint: "give --" + name}
	}
	a, err := accountant.ParseAmount(text)
	if err != nil {
		return a, &UsageError{Message: fmt.Sprintf("%s %q is not a plain non-negative decimal number", name, text), Hint: "write it like 0.5 or 1e-6"}
	}
	return a, nil
}

// longestName bounds an analyst's name and a purpose, in bytes.
const longestName = 200

// checkName refuses text that would not be what it seems: one name in several
// spellings would have several caps, and control characters forge lines.
func checkName(what, text string) error {
	fault := ""
	switch {
	case !utf8.ValidString(text):
		fault = "is no UTF-8"
	case len(text) > longestName:
		fault = fmt.Sprintf("is longer than %d bytes", longestName)
	case text != strings.TrimSpace(text) || strings.Contains(text, "  "):
		fault = "has blanks at an end, or two in a row"
	case strings.ContainsFunc(text, func(r rune) bool {
		return r != ' ' && (!unicode.IsGraphic(r) || unicode.IsSpace(r) || unicode.Is(unicode.M, r))
	}):
		fault = "has control, invisible or combining characters"
	}
	if fault == "" {
		return nil
	}
	return &UsageError{Message: fmt.Sprintf("%s %+q %s", what, text, fault), Hint: "use plain letters, digits and single blanks"}
}

// bind resolves model, target and features against the policy.
func (p *prepared) bind() error {
	r, d := p.run, p.policy.Dataset
	if d.Unit.Kind != policies.UnitRow {
		return &UsageError{Message: "the policy's privacy unit is an entity, which this version does not sample", Hint: "use a table with one row for each entity and privacyUnit: row"}
	}
	target := r.Target
	if target == "" {
		target = d.Target.Column
	}
	if target == "" {
		return &UsageError{Message: "no target: the policy names none", Hint: "give --target"}
	}
	if !slices.ContainsFunc(d.Columns, func(c policies.Column) bool { return c.Name == target }) {
		return &UsageError{Message: fmt.Sprintf("target %q: the policy declares no such column", target)}
	}
	p.model = r.Model
	if p.model == "" {
		if target != d.Target.Column || d.Target.Positive == "" {
			return &UsageError{Message: "no model: the target has no positive level in the policy", Hint: "give --model"}
		}
		p.model = "logistic"
	}
	outcome, ok := sgld.OutcomeOf(p.model)
	if !ok {
		return &UsageError{Message: fmt.Sprintf("unknown model %q", p.model), Hint: "use one of " + strings.Join(sgld.Models, ", ")}
	}
	var err error
	p.binding, err = datasets.BindOutcome(d, target, r.Features, outcome)
	if err != nil {
		return &UsageError{Message: err.Error()}
	}
	return nil
}

func (p *prepared) makePlan() error {
	q := p.run.Sampler
	q.Encoding, q.Model = p.binding.Encoding(), p.model
	if p.policy.Dataset.Rows != nil {
		q.Rows = *p.policy.Dataset.Rows
	}
	q.Adjacency = p.policy.Dataset.Adjacency
	q.Method = p.policy.Budget.Accountant
	q.Epsilon, q.Delta = p.epsilon, p.delta
	var err error
	if p.plan, err = sgld.NewPlan(q); err != nil {
		return err
	}
	event := p.plan.Reserve()
	eps, _, err := accountant.Epsilon(q.Method, event, p.delta.Float64Down())
	if err != nil {
		return &UsageError{Message: "the policy's accountant cannot account for this run: " + err.Error()}
	}
	if eps > p.epsilon.Float64Down() {
		return fmt.Errorf("job: the plan costs more than was asked for")
	}
	p.comparison = epsilons(event, p.delta.Float64Down(), p.plan.CountEpsilon == nil && p.plan.GramNoiseMultiplier == 0)
	return nil
}

// approve checks the policy's rules and makes the ledger's request.
func (p *prepared) approve(ctx context.Context) error {
	r := p.run
	// A policy that has expired by the ledger's time stays so when the clock is set
	// back.
	now, err := p.ledger.Now(ctx)
	if err != nil {
		return err
	}
	if at := r.Now(); at.After(now) {
		now = at
	}
	err = p.approvals.decide(p.policy, policies.Job{
		Kind: "run", Model: p.model, Target: p.binding.Encoding().Target, Analyst: r.Analyst, Purpose: r.Purpose,
		LedgerID: p.ledger.ID(), Epsilon: p.epsilon, Delta: p.delta,
	}, now)
	if err != nil && !budgetRefusal(err) {
		return err
	}
	id, idErr := r.resumed.runID()
	if idErr != nil {
		return idErr
	}
	p.request = ledger.Request{
		RunID: id, Kind: "run", Analyst: r.Analyst, Purpose: r.Purpose,
		Registration: registrationOf(p.policy),
		Event:        p.plan.Reserve(), JobEpsilon: p.epsilon, JobDelta: p.delta,
	}
	if e := p.attachRequest(); e != nil {
		return e
	}
	p.request.Caps = caps(p.policy, r.Analyst, r.Purpose)
	if err != nil {
		return p.capRefusal(err)
	}
	return nil
}

// caps are those of the policy that one job is charged to, all at once.
func caps(p *policies.Policy, analyst, purpose string) []ledger.Cap {
	var all []ledger.Cap
	add := func(name string, c policies.Cap) {
		all = append(all, ledger.Cap{Name: name, Terms: p.Budget.CapTerms(c)})
	}
	if c, ok := p.AnalystCap(analyst); ok {
		add("analyst:"+analyst, *c)
	}
	if c, ok := p.PurposeCap(purpose); ok {
		add("purpose:"+purpose, *c)
	}
	for _, renews := range slices.Sorted(maps.Keys(p.Budget.Periods)) {
		add("period:"+renews, p.Budget.Periods[renews])
	}
	return all
}

func budgetRefusal(err error) bool {
	var refusal *policies.Refusal
	return errors.As(err, &refusal) && refusal.Code == "budget_exhausted"
}

// capRefusal completes a refusal by a cap of the policy with the state of the
// budget: what is left is a question for the ledger.
func (p *prepared) capRefusal(err error) error {
	var refusal *policies.Refusal
	errors.As(err, &refusal)
	out := &Refusal{Message: refusal.Message, Hint: refusal.Hint, Requested: p.epsilon.String(), By: []string{"job"}}
	q := p.request
	// What is asked about is the state of the budget: next to nothing is added.
	q.Event = accountant.Gaussian(p.policy.Dataset.Adjacency, 1e12, 1)
	budget, err := p.ledger.Preview(context.Background(), q)
	var refused *ledger.Refused
	var mismatch *ledger.Mismatch
	switch {
	case errors.As(err, &refused):
		budget = refused.Budget
	case errors.As(err, &mismatch):
		return err
	case err != nil:
		return err
	}
	budget.EpsilonSpentAfter = budget.EpsilonSpentBefore
	out.Budget = &budget
	out.Grantable = p.underJobCap(budget.GrantableEpsilon)
	budget.GrantableEpsilon = out.Grantable
	return out
}

// underJobCap lowers what the filters would grant to the policy's per-job cap.
func (p *prepared) underJobCap(eps float64) float64 {
	if c := p.policy.Budget.PerJob; c != nil {
		limit, err := strconv.ParseFloat(c.Epsilon.String(), 64) // nearest: its shortest text is the decimal
		if err == nil {
			eps = min(eps, limit)
		}
	}
	return eps
}

// refusal turns the ledger's refusal into the job's.
func (p *prepared) refusal(err error) error {
	var refused *ledger.Refused
	if !errors.As(err, &refused) {
		return err
	}
	out := &Refusal{Message: refused.Reason, Requested: p.epsilon.String(), Budget: &refused.Budget, Grantable: p.underJobCap(refused.GrantableEpsilon), By: refused.By}
	if out.Grantable > 0 {
		out.Hint = fmt.Sprintf("ask for at most --epsilon %s", strconv.FormatFloat(out.Grantable, 'g', -1, 64))
	} else {
		out.Hint = "nothing more can be granted"
	}
	out.Budget.GrantableEpsilon = out.Grantable
	return out
}

// compute opens the data under the permit and runs the sampler. From here on
// the charge stands, whatever happens.
func (p *prepared) compute(ctx context.Context, permit *gate.Permit) (*sgld.Result, error) {
	table, err := p.open(ctx, permit)
	if err != nil {
		return nil, err
	}
	defer table.Close() //nolint:errcheck // a mapped temporary file
	return sgld.RunFrom(ctx, p.plan, table, p.label(permit.Reservation()), p.points.sampler(table.Fingerprint()), p.run.Progress)
}

// label names the attempt in the keys of its random streams. The entry's number and
// time separate them also for two copies of one machine that share their generator's
// state, and the attempt's number for a run that goes on.
func (p *prepared) label(res ledger.Reservation) string {
	return fmt.Sprintf("%s/%d/%s/%d", res.RunID, res.Entry, utc(res.Time), 1+len(p.again))
}

// open opens the data, and checks that the rows are those that the data set's name
// stands for.
func (p *prepared) open(ctx context.Context, k gate.Key) (*datasets.Table, error) {
	table, err := datasets.Open(ctx, k, p.run.DataPath, p.binding, datasets.Options{Memory: p.run.Memory, Key: p.rows.key})
	if err != nil {
		return nil, err
	}
	f := table.Fingerprint()
	err = p.rows.check(f)
	if err == nil {
		err = p.run.resumed.sameRows(f)
	}
	if err == nil && p.run.Register && !p.rows.has() {
		var content ledger.Content
		content, err = p.rows.register(ctx, f)
		p.rows.contents[content.Dataset] = content
	}
	if err != nil {
		_ = table.Close() // the error says more
		return nil, err
	}
	return table, nil
}

// release settles the charge at what ran and hands the gate the files.
func (p *prepared) release(ctx context.Context, permit *gate.Permit, out *gate.Output, result *sgld.Result) (*Report, error) {
	event := result.Event()
	if err := ctx.Err(); err != nil {
		return nil, context.Cause(ctx)
	}
	var report *Report
	err := permit.Release(context.WithoutCancel(ctx), out, event, func(dir string, s *ledger.Settlement) error {
		var err error
		if report, err = p.report(result.Plan, event, s.Budget); err != nil {
			return err
		}
		report.Status = "released"
		p.complete(report, permit.Reservation(), s, result.Draws)
		guarantee, err := canonicalJSON(report.Guarantee)
		if err != nil {
			return err
		}
		return p.write(dir, "", report, result.Draws, string(guarantee))
	})
	if err != nil {
		return nil, err
	}
	return report, nil
}

// complete adds what is known once the draws are there.
func (p *prepared) complete(report *Report, res ledger.Reservation, s *ledger.Settlement, draws sgld.Draws) {
	report.Time = utc(res.Time)
	report.Ledger.Entry = &s.Entry
	report.Ledger.Checkpoint = s.Checkpoint
	p.diagnose(report, draws)
}

// write puts the draws and the report into dir, under names that begin with prefix,
// and signs the report of a release.
func (p *prepared) write(dir, prefix string, report *Report, draws sgld.Draws, guarantee string) error {
	var samples bytes.Buffer
	if err := draws.Write(&samples, p.run.Format, guarantee); err != nil {
		return err
	}
	name := prefix + "samples." + p.run.Format
	report.Files = []File{fileOf(name, samples.Bytes())}
	if report.Status == "released" {
		var err error
		if report.Signature, err = report.sign(p.ledger); err != nil {
			return err
		}
	}
	text, err := json.MarshalIndent(report, "", "  ")
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, name), samples.Bytes(), 0o644); err != nil { //nolint:gosec // releasable
		return err
	}
	return os.WriteFile(filepath.Join(dir, prefix+"report.json"), append(text, '\n'), 0o644) //nolint:gosec // releasable
}

// diagnose summarises the released draws and warns of what has not mixed.
func (p *prepared) diagnose(report *Report, d sgld.Draws) {
	byParameter := make([][][]float64, len(d.Names))
	for j := range byParameter {
		for _, chain := range d.Chains {
			one := make([]float64, len(chain))
			for i, draw := range chain {
				one[i] = draw[j]
			}
			byParameter[j] = append(byParameter[j], one)
		}
	}
	report.Diagnostics.Parameters = diagnostics.Summarize(d.Names, byParameter)
	notMixed, few := judge(report.Diagnostics.Parameters)
	report.Diagnostics.NotMixed = append([]string{}, notMixed...)
	if len(notMixed) > 0 {
		report.Warnings = append(report.Warnings, fmt.Sprintf("not mixed: %s: do not rely on these coefficients; the budget bought too little diffusion time, or a smaller --step-size is needed", someNames(notMixed)))
	}
	if len(few) > 0 {
		report.Warnings = append(report.Warnings, fmt.Sprintf("few effective draws (below %d): %s: see mcse for the error of their means", adequateESS, someNames(few)))
	}
}

// report fills in all that is known before the draws are.
func (p *prepared) report(plan *sgld.Plan, event accountant.Event, budget ledger.Budget) (*Report, error) {
	r, d := p.run, p.policy.Dataset
	delta := p.delta.Float64Down()
	// A run whose steps follow an answer that it bought is one mechanism with
	// many branches: its guarantee is what was reserved, which bounds them all,
	// not what the branch that ran cost.
	reserved, comparison := p.request.Event, p.comparison
	if len(p.again) > 0 {
		reserved, event = p.withAgain(reserved), p.withAgain(event)
		comparison = epsilons(reserved, delta, false)
	}
	eps, _, err := accountant.Epsilon(p.policy.Budget.Accountant, reserved, delta)
	if err != nil {
		return nil, err
	}
	charged, _, err := accountant.Epsilon(p.policy.Budget.Accountant, event, delta)
	if err != nil {
		return nil, err
	}
	event = event.Merge()
	budget.GrantableEpsilon = p.underJobCap(budget.GrantableEpsilon)
	rep := &Report{
		Schema: ReportSchema, RunID: p.request.RunID, Kind: "run", Status: "planned",
		Policy:  PolicyRef{Name: p.policy.Metadata.Name, SHA256: p.policy.SHA256, ApprovedBy: p.approvals.by},
		Dataset: DatasetRef{Name: d.Name}, Analyst: r.Analyst, Purpose: r.Purpose,
		Time: utc(r.Now()), Request: p.requestRef(),
		Guarantee: Guarantee{
			Epsilon: Number(eps), Delta: p.delta, Accountant: p.policy.Budget.Accountant,
			PrivacyUnit: string(d.Unit.Kind), Adjacency: d.Adjacency,
			EpsilonByAccountant: comparison, Charged: Number(charged),
			Events: eventList(event), Amendments: budget.Amendments,
		},
		Budget: budget, Sampler: samplerReport(plan, p.model, r.Temperature), Outlook: outlook(plan),
		Diagnostics: Diagnostics{Parameters: []diagnostics.Summary{}, NotMixed: []string{}},
		Attempts:    attemptList(p.again),
		Ledger:      LedgerRef{ID: p.ledger.ID()}, Warnings: append([]string{}, plan.Warnings...), Program: r.Program, Files: []File{},
	}
	rep.Guarantee.Assumptions = append(p.assumptions(event), amendmentAssumptions(budget)...)
	rep.Guarantee.Statement = p.statement(eps, budget, plan, event, rep.Guarantee.Assumptions)
	return rep, nil
}

// eventList returns the parts of a composition, or the event itself.
func eventList(e accountant.Event) []accountant.Event {
	if e.Type == accountant.TypeComposition {
		return e.Events
	}
	return []accountant.Event{e}
}

// assumptions lists what the guarantee rests on beside the theorem.
func (p *prepared) assumptions(event accountant.Event) []string {
	out := []string{
		gate.RandomnessAssumption,
		"one row is one privacy unit, and no person stands in two rows",
		"the machine, its administrator at the time of the run and whoever wrote the policy are trusted",
		"bounds, levels and defaults in the policy were not chosen by looking at the data",
		"run time, memory use, exit code and other side channels of the run are not observed by the analyst",
		"the structure of the file (names and types of its columns) is public knowledge",
		p.rows.assumption(),
	}
	if p.policy.LedgerID == "" {
		out = append(out, "all jobs on this data set are charged to this ledger, which the policy does not pin")
	}
	if p.ledger.Created() {
		out = append(out, "nothing was charged elsewhere before: the ledger was created by this run")
	}
	if p.policy.Dataset.Rows != nil {
		out = append(out, "the number of rows is public knowledge, as the policy says")
	}
	if p.plan.CountEpsilon != nil {
		out = append(out, "the Google library's Laplace mechanism and its source of randomness keep what they document")
	}
	if p.policy.Budget.Renews != "never" {
		out = append(out, "the budget renews "+p.policy.Budget.Renews+": over k periods the guarantee is the k-fold composition")
	}
	if len(p.again) > 0 {
		out = append(out, againAssumption)
	}
	if p.policy.Dataset.Adjacency == accountant.ReplaceOne && sampled(event) {
		out = append(out, "the antipodal pair dominates Poisson steps under replace-one")
	}
	return out
}

// statement says the guarantee in words.
func (p *prepared) statement(eps float64, budget ledger.Budget, plan *sgld.Plan, event accountant.Event, assumptions []string) string {
	d, b := p.policy.Dataset, p.policy.Budget
	mechanism := "the Gaussian mechanism on exact sums of clipped gradients"
	composed := fmt.Sprintf("%d steps", plan.Steps)
	if n := plan.Request.Chains; n > 1 {
		composed = fmt.Sprintf("%d steps of each of %d chains", plan.Steps, n)
	}
	if p.plan.CountEpsilon != nil {
		mechanism += ", the Laplace mechanism on a count"
		composed += ", one noisy count"
	}
	if plan.GramNoiseMultiplier > 0 {
		mechanism += ", the Gaussian mechanism on an exact Gram matrix"
		composed += ", one noisy Gram matrix"
	}
	composed += p.composedAgain()
	sampling := "none, every step reads all units"
	if sampled(event) {
		sampling = fmt.Sprintf("Poisson, every unit joins each step independently with probability %g", plan.Rate)
	}
	method := map[accountant.Method]string{
		accountant.MethodRDP: "Rényi DP, converted at the best order; the budget's filter runs at one fixed order",
		accountant.MethodGDP: "Gaussian DP",
	}[b.Accountant]
	return gate.Statement(gate.Guarantee{
		Epsilon: eps, Delta: p.delta, Dataset: d.Name, Unit: "one " + string(d.Unit.Kind), Adjacency: d.Adjacency,
		Mechanism: mechanism, Sampling: sampling, Accountant: method, Composed: composed, Assumptions: assumptions,
		BudgetEpsilon: b.Epsilon, BudgetDelta: b.Delta, Period: budget.Period, Periods: budget.Periods,
	})
}

func newRunID() (string, error) {
	var b [8]byte
	if _, err := rand.Read(b[:]); err != nil {
		return "", fmt.Errorf("job: no randomness for a run identifier")
	}
	return hex.EncodeToString(b[:]), nil
}
