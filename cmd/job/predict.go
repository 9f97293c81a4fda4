package job

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"

	"github.com/privsgld/privsgld/accountant/ledger"
	"github.com/privsgld/privsgld/datasets"
	"github.com/privsgld/privsgld/policies"
	"github.com/privsgld/privsgld/privacy/gate"
	"github.com/privsgld/privsgld/sgld"
)

// PredictionSchema names the object that Predict returns and its version.
const PredictionSchema = "privsgld/prediction/v1"

// Predict asks for the posterior predictive of new rows, out of released draws. The
// rows are the caller's own, and what is written is for the caller only: it is no
// release, costs nothing, and is under no guarantee.
//
// Rows of a registered data set are refused, whatever the policy and the name that
// they come under: with each fingerprint that the ledger at hand has, the rows are
// compared in the columns that it was taken of, the target left out, which new rows
// lack. Refused are the same rows, and most of the rows of either table, by the sketch
// (datasets.Fingerprint.Likeness says what it does not recognise); rows that lack
// columns of the very data set that the draws are of, so that nothing can be said;
// and all rows where a fingerprint or the ledger cannot be read. Columns of another
// data set that the rows lack make them another table. A refusal is a function of
// registered rows, like that of a run: it is for their holder, in whose state folder
// the fingerprints' key is, and names no other data set. Where no ledger is at hand, as
// at an analyst's, there is nothing to compare with, and a warning says so.
type Predict struct {
	DrawsDir   string // output folder of a run
	PolicyPath string // the policy that it ran under
	DataPath   string // a file, a folder of part files, a glob, or - for Pipe
	To         string // new file, or - for Out
	Format     string // parquet, arrow or csv; empty: by To's ending, csv for -
	PublicRows bool   // the rows are not protected: their targets are read and scored
	Memory     int64  // limit of the decoder in bytes; 0: its default

	Pipe io.Reader
	Out  io.Writer

	// OpenLedger opens the ledger at hand, or returns nil where there is none.
	OpenLedger func(context.Context) (*ledger.Ledger, error)
}

// A Prediction says what was predicted.
type Prediction struct {
	Schema   string       `json:"schema"`
	RunID    string       `json:"run_id"` // of the draws
	Policy   PolicyRef    `json:"policy"`
	Dataset  DatasetRef   `json:"dataset"` // that the draws are of
	Model    string       `json:"model"`
	Target   string       `json:"target"`
	Draws    int          `json:"draws"`
	Rows     int64        `json:"rows"`
	Columns  []string     `json:"columns"`
	File     string       `json:"file"`
	Compared string       `json:"compared_with"` // id of the ledger whose registered rows these are not; "": none was at hand
	Scores   *sgld.Scores `json:"scores"`        // null unless the rows are public
	Warnings []string     `json:"warnings"`
}

// Do predicts. Errors: *UsageError, *BadDraws, *WrongRows, *policies.Refusal where
// draws and policy do not belong together, *OutputError, and those of policy, ledger
// and data. Nothing is left of an output that failed.
func (p *Predict) Do(ctx context.Context) (*Prediction, error) {
	format, err := p.format()
	if err != nil {
		return nil, err
	}
	if p.Memory != 0 && p.Memory < LeastMemory {
		return nil, &UsageError{Message: "the memory limit is too small to decode a table", Hint: "give at least 256MiB"}
	}
	policy, err := LoadPolicy(p.PolicyPath)
	if err != nil {
		return nil, err
	}
	if err := checkNewFile(p.To); err != nil {
		return nil, err
	}
	run, binding, predictor, err := p.read(ctx, policy)
	if err != nil {
		return nil, err
	}
	own, err := datasets.OpenOwn(ctx, gate.StructurePermit(), p.DataPath, p.Pipe)
	if err != nil {
		return nil, err
	}
	defer own.Close()
	out := &Prediction{
		Schema: PredictionSchema, RunID: run.RunID, Policy: run.Policy, Dataset: run.Dataset, Model: run.Sampler.Model, Target: run.Sampler.Target,
		Draws: predictor.Draws(), Columns: append([]string{rowColumn}, predictor.Columns()...), File: p.To, Warnings: []string{},
	}
	if out.Compared, err = p.compare(ctx, own, policy); err != nil {
		return nil, err
	}
	if out.Compared != run.Ledger.ID {
		out.Warnings = append(out.Warnings, fmt.Sprintf("the ledger of the draws, %s, is not at hand: these rows were not compared with those that are registered in it; at the data holder's, name it with --ledger", run.Ledger.ID))
	}
	rows, err := own.Rows(ctx, binding, p.PublicRows, datasets.Options{Memory: p.Memory})
	if err != nil {
		return nil, err
	}
	defer rows.Close() //nolint:errcheck // a mapped temporary file
	out.Rows = int64(rows.Count())
	scorer := sgld.NewScorer(predictor)
	err = writePredictions(p.To, format, p.Out, out.Columns, func(add func([][]float64) error) error {
		for _, batch := range rows.Records() {
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			predicted := predictor.Predict(batch)
			scorer.Add(predicted)
			if err := add(predicted.Values); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	if p.PublicRows {
		out.Scores = scorer.Scores()
		if out.Scores.Rows == 0 {
			out.Warnings = append(out.Warnings, fmt.Sprintf("no row has a target in column %q: nothing was scored", out.Target))
		}
	}
	return out, nil
}

// format returns that of the output.
func (p *Predict) format() (string, error) {
	format := p.Format
	if format == "" {
		switch ext := filepath.Ext(p.To); {
		case p.To == "-":
			format = "csv"
		case ext != "":
			format = ext[1:]
		}
	}
	if slices.Contains([]string{"parquet", "arrow", "csv"}, format) {
		return format, nil
	}
	if p.Format != "" {
		return "", &UsageError{Message: fmt.Sprintf("unknown format %q: use parquet, arrow or csv", p.Format)}
	}
	return "", &UsageError{Message: fmt.Sprintf("%s: the name does not say the format", p.To), Hint: "end it in .parquet, .arrow or .csv, or give --format"}
}

// read reads the draws and joins them to the policy that they were made under.
func (p *Predict) read(ctx context.Context, policy *policies.Policy) (*releasedRun, *datasets.Binding, *sgld.Predictor, error) {
	run, draws, err := readDraws(ctx, p.DrawsDir, p.Memory)
	if err != nil {
		return nil, nil, nil, err
	}
	switch {
	case run == nil:
		return nil, nil, nil, &UsageError{Message: fmt.Sprintf("%s is no folder: what the draws mean is in the report beside them", p.DrawsDir), Hint: "give the output folder of a run"}
	case run.Policy.SHA256 != policy.SHA256:
		return nil, nil, nil, &policies.Refusal{Code: policies.PolicyViolation, Message: fmt.Sprintf("the draws of run %s were made under another policy than %s, or another version of it", run.RunID, p.PolicyPath), Hint: "give the policy file of that run, as it was"}
	case policy.LedgerID != "" && policy.LedgerID != run.Ledger.ID:
		return nil, nil, nil, &policies.Refusal{Code: policies.PolicyViolation, Message: "the draws were charged to another ledger than the policy's"}
	case run.Sampler.Features == nil:
		return nil, nil, nil, &BadDraws{Message: fmt.Sprintf("%s: the report does not say the features of the run: it is of an earlier version", p.DrawsDir)}
	}
	outcome, _ := sgld.OutcomeOf(run.Sampler.Model) // NewPredictor refuses an unknown model
	binding, err := datasets.BindOutcome(policy.Dataset, run.Sampler.Target, run.Sampler.Features, outcome)
	if err != nil {
		return nil, nil, nil, &BadDraws{Message: fmt.Sprintf("%s: %v", p.DrawsDir, err)}
	}
	predictor, err := sgld.NewPredictor(sgld.Fit{
		Model: run.Sampler.Model, NoiseSD: run.Sampler.NoiseSD, Encoding: binding.Encoding(), Names: draws.Names, Values: draws.Values,
	})
	if err != nil {
		return nil, nil, nil, &BadDraws{Message: fmt.Sprintf("%s: %v", p.DrawsDir, err)}
	}
	return run, binding, predictor, nil
}

// compare refuses rows of a registered data set, and returns the id of the ledger that
// knows of none such, "" where no ledger is at hand.
func (p *Predict) compare(ctx context.Context, own *datasets.Own, policy *policies.Policy) (string, error) {
	l, err := p.OpenLedger(ctx)
	if err != nil || l == nil {
		return "", err
	}
	defer l.Close() //nolint:errcheck // nothing was written
	contents, err := l.Contents(ctx)
	if err != nil || len(contents) == 0 {
		return l.ID(), err
	}
	secret, err := l.FingerprintKey(ctx)
	if err != nil {
		return "", err
	}
	key, err := datasets.NewFingerprintKey(secret)
	if err != nil {
		return "", err
	}
	for name, c := range contents {
		registered, err := fingerprintOf(c)
		if err != nil {
			return "", err
		}
		like, comparable, err := own.Likeness(ctx, registered, policy.Dataset, key, datasets.Options{Memory: p.Memory})
		switch {
		case err != nil:
			return "", err
		case !comparable && name == policy.Dataset.Name:
			return "", &WrongRows{
				Message: fmt.Sprintf("the rows lack columns of the registered data set %q, so that they cannot be told from its rows; nothing is predicted", name),
				Hint:    "give them all of the policy's columns but its target, empty where nothing is known",
			}
		case like != datasets.Unlike:
			return "", &WrongRows{
				Message: "the rows, or most of them, are those of a registered data set; nothing is predicted",
				Hint:    "predict new rows, of your own: a data set that is protected is for run and query",
			}
		}
	}
	return l.ID(), nil
}

// An OutputError says that a file could not be written: exit code 1. Nothing is left
// of it.
type OutputError struct{ Message string }

func (e *OutputError) Error() string { return e.Message }

var errExists = errors.New("it is there already")
