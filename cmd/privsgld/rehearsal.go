//go:build seeded

package main

import (
	"strconv"

	"github.com/urfave/cli/v2"

	"github.com/privsgld/privsgld/cmd/job"
)

// A program built with the tag seeded is for tests from end to end: its runs have a
// known seed, and it cannot release.

const outcome = "rehearsed, NOT A RELEASE,"

const buildNote = " seeded: for rehearsals, releases nothing"

func buildFlags() []cli.Flag {
	return []cli.Flag{
		text("seed", "", "seed `N` of all noise: a rehearsal, not a release"),
		boolean("blind", "make every sum 0 before its noise"),
	}
}

func resume(*cli.Context, *job.Resume) (*job.Report, error) {
	return nil, usagef("this program is built for rehearsals and releases nothing: it goes on with no run")
}

func perform(c *cli.Context, r *job.Run) (*job.Report, error) {
	seed, err := strconv.ParseUint(c.String("seed"), 10, 64)
	if err != nil {
		return nil, usagef("this program is built for rehearsals and releases nothing: give --seed with a whole number")
	}
	return r.Rehearse(c.Context, seed, c.Bool("blind"))
}
