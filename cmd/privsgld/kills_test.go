//go:build !slow && !soak

package main

// kills is the number of runs that TestKill kills.
const kills = 20

// cellRows is the number of rows whose cells TestOneRowSteersNothing sets.
const cellRows = 1
