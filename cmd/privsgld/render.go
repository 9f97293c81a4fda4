package main

import (
	"encoding/json"
	"fmt"
	"io"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/urfave/cli/v2"
)

// render writes one result: with -o json exactly one object, otherwise text.
// A result that cannot be written is an error, so that a full disk or a closed
// pipe is noticed.
func render(c *cli.Context, v any, text func(io.Writer)) error {
	out := &checked{w: c.App.Writer}
	if c.String("output") == "json" {
		b, err := json.MarshalIndent(v, "", "  ")
		if err != nil {
			return fmt.Errorf("result: %w", err)
		}
		fmt.Fprintf(out, "%s\n", b)
	} else {
		text(out)
	}
	if out.err != nil {
		return fmt.Errorf("standard output: the result could not be written")
	}
	return nil
}

// checked remembers the first error of a writer.
type checked struct {
	w   io.Writer
	err error
}

func (c *checked) Write(p []byte) (int, error) {
	if c.err != nil {
		return 0, c.err
	}
	n, err := c.w.Write(p)
	c.err = err
	return n, err
}

// newTable is a plain table without colours or boxes: it reads the same on a
// terminal, in a log and in a mail.
func newTable(w io.Writer) table.Writer {
	t := table.NewWriter()
	t.SetOutputMirror(w)
	style := table.StyleDefault
	style.Options = table.OptionsNoBordersAndSeparators
	style.Box.PaddingLeft = ""
	style.Box.PaddingRight = "  "
	style.Format.Header = 0
	t.SetStyle(style)
	return t
}

// warn writes a warning to standard error.
func warn(c *cli.Context, line string) {
	if c.Bool("quiet") || c.String("log-level") == "error" {
		return
	}
	fmt.Fprintln(c.App.ErrWriter, "warning: "+line)
}
