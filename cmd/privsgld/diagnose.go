package main

import (
	"fmt"
	"io"

	"github.com/urfave/cli/v2"

	"github.com/privsgld/privsgld/cmd/job"
	"github.com/privsgld/privsgld/sgld/diagnostics"
)

func diagnoseCommand() *cli.Command {
	return &cli.Command{
		Name: "diagnose", Usage: "R-hat, ESS, MCSE and plots for released draws", ArgsUsage: "DIR|FILE…",
		Description: `Reads draws that were released, and nothing else: the output folder of a run, whose
signature and file it checks, or a file of draws in Parquet, Arrow or CSV. Several are
compared as further chains of one posterior: runs of one model with equal settings.

R-hat below 1.01 is good. ESS is how many independent draws the draws are worth, for the
centre (bulk) and for the 5 % and 95 % points (tail); mcse is the error of the mean that
comes of drawing.

EXAMPLE:
   privsgld diagnose out
   privsgld diagnose monday tuesday --plots plots`,
		Flags: append([]cli.Flag{
			text("plots", "", "new `DIR` for plots, one SVG for each coefficient: traces, densities, ranks"),
			text("memory", "", "`SIZE` that decoding the draws may take, like 2GiB (default 1GiB)"),
		}, shared()...),
		Action: diagnoseAction,
	}
}

// diagnoseReport is the diagnosis with the plots that were made of it.
type diagnoseReport struct {
	*job.Diagnosis
	Plots []string `json:"plots,omitempty"`
}

func diagnoseAction(c *cli.Context) error {
	d := &job.Diagnose{Paths: c.Args().Slice()}
	var err error
	if d.Memory, err = bytesOf(c, "memory"); err != nil {
		return err
	}
	if len(d.Paths) == 0 {
		return usagef("no draws: name the output folder of a run, or a file of draws")
	}
	dir := c.String("plots")
	if err := checkPlotFolder(dir); err != nil {
		return err
	}
	found, err := d.Do(c.Context)
	if err != nil {
		return err
	}
	r := &diagnoseReport{Diagnosis: found}
	if dir != "" {
		if r.Plots, err = plotDraws(dir, found); err != nil {
			return err
		}
	}
	for _, w := range r.Warnings {
		warn(c, w)
	}
	return render(c, r, func(w io.Writer) { diagnoseText(w, r, dir) })
}

func diagnoseText(w io.Writer, r *diagnoseReport, dir string) {
	for _, in := range r.Inputs {
		fmt.Fprintf(w, "draws      %s: %d chain(s), %d draws", in.Path, in.Chains, in.Draws)
		if in.RunID != "" {
			fmt.Fprintf(w, ", run %s", in.RunID)
		}
		fmt.Fprintln(w)
	}
	if len(r.Inputs) > 1 {
		fmt.Fprintf(w, "together   %d chains of %d draws\n", r.Chains, r.Draws)
	}
	all := make([]diagnostics.Summary, len(r.Parameters))
	for i, p := range r.Parameters {
		all[i] = p.Summary
	}
	summaryText(w, all)
	if len(r.Plots) > 0 {
		fmt.Fprintf(w, "plots      %d in %s\n", len(r.Plots), dir)
	}
}
