package privacy

import "testing"

// TestAttemptsHaveStreamsOfTheirOwn is threat L17: a machine set back to an earlier
// state gives the generator the same seed again. Labels that differ in the attempt alone
// still lead to streams that share no word in place. By chance one of them would with
// probability 10⁶/2⁶⁴; with one label all do.
func TestAttemptsHaveStreamsOfTheirOwn(t *testing.T) {
	equal := func(a, b string) (n int) {
		one, two := newStream(deriveKey(make([]byte, 32), a)), newStream(deriveKey(make([]byte, 32), b))
		for range 1_000_000 {
			if one.next() == two.next() {
				n++
			}
		}
		return n
	}
	const run = "4b1f09c2d7e85a36/7/2026-11-24T12:00:00Z/"
	if n := equal(run+"1/steps", run+"2/steps"); n != 0 {
		t.Errorf("two attempts have %d equal words", n)
	}
	if n := equal(run+"1/steps", run+"1/steps"); n != 1_000_000 {
		t.Errorf("one attempt has %d equal words with itself", n)
	}
}
