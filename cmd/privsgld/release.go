//go:build !seeded

package main

import (
	"github.com/urfave/cli/v2"

	"github.com/privsgld/privsgld/cmd/job"
)

// outcome is what became of a run's draws.
const outcome = "released"

// buildNote is added to the version.
const buildNote = ""

// buildFlags are those of run that this build has beside the others'.
func buildFlags() []cli.Flag { return nil }

// resume goes on with a run.
func resume(c *cli.Context, r *job.Resume) (*job.Report, error) { return r.Do(c.Context) }

// perform does what run asks for.
func perform(c *cli.Context, r *job.Run) (*job.Report, error) { return r.Do(c.Context) }
