package main

import (
	"fmt"
	"io"

	"github.com/urfave/cli/v2"
)

func versionCommand() *cli.Command {
	return &cli.Command{
		Name: "version", Usage: "print the version", Description: "EXAMPLE:\n   privsgld version", Flags: shared(),
		Action: func(c *cli.Context) error {
			p := programInfo()
			return render(c, p, func(w io.Writer) { fmt.Fprintf(w, "privsgld %s (%s)%s\n", p.Version, p.Revision, buildNote) })
		},
	}
}
