//go:build slow || soak

package accountant_test

import (
	"cmp"
	"encoding/binary"
	"math"
	"math/big"
	"math/bits"
	"slices"
	"sync"
	"testing"
)

// Elementary functions and quadrature in 192 bits (57 digits), for references
// that share nothing with the accountant: no code, no float64 arithmetic, no
// formula where another one is at hand.

const prec = 192

type number = *big.Float

func num(x float64) number      { return new(big.Float).SetPrec(prec).SetFloat64(x) }
func whole(n int64) number      { return new(big.Float).SetPrec(prec).SetInt64(n) }
func blank() number             { return new(big.Float).SetPrec(prec) }
func mul(a, b number) number    { return blank().Mul(a, b) }
func div(a, b number) number    { return blank().Quo(a, b) }
func neg(a number) number       { return blank().Neg(a) }
func half(a number) number      { return blank().SetMantExp(a, -1) }
func twice(a number) number     { return blank().SetMantExp(a, 1) }
func root(a number) number      { return blank().Sqrt(a) }
func less(a, b number) bool     { return a.Cmp(b) < 0 }
func float(a number) float64    { f, _ := a.Float64(); return f }
func ratio(a, b number) float64 { return float(div(a, b)) } // keeps its digits where both underflow

// add leaves out a number below the last place of the other: math/big would
// shift it there, however many gigabytes that takes.
func add(a, b number) number {
	if a.Sign() != 0 && b.Sign() != 0 {
		switch d := a.MantExp(nil) - b.MantExp(nil); {
		case d > prec+64:
			return blank().Set(a)
		case d < -prec-64:
			return blank().Set(b)
		}
	}
	return blank().Add(a, b)
}

func sub(a, b number) number { return add(a, neg(b)) }

func larger(a, b number) number {
	if less(a, b) {
		return b
	}
	return a
}

// literal is a decimal constant.
func literal(text string) number {
	x, _, err := big.ParseFloat(text, 10, prec, big.ToNearestEven)
	if err != nil {
		panic(err)
	}
	return x
}

var unit = num(1)

// ln2 is Σ 1/(n·2ⁿ).
var ln2 = sync.OnceValue(func() number {
	total := blank()
	for n := int64(prec + 8); n >= 1; n-- {
		total.Add(total, blank().SetMantExp(div(unit, whole(n)), -int(n)))
	}
	return total
})

// pi is Machin's 16·arctan(1/5) − 4·arctan(1/239).
var pi = sync.OnceValue(func() number {
	arctan := func(inverse int64) number {
		x := div(unit, whole(inverse))
		square, power, total := mul(x, x), x, blank()
		for n := int64(1); n < 2*prec; n += 2 {
			term := div(power, whole(n))
			if n%4 == 3 {
				term = neg(term)
			}
			total.Add(total, term)
			power = mul(power, square)
		}
		return total
	}
	return sub(mul(num(16), arctan(5)), mul(num(4), arctan(239)))
})

// inverses are 1/n.
var inverses = sync.OnceValue(func() []number {
	list := make([]number, 2000)
	for n := 1; n < len(list); n++ {
		list[n] = div(unit, whole(int64(n)))
	}
	return list
})

// fixed is a fraction in [0, 1) in 256 bits, the most significant first: math/big
// alone would take ten times as long for an exponential.
type fixed [4]uint64

func (a fixed) plus(b fixed) (c fixed) {
	var carry uint64
	for i := 3; i >= 0; i-- {
		c[i], carry = bits.Add64(a[i], b[i], carry)
	}
	return c
}

// times is a·b, rounded down by less than 2⁻²⁵⁶.
func (a fixed) times(b fixed) fixed {
	var product [8]uint64
	for i := 3; i >= 0; i-- {
		var carry uint64
		for j := 3; j >= 0; j-- {
			high, low := bits.Mul64(a[i], b[j])
			var c uint64
			low, c = bits.Add64(low, product[i+j+1], 0)
			high += c
			low, c = bits.Add64(low, carry, 0)
			high += c
			product[i+j+1], carry = low, high
		}
		product[i] = carry
	}
	return fixed(product[:4])
}

func toFixed(x number) (f fixed) {
	var bytes [32]byte
	shifted, _ := blank().SetMantExp(x, 256).Int(nil)
	shifted.FillBytes(bytes[:])
	for i := range f {
		f[i] = binary.BigEndian.Uint64(bytes[8*i:])
	}
	return f
}

func (a fixed) number() number {
	var bytes [32]byte
	for i, word := range a {
		binary.BigEndian.PutUint64(bytes[8*i:], word)
	}
	x := blank().SetInt(new(big.Int).SetBytes(bytes[:]))
	return x.SetMantExp(x, -256)
}

var inverseFactorials = sync.OnceValue(func() []fixed {
	list, x := []fixed{{}}, num(1)
	for n := int64(2); n <= 21; n++ {
		x.Quo(x, whole(n))
		list = append(list, toFixed(x)) // the first is 1/2!
	}
	return list
})

// reduced is e^x = 2^k·(1+m), 0 ≤ m < 1, with an absolute error of m of 2⁻²⁴⁰.
func reduced(x number) (k int, m number) {
	f := float(x)
	if math.Abs(f) > 1e9 {
		panic("exponent out of range")
	}
	k = int(math.Floor(f / math.Ln2))
	r := sub(x, mul(whole(int64(k)), ln2()))
	for r.Sign() < 0 {
		k--
		r.Add(r, ln2())
	}
	for r.Cmp(ln2()) >= 0 {
		k++
		r.Sub(r, ln2())
	}
	// Taylor at t = r/2¹⁰, then (1+m)² − 1 = 2m + m² ten times.
	const squarings = 10
	t := toFixed(r.SetMantExp(r, -squarings))
	terms := inverseFactorials()
	var e fixed
	for n := len(terms) - 1; n >= 1; n-- {
		e = e.plus(terms[n]).times(t)
	}
	e = t.plus(e.times(t))
	for range squarings {
		e = e.plus(e).plus(e.times(e))
	}
	return k, e.number()
}

func exp(x number) number {
	if float(x) < -1e9 {
		return blank()
	}
	k, m := reduced(x)
	m.Add(m, unit)
	return m.SetMantExp(m, k)
}

func expm1(x number) number {
	f := float(x)
	if f < -1e9 {
		return num(-1)
	}
	if math.Abs(f) < 1e-9 {
		total, term := blank().Set(x), blank().Set(x)
		for n := 2; n < 12; n++ {
			term = mul(term, mul(x, inverses()[n]))
			total.Add(total, term)
		}
		return total
	}
	k, m := reduced(x)
	m.Add(m.SetPrec(prec+64), unit)
	m.SetMantExp(m, k)
	return blank().Set(m.Sub(m, unit))
}

// log by Halley's iteration, which triples the digits, from a float64. Its error
// is absolute, 2⁻¹⁸⁰ near 1.
func log(x number) number {
	if x.Sign() <= 0 {
		panic("logarithm of a number that is not positive")
	}
	mantissa := blank()
	k := x.MantExp(mantissa)
	y := add(num(math.Log(float(mantissa))), mul(whole(int64(k)), ln2()))
	for range 2 {
		e := exp(y)
		y.Add(y, twice(div(sub(x, e), add(x, e))))
	}
	return y
}

// log1p is log(1+x); near 0, where 1+x would lose x, 2·artanh(x/(2+x)).
func log1p(x number) number {
	if math.Abs(float(x)) > 1e-3 {
		return log(add(unit, x))
	}
	t := div(x, add(num(2), x))
	square, term, total := mul(t, t), t, blank().Set(t)
	for n := 3; n < 24; n += 2 {
		term = mul(term, square)
		total.Add(total, mul(term, inverses()[n]))
	}
	return twice(total)
}

// erfc by its Taylor series at the nearest multiple of 1/16,
//
//	erfc(x₀+h) = erfc(x₀) − 2/√π·e^(−x₀²)·Σ_{n≥0} (−1)ⁿ·H_n(x₀)·h^(n+1)/(n+1)!
//
// with Hermite's polynomials, and erfcDirect beyond 32.
func erfc(x number) number {
	if x.Sign() < 0 {
		return sub(num(2), erfc(neg(x)))
	}
	f := float(x)
	if f >= 32 {
		return erfcDirect(x)
	}
	i := int(math.Round(16 * f))
	c := erfcSeries[i]()
	h, total := sub(x, num(float64(i)/16)), blank()
	for n := len(c) - 1; n >= 0; n-- {
		total.Mul(total, h)
		total.Add(total, c[n])
	}
	return total
}

var erfcSeries = func() (list [513]func() []number) {
	for i := range list {
		list[i] = sync.OnceValue(func() []number {
			x := num(float64(i) / 16)
			first := erfcDirect(x)
			c := []number{first}
			factor := neg(div(twice(exp(neg(mul(x, x)))), root(pi())))
			// H_n·(−1)ⁿ by its recurrence
			h, before := num(1), blank()
			bound := first.MantExp(nil) - prec - 16
			for n := 0; ; n++ {
				factor = mul(factor, inverses()[n+1])
				c = append(c, mul(factor, h))
				if n > 8 && c[n].MantExp(nil)-5*n < bound && c[n+1].MantExp(nil)-5*(n+1) < bound {
					return c
				}
				h, before = sub(neg(mul(twice(x), h)), mul(whole(int64(2*n)), before)), h
			}
		})
	}
	return list
}()

// erfcDirect is erfc(x) for x ≥ 0: below ½ by its Taylor series, above 8 by Laplace's continued fraction,
// between by Chiarella & Reichel 1968, with h = ¼ and an error of e^(−π²/h²):
//
//	erfc(x) = 2hx/π·e^(−x²)·(1/(2x²) + Σ_{n≥1} e^(−n²h²)/(x²+n²h²)) + 2/(1 − e^(2πx/h))
func erfcDirect(x number) number {
	f := float(x)
	square := mul(x, x)
	switch {
	case f < 0.5:
		// Σ (−1)ⁿ·x^(2n+1)/(n!·(2n+1))
		term, total := blank().Set(x), blank().Set(x)
		for n := 1; n < 60 && term.Sign() != 0; n++ {
			term = neg(mul(mul(term, square), inverses()[n]))
			total.Add(total, mul(term, inverses()[2*n+1]))
		}
		return sub(unit, div(twice(total), root(pi())))
	case f < 8:
		total := div(half(unit), square)
		for n, e := range gaussianSteps() {
			if n > 0 {
				total.Add(total, div(e, add(square, num(float64(n*n)/16))))
			}
		}
		total.Mul(total, mul(div(half(x), pi()), exp(neg(square))))
		return sub(total, div(num(2), expm1(mul(num(8), mul(pi(), x)))))
	}
	fraction := blank().Set(x)
	for n := 30 + int(5000/(f*f)); n >= 1; n-- {
		fraction = add(x, div(half(whole(int64(n))), fraction))
	}
	return div(exp(neg(square)), mul(fraction, root(pi())))
}

// gaussianSteps are e^(−n²/16).
var gaussianSteps = sync.OnceValue(func() []number {
	list := make([]number, 48)
	for n := range list {
		list[n] = exp(num(-float64(n*n) / 16))
	}
	return list
})

var root2 = sync.OnceValue(func() number { return root(num(2)) })

// above is the probability that a standard normal exceeds x.
func above(x number) number { return half(erfc(div(x, root2()))) }

// normal is the density at x of the normal distribution of the given mean and
// standard deviation.
func normal(x, mean, sd number) number {
	t := div(sub(x, mean), sd)
	return div(exp(neg(half(mul(t, t)))), mul(sd, root(twice(pi()))))
}

// rule is Gauss–Legendre on [−1, 1].
type rule struct{ nodes, weights []number }

func legendre(n int) rule {
	r := rule{make([]number, n), make([]number, n)}
	for i := range n {
		x := num(math.Cos(math.Pi * (float64(i) + 0.75) / (float64(n) + 0.5)))
		var slope number
		for range 6 {
			p, before := blank().Set(x), num(1)
			for k := 2; k <= n; k++ {
				// k·P_k = (2k−1)·x·P_{k−1} − (k−1)·P_{k−2}
				next := mul(whole(int64(2*k-1)), mul(x, p))
				next.Sub(next, mul(whole(int64(k-1)), before))
				next.Quo(next, whole(int64(k)))
				p, before = next, p
			}
			slope = div(mul(whole(int64(n)), sub(mul(x, p), before)), sub(mul(x, x), unit))
			x = sub(x, div(p, slope))
		}
		r.nodes[i] = x
		r.weights[i] = div(num(2), mul(sub(unit, mul(x, x)), mul(slope, slope)))
	}
	return r
}

// rulesFor are the two rules that integral compares: fewer nodes where less is asked.
func rulesFor(tolerance float64) (coarse, fine rule) {
	if tolerance > 1e-11 {
		return rule10(), rule16()
	}
	return rule20(), rule30()
}

var (
	rule10 = sync.OnceValue(func() rule { return legendre(10) })
	rule16 = sync.OnceValue(func() rule { return legendre(16) })
	rule20 = sync.OnceValue(func() rule { return legendre(20) })
	rule30 = sync.OnceValue(func() rule { return legendre(30) })
)

func (r rule) over(low, high number, f func(number) number) number {
	centre, radius := half(add(low, high)), half(sub(high, low))
	total := blank()
	for i, t := range r.nodes {
		total = add(total, mul(r.weights[i], f(add(centre, mul(radius, t)))))
	}
	return total.Mul(total, radius)
}

// integral of f ≥ 0 over panels that end at the given points, halved until two
// rules agree to the relative tolerance of the whole. size bounds f on a panel,
// by its natural logarithm and to a factor of e¹⁰; panels that cannot matter are
// left out. The error returned is that of the coarser rule, though the value is
// the finer one's, which has many digits more where f is smooth.
func integral(points []float64, size func(low, high float64) float64, tolerance float64, f func(number) number) (value, err number) {
	type panel struct {
		low, high    float64
		size         float64
		coarse, fine number
	}
	var panels []panel
	for i := 1; i < len(points); i++ {
		if low, high := points[i-1], points[i]; low < high {
			panels = append(panels, panel{low: low, high: high, size: size(low, high) + math.Log(high-low)})
		}
	}
	slices.SortFunc(panels, func(a, b panel) int { return cmp.Compare(b.size, a.size) })
	coarseRule, fineRule := rulesFor(tolerance)
	both := func(low, high float64) (coarse, fine number) {
		a, b := num(low), num(high)
		return coarseRule.over(a, b, f), fineRule.over(a, b, f)
	}
	estimate := blank()
	for i := range panels {
		p := &panels[i]
		if estimate.Sign() > 0 {
			mantissa := blank()
			k := estimate.MantExp(mantissa)
			if p.size < math.Ln2*float64(k-1)+math.Log(tolerance)-20 {
				panels = panels[:i]
				break
			}
		}
		p.coarse, p.fine = both(p.low, p.high)
		estimate = add(estimate, p.fine)
	}
	limit := mul(num(tolerance), estimate)
	value, err = blank(), blank()
	left := 20000 // halvings before the error is accepted as it is
	var visit func(low, high float64, coarse, fine number, depth int)
	visit = func(low, high float64, coarse, fine number, depth int) {
		off := sub(coarse, fine)
		if less(limit, off.Abs(off)) && depth < 50 && left > 0 {
			left--
			middle := low + (high-low)/2
			coarse, fine = both(low, middle)
			visit(low, middle, coarse, fine, depth+1)
			coarse, fine = both(middle, high)
			visit(middle, high, coarse, fine, depth+1)
			return
		}
		value = add(value, fine)
		err = add(err, off)
	}
	for _, p := range panels {
		visit(p.low, p.high, p.coarse, p.fine, 0)
	}
	// The panels left out: each is below e^−10 of the tolerance.
	return value, add(err, mul(value, num(tolerance)))
}

// The constants are from the Python library mpmath 1.3, in 50 digits.
func TestReferenceArithmetic(t *testing.T) {
	for name, c := range map[string]struct {
		got  number
		want string
	}{
		"erfc(7)":                    {erfc(num(7)), "4.1838256077794143986140102238999322500296174138125e-23"},
		"erfc(8)":                    {erfc(num(8)), "1.1224297172982927079967888443170279093431929164479e-29"},
		"erfc(9.5)":                  {erfc(num(9.5)), "3.7692144856548799416770873210473219696208930834890e-41"},
		"erfc(0.75)":                 {erfc(num(0.75)), "0.28884436634648486840106216540858922262579404590346"},
		"expm1(2e-9)":                {expm1(num(2e-9)), "0.0000000020000000020000001258965164986860789183066034831127"},
		"expm1(-2e-9)":               {expm1(num(-2e-9)), "-0.0000000019999999980000001258965159991000139227344029502701"},
		"log1p(1e-30)":               {log1p(num(1e-30)), "1.0000000000000000833364206075854853509313360267853e-30"},
		"exp(0.3)":                   {exp(num(0.3)), "1.3498588075760030889973010316886340321417527975138"},
		"exp(-1000.5)":               {exp(num(-1000.5)), "3.0787246988048834641772868393637863730093146333272e-435"},
		"exp(12345.25)":              {exp(num(12345.25)), "2.9781921606347913274902750921534507921283114223622e+5361"},
		"expm1(1e-20)":               {expm1(num(1e-20)), "9.9999999999999994515827145420957165118105308399615e-21"},
		"expm1(-0.75)":               {expm1(num(-0.75)), "-0.52763344725898529286195344905673208702979642086352"},
		"log(3)":                     {log(num(3)), "1.0986122886681096913952452369225257046474905578227"},
		"log(1e-300)":                {log(num(1e-300)), "-690.77552789821370518033834457010050290861334158364"},
		"pi":                         {pi(), "3.1415926535897932384626433832795028841971693993751"},
		"erfc(0.5)":                  {erfc(num(0.5)), "0.47950012218695346231725334610803547126354842424204"},
		"erfc(3.75)":                 {erfc(num(3.75)), "0.00000011372725656979665325907658300660885722833440286627"},
		"erfc(4)":                    {erfc(num(4)), "0.000000015417257900280018852159673486884048572145253589191"},
		"erfc(5.5)":                  {erfc(num(5.5)), "0.0000000000000073578479179743980630683623985700902082230849694519"},
		"erfc(30)":                   {erfc(num(30)), "2.5646562037561116000333972775014471465488897227786e-393"},
		"erfc(-2)":                   {erfc(num(-2)), "1.9953222650189527341620692563672529286108917970401"},
		"integral of e^x over [0,1]": {rule30().over(num(0), num(1), exp), "1.7182818284590452353602874713526624977572470937000"},
	} {
		want := literal(c.want)
		if off := math.Abs(ratio(sub(c.got, want), want)); off > 1e-45 {
			t.Errorf("%s is %s, want %s: off by %.2g", name, c.got.Text('g', 50), c.want, off)
		}
	}
	for x := 0.01; x < 35; x = x*1.05 + 0.01 {
		if a, b := erfc(num(x)), erfcDirect(num(x)); math.Abs(ratio(sub(a, b), b)) > 1e-45 {
			t.Errorf("erfc(%g): %.17g by Taylor, %.17g else: off by %.2g", x, float(a), float(b), ratio(sub(a, b), b))
		}
	}
	// The formulas of erfc against 1 − erf by a series of positive terms, which
	// loses half the digits by 8.
	for x := 0.25; x < 9; x += 0.25 {
		a := erfc(num(x))
		series, term := num(x), num(x)
		for n := 1; n < 600; n++ {
			term = div(mul(term, twice(mul(num(x), num(x)))), whole(int64(2*n+1)))
			series = add(series, term)
		}
		series = mul(series, exp(neg(mul(num(x), num(x)))))
		b := sub(unit, div(twice(series), root(pi())))
		if off := math.Abs(float(sub(a, b))); off > 1e-55 {
			t.Errorf("erfc(%g) is off by %.2g", x, off)
		}
	}
}
