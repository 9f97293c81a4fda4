package main

import (
	"fmt"
	"io"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/urfave/cli/v2"

	"github.com/privsgld/privsgld/accountant/ledger"
)

func budgetCommand() *cli.Command {
	return &cli.Command{
		Name: "budget", Usage: "what is spent and left, by data set, analyst, purpose and period",
		Description: `Reservations that are neither settled nor void count as spent.

EXAMPLE:
   privsgld budget --dataset fertility-1980`,
		Flags: append(append([]cli.Flag{text("dataset", "", "only the data set of that `NAME`")}, ledgerFlags()...), shared()...),
		Action: func(c *cli.Context) error {
			l, err := openLedger(c)(c.Context)
			if err != nil {
				return err
			}
			defer l.Close() //nolint:errcheck // nothing was written
			all, err := l.Status(c.Context)
			if err != nil {
				return err
			}
			selected := []ledger.DatasetStatus{}
			for _, d := range all {
				if name := c.String("dataset"); name == "" || name == d.Name {
					selected = append(selected, d)
				}
			}
			if name := c.String("dataset"); name != "" && len(selected) == 0 {
				return usagef("data set %q is not in this ledger", name)
			}
			return render(c, map[string]any{"datasets": selected}, func(w io.Writer) { budgetText(w, selected) })
		},
	}
}

func budgetText(w io.Writer, datasets []ledger.DatasetStatus) {
	if len(datasets) == 0 {
		fmt.Fprintln(w, "nothing has been charged to this ledger")
		return
	}
	t := newTable(w)
	t.AppendHeader(table.Row{"data set", "policy", "period", "ε", "δ", "spent ε", "room for ε", "used", "jobs", "pending"})
	for _, d := range datasets {
		t.AppendRow(table.Row{d.Name, d.Policy, d.Period, d.Epsilon, d.Delta, shortUp(d.EpsilonSpent), shortDown(d.EpsilonRemaining), fmt.Sprintf("%.1f %%", 100*d.FractionUsed), d.Entries, d.Pending})
	}
	t.Render()
	for _, d := range datasets {
		fmt.Fprintf(w, "%s: odometer ε = %s: what is spent at any moment that an analyst may pick\n", d.Name, shortUp(d.EpsilonOdometer))
		sharesText(w, d.Name, "analyst", d.Analysts)
		if len(d.Purposes) != 1 || d.Purposes[0].Name != "" {
			sharesText(w, d.Name, "purpose", d.Purposes)
		}
		for _, p := range d.PeriodCaps {
			fmt.Fprintf(w, "%s: period %s, capped %s at ε = %s, has room for ε = %s\n", d.Name, p.Period, p.Renews, p.Cap.Epsilon, shortDown(p.Cap.EpsilonRemaining))
		}
		for _, p := range d.ByPeriod {
			if p.Period != d.Period {
				fmt.Fprintf(w, "%s: period %s ended with ε = %s spent\n", d.Name, p.Period, shortUp(p.EpsilonSpent))
			}
		}
	}
}

// sharesText prints what analysts, or purposes, have spent.
func sharesText(w io.Writer, dataset, kind string, shares []ledger.ShareStatus) {
	for _, s := range shares {
		who := kind + " " + s.Name
		if s.Name == "" {
			who = "no " + kind
		}
		line := fmt.Sprintf("%s: %s has spent ε = %s", dataset, who, shortUp(s.EpsilonSpent))
		if s.Cap != nil {
			line += fmt.Sprintf(" of %s", s.Cap.Epsilon)
		}
		fmt.Fprintln(w, line)
	}
}
