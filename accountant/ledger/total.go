package ledger

import (
	"fmt"
	"math"
	"math/big"

	"github.com/privsgld/privsgld/accountant"
)

// A total is the exact sum of the costs charged to one filter in one period.
// Exactness is what lets a settlement take a reserved cost out again: the
// result is the sum over the charges that stand, to the last bit, in whatever
// order they came and went.
type total struct {
	loss              *big.Float // nil is 0
	pure, approximate accountant.Amount
}

// lossPrecision holds any sum of 2^64 float64 values without rounding.
const lossPrecision = 2200

func (t total) lossValue() *big.Float {
	if t.loss == nil {
		return new(big.Float).SetPrec(lossPrecision)
	}
	return t.loss
}

// plus returns t with a cost added; false where the cost is no finite number.
func (t total) plus(c accountant.Spent) (total, bool) {
	if math.IsNaN(c.Loss) || math.IsInf(c.Loss, 0) || c.Loss < 0 {
		return t, false
	}
	loss := new(big.Float).SetPrec(lossPrecision)
	loss.Add(t.lossValue(), new(big.Float).SetFloat64(c.Loss))
	return total{loss, t.pure.Add(c.PureEpsilon), t.approximate.Add(c.ApproximateDelta)}, true
}

// minus returns t with a cost taken out; false where less than that is in it.
func (t total) minus(c accountant.Spent) (total, bool) {
	if math.IsNaN(c.Loss) || math.IsInf(c.Loss, 0) || c.Loss < 0 {
		return t, false
	}
	loss := new(big.Float).SetPrec(lossPrecision)
	loss.Sub(t.lossValue(), new(big.Float).SetFloat64(c.Loss))
	pure, ok1 := t.pure.Sub(c.PureEpsilon)
	approximate, ok2 := t.approximate.Sub(c.ApproximateDelta)
	return total{loss, pure, approximate}, ok1 && ok2 && loss.Sign() >= 0
}

// spentUp is the total as filters take it, its loss rounded up.
func (t total) spentUp() accountant.Spent {
	loss := t.lossValue()
	f, accuracy := loss.Float64()
	if accuracy == big.Below {
		f = math.Nextafter(f, math.Inf(1))
	}
	return accountant.Spent{Loss: f, PureEpsilon: t.pure, ApproximateDelta: t.approximate}
}

// wireTotal is a total in a row of state: the loss as an exact hexadecimal
// floating-point number.
type wireTotal struct {
	Loss        string `json:"loss"`
	Pure        string `json:"pure_epsilon"`
	Approximate string `json:"approximate_delta"`
}

func (t total) wire() wireTotal {
	return wireTotal{t.lossValue().Text('p', -1), t.pure.String(), t.approximate.String()}
}

func (w wireTotal) total() (t total, err error) {
	if t.loss, _, err = big.ParseFloat(w.Loss, 0, lossPrecision, big.ToNearestEven); err != nil {
		return t, fmt.Errorf("%w: a total is no number", ErrCorrupt)
	}
	if t.pure, err = accountant.ParseAmount(w.Pure); err != nil {
		return t, fmt.Errorf("%w: a total is no amount", ErrCorrupt)
	}
	if t.approximate, err = accountant.ParseAmount(w.Approximate); err != nil {
		return t, fmt.Errorf("%w: a total is no amount", ErrCorrupt)
	}
	return t, nil
}
