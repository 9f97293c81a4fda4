package ledger

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/privsgld/privsgld/accountant"
)

// TestClockWalks is threat L8: a clock that walks at random, forwards and back, by
// seconds or by ten years, gains no renewal. Each job takes nearly a whole period's
// budget: one is granted where the clock shows a later month than any that it had shown
// when something was charged, and at no other time; a jump over many months opens one
// period. The control follows the clock, as a ledger would that asks whether this month
// is another than the last one.
func TestClockWalks(t *testing.T) {
	r := rand.New(rand.NewPCG(47, 53))
	gained, granted := 0, 0
	for walk := range clockWalks {
		backend = inMemory
		if walk%20 == 0 {
			backend = onSQLite
		}
		c := startClock()
		l := openIn(t, t.TempDir(), c)
		backend = onSQLite
		reg := testRegistration(testTerms(accountant.MethodRDP, "1", "1e-6"))
		reg.Renews = "monthly"
		newest, last := "", ""
		naive := 0
		for step := range 30 {
			month := c.t.Format("2006-01")
			q := gaussianRun(fmt.Sprint("run", step), reg, "0.9")
			_, err := l.Reserve(ctx, q)
			var refused *Refused
			if err != nil && !errors.As(err, &refused) {
				t.Fatal(err)
			}
			if fits := month > newest; fits != (err == nil) {
				t.Fatalf("walk %d, step %d: the clock shows %s after %s, and the ledger says %v", walk, step, month, newest, err)
			}
			if err == nil {
				granted++
				newest = month
			} else if month != last {
				naive++
			}
			last = month
			switch k := r.IntN(6); {
			case k == 0:
				c.t = c.t.AddDate(10, 0, 0)
			case k == 1 && c.t.Year() > 1990:
				c.t = c.t.AddDate(-10, 0, 0)
			case k == 2 && c.t.Year() > 1990:
				c.t = c.t.AddDate(-1, 0, 0)
			default:
				c.t = c.t.Add(time.Duration((r.Float64() - 0.4) * float64(60*24*time.Hour)))
			}
		}
		if naive > 0 {
			gained++
		}
		mustVerify(t, l)
	}
	t.Logf("%d walks, %d renewals", clockWalks, granted)
	if gained < clockWalks/2 {
		t.Errorf("a ledger that follows the clock gains a renewal in %d of %d walks only", gained, clockWalks)
	}
}
