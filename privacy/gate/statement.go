package gate

import (
	"fmt"
	"math"
	"strconv"
	"strings"

	"github.com/privsgld/privsgld/accountant"
)

// A Guarantee is all that the promise of a release depends on. Texts are
// phrases without a full stop.
type Guarantee struct {
	Epsilon   float64 // of this job, rounded up
	Delta     accountant.Amount
	Dataset   string
	Unit      string // what is protected: "one row", "all rows of one person_id, at most 20"
	Adjacency accountant.Adjacency

	Mechanism   string // "the Gaussian mechanism on clipped gradient sums"
	Sampling    string // "every unit joins each step independently with probability 0.01"
	Accountant  string // "Rényi DP, converted at the best order"
	Composed    string // "500 steps and one noisy count"
	Assumptions []string

	// The budget that the job was charged to, and its period ("always", or a
	// year, quarter or month).
	BudgetEpsilon accountant.Amount
	BudgetDelta   accountant.Amount
	Period        string
	Periods       int64 // so far
}

// RandomnessAssumption is one that every guarantee on a computer has: list it
// first.
const RandomnessAssumption = "the random numbers come from a cryptographic generator that no observer can predict"

// Statement says the guarantee in words, with everything that it depends on.
// ε is shown rounded up to 6 significant digits.
func Statement(g Guarantee) string {
	relation := map[accountant.Adjacency]string{
		accountant.AddRemove:  "whether it is in the data or not (neighbouring relation add-remove)",
		accountant.ReplaceOne: "whatever its values are (neighbouring relation replace-one)",
	}[g.Adjacency]
	if relation == "" {
		panic("gate: a statement needs a neighbouring relation")
	}
	var b strings.Builder
	fmt.Fprintf(&b, "All files of this release together are (ε, δ)-differentially private with ε = %s and δ = %s for %s of the data set %q: their distribution is nearly the same %s.",
		epsilonUp(g.Epsilon), g.Delta, g.Unit, g.Dataset, relation)
	fmt.Fprintf(&b, " Mechanism: %s. Sampling: %s. Composed: %s. Accountant: %s.", g.Mechanism, g.Sampling, g.Composed, g.Accountant)
	fmt.Fprintf(&b, " Together with everything else charged to the data set%s, it stays within the policy's (%s, %s), also for an analyst who chooses each job after seeing all earlier answers.",
		map[bool]string{true: "", false: " in the budget period " + g.Period}[g.Period == "always"], g.BudgetEpsilon, g.BudgetDelta)
	if g.Periods > 1 {
		fmt.Fprintf(&b, " Over the %d periods so far the guarantee is the %d-fold composition of that.", g.Periods, g.Periods)
	}
	fmt.Fprintf(&b, " It is assumed that %s.", strings.Join(g.Assumptions, "; that "))
	return b.String()
}

// epsilonUp formats ε rounded up to 6 significant digits.
func epsilonUp(eps float64) string {
	if math.IsInf(eps, 1) {
		return "∞"
	}
	text := strconv.FormatFloat(eps, 'g', 6, 64)
	for step := 1.0; ; step++ {
		if shown, err := strconv.ParseFloat(text, 64); err != nil || shown >= eps {
			return text
		}
		unit := math.Pow(10, math.Floor(math.Log10(eps))-5)
		text = strconv.FormatFloat(eps+step*unit/2, 'g', 6, 64)
	}
}
