package main

import (
	"fmt"
	"os"
	"slices"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/privsgld/privsgld/cmd/job"
)

// withResume lists the flags that may stand beside --resume: the others are those of
// the run that goes on.
var withResume = []string{"resume", "out", "output", "quiet", "log-level", "ledger", "ledger-timeout"}

// resumeAction goes on with a run that was killed.
func resumeAction(c *cli.Context) error {
	for _, f := range c.Command.Flags {
		name := f.Names()[0]
		if fromEnvironment(c, name) || !c.IsSet(name) || slices.Contains(withResume, name) {
			continue
		}
		return usagef("%s cannot be given with --resume: a run goes on as it began", flagText(name))
	}
	bar := newProgress(c)
	r := &job.Resume{RunID: c.String("resume"), OutDir: c.String("out"), Progress: bar.update, Guard: guardRun(c),
		OpenLedger: ledgerOpener(c, true), Now: time.Now, Program: programInfo()}
	report, err := resume(c, r)
	bar.done()
	if err != nil {
		return err
	}
	return released(c, report, r.OutDir)
}

// fromEnvironment says whether a flag has its value from there.
func fromEnvironment(c *cli.Context, name string) bool {
	for _, v := range env(name) {
		if os.Getenv(v) != "" && fmt.Sprint(c.Value(name)) == os.Getenv(v) {
			return true
		}
	}
	return false
}

// guardRun guards a run, having said how it goes on when it is killed.
func guardRun(c *cli.Context) func(string, *os.File) (func(), error) {
	if guard == nil {
		return nil
	}
	return func(run string, mark *os.File) (func(), error) {
		if !c.Bool("quiet") {
			fmt.Fprintf(c.App.ErrWriter, "privsgld: run %s keeps resume points; if it is killed: privsgld run --resume %s --out DIR\n", run, run)
		}
		return guard(mark)
	}
}
