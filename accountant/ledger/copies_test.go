//go:build !soak

package ledger

// earlierCopies is the number of ledgers that TestEarlierCopiesAreFound sets back.
const earlierCopies = 6

// flippedBits is the number of bits that TestFlippedBits flips.
const flippedBits = 300

// burningRequests is how often the analyst of TestBudgetBurning asks.
const burningRequests = 300
