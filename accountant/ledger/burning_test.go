package ledger

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"github.com/privsgld/privsgld/accountant"
)

// TestBudgetBurning is threat L13: an analyst whose cap is a fifth of the budget asks
// again and again. What is refused leaves the file as it was, not a byte longer, and
// the others are granted exactly what they would be had only the granted jobs been.
func TestBudgetBurning(t *testing.T) {
	dir := t.TempDir()
	l, other := openIn(t, dir, startClock()), openIn(t, t.TempDir(), startClock())
	reg := testRegistration(testTerms(accountant.MethodRDP, "1", "1e-6"))
	ask := func(id, analyst, eps, cap string) Request {
		q := gaussianRun(id, reg, eps)
		q.Analyst = analyst
		q.Caps = []Cap{{Name: "analyst:" + analyst, Terms: testTerms(accountant.MethodRDP, cap, "1e-6")}}
		return q
	}
	size := func() int64 {
		info, err := os.Stat(filepath.Join(dir, "ledger.db"))
		if err != nil {
			t.Fatal(err)
		}
		return info.Size()
	}
	r := rand.New(rand.NewPCG(23, 29))
	granted, refusals := 0, 0
	before, empty := size(), size()
	uncapped := openIn(t, t.TempDir(), startClock())
	for i := range burningRequests {
		q := ask(fmt.Sprint("burn", i), "ann", fmt.Sprintf("%.4f", 0.03+r.Float64()), "0.2")
		var refused *Refused
		switch _, err := l.Reserve(ctx, q); {
		case err == nil:
			granted++
			mustReserve(t, other, q)
			before = size()
		case errors.As(err, &refused):
			refusals++
			if now := size(); now != before {
				t.Fatalf("a refusal made the ledger grow from %d to %d bytes", before, now)
			}
		default:
			t.Fatal(err)
		}
	}
	if granted == 0 || refusals < burningRequests*9/10 || before == empty {
		t.Fatalf("%d granted, %d refused, the file has grown by %d bytes", granted, refusals, before-empty)
	}
	// The control: without the cap the same analyst takes what the others have.
	for i := 0; ; i++ {
		q := ask(fmt.Sprint("burn", i), "ann", fmt.Sprintf("%.4f", 0.03+r.Float64()), "1")
		if _, err := uncapped.Reserve(ctx, q); err != nil && i > 100 {
			break
		}
	}
	var gone *Refused
	if _, err := uncapped.Preview(ctx, ask("all", "bob", "1", "1")); !errors.As(err, &gone) || gone.GrantableEpsilon > 0.5 {
		t.Errorf("without a cap bob is left more than half: %v", err)
	}
	var have, want *Refused
	_, err := l.Preview(ctx, ask("all", "bob", "1", "1"))
	_, wantErr := other.Preview(ctx, ask("all", "bob", "1", "1"))
	if !errors.As(err, &have) || !errors.As(wantErr, &want) || have.GrantableEpsilon != want.GrantableEpsilon {
		t.Fatalf("bob: %v, had only the granted jobs been %v", err, wantErr)
	}
	left := have.GrantableEpsilon
	if left < 0.9 { // the others' share is not touched: nine tenths and more of 1, as μ² adds up
		t.Errorf("bob is left ε = %v", left)
	}
	mustReserve(t, l, ask("bob's", "bob", accountant.AmountDown(left).String(), "1"))
	mustVerify(t, l)
	status, err := l.Status(ctx)
	if err != nil || status[0].Entries != int64(granted)+1 {
		t.Errorf("%+v, %v", status, err)
	}
	t.Logf("%d granted, %d refused; left for others ε = %.4f", granted, refusals, left)
}
