package main

import (
	"fmt"
	"io"

	"github.com/urfave/cli/v2"

	"github.com/privsgld/privsgld/accountant/ledger"
	"github.com/privsgld/privsgld/accountant/ledger/signed"
	"github.com/privsgld/privsgld/cmd/job"
)

func amendCommand() *cli.Command {
	return &cli.Command{
		Name: "amend", Usage: "register a policy that promises less than the registered one, signed by the data set's owner",
		Description: `The owner is whose key the registered policy names under approvals: owner. An amendment
keeps privacy unit, neighbouring relation, renewal, accountant and the orders of all
filters; ε and δ can only grow. All that was released before it and after it holds to the
larger budget together, which every later report says.

Where one account cannot read both the owner's key and the ledger's, --to writes the
amendment for the owner to sign with "policy sign --amendment", and --signed takes it.

EXAMPLE:
   privsgld ledger amend --policy policy.yaml --key owner.key --why "second wave of the survey"
   privsgld ledger amend --policy policy.yaml --why "second wave" --to raise.amendment
   privsgld ledger amend --signed raise.amendment`,
		Flags: append(append([]cli.Flag{
			text("policy", "", "policy `FILE` to register from now on"),
			text("key", "", "`FILE` of the owner's private key"),
			text("why", "", "`TEXT` recorded with the amendment"),
			text("same-rows-as", "", "`NAME` of another data set that may hold the same rows; the two budgets add up"),
			text("to", "", "new `FILE` for the amendment, to be signed elsewhere"),
			text("signed", "", "signed amendment in `FILE`, in place of --policy, --key and --why"),
		}, ledgerFlags()...), shared()...),
		Action: withLedger(true, amend),
	}
}

func amend(c *cli.Context, l *ledger.Ledger) error {
	if path := c.String("signed"); path != "" {
		for _, other := range []string{"policy", "key", "why", "to", "same-rows-as"} {
			if c.IsSet(other) {
				return usagef("--signed has all that --%s would say: leave one out", other)
			}
		}
		note, err := signed.ReadFile(path)
		if err != nil {
			return err
		}
		if note == nil {
			return usagef("--signed %s does not exist", path)
		}
		return appendAmendment(c, l, note)
	}
	if c.String("why") == "" {
		return usagef("--why is missing: say for the record why the budget is amended")
	}
	if (c.String("key") == "") == (c.String("to") == "") {
		return usagef("give --key to sign the amendment, or --to to have it signed elsewhere")
	}
	p, err := loadPolicy(c)
	if err != nil {
		return err
	}
	var same []string
	if name := c.String("same-rows-as"); name != "" {
		same = []string{name}
	}
	body, err := job.DraftAmendment(c.Context, l, p, same, c.String("why"))
	if err != nil {
		return err
	}
	if path := c.String("to"); path != "" {
		if err := signed.WriteText(path, body); err != nil {
			return err
		}
		return render(c, map[string]any{"file": path}, func(w io.Writer) {
			fmt.Fprintf(w, "wrote %s, to be signed with: privsgld policy sign --amendment %s --key KEY\n", path, path)
		})
	}
	key, err := privateKey(c)
	if err != nil {
		return err
	}
	note, err := key.Note(body)
	if err != nil {
		return err
	}
	return appendAmendment(c, l, note)
}

func appendAmendment(c *cli.Context, l *ledger.Ledger, note []byte) error {
	number, err := l.Amend(c.Context, string(note))
	if err != nil {
		return err
	}
	a, err := ledger.ReadAmendment(signed.TextOf(note))
	if err != nil {
		return err
	}
	epsilon, delta := a.Budget()
	result := map[string]any{"entry": number, "dataset": a.Dataset, "from": a.From, "to": a.To(), "epsilon": epsilon, "delta": delta, "why": a.Why}
	return render(c, result, func(w io.Writer) {
		fmt.Fprintf(w, "entry %d: data set %q is registered with ε = %s, δ = %s and the policy %s\n", number, a.Dataset, epsilon, delta, a.To())
		fmt.Fprintln(w, "what was released before it and what is released after it hold to that budget together")
	})
}

// signAmendment signs what the file says, having shown it.
func signAmendment(c *cli.Context, path string) error {
	a, key, already, err := signBody(c, path, ledger.ReadAmendment, "amendment", "ledger amend --to")
	if err != nil {
		return err
	}
	return render(c, map[string]any{"file": path, "key": key.String(), "already": already, "amendment": a}, func(w io.Writer) {
		signedLine(w, key.Key, already, path)
		epsilon, delta := a.Budget()
		rows := []shownField{
			{"data set", a.Dataset}, {"ε", epsilon}, {"δ", delta}, {"why", a.Why}, {"from", a.From}, {"to", a.To()}, {"owner", a.Registration.Owner}, {"ledger", a.Ledger},
		}
		for _, name := range a.SameRowsAs {
			rows = append(rows, shownField{"same rows", name})
		}
		for _, c := range a.Caps {
			rows = append(rows, shownField{"cap", fmt.Sprintf("%s ε %s, δ %s", c.Name, c.Terms.Epsilon, c.Terms.Delta)})
		}
		showFields(w, rows)
		if p := a.Registration.Policy; p != nil {
			fmt.Fprintf(w, "policy     %+q\n", p.Text)
		}
	})
}
