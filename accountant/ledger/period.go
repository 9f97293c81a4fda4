package ledger

import (
	"fmt"
	"time"
)

// periodOf names the renewal period that t falls into. Names of one renewal
// sort by time.
func periodOf(renews string, t time.Time) (string, error) {
	t = t.UTC()
	switch renews {
	case "never":
		return "always", nil
	case "monthly":
		return t.Format("2006-01"), nil
	case "quarterly":
		return fmt.Sprintf("%s-Q%d", t.Format("2006"), (int(t.Month())+2)/3), nil
	case "yearly":
		return t.Format("2006"), nil
	}
	return "", fmt.Errorf("%w: budget renews %q: say never, monthly, quarterly or yearly", ErrUsage, renews)
}
