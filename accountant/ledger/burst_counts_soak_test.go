//go:build soak

package ledger

// A round of TestBurst: so many processes ask so often.
const (
	burstProcesses = 64
	burstRequests  = 100
	burstRounds    = 200
)

// clockWalks is the number of random walks of TestClockWalks.
const clockWalks = 1000

// lockTries is how often TestLockSurvives opens and closes the file.
const lockTries = 1000
