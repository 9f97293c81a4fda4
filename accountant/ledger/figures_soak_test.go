//go:build soak

package ledger

// modelChecks is the number of random sequences, of some thirty transactions each (10⁵ in all),
// in which TestLedgerMeetsModel compares SQLite with its model; -rapid.checks=1000
// for a long look. conformanceChecks is that for the other stores.
const (
	modelChecks       = "4400"
	conformanceChecks = "50"
)

// conformanceBytes: of so many bytes of an entry one is changed in the stores beside
// SQLite, where each is.
const conformanceBytes = 1

// restartPoints are the points of a transaction at which TestServerRestarts stops
// and kills the server; "" is between two.
var restartPoints = []string{"", "begun", "appended", "written", "committed"}

// Processes are killed at 36 points and moments a batch on SQLite; on PostgreSQL at
// four times the points and at the moments below.
const (
	killBatches         = 14
	killBatchesPostgres = 3
	killMomentsPostgres = 20
)

var killPointsPostgres = []int{1, 2, 4, 5}

// raceRounds is the number of rounds for the last units of a budget; histories that of
// the histories that are recorded, each on every kind of store.
const (
	raceRounds = 50
	histories  = 20
)
