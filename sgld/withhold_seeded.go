//go:build seeded

package sgld

import (
	"fmt"

	"github.com/privsgld/privsgld/privacy"
)

// blindBits is a seeded generator of a rehearsal whose sums are withheld: rows are read,
// sampled and summed as ever, and noise alone goes on. Every sum has a stream of its
// own, so that what one batch takes of it moves nothing in the next.
type blindBits struct {
	privacy.Bits
	seed uint64
	use  string
	sums int
}

func newBlind(seed uint64, use string) *blindBits {
	return &blindBits{Bits: privacy.NewSeeded(seed, use), seed: seed, use: use}
}

// withhold makes a sum 0, where the rehearsal asks for that.
func withhold(sum []int64, bits privacy.Bits) {
	b, ok := bits.(*blindBits)
	if !ok {
		return
	}
	clear(sum)
	b.sums++
	b.Bits = privacy.NewSeeded(b.seed, fmt.Sprint(b.use, "/", b.sums))
}
