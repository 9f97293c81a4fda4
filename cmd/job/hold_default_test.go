//go:build !soak

package job

// timedRuns is the number of runs of TestCompletionTimes.
const timedRuns = 100
