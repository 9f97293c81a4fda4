//go:build !slow && !soak

package ledger

import "testing"

func TestAnalystSimulation(t *testing.T) { simulate(t, 1, 240) }

// longHistory is the number of entries of TestReadsDoNotGrow.
const longHistory = 500
