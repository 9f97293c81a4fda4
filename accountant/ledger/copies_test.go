//go:build !soak

package ledger

// earlierCopies is the number of ledgers that TestEarlierCopiesAreFound sets back.
const earlierCopies = 6
