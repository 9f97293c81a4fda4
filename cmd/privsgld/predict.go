package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/urfave/cli/v2"

	"github.com/privsgld/privsgld/accountant/ledger"
	"github.com/privsgld/privsgld/cmd/job"
	"github.com/privsgld/privsgld/sgld"
)

func predictCommand() *cli.Command {
	return &cli.Command{
		Name: "predict", Usage: "posterior predictive for new rows from released draws",
		Description: `Averages what the model says of each row over all draws, and writes it to a new file
that only you can read: its number (.row), the mean, and 5 % and 95 % points. The rows are
your own; rows of a registered data set are refused. Missing values and unknown levels
count as the policy's defaults, as they did for the draws.

With --public-rows, which says that nobody protects the rows, those with a target are
scored: accuracy, mean log score in nats, calibration.

EXAMPLE:
   privsgld predict --draws out --policy policies/fertility.yaml --data new.csv --to predictions.csv`,
		Flags: append(append([]cli.Flag{
			text("draws", "", "output `DIR` of a run"),
			text("policy", "", "policy `FILE` that it ran under"),
			text("data", "", "`PATH` of the new rows: a file, a folder of part files, a glob, or - for standard input"),
			text("to", "", "new `FILE` to write, or - for standard output"),
			text("format", "", "`FORMAT` to write: parquet, arrow or csv (default: by the file's name)"),
			boolean("public-rows", "the rows are public: read their targets and score the predictions"),
			text("memory", "", "`SIZE` that decoding a table may take, like 2GiB (default 1GiB)"),
		}, ledgerFlags()...), shared()...),
		Action: predictAction,
	}
}

func predictAction(c *cli.Context) error {
	p := &job.Predict{
		DrawsDir: c.String("draws"), PolicyPath: c.String("policy"), DataPath: c.String("data"), To: c.String("to"),
		Format: c.String("format"), PublicRows: c.Bool("public-rows"), Pipe: os.Stdin, Out: c.App.Writer, OpenLedger: ledgerAtHand(c),
	}
	var err error
	if p.Memory, err = bytesOf(c, "memory"); err != nil {
		return err
	}
	for _, f := range []struct{ name, value string }{{"draws", p.DrawsDir}, {"policy", p.PolicyPath}, {"data", p.DataPath}, {"to", p.To}} {
		if f.value == "" {
			return usagef("--%s is missing", f.name)
		}
	}
	if p.To == "-" && c.String("output") == "json" {
		return usagef("--to - and --output json both want standard output: name a file")
	}
	done, err := p.Do(c.Context)
	if err != nil {
		return err
	}
	for _, w := range done.Warnings {
		warn(c, w)
	}
	if p.To == "-" {
		if !c.Bool("quiet") && done.Scores != nil {
			scoresText(c.App.ErrWriter, done.Scores)
		}
		return nil
	}
	return render(c, done, func(w io.Writer) { predictText(w, done) })
}

// ledgerAtHand opens the ledger that the flags name, or the user's own where there is
// one: to predict makes none.
func ledgerAtHand(c *cli.Context) func(context.Context) (*ledger.Ledger, error) {
	return func(ctx context.Context) (*ledger.Ledger, error) {
		if c.String("ledger") == "" {
			state, err := ledger.DefaultStateDir()
			if err != nil {
				return nil, err
			}
			if _, err := os.Stat(filepath.Join(state, "ledger.db")); errors.Is(err, fs.ErrNotExist) {
				return nil, nil
			}
		}
		return ledgerOpener(c, true)(ctx)
	}
}

func predictText(w io.Writer, p *job.Prediction) {
	fmt.Fprintf(w, "predicted  %d rows of your own to %s, which only you can read\n", p.Rows, p.File)
	fmt.Fprintf(w, "model      %s for %s, averaged over %d draws of run %s\n", p.Model, p.Target, p.Draws, p.RunID)
	if p.Scores != nil {
		scoresText(w, p.Scores)
	}
}

// scoresText prints scores of public rows.
func scoresText(w io.Writer, s *sgld.Scores) {
	fmt.Fprintf(w, "scored     %d rows", s.Rows)
	if s.Unscored > 0 {
		fmt.Fprintf(w, ", %d without a target left out", s.Unscored)
	}
	fmt.Fprintln(w)
	for _, f := range []struct {
		name  string
		value *float64
	}{{"accuracy", s.Accuracy}, {"mean log score", s.LogScore}, {"calibration error", s.CalibrationError}, {"root mean squared error", s.RMSE}, {"coverage of the 90 % interval", s.Coverage}} {
		if f.value != nil {
			fmt.Fprintf(w, "           %s %s\n", f.name, fixed(*f.value))
		}
	}
	if len(s.Calibration) == 0 {
		return
	}
	t := newTable(w)
	t.AppendHeader(table.Row{"probability", "rows", "predicted", "observed"})
	for _, b := range s.Calibration {
		if b.Rows > 0 {
			t.AppendRow(table.Row{fmt.Sprintf("%.1f to %.1f", b.From, b.To), b.Rows, fixed(b.Predicted), fixed(b.Observed)})
		}
	}
	t.Render()
}
