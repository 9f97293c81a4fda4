//go:build soak

package main

// kills is the number of runs that TestKill kills.
const kills = 1000

// fertilityRuns is the number of runs that are compared with the posterior.
const fertilityRuns = 5

// cellRows is the number of rows whose cells TestOneRowSteersNothing sets.
const cellRows = 50
