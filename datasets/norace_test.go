//go:build !race

package datasets

// raceEnabled says whether the race detector is at work; see race_test.go.
const raceEnabled = false
