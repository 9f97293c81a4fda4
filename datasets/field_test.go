package datasets

import (
	"math/big"
	"testing"

	"pgregory.net/rapid"
)

// The arithmetic of the hashes is that of the two prime fields.
func TestFieldArithmetic(t *testing.T) {
	p := new(big.Int).Sub(new(big.Int).Lsh(big.NewInt(1), 127), big.NewInt(1))
	q := big.NewInt(prime61)
	whole := func(x field) *big.Int {
		b := new(big.Int).SetUint64(x.hi)
		return b.Or(b.Lsh(b, 64), new(big.Int).SetUint64(x.lo))
	}
	word := rapid.OneOf(rapid.Uint64(), rapid.SampledFrom([]uint64{0, 1, low63, 1 << 63, 1<<64 - 1, 1<<64 - 2}))
	element := rapid.Custom(func(t *rapid.T) field { return field{word.Draw(t, "hi") & low63, word.Draw(t, "lo")} })
	rapid.Check(t, func(t *rapid.T) {
		x, y, w := element.Draw(t, "x"), element.Draw(t, "y"), word.Draw(t, "w")
		for _, c := range []struct {
			name string
			got  field
			want *big.Int
		}{
			{"plus", x.plus(y), new(big.Int).Add(whole(x), whole(y))},
			{"times", x.times(w), new(big.Int).Mul(whole(x), new(big.Int).SetUint64(w))},
			{"product", x.product(y), new(big.Int).Mul(whole(x), whole(y))},
		} {
			if c.got.hi > low63 || whole(c.got.normal()).Cmp(c.want.Mod(c.want, p)) != 0 {
				t.Errorf("%s of %v and %v, %d: %v", c.name, x, y, w, c.got)
			}
		}
		a, b := w%prime61, x.lo%prime61
		want := new(big.Int).Mul(new(big.Int).SetUint64(a), new(big.Int).SetUint64(b))
		if got := times61(a, b); got != want.Mod(want, q).Uint64() {
			t.Errorf("times61(%d, %d) = %d", a, b, got)
		}
	})
}
