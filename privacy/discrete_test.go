package privacy

import (
	"errors"
	"math"
	"math/big"
	"testing"
)

// plain is the twin of the discrete samplers: Algorithms 1–3 in fractions of any
// size, as the paper writes them, but for asking the generator for the words of
// each uniform number in the order in which the samplers do.
type plain struct {
	scale *big.Rat
	words Bits
}

// lazyUniform is a real number in [0, 1) of which more digits are drawn as needed.
type lazyUniform struct {
	low   *big.Rat // it lies in [low, low + width)
	width *big.Rat
}

// wordWidth is 2⁻⁶⁴.
var wordWidth = new(big.Rat).SetFrac(big.NewInt(1), new(big.Int).Lsh(big.NewInt(1), 64))

func (p plain) uniform() *lazyUniform {
	u := &lazyUniform{new(big.Rat), big.NewRat(1, 1)}
	p.extend(u)
	return u
}

func (p plain) extend(u *lazyUniform) {
	u.width = new(big.Rat).Mul(u.width, wordWidth)
	w := new(big.Rat).SetInt(new(big.Int).SetUint64(p.words.Uint64()))
	u.low.Add(u.low, w.Mul(w, u.width))
}

func (p plain) below(u *lazyUniform, x *big.Rat) bool {
	for {
		if u.low.Cmp(x) >= 0 {
			return false
		}
		if new(big.Rat).Add(u.low, u.width).Cmp(x) <= 0 {
			return true
		}
		p.extend(u)
	}
}

// exp is Algorithm 1.
func (p plain) exp(gamma *big.Rat) bool {
	if gamma.Cmp(big.NewRat(1, 1)) > 0 {
		whole := new(big.Int).Quo(gamma.Num(), gamma.Denom())
		for range whole.Uint64() {
			if !p.one() {
				return false
			}
		}
		gamma = new(big.Rat).Sub(gamma, new(big.Rat).SetInt(whole))
	}
	for k := int64(1); ; k++ {
		if !p.below(p.uniform(), new(big.Rat).Mul(gamma, big.NewRat(1, k))) {
			return k%2 == 1
		}
	}
}

// one is exp(1), with one number for the first twenty trials.
func (p plain) one() bool {
	u, threshold := p.uniform(), big.NewRat(1, 1)
	for k := int64(1); ; k++ {
		if k > 20 {
			u, threshold = p.uniform(), big.NewRat(1, 1)
		}
		if !p.below(u, threshold.Mul(threshold, big.NewRat(1, k))) {
			return k%2 == 1
		}
	}
}

// laplace is Algorithm 2 for scale t/s.
func (p plain) laplace(t, s *big.Int) *big.Int {
	for {
		twice := new(big.Int).Lsh(t, 1)
		w := new(big.Int).Mul(new(big.Int).SetUint64(p.words.Uint64()), twice)
		all := new(big.Int).Lsh(big.NewInt(1), 64)
		u, low := new(big.Int).QuoRem(w, all, new(big.Int))
		if low.Cmp(new(big.Int).Mod(all, twice)) < 0 {
			continue
		}
		negative := u.Bit(0) == 1
		if u.Rsh(u, 1); !p.exp(new(big.Rat).SetFrac(u, t)) {
			continue
		}
		for p.one() {
			u = new(big.Int).Add(u, t)
		}
		y := new(big.Int).Quo(u, s)
		if negative && y.Sign() == 0 {
			continue
		}
		if negative {
			y.Neg(y)
		}
		return y
	}
}

// keep is the acceptance of Algorithm 3.
func (p plain) keep(y, t *big.Int) bool {
	square := new(big.Rat).Mul(p.scale, p.scale)
	gamma := new(big.Rat).Quo(square, new(big.Rat).SetInt(t))
	gamma.Sub(new(big.Rat).SetInt(new(big.Int).Abs(y)), gamma)
	gamma.Mul(gamma, gamma)
	return p.exp(gamma.Quo(gamma, square.Add(square, square)))
}

// gaussian is Algorithm 3.
func (p plain) gaussian() *big.Int {
	t := new(big.Int).Quo(p.scale.Num(), p.scale.Denom())
	t.Add(t, big.NewInt(1))
	for {
		if y := p.laplace(t, big.NewInt(1)); p.keep(y, t) {
			return y
		}
	}
}

// edges yields the words of a stream, and in one case of four one at which a
// comparison is undecided, or nearly.
type edges struct{ rest *Seeded }

func (e edges) Uint64() uint64 {
	w := e.rest.Uint64()
	if w&3 != 0 {
		return e.rest.Uint64()
	}
	near := w>>2&3 - 1
	switch w := w >> 4; w & 3 {
	case 0:
		return near // 2⁶⁴ − 1, 0, 1, 2
	case 1:
		return 1<<63 + near
	default:
		return inverseFactorials[2+w>>2%19] + near
	}
}

// scripted yields the given words, then those of a stream.
type scripted struct {
	words []uint64
	rest  Bits
}

func (s *scripted) Uint64() uint64 {
	if len(s.words) == 0 {
		return s.rest.Uint64()
	}
	w := s.words[0]
	s.words = s.words[1:]
	return w
}

// plainScale returns ratio·2^k/2^k as the twin takes it.
func plainScale(ratio float64) (r *big.Rat, t, s *big.Int) {
	r = new(big.Rat).SetFloat64(ratio)
	m, k, err := ratioOf(ratio, 1)
	if err != nil {
		panic(err)
	}
	return r, new(big.Int).SetUint64(m), new(big.Int).Lsh(big.NewInt(1), k)
}

// TestDiscreteAgreesWithPlain: value for value the samplers return what the paper's
// algorithms in exact fractions return for the same words, over all of their
// domain, and with words that leave comparisons open.
func TestDiscreteAgreesWithPlain(t *testing.T) {
	src := NewSeeded(8, "ratios")
	for trial := range uint64(ratiosToTry()) {
		ratio := randomRatio(src)
		switch trial {
		case 0:
			ratio = 0x1p-8
		case 1:
			ratio = 0x1p50
		}
		source := func(label string) Bits {
			if trial%2 == 1 {
				return edges{NewSeeded(trial, label)}
			}
			return NewSeeded(trial, label)
		}
		compareWithPlain(t, ratio, 20, source)
	}
}

// ratiosToTry is less where the race detector makes fractions slow.
func ratiosToTry() int {
	if testing.Short() {
		return plainRatios / 8
	}
	return plainRatios
}

func compareWithPlain(t *testing.T, ratio float64, draws int, source func(label string) Bits) {
	t.Helper()
	scale, num, den := plainScale(ratio)
	l, err := NewDiscreteLaplace(ratio, 1)
	if err != nil {
		t.Fatal(err)
	}
	g, err := NewDiscreteGaussian(ratio, 1)
	if err != nil {
		t.Fatal(err)
	}
	ours, theirs := source("laplace"), source("laplace")
	for range draws {
		if got, want := l.Draw(ours), (plain{scale, theirs}).laplace(num, den); !want.IsInt64() || got != want.Int64() {
			t.Fatalf("discrete Laplace of scale %x: %d, by fractions %v", ratio, got, want)
		}
	}
	ours, theirs = source("gaussian"), source("gaussian")
	for range draws {
		if got, want := g.Draw(ours), (plain{scale, theirs}).gaussian(); !want.IsInt64() || got != want.Int64() {
			t.Fatalf("discrete Gaussian of %x: %d, by fractions %v", ratio, got, want)
		}
	}
	if ours.Uint64() != theirs.Uint64() {
		t.Fatalf("discrete Gaussian of %x: another number of words", ratio)
	}
}

// TestExponentEncloses: γ lies in the interval of 128-bit arithmetic, which is as
// narrow as its comment says, wherever that claims to know; it does so for all but
// a few of the values that occur.
func TestExponentEncloses(t *testing.T) {
	src := NewSeeded(9, "exponent")
	unknown := 0
	const trials = 20_000
	for range trials {
		g, err := NewDiscreteGaussian(randomRatio(src), 1)
		if err != nil {
			t.Fatal(err)
		}
		y := uint64(math.Ldexp(float64(g.far), -int(src.Uint64()%12))) + src.Uint64()%3
		whole, low, high, known := g.exponent(y)
		if !known {
			if y <= g.far {
				unknown++
			}
			continue
		}
		f, exact := g.wide(y)
		if exact != whole {
			t.Fatalf("y = %d, s = %d/2^%d: the whole part is %d, not %d", y, g.m, g.k, exact, whole)
		}
		scaled := new(big.Int).Lsh(f.num, 64)
		if scaled.Cmp(new(big.Int).Mul(f.den, new(big.Int).SetUint64(low))) < 0 ||
			scaled.Cmp(new(big.Int).Mul(f.den, new(big.Int).SetUint64(high))) >= 0 {
			t.Fatalf("y = %d, s = %d/2^%d: the fraction is not in [%d, %d)", y, g.m, g.k, low, high)
		}
		if high-low > 1<<18 {
			t.Fatalf("y = %d, s = %d/2^%d: an interval of %d", y, g.m, g.k, high-low)
		}
	}
	if unknown > trials/100 {
		t.Errorf("%d of %d exponents are not known", unknown, trials)
	}
}

// TestKeepAtTheEdge: where the words lie just beside the threshold, the fast
// comparison and the one in whole numbers of any size agree with fractions.
func TestKeepAtTheEdge(t *testing.T) {
	src := NewSeeded(10, "edge")
	for trial := range uint64(10 * ratiosToTry()) {
		ratio := randomRatio(src)
		g, err := NewDiscreteGaussian(ratio, 1)
		if err != nil {
			t.Fatal(err)
		}
		scale := new(big.Rat).SetFloat64(ratio)
		y := uint64(ratio * 6 * float64(src.Uint64()>>11) * 0x1p-53)
		f, whole := g.wide(y)
		var words []uint64
		for range whole {
			words = append(words, 1<<62) // a success of probability 1/e
		}
		// The word that begins fraction/k, in the trials before it some below.
		k := 1 + src.Uint64()%3
		for range k - 1 {
			words = append(words, 0)
		}
		tie := new(big.Int).Lsh(f.num, 64)
		tie.Quo(tie, new(big.Int).Mul(f.den, new(big.Int).SetUint64(k)))
		words = append(words, tie.Uint64()+src.Uint64()%5-2)
		ours := &scripted{words, edges{NewSeeded(trial, "edge")}}
		theirs := &scripted{words, edges{NewSeeded(trial, "edge")}}
		want := plain{scale, theirs}.keep(new(big.Int).SetUint64(y), new(big.Int).SetUint64(g.proposal.t))
		if got := g.keep(y, ours); got != want {
			t.Fatalf("s = %x, y = %d: kept %v, by fractions %v", ratio, y, got, want)
		}
		if ours.Uint64() != theirs.Uint64() {
			t.Fatalf("s = %x, y = %d: another number of words", ratio, y)
		}
	}
}

// TestBelowFraction holds comparisons whose first words are equal to the fraction's
// to exact fractions.
func TestBelowFraction(t *testing.T) {
	src := NewSeeded(11, "below")
	for trial := range uint64(2000) {
		den := src.Uint64()>>(1+src.Uint64()%62) | 1
		num := src.Uint64() % (den + 1)
		// The digits of num/den by long division, the last one off by −1, 0 or 1.
		var words []uint64
		rest := new(big.Int).SetUint64(num)
		for range 1 + src.Uint64()%3 {
			var digit big.Int
			digit.QuoRem(rest.Lsh(rest, 64), new(big.Int).SetUint64(den), rest)
			words = append(words, digit.Uint64())
		}
		words[len(words)-1] += src.Uint64()%3 - 1
		ours := &scripted{words, NewSeeded(trial, "below")}
		theirs := &scripted{words, NewSeeded(trial, "below")}
		got := belowFraction(ours.Uint64(), num, den, ours)
		p := plain{words: theirs}
		x := new(big.Rat).SetFrac(new(big.Int).SetUint64(num), new(big.Int).SetUint64(den))
		if want := p.below(p.uniform(), x); got != want || ours.Uint64() != theirs.Uint64() {
			t.Fatalf("%d/%d: %v, by fractions %v", num, den, got, want)
		}
	}
}

// constant is a generator that is none.
type constant uint64

func (c constant) Uint64() uint64 { return uint64(c) }

// TestDiscreteDomain: parameters outside the domain are refused, the ends of it are
// not, and a generator that always says the same does not go on for ever.
func TestDiscreteDomain(t *testing.T) {
	for _, c := range []struct {
		scale, spacing float64
		ok             bool
	}{
		{1, 1, true}, {0x1p-8, 1, true}, {0x1p50, 1, true}, {0x1p-500, 0x1p-530, true},
		{0x1p-1074, 0x1p-1074, true}, {3, 0x1p-30, true},
		{1, 3, false}, {1, 0, false}, {1, -1, false}, {1, math.NaN(), false}, {1, math.Inf(1), false},
		{0x1.fp-9, 1, false}, {0x1.0000000000001p50, 1, false}, {0, 1, false}, {-1, 1, false},
		{math.NaN(), 1, false}, {math.Inf(1), 1, false}, {1e300, 0x1p-1000, false}, {5e-324, 0x1p1000, false},
	} {
		_, lErr := NewDiscreteLaplace(c.scale, c.spacing)
		_, gErr := NewDiscreteGaussian(c.scale, c.spacing)
		if c.ok != (lErr == nil) || c.ok != (gErr == nil) || !c.ok && (!errors.Is(lErr, ErrDomain) || !errors.Is(gErr, ErrDomain)) {
			t.Errorf("scale %g, spacing %g: %v, %v", c.scale, c.spacing, lErr, gErr)
		}
	}
	for _, w := range []constant{0, 1<<62 + 1, 1 << 63, math.MaxUint64} {
		for _, ratio := range []float64{0x1p-8, 0.3, 3, 0x1.8p30, 0x1p50} {
			l, _ := NewDiscreteLaplace(ratio, 1)
			g, _ := NewDiscreteGaussian(ratio, 1)
			for _, draw := range []func(Bits) int64{l.Draw, g.Draw} {
				func() {
					defer func() {
						if v := recover(); v != nil && v != brokenGenerator {
							t.Errorf("words %x, ratio %g: %v", w, ratio, v)
						}
					}()
					if v := draw(w); v >= 1<<61 || v <= -1<<61 {
						t.Errorf("words %x, ratio %g: %d", w, ratio, v)
					}
				}()
			}
		}
	}
}

// FuzzDiscrete: for any ratio and any words the samplers return what fractions do.
func FuzzDiscrete(f *testing.F) {
	f.Add(1.0, uint64(1), []byte{})
	f.Add(0x1.23456789abcdep20, uint64(2), []byte("\xff\xff\xff\xff\xff\xff\xff\x7f"))
	f.Fuzz(func(t *testing.T, ratio float64, seed uint64, data []byte) {
		if !(ratio >= 0x1p-8 && ratio <= 0x1p50) {
			return
		}
		compareWithPlain(t, ratio, 3, func(label string) Bits {
			in := &fuzzed{data: data, rest: NewSeeded(seed, label)}
			return bitsFunc(in.word)
		})
	})
}

type bitsFunc func() uint64

func (f bitsFunc) Uint64() uint64 { return f() }
