//go:build slow && !soak

package ledger

// A round of TestBurst: so many processes ask so often.
const (
	burstProcesses = 64
	burstRequests  = 20
	burstRounds    = 2
)

// clockWalks is the number of random walks of TestClockWalks.
const clockWalks = 200

// lockTries is how often TestLockSurvives opens and closes the file.
const lockTries = 1000
