//go:build !slow && !soak

package ledger

// modelChecks is the number of random sequences, of some thirty transactions each,
// in which TestLedgerMeetsModel compares SQLite with its model; -rapid.checks=1000
// for a long look. conformanceChecks is that for the other stores.
const (
	modelChecks       = "8"
	conformanceChecks = "2"
)

// conformanceBytes: of so many bytes of an entry one is changed in the stores beside
// SQLite, where each is.
const conformanceBytes = 16

// restartPoints are the points of a transaction at which TestServerRestarts stops
// and kills the server; "" is between two.
var restartPoints = []string{"", "written"}
