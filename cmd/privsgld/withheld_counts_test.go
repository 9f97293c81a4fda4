//go:build seeded && !slow && !soak

package main

// pairedRuns is how many pairs of runs TestRehearsalWithSumsWithheld compares in each way.
const pairedRuns = 1
