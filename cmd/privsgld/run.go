package main

import (
	"fmt"
	"io"
	"math"
	"strconv"
	"time"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/urfave/cli/v2"

	"github.com/privsgld/privsgld/accountant"
	"github.com/privsgld/privsgld/cmd/job"
	"github.com/privsgld/privsgld/sgld"
	"github.com/privsgld/privsgld/sgld/diagnostics"
)

// samplerFlags are shared by run and plan.
func samplerFlags() []cli.Flag {
	return []cli.Flag{
		text("policy", "", "policy `FILE`"),
		text("epsilon", "", "the most that the job may cost, `E`"),
		text("delta", "", "`D` of the job (default: the policy's)"),
		text("model", "", "`MODEL` to draw from: logistic, linear, poisson or softmax (default: logistic where the target has a positive level)"),
		text("target", "", "`COLUMN` to predict (default: the policy's)"),
		&cli.StringSliceFlag{Name: "features", Usage: "`COLUMNS` to predict from, separated by commas (default: all)", EnvVars: env("features")},
		text("draws", "1000", "draws `N` of each chain"),
		text("chains", "1", "number `N` of chains; they share the budget"),
		text("temperature", "auto", "`T` of the posterior: auto or a number"),
		text("prior", "normal:1", "`PRIOR` of every coefficient: normal:SD, student-t:NU:SCALE or horseshoe:SCALE; after it, others of single coefficients or columns: normal:1,age=normal:0.5"),
		text("noise-sd", "", "known residual standard deviation `SD` of a linear model, on the target encoded to [-1, 1] (default: it is a parameter, log_noise_sd)"),
		text("clip", "", "clipping norm `C` in the metric's coordinates"),
		text("sampling-rate", "", "rate `Q` at which a unit joins a batch (default 1)"),
		text("steps", "", "steps `K` of each chain"),
		text("step-size", "", "first step size `ETA` in the metric's coordinates, as diffusion time"),
		text("schedule", "constant", "`SCHEDULE` of step sizes: constant, poly:ALPHA[:B] (falling as (B+k)^-ALPHA; in (1/2, 1] iterates converge, 1/3 is best for averages) or cyclical:M[:hot] (M cycles)"),
		text("noise-multiplier", "", "first noise multiplier `Z`"),
		text("sampler", "auto", "`SAMPLER`: auto, sgld, sghmc or psgld; auto is sghmc, which needs fewer steps, for full batches with steps of one size"),
		text("momentum", "", "share `A` of the last move that a step of sghmc keeps: from 0, below 1 (default: the planner's, at most 0.9)"),
		text("metric", "auto", "`METRIC`: auto, identity, public or bought; auto is identity where clip, step size or noise multiplier are given"),
		text("init", "zero", "`START` of a chain: zero or prior"),
		text("warmup", "0.3", "`SHARE` of the steps dropped at the start"),
		text("thin", "", "keep every `N`th iterate (default: as many as the draws allow)"),
		text("analyst", "", "`NAME` that the charge is booked under (default: the user)"),
		text("purpose", "", "`TEXT` recorded with the charge"),
		text("request", "", "signed request in `FILE`, where the policy asks for one"),
	}
}

func runCommand() *cli.Command {
	return &cli.Command{
		Name:  "run",
		Usage: "draw posterior samples under a policy; release them if the budget allows",
		Description: `The planner chooses what you leave out, from public facts alone. The charge is
reserved before the first row is read and stays whatever happens afterwards.

A run of a minute or more keeps resume points. Killed from outside, it goes on with
--resume: the steps that it may do again are charged again, and policy, data and
settings are those that it began with. One that ended by itself, or was interrupted,
never goes on.

How long a run takes depends on the data. With --release-at nothing that becomes of it
is seen before the next whole minute or hour: no folder, no settled charge, no line, no
end of the process. In which minute or hour it ends is still seen. Such a run keeps no
 resume points.

EXAMPLE:
   privsgld run --policy policies/fertility.yaml --data testdata/fertility.parquet --epsilon 1 --out out
   privsgld run --resume 4b1f09c2d7e85a36 --out out`,
		Flags: append(append(append(samplerFlags(),
			text("data", "", "`PATH` of the table: a file, a folder of part files or a glob"),
			text("out", "", "`DIR` to make and fill (default: a new folder named after the run)"),
			text("format", "parquet", "`FORMAT` of the draws: parquet, arrow or csv"),
			text("memory", "", "`SIZE` that decoding the table may take, like 2GiB (default 1GiB)"),
			text("resume", "", "go on with the killed run `RUN_ID`, for at most 7 days; beside it only --out and the ledger's flags"),
			text("release-at", "", "end, well or not, at the next whole `BOUNDARY` of UTC: minute or hour"),
			boolean("dry-run", "stop before reserving: print the plan and what the budget would say"),
		), buildFlags()...), append(ledgerFlags(), shared()...)...),
		Action: runAction,
	}
}

func planCommand() *cli.Command {
	return &cli.Command{
		Name:  "plan",
		Usage: "what a run would cost and how well it would mix; reads no data",
		Description: `Where the policy asks for signed requests, --request-to writes one for this very job.
Approvers sign it with "policy sign --request", and "run --request" takes it, once.

EXAMPLE:
   privsgld plan --policy policies/fertility.yaml --epsilon 0.3`,
		Flags: append(append(append(samplerFlags(),
			text("request-to", "", "new `FILE` for a request to be signed"),
			text("request-holds", "168h", "`TIME` from now in which that request may be used"),
		), ledgerFlags()...), shared()...),
		Action: func(c *cli.Context) error {
			r, err := newRun(c)
			if err != nil {
				return err
			}
			r.RequestTo = c.String("request-to")
			if r.RequestHolds, err = time.ParseDuration(c.String("request-holds")); err != nil || r.RequestHolds <= 0 {
				return usagef("--request-holds %q is no time: write it like 168h", c.String("request-holds"))
			}
			report, err := r.Plan(c.Context)
			if err != nil {
				return err
			}
			return render(c, report, func(w io.Writer) {
				planText(w, report)
				if r.RequestTo != "" {
					fmt.Fprintf(w, "wrote %s, to be signed with: privsgld policy sign --request %s --key KEY\n", r.RequestTo, r.RequestTo)
				}
			})
		},
	}
}

func runAction(c *cli.Context) error {
	if c.String("resume") != "" {
		return resumeAction(c)
	}
	r, err := newRun(c)
	if err != nil {
		return err
	}
	if r.DataPath = c.String("data"); r.DataPath == "" {
		return usagef("--data is missing")
	}
	r.OutDir = c.String("out")
	r.Format = c.String("format")
	if r.Memory, err = bytesOf(c, "memory"); err != nil {
		return err
	}
	if r.ReleaseAt, err = boundary(c); err != nil {
		return err
	}
	if c.Bool("dry-run") {
		report, err := r.Plan(c.Context)
		if err != nil {
			return err
		}
		return render(c, report, func(w io.Writer) { planText(w, report) })
	}
	// Progress, and the entry of a registration, would tell the time within a run.
	r.Register = onTerminal() && r.ReleaseAt == 0
	bar := newProgress(c)
	r.Progress, r.Guard = bar.update, guardRun(c)
	bar.on = bar.on && r.ReleaseAt == 0
	report, err := perform(c, r)
	bar.done()
	if err != nil {
		return err
	}
	return released(c, report, r.OutDir)
}

// released tells of a run that came to its end.
func released(c *cli.Context, report *job.Report, dir string) error {
	for _, w := range report.Warnings {
		warn(c, w)
	}
	return render(c, report, func(w io.Writer) { runText(w, report, dir) })
}

// boundary reads --release-at; 0 where it was not given.
func boundary(c *cli.Context) (time.Duration, error) {
	switch s := c.String("release-at"); s {
	case "":
		return 0, nil
	case "minute":
		return time.Minute, nil
	case "hour":
		return time.Hour, nil
	default:
		return 0, usagef("unknown --release-at %q: use minute or hour", s)
	}
}

// newRun reads the flags that run and plan share.
func newRun(c *cli.Context) (*job.Run, error) {
	r := &job.Run{
		PolicyPath: c.String("policy"), Epsilon: c.String("epsilon"), Delta: c.String("delta"),
		Model: c.String("model"), Target: c.String("target"), Features: c.StringSlice("features"),
		Analyst: c.String("analyst"), Purpose: c.String("purpose"), Format: "parquet", Temperature: c.String("temperature"),
		Request:    c.String("request"),
		OpenLedger: openLedger(c), Now: time.Now, Program: programInfo(),
	}
	if r.PolicyPath == "" {
		return nil, usagef("--policy is missing")
	}
	if r.Epsilon == "" {
		return nil, usagef("--epsilon is missing")
	}
	if len(r.Features) == 0 {
		r.Features = nil
	}
	if r.Analyst == "" {
		r.Analyst = defaultAnalyst()
	}
	s := &r.Sampler
	s.Sampler, s.Metric, s.Init = c.String("sampler"), c.String("metric"), c.String("init")
	var err error
	if s.Schedule, err = sgld.ParseSchedule(c.String("schedule")); err != nil {
		return nil, err
	}
	if r.Temperature != "auto" {
		if s.Temperature, err = number(c, "temperature"); err != nil {
			return nil, err
		}
	}
	if s.Prior, err = sgld.ParsePrior(c.String("prior")); err != nil {
		return nil, err
	}
	for name, p := range map[string]**float64{"clip": &s.Clip, "sampling-rate": &s.Rate, "step-size": &s.StepSize, "noise-multiplier": &s.NoiseMultiplier, "noise-sd": &s.NoiseSD, "momentum": &s.Momentum} {
		if *p, err = number(c, name); err != nil {
			return nil, err
		}
	}
	if s.Steps, err = count(c, "steps"); err != nil {
		return nil, err
	}
	warmup, err := number(c, "warmup")
	if err != nil {
		return nil, err
	}
	if warmup != nil {
		s.Warmup = *warmup
	}
	for name, p := range map[string]*int{"draws": &s.Draws, "chains": &s.Chains} {
		n, err := count(c, name)
		if err != nil {
			return nil, err
		}
		if n != nil {
			*p = int(min(*n, math.MaxInt32))
		}
	}
	thin, err := count(c, "thin")
	if err != nil {
		return nil, err
	}
	if thin != nil {
		if *thin == 0 {
			return nil, usagef("--thin must be at least 1")
		}
		s.Thin = *thin
	}
	return r, nil
}

// guaranteeText prints what run and plan share.
func guaranteeText(w io.Writer, r *job.Report) {
	g := r.Guarantee
	fmt.Fprintf(w, "guarantee  ε = %s, δ = %s for one %s, %s (%s accountant)\n", shortUp(float64(g.Epsilon)), g.Delta, g.PrivacyUnit, g.Adjacency, g.Accountant)
	if g.EpsilonByAccountant.GDP != nil && g.Accountant != accountant.MethodGDP {
		fmt.Fprintf(w, "           exact Gaussian accounting would say ε = %s\n", shortUp(float64(*g.EpsilonByAccountant.GDP)))
	} else if g.EpsilonByAccountant.PLD != nil && g.EpsilonByAccountant.GDP == nil {
		fmt.Fprintf(w, "           privacy loss distributions would say ε = %s\n", shortUp(float64(*g.EpsilonByAccountant.PLD)))
	}
	b := r.Budget
	fmt.Fprintf(w, "budget     ε %s of %s before, %s after; %.1f %% used; it has room for one more Gaussian run of ε = %s, and with all caps for %s\n",
		shortUp(b.EpsilonSpentBefore), b.Epsilon, shortUp(b.EpsilonSpentAfter), 100*b.FractionUsed, shortDown(b.EpsilonRemaining), shortDown(b.GrantableEpsilon))
	s := r.Sampler
	fmt.Fprintf(w, "sampler    %s by %s, %s metric, temperature %s; %d chain(s), %d steps of size %s, noise multiplier %s, clip %s, rate %s\n",
		s.Model, s.Sampler, s.Metric, short(s.EffectiveTemperature), s.Chains, s.Steps, short(s.StepSize), short(s.NoiseMultiplier), short(s.Clip), short(s.SamplingRate))
}

func outlookText(w io.Writer, r *job.Report) {
	if s := job.Summary(r.Outlook); s != "" {
		fmt.Fprintf(w, "outlook    %s\n", s)
	}
}

func planText(w io.Writer, r *job.Report) {
	guaranteeText(w, r)
	for _, line := range r.Sampler.Explain {
		fmt.Fprintf(w, "  %s\n", line)
	}
	outlookText(w, r)
	fmt.Fprintf(w, "time       about %s seconds on this machine and %d MiB of memory, less where rows repeat\n", short(r.Sampler.Seconds), r.Sampler.Bytes>>20+1)
	if len(r.Alternatives) > 0 {
		t := newTable(w)
		t.AppendHeader(table.Row{"epsilon", "temperature", "steps", "expected error of a mean, in posterior sds"})
		for _, a := range r.Alternatives {
			expected := "-"
			if a.Error != nil {
				expected = short(*a.Error)
			}
			t.AppendRow(table.Row{a.Epsilon, short(a.Temperature), a.Steps, expected})
		}
		t.Render()
	}
	for _, line := range r.Warnings {
		fmt.Fprintf(w, "warning    %s\n", line)
	}
	fmt.Fprintln(w, "nothing was read, reserved or charged")
}

func runText(w io.Writer, r *job.Report, dir string) {
	fmt.Fprintf(w, "run        %s %s to %s\n", r.RunID, outcome, dir)
	guaranteeText(w, r)
	outlookText(w, r)
	summaryText(w, r.Diagnostics.Parameters)
}

// summaryText prints what diagnostics say of each coefficient.
func summaryText(w io.Writer, all []diagnostics.Summary) {
	t := newTable(w)
	t.AppendHeader(table.Row{"coefficient", "mean", "sd", "5 %", "50 %", "95 %", "mcse", "R-hat", "ESS bulk", "ESS tail"})
	for _, p := range all {
		t.AppendRow(table.Row{p.Name, fixed(p.Mean), fixed(p.SD), fixed(p.Q5), fixed(p.Q50), fixed(p.Q95), fixed(p.MCSE), fmt.Sprintf("%.3f", p.RHat), fmt.Sprintf("%.0f", p.ESSBulk), fmt.Sprintf("%.0f", p.ESSTail)})
	}
	t.Render()
}

func short(v float64) string { return strconv.FormatFloat(v, 'g', 4, 64) }

// shortUp never shows less than v: for what is spent or promised.
func shortUp(v float64) string { return shortTowards(v, 1) }

// shortDown never shows more than v: for what is left.
func shortDown(v float64) string { return shortTowards(v, -1) }

func shortTowards(v, sign float64) string { return digitsTowards(v, 4, sign) }

// digitsTowards shows v with so many digits, never on the other side of it than
// the sign says.
func digitsTowards(v float64, digits int, sign float64) string {
	show := func(v float64) string { return strconv.FormatFloat(v, 'g', digits, 64) }
	s := show(v)
	if shown, err := strconv.ParseFloat(s, 64); err != nil || math.IsInf(v, 0) || sign*(shown-v) >= 0 {
		return s
	}
	// Half a unit of the last digit, and a hair.
	unit := math.Pow(10, math.Floor(math.Log10(math.Abs(v)))-float64(digits-1))
	return show(v + sign*unit*0.5001)
}

func fixed(v float64) string { return fmt.Sprintf("%.4f", v) }
