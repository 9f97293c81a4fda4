//go:build race

package datasets

// raceEnabled: the race detector's shadow memory counts against the decoder's
// limits, and it is ten times slower, so that tests of limits do not hold.
const raceEnabled = true
