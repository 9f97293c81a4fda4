package accountant

import "fmt"

// Adjacency is the neighbouring relation that a guarantee is about.
type Adjacency string

const (
	// AddRemove: neighbours differ by the presence of one privacy unit.
	AddRemove Adjacency = "add-remove"
	// ReplaceOne: neighbours have the same number of units and differ in one.
	ReplaceOne Adjacency = "replace-one"
)

// ParseAdjacency reads "add-remove" or "replace-one" and refuses anything else.
func ParseAdjacency(text string) (Adjacency, error) {
	switch a := Adjacency(text); a {
	case AddRemove, ReplaceOne:
		return a, nil
	}
	return "", fmt.Errorf("%w: adjacency %q is unknown; write add-remove or replace-one", ErrDomain, text)
}

// distance is how far two neighbours' sums may lie apart, in units of the
// bound C of one unit's contribution.
func (a Adjacency) distance() float64 {
	if a == ReplaceOne {
		return 2
	}
	return 1
}
