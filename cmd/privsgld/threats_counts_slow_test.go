//go:build slow && !soak

package main

// offsetRuns is how many runs TestOffsets compares for each format.
const offsetRuns = 4

// freshLedgers is how many of them TestFreshLedgers brings.
const freshLedgers = 100
