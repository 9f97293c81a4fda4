//go:build soak

package ledger

// earlierCopies is the number of ledgers that TestEarlierCopiesAreFound sets back.
const earlierCopies = 200

// flippedBits is the number of bits that TestFlippedBits flips.
const flippedBits = 10000

// burningRequests is how often the analyst of TestBudgetBurning asks.
const burningRequests = 10000
