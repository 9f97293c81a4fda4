package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/google/renameio/v2"
	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/urfave/cli/v2"

	"github.com/privsgld/privsgld/accountant"
)

func composeCommand() *cli.Command {
	return &cli.Command{
		Name: "compose", Usage: "ε of a list of events, or of a report", ArgsUsage: "FILE",
		Description: `FILE is a JSON list of events, the report.json of a run or query, or - for the
standard input. A report brings its own relation and δ.

   [{"type": "poisson_gaussian", "sampling_rate": 0.01, "noise_multiplier": 1.1, "count": 1000},
    {"type": "gaussian", "noise_multipliers": [4, 4.5, 5]},
    {"type": "laplace", "noise_multiplier": 10, "count": 3},
    {"type": "pure", "epsilon": 0.1}]

Other types: fixed_size_gaussian (sample_size, source_size, noise_multiplier),
discrete_gaussian (noise_multiplier, and sensitivity where one coordinate is
released), discrete_laplace (noise_multiplier, sensitivity), approximate and
partition_selection (epsilon, delta), zcdp (rho), composition (events). count is
1 unless given.

EXAMPLE:
   privsgld account compose events.json --delta 1e-6`,
		Flags: append(accountFlags("delta", "grid", "plot", "accountant", "adjacency"), shared()...), Action: accountCompose,
	}
}

func exportCommand() *cli.Command {
	return &cli.Command{
		Name: "export", Usage: "write events under the names of Google's dp_accounting, for an auditor", ArgsUsage: "FILE",
		Description: `FILE is as for privsgld account compose. The result is one JSON object: the tree
of events for the library's PLDAccountant, another for its RdpAccountant where
that takes them otherwise, and notes. With --names privsgld it is a document of
our own events, merged, which says its version and relation.

EXAMPLE:
   privsgld account export out/report.json --to dp_events.json`,
		Flags: append(accountFlags("names", "adjacency", "to"), shared()...), Action: accountExport,
	}
}

func accountCompose(c *cli.Context) error {
	q, err := ask(c)
	if err != nil {
		return err
	}
	e, delta, err := readEvents(c)
	if err != nil {
		return err
	}
	if q.delta == nil {
		q.delta = delta
	}
	if q.delta == nil {
		return usagef("--delta is missing")
	}
	q.steps.adjacency = e.Adjacency
	a := &answer{}
	if err := q.price(a, e, *q.delta); err != nil {
		return err
	}
	if a.Plot, err = plotProfile(q, e, a.epsilon, q.delta.Float64Down()); err != nil {
		return err
	}
	return render(c, a, func(w io.Writer) {
		fmt.Fprintf(w, "%s, %s, for\n", a.epsilonText(), a.underText())
		eventsText(w, e)
		a.table(w, "ε")
	})
}

func accountExport(c *cli.Context) error {
	e, _, err := readEvents(c)
	if err != nil {
		return err
	}
	var b []byte
	switch names := stringOr(c, "names", "dp_accounting"); names {
	case "dp_accounting":
		b, err = accountant.ExportDPAccounting(e)
	case "privsgld":
		b, err = accountant.MarshalEvents(e)
		b = append(b, '\n')
	default:
		return usagef("unknown names %q: use dp_accounting or privsgld", names)
	}
	if err != nil {
		return accountError(err)
	}
	path := c.String("to")
	if path == "" {
		return writeAll(c, b)
	}
	if err := writeFile(path, b); err != nil {
		return err
	}
	return render(c, map[string]any{"file": path}, func(w io.Writer) { fmt.Fprintf(w, "wrote %s\n", path) })
}

// mostEventBytes bounds a file of events: what an event may hold fits well.
const mostEventBytes = 1 << 28

// readEvents reads the argument: a list of events or a report, whose δ it
// returns. Events that name a relation bring it, unless a flag says otherwise.
func readEvents(c *cli.Context) (accountant.Event, *accountant.Amount, error) {
	path := c.Args().First()
	if path == "" {
		return accountant.Event{}, nil, usagef("name a file of events, or - for the standard input")
	}
	adjacency, err := adjacencyOf(c)
	if err != nil {
		return accountant.Event{}, nil, err
	}
	text, err := readInput(path)
	if err != nil {
		return accountant.Event{}, nil, err
	}
	name := path
	if path == "-" {
		name = "standard input"
	}
	list, delta, own := unwrap(text)
	if own != "" {
		if _, err := accountant.ParseAdjacency(string(own)); err != nil {
			return accountant.Event{}, nil, usagef("%s: %v", name, accountError(err))
		}
		if c.IsSet("adjacency") && c.String("adjacency") != "" && adjacency != own {
			return accountant.Event{}, nil, usagef("%s is about %s: leave out --adjacency", name, own)
		}
		adjacency = own
	}
	if strings.TrimSpace(string(list)) == "null" {
		return accountant.Event{}, nil, usagef("%s holds no events", name)
	}
	e, err := accountant.ParseEvents(list, adjacency)
	if err != nil {
		return accountant.Event{}, nil, usagef("%s: %v", name, accountError(err))
	}
	return e, delta, nil
}

// unwrap finds the events in a report, with its δ, and the relation that a file
// of any kind names. What it does not understand it leaves for ParseEvents to
// refuse.
func unwrap(text []byte) (list []byte, delta *accountant.Amount, own accountant.Adjacency) {
	type part struct {
		Adjacency accountant.Adjacency `json:"adjacency"`
		Delta     *accountant.Amount   `json:"delta"`
		Events    json.RawMessage      `json:"events"`
	}
	var report struct {
		part
		Guarantee *part `json:"guarantee"`
	}
	var events []struct {
		Adjacency accountant.Adjacency `json:"adjacency"`
	}
	list = text
	switch {
	case json.Unmarshal(text, &report) == nil:
		own = report.Adjacency
		if g := report.Guarantee; g != nil && len(g.Events) > 0 {
			list, delta, own = g.Events, g.Delta, g.Adjacency
		}
	case json.Unmarshal(text, &events) == nil:
		for _, e := range events {
			if own == "" {
				own = e.Adjacency
			}
		}
	}
	return list, delta, own
}

func readInput(path string) ([]byte, error) {
	in := io.Reader(os.Stdin)
	if path != "-" {
		f, err := os.Open(path) //nolint:gosec // the user names it
		if errors.Is(err, fs.ErrNotExist) {
			return nil, usagef("there is no file %s", path)
		}
		if err != nil {
			return nil, usagef("%s cannot be read", path)
		}
		defer f.Close() //nolint:errcheck // only read
		in = f
	}
	b, err := io.ReadAll(io.LimitReader(in, mostEventBytes+1))
	switch {
	case err != nil:
		return nil, usagef("%s cannot be read", path)
	case len(b) > mostEventBytes:
		return nil, usagef("%s is larger than 256 MiB", path)
	}
	return b, nil
}

// eventsText lists the parts of an event, the first of many.
func eventsText(w io.Writer, e accountant.Event) {
	const shown = 12
	t := newTable(w)
	t.AppendHeader(table.Row{"event", "count", ""})
	parts := e.Merge().Events
	for i, p := range parts {
		if i == shown && len(parts) > shown+1 {
			t.AppendRow(table.Row{"…", "", fmt.Sprintf("and %d more", len(parts)-shown)})
			break
		}
		t.AppendRow(table.Row{string(p.Type), p.Count, parametersText(p)})
	}
	t.Render()
}

func parametersText(p accountant.Event) string {
	switch {
	case p.Type == accountant.TypePoissonGaussian:
		return fmt.Sprintf("rate %s, noise multiplier %s", short(p.SamplingRate), short(p.NoiseMultiplier))
	case p.Type == accountant.TypeFixedSizeGaussian:
		return fmt.Sprintf("%d of %d units, noise multiplier %s", p.SampleSize, p.SourceSize, short(p.NoiseMultiplier))
	case p.Sensitivity > 0:
		return fmt.Sprintf("sensitivity %d, noise multiplier %s", p.Sensitivity, short(p.NoiseMultiplier))
	case p.Delta != nil:
		return fmt.Sprintf("ε %s, δ %s", p.Epsilon, p.Delta)
	case p.Epsilon != nil:
		return fmt.Sprintf("ε %s", p.Epsilon)
	case p.Rho != nil:
		return fmt.Sprintf("ρ %s", p.Rho)
	}
	return "noise multiplier " + short(p.NoiseMultiplier)
}

// outputError: a file that was asked for could not be written.
type outputError struct{ message string }

func (e *outputError) Error() string { return e.message }

// checkOutput refuses a path that is there and no ordinary file.
func checkOutput(path string) error {
	info, err := os.Lstat(path)
	if err == nil && !info.Mode().IsRegular() {
		return &outputError{fmt.Sprintf("%s is no ordinary file and is left alone", path)}
	}
	if info, err := os.Stat(filepath.Dir(path)); err != nil || !info.IsDir() {
		return &outputError{fmt.Sprintf("%s cannot be written: its folder is not there", path)}
	}
	return nil
}

// writeFile makes or replaces an ordinary file, whole or not at all.
func writeFile(path string, b []byte) error {
	if err := checkOutput(path); err != nil {
		return err
	}
	if err := renameio.WriteFile(path, b, 0o644); err != nil {
		return &outputError{fmt.Sprintf("%s could not be written", path)}
	}
	return nil
}
