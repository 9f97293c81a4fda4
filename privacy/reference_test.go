package privacy

import (
	"math"
	"math/big"
	"testing"
)

// rootTau is 1/√(2π) to 100 digits.
const rootTau = "0.3989422804014326779399460599343818684758586311649346576659258296706579258993018385012523339073069364"

// referenceTail is Φ̄(b) to 60 digits, for 0 ≤ b < 11; the tails beyond, below
// 10⁻²⁷, count as nothing. It is another series than [twoTails] takes, in
// floating point of 300 bits:
//
//	Φ̄(b) = ½ − φ(b)·Σ b^(2n+1)/(1·3·5⋯(2n+1)).
//
// All its terms are positive and add up to less than 1/φ(b) < 2⁹⁰, so that the
// rounding of a few hundred of them moves Φ̄ by less than 2^(−290).
func referenceTail(b *big.Float) *big.Float {
	if f, _ := b.Float64(); f >= 11 {
		return newFloat(0)
	}
	square := newFloat(0).Mul(b, b)
	term, sum := newFloat(0).Set(b), newFloat(0).Set(b)
	for n := 1; sum.Sign() != 0 && term.MantExp(nil) > sum.MantExp(nil)-bigPrec; n++ {
		term.Mul(term, square)
		term.Quo(term, newFloat(float64(2*n+1)))
		sum.Add(sum, term)
	}
	density, _, err := big.ParseFloat(rootTau, 10, bigPrec, big.ToNearestEven)
	if err != nil {
		panic(err)
	}
	density.Quo(density, bigExp(square.SetMantExp(square, -1)))
	return newFloat(0).Sub(newFloat(0.5), sum.Mul(sum, density))
}

// cells returns the probability, right to a rounding of float64, that a
// N(0, sd²) variate rounds to k.
func cells(sd float64) func(k int) float64 {
	tails := []*big.Float{newFloat(1)} // P(|X| > k − ½), and one for k = 0
	for k := 0; float64(k) < 11*sd+1; k++ {
		b := newFloat(float64(k) + 0.5)
		t := referenceTail(b.Quo(b, newFloat(sd)))
		tails = append(tails, t.SetMantExp(t, 1))
	}
	p := make([]float64, len(tails)-1)
	for k := range p {
		d := newFloat(0).Sub(tails[k], tails[k+1])
		p[k], _ = d.Float64()
		if k > 0 {
			p[k] /= 2
		}
	}
	return func(k int) float64 {
		if k = max(k, -k); k < len(p) {
			return p[k]
		}
		return 0
	}
}

// normalTails are 60 digits of erfc(b/√2) = 2Φ̄(b) (mpmath 1.3.0, 80 digits).
var normalTails = []struct {
	num, den int64
	want     string
}{
	{1, 1000, "0.999202115572177874830819355111346117462993504370443401620123"},
	{1, 2, "0.617075077451973792724590778783324520232795648890844126358448"},
	{1, 1, "0.317310507862914102829534908735924155044174066546791218025211"},
	{3, 2, "0.133614402537716132008988081959772159045790371322442884812575"},
	{7, 3, "0.0196306572572906821627154621344532828786396928891189739143233"},
	{5, 1, "0.000000573303143758387823347504665749290707708846027223779146170986"},
	{17, 2, "0.0000000000000000189590696444066367083021009356951029856529001735276343696899"},
	{88, 10, "0.00000000000000000136816153718711785854128382744396120297363142916347954249979"},
	{12, 1, "3.55296422415535799539234200369111418478533286835790637007732e-33"},
	{37, 1, "1.14511424450491536453663850965464033128655724856658037633457e-299"},
	{4495211134022, 1 << 40, "0.0000434413551669395491440677235312828106507448654559586326997408"},
	{6308197941402, 1 << 40, "0.00000000962133285404896100561728380729310631116276545796881341788742"},
	{9328335355297, 1 << 40, "0.0000000000000000217447874370793597108287949665008152247829936566306783675097"},
	{4384918328181, 1 << 40, "0.0000666158212402486677874214177725593902982455491075642303003311"},
	{913320391254, 1 << 40, "0.406165697021685099987422303665068770526161303244525829229743"},
	{2761238342204, 1 << 40, "0.0120276641947361821751721407240705479731546195482824219080495"},
}

func parse(t *testing.T, s string) *big.Float {
	t.Helper()
	x, _, err := big.ParseFloat(s, 10, bigPrec, big.ToNearestEven)
	if err != nil {
		t.Fatal(err)
	}
	return x
}

// TestReferenceTail holds the reference of the tests to 59 digits of mpmath's.
func TestReferenceTail(t *testing.T) {
	for _, c := range normalTails {
		b := newFloat(float64(c.num))
		b.Quo(b, newFloat(float64(c.den)))
		if f, _ := b.Float64(); f >= 11 {
			continue
		}
		got := referenceTail(b)
		got.SetMantExp(got, 1)
		want := parse(t, c.want)
		got.Sub(got, want)
		got.Quo(got, want)
		if d, _ := got.Float64(); math.Abs(d) > 1e-59 {
			t.Errorf("2Φ̄(%d/%d): relative error %.2g", c.num, c.den, d)
		}
	}
}

// TestTailsAgree compares the series of stage 3 with the reference at random
// arguments, to 180 bits.
func TestTailsAgree(t *testing.T) {
	src := NewSeeded(6, "tails")
	const p = 180
	for range 300 {
		num := new(big.Int).SetUint64(src.Uint64())
		den := new(big.Int).SetUint64(1 << 60) // arguments below 16
		b := newFloat(0).SetInt(num)
		b.SetMantExp(b, -60)
		if f, _ := b.Float64(); f >= 11 {
			continue
		}
		want := referenceTail(b)
		d := newFloat(0).SetInt(twoTails(num, den, p))
		d.Sub(d, want.SetMantExp(want, p+1))
		if f, _ := d.Float64(); math.Abs(f) >= twoTailsError {
			t.Errorf("2Φ̄(%v/2⁶⁰) at 2^-%d: off by %.2f units", num, p, f)
		}
	}
}
