package main

import (
	"fmt"
	"io"
	"os"

	"github.com/urfave/cli/v2"
	"golang.org/x/term"

	"github.com/privsgld/privsgld/cmd/job"
)

func dataCommand() *cli.Command {
	return &cli.Command{
		Name: "data", Usage: "say which rows a data set stands for",
		Subcommands: []*cli.Command{{
			Name: "register", Usage: "register a table's rows as a policy's data set; charges and releases nothing",
			Description: `Reads all rows of the policy's columns and keeps a keyed fingerprint of them, sealed,
in the state folder; the ledger gets a commitment to it. From then on a run under that
data set's name must find those rows, whatever the names, format, order and parts of the
files, and the same rows under another name are refused. What it says is for the holder
of the data, not for analysts.

EXAMPLE:
   privsgld data register --policy policies/fertility.yaml --data testdata/fertility.parquet`,
			Flags: append(append([]cli.Flag{
				text("policy", "", "policy `FILE`"),
				text("data", "", "`PATH` of the table: a file, a folder of part files or a glob"),
				text("memory", "", "`SIZE` that decoding the table may take, like 2GiB (default 1GiB)"),
			}, ledgerFlags()...), shared()...),
			Action: dataRegister,
		}},
	}
}

func dataRegister(c *cli.Context) error {
	r := &job.Register{PolicyPath: c.String("policy"), DataPath: c.String("data"), OpenLedger: openLedger(c)}
	switch {
	case r.PolicyPath == "":
		return usagef("--policy is missing")
	case r.DataPath == "":
		return usagef("--data is missing")
	}
	var err error
	if r.Memory, err = bytesOf(c, "memory"); err != nil {
		return err
	}
	done, err := r.Do(c.Context)
	if err != nil {
		return err
	}
	return render(c, done, func(w io.Writer) {
		if done.Status == "unchanged" {
			fmt.Fprintf(w, "%s: these rows are registered, as version %d\n", done.Dataset, done.Version)
			return
		}
		fmt.Fprintf(w, "%s: registered, version %d\n", done.Dataset, done.Version)
	})
}

// onTerminal says whether somebody sits before the program: its standard input is a
// terminal.
func onTerminal() bool { return term.IsTerminal(int(os.Stdin.Fd())) }
