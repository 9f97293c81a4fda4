package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/google/renameio/v2"
	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/urfave/cli/v2"
	"golang.org/x/mod/sumdb/note"

	"github.com/privsgld/privsgld/accountant/ledger"
	"github.com/privsgld/privsgld/cmd/job"
)

func ledgerCommand() *cli.Command {
	return &cli.Command{
		Name: "ledger", Usage: "make and check the ledger of charges",
		Subcommands: []*cli.Command{
			{
				Name: "init", Usage: "make the ledger and print its id, to pin in a policy",
				Description: `A ledger is a file of SQLite, or a schema of its own in a PostgreSQL database (15 or
later) that exists already. A password belongs into PGPASSWORD or a .pgpass file: an
address on the command line can be read by others.

EXAMPLE:
   privsgld ledger init --ledger sqlite:ledger.db
   privsgld ledger init --ledger 'postgres://privsgld@db.example.org/ledger?sslmode=verify-full'`,
				Flags: append(ledgerFlags(), shared()...),
				Action: withLedger(false, func(c *cli.Context, l *ledger.Ledger) error {
					return render(c, map[string]any{"id": l.ID(), "created": l.Created()}, func(w io.Writer) { fmt.Fprintln(w, l.ID()) })
				}),
			},
			{
				Name: "verify", Usage: "check every entry, total and signature of the ledger",
				Description: `A checkpoint or a report that was kept elsewhere shows what the ledger alone cannot:
that it was not set back to an earlier copy, nor made anew.

EXAMPLE:
   privsgld ledger verify --checkpoint checkpoint.txt
   privsgld ledger verify --against out/report.json`,
				Flags: append(append([]cli.Flag{
					text("checkpoint", "", "signed checkpoint in `FILE`, from \"ledger checkpoint\""),
					text("against", "", "`FILE` of a released report"),
				}, ledgerFlags()...), shared()...),
				Action: withLedger(true, verifyLedger),
			},
			{
				Name: "log", Usage: "list the entries of the ledger",
				Description: "EXAMPLE:\n   privsgld ledger log", Flags: append(ledgerFlags(), shared()...),
				Action: withLedger(true, func(c *cli.Context, l *ledger.Ledger) error {
					records, err := l.Records(c.Context)
					if err != nil {
						return err
					}
					return render(c, map[string]any{"id": l.ID(), "entries": records}, func(w io.Writer) { logText(w, records) })
				}),
			},
			{
				Name: "export", Usage: "write all entries as JSON Lines, for whoever wants to verify and account them again",
				Description: `The first line names the ledger and holds the signed checkpoint; each other line is an
entry, byte for byte as it was hashed. It holds names of analysts and purposes.

EXAMPLE:
   privsgld ledger export --to ledger.jsonl`,
				Flags: append(append([]cli.Flag{text("to", "", "`FILE` to write (default: standard output)")}, ledgerFlags()...), shared()...),
				Action: withLedger(true, func(c *cli.Context, l *ledger.Ledger) error {
					var lines bytes.Buffer
					if err := l.Export(c.Context, &lines); err != nil {
						return err
					}
					path := c.String("to")
					if path == "" {
						_, err := c.App.Writer.Write(lines.Bytes())
						return err
					}
					if err := renameio.WriteFile(path, lines.Bytes(), 0o600); err != nil {
						return fmt.Errorf("%s: the export could not be written", filepath.Base(path))
					}
					return render(c, map[string]any{"file": path}, func(w io.Writer) { fmt.Fprintf(w, "wrote %s\n", path) })
				}),
			},
			amendCommand(),
			{
				Name: "checkpoint", Usage: "print a signed checkpoint, to keep elsewhere",
				Description: "EXAMPLE:\n   privsgld ledger checkpoint --to checkpoint.txt",
				Flags:       append(append([]cli.Flag{text("to", "", "`FILE` to write (default: standard output)")}, ledgerFlags()...), shared()...),
				Action: withLedger(true, func(c *cli.Context, l *ledger.Ledger) error {
					note, err := l.Checkpoint(c.Context)
					if err != nil {
						return err
					}
					if path := c.String("to"); path != "" {
						if err := renameio.WriteFile(path, []byte(note), 0o644); err != nil {
							return fmt.Errorf("%s: the checkpoint could not be written", filepath.Base(path))
						}
						return render(c, map[string]any{"file": path}, func(w io.Writer) { fmt.Fprintf(w, "wrote %s\n", path) })
					}
					return render(c, map[string]any{"checkpoint": note}, func(w io.Writer) { fmt.Fprint(w, note) })
				}),
			},
		},
	}
}

func withLedger(mustExist bool, action func(*cli.Context, *ledger.Ledger) error) cli.ActionFunc {
	return func(c *cli.Context) error {
		l, err := ledgerOpener(c, mustExist)(c.Context)
		if err != nil {
			return err
		}
		defer l.Close() //nolint:errcheck // every entry is durable when it is made
		return action(c, l)
	}
}

// verifyFailed carries the object that verify prints when the ledger is not
// ok; the exit code is that of its error.
type verifyFailed struct {
	v   ledger.Verification
	err error
}

func (f *verifyFailed) Error() string { return f.err.Error() }
func (f *verifyFailed) Unwrap() error { return f.err }

// kept reads a small file that somebody kept of a ledger.
func kept(c *cli.Context, flag string) ([]byte, error) {
	path := c.String(flag)
	if path == "" {
		return nil, nil
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, usagef("--%s %s: the file does not open", flag, path)
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, 64<<20))
	if err != nil {
		return nil, usagef("--%s %s: the file does not read", flag, path)
	}
	return text, nil
}

func verifyLedger(c *cli.Context, l *ledger.Ledger) error {
	var witnesses []ledger.Witness
	checkpoint, err := kept(c, "checkpoint")
	if err != nil {
		return err
	}
	if checkpoint != nil {
		// Without a verifier a well-formed note is unverified, and no other error.
		var unverified *note.UnverifiedNoteError
		if _, err := note.Open(checkpoint, note.VerifierList()); !errors.As(err, &unverified) {
			return usagef("--checkpoint %s: the file is no checkpoint", c.String("checkpoint"))
		}
		witnesses = append(witnesses, ledger.Witness{Checkpoint: string(checkpoint)})
	}
	report, err := kept(c, "against")
	if err != nil {
		return err
	}
	if report != nil {
		w, err := job.WitnessOf(report, l.ID())
		if err != nil {
			return err
		}
		witnesses = append(witnesses, w)
	}
	v, err := l.Verify(c.Context, witnesses...)
	switch {
	case err == nil:
		return render(c, v, func(w io.Writer) { fmt.Fprintf(w, "ok: %d entries, head %s\n", v.Entries, v.Head) })
	case errors.Is(err, ledger.ErrCorrupt):
		return &verifyFailed{v: v, err: err}
	default:
		return err
	}
}

// logText prints the entries, one a line.
func logText(w io.Writer, records []ledger.Record) {
	t := newTable(w)
	t.AppendHeader(table.Row{"entry", "time", "kind", "data set", "period", "run", "analyst", "ε", "δ", "what"})
	for _, r := range records {
		t.AppendRow(table.Row{r.Number, r.Time, r.Kind, r.Dataset, r.Period, r.Run, r.Analyst, r.Epsilon, r.Delta, r.What})
	}
	t.Render()
}
