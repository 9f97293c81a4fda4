package main

import (
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/urfave/cli/v2"

	"github.com/privsgld/privsgld/cmd/job"
	"github.com/privsgld/privsgld/policies"
)

func policyCommand() *cli.Command {
	return &cli.Command{
		Name: "policy", Usage: "write, check and explain policy files",
		Subcommands: append(signCommands(), []*cli.Command{
			{
				Name: "init", Usage: "write a commented example policy", ArgsUsage: "[NAME]",
				Description: "EXAMPLE:\n   privsgld policy init my-table --to policy.yaml",
				Flags:       append([]cli.Flag{text("to", "", "`FILE` to make (default: standard output)")}, shared()...),
				Action:      policyInit,
			},
			{
				Name: "validate", Usage: "check a policy file", ArgsUsage: "FILE",
				Description: "EXAMPLE:\n   privsgld policy validate policies/fertility.yaml",
				Flags:       append([]cli.Flag{text("policy", "", "policy `FILE`, instead of the argument")}, shared()...),
				Action: func(c *cli.Context) error {
					p, err := loadPolicy(c)
					if err != nil {
						return err
					}
					result := map[string]any{"ok": true, "name": p.Metadata.Name, "dataset": p.Dataset.Name, "sha256": p.SHA256}
					return render(c, result, func(w io.Writer) { fmt.Fprintf(w, "%s: valid\n", p.Metadata.Name) })
				},
			},
			{
				Name: "diff", Usage: "compare two policies: does NEW promise more privacy than OLD, or less?", ArgsUsage: "OLD NEW",
				Description: `Each clause that differs is named as tighter (NEW promises more), looser, the same
(another encoding) or incomparable, and the verdict holds for all of them together:
tighter or same means that NEW allows nothing that OLD refuses. The exit code is 0
whatever the verdict; with -o json it is the key "verdict".

EXAMPLE:
   privsgld policy diff policies/fertility.yaml policies/examples/healthinsurance.yaml`,
				Flags: shared(), Action: policyDiff,
			},
			{
				Name: "schema", Usage: "print the JSON Schema of policy files, for editors",
				Description: "EXAMPLE:\n   privsgld policy schema > policy.schema.json",
				Flags:       append([]cli.Flag{boolean("base", "the schema of base files, which policies extend")}, shared()...),
				Action: func(c *cli.Context) error {
					if c.Bool("base") {
						return writeAll(c, policies.BaseSchema())
					}
					return writeAll(c, policies.Schema())
				},
			},
			{
				Name: "show", Usage: "print the effective policy: defaults and base files filled in, each value with where it comes from", ArgsUsage: "FILE",
				Description: "What it prints is a policy file again; the comments say FILE:LINE, or default.\n\n" +
					"EXAMPLE:\n   privsgld policy show policies/fertility.yaml",
				Flags: append([]cli.Flag{text("policy", "", "policy `FILE`, instead of the argument")}, shared()...),
				Action: func(c *cli.Context) error {
					p, err := loadPolicy(c)
					if err != nil {
						return err
					}
					result := map[string]any{"name": p.Metadata.Name, "sha256": p.SHA256, "effective": string(p.Show()), "origins": p.Origins()}
					return render(c, result, func(w io.Writer) { _, _ = w.Write(p.Explain()) })
				},
			},
		}...),
	}
}

// writeAll writes bytes that are a result by themselves.
func writeAll(c *cli.Context, b []byte) error {
	if _, err := c.App.Writer.Write(b); err != nil {
		return fmt.Errorf("standard output: the result could not be written")
	}
	return nil
}

func loadPolicy(c *cli.Context) (*policies.Policy, error) {
	path := c.Args().First()
	if path != "" && c.IsSet("policy") {
		return nil, usagef("name one policy file, as the argument or with --policy")
	}
	if path == "" {
		path = c.String("policy")
	}
	if path == "" {
		return nil, usagef("name a policy file")
	}
	return job.LoadPolicy(path)
}

func policyDiff(c *cli.Context) error {
	if c.NArg() != 2 {
		return usagef("name two policy files: OLD NEW")
	}
	old, err := job.LoadPolicy(c.Args().Get(0))
	if err != nil {
		return err
	}
	next, err := job.LoadPolicy(c.Args().Get(1))
	if err != nil {
		return err
	}
	d := policies.Diff(old, next)
	return render(c, d, func(w io.Writer) { diffText(w, d) })
}

// diffText prints the clauses that differ and the verdict.
func diffText(w io.Writer, d policies.Difference) {
	t := newTable(w)
	t.AppendHeader(table.Row{"clause", "verdict", "old", "new", "why"})
	for _, clause := range d.Clauses {
		if clause.Differs() {
			t.AppendRow(table.Row{clause.Clause, clause.Verdict.String(), cut(clause.Old), cut(clause.New), clause.Why})
		}
	}
	if t.Length() == 0 {
		fmt.Fprintln(w, "no clause differs")
	} else {
		t.Render()
	}
	fmt.Fprintln(w, map[policies.Comparison]string{
		policies.Same:         "same: NEW promises what OLD does",
		policies.Tighter:      "tighter: NEW promises more privacy",
		policies.Looser:       "looser: NEW promises less privacy",
		policies.Incomparable: "incomparable: NEW promises neither more privacy nor less",
	}[d.Verdict])
}

// cut shortens a value to what a line has room for; -o json has all of it.
func cut(text string) string {
	const most = 60
	if r := []rune(text); len(r) > most {
		return string(r[:most]) + "…"
	}
	return text
}

func policyInit(c *cli.Context) error {
	name := c.Args().First()
	if name == "" {
		name = "example"
	}
	b := policies.Template(name)
	if _, err := policies.Parse("the new policy", b); err != nil {
		return usagef("%q cannot be the name of a policy: use letters, digits and hyphens", name)
	}
	path := c.String("to")
	if path == "" {
		return render(c, map[string]any{"policy": string(b)}, func(w io.Writer) { _, _ = w.Write(b) })
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644) //nolint:gosec // a policy is public
	if errors.Is(err, os.ErrExist) {
		return usagef("%s exists: name a new file with --to", path)
	}
	if err != nil {
		return usagef("%s cannot be written", path)
	}
	if _, err = f.Write(b); err == nil {
		err = f.Sync()
	}
	if closeErr := f.Close(); err == nil {
		err = closeErr
	}
	if err != nil {
		_ = os.Remove(path)
		return fmt.Errorf("%s: the policy could not be written", path)
	}
	return render(c, map[string]any{"file": path}, func(w io.Writer) { fmt.Fprintf(w, "wrote %s\n", path) })
}
