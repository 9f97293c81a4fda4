package main

import (
	"errors"
	"fmt"
	"io"
	"path/filepath"

	"github.com/google/renameio/v2"
	"github.com/urfave/cli/v2"

	"github.com/privsgld/privsgld/accountant/ledger"
)

func ledgerCommand() *cli.Command {
	return &cli.Command{
		Name: "ledger", Usage: "make and check the ledger of charges",
		Subcommands: []*cli.Command{
			{
				Name: "init", Usage: "make the ledger and print its id, to pin in a policy",
				Description: "EXAMPLE:\n   privsgld ledger init --ledger sqlite:ledger.db", Flags: append(ledgerFlags(), shared()...),
				Action: withLedger(false, func(c *cli.Context, l *ledger.Ledger) error {
					return render(c, map[string]any{"id": l.ID(), "created": l.Created()}, func(w io.Writer) { fmt.Fprintln(w, l.ID()) })
				}),
			},
			{
				Name: "verify", Usage: "check every entry, total and signature of the ledger",
				Description: "EXAMPLE:\n   privsgld ledger verify", Flags: append(ledgerFlags(), shared()...),
				Action: withLedger(true, verifyLedger),
			},
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

func verifyLedger(c *cli.Context, l *ledger.Ledger) error {
	v, err := l.Verify(c.Context)
	switch {
	case err == nil:
		return render(c, v, func(w io.Writer) { fmt.Fprintf(w, "ok: %d entries, head %s\n", v.Entries, v.Head) })
	case errors.Is(err, ledger.ErrCorrupt):
		return &verifyFailed{v: v, err: err}
	default:
		return err
	}
}
