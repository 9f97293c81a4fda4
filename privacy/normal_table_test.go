package privacy

import (
	"encoding/binary"
	"flag"
	"math"
	"math/big"
	"os"
	"runtime"
	"sync"
	"testing"

	"gonum.org/v1/gonum/stat/distuv"
)

var update = flag.Bool("update", false, "write normal.tab")

const (
	degree   = 8
	bigPrec  = 300
	unitLog  = 69
	taylor   = 18 // order of the expansion that proves the bound
	segments = 1 << segmentBits
)

func newFloat(x float64) *big.Float { return new(big.Float).SetPrec(bigPrec).SetFloat64(x) }

// eachSegment calls f for every octave and segment, on all processors.
func eachSegment(f func(e, seg int)) {
	var wg sync.WaitGroup
	next := make(chan int)
	for range runtime.GOMAXPROCS(0) {
		wg.Go(func() {
			for i := range next {
				f(i/segments, i%segments)
			}
		})
	}
	for i := range octaves * segments {
		next <- i
	}
	close(next)
	wg.Wait()
}

// probability is V = 2^(−e)(1 − (seg+τ)/64), exact in 300 bits for a short τ.
func probability(e, seg int, tau *big.Float) *big.Float {
	v := newFloat(float64(seg))
	v.Add(v, tau)
	v.Sub(newFloat(2*segments), v)
	return v.SetMantExp(v, -e-segmentBits-1)
}

// bigTail is 2Φ̄(z) with an absolute error below 2^(−200−e).
func bigTail(z *big.Float, e int) *big.Float {
	const scale = 280
	num, _ := new(big.Float).SetPrec(600).SetMantExp(z, scale).Int(nil)
	p := 202 + e
	t := newFloat(0).SetInt(twoTails(num, new(big.Int).Lsh(big.NewInt(1), scale), uint(p)))
	return t.SetMantExp(t, -p)
}

// bigExp is e^x for 0 ≤ x < 64 with a relative error below 2^(−250).
func bigExp(x *big.Float) *big.Float {
	const halvings = 16
	y := newFloat(0).SetMantExp(x, -halvings)
	sum, term := newFloat(1), newFloat(1)
	for n := 1; term.MantExp(nil) > -bigPrec; n++ {
		term.Mul(term, y)
		term.Quo(term, newFloat(float64(n)))
		sum.Add(sum, term)
		if term.Sign() == 0 {
			break
		}
	}
	for range halvings {
		sum.Mul(sum, sum)
	}
	return sum
}

// quantile returns z with 2Φ̄(z) = v to some 95 bits: Newton's method from a
// float64 start. (The slope need only be right to float64, since the last step
// is below 2^(−45).)
func quantile(v *big.Float, e int) *big.Float {
	vf, _ := v.Float64()
	if vf == 1 {
		return newFloat(0)
	}
	z := newFloat(-distuv.UnitNormal.Quantile(vf / 2))
	for {
		zf, _ := z.Float64()
		d := bigTail(z, e)
		d.Sub(d, v)
		df, _ := d.Float64()
		d.Quo(d, newFloat(math.Sqrt(2/math.Pi)*math.Exp(-zf*zf/2)))
		z.Add(z, d)
		if math.Abs(df/(math.Sqrt(2/math.Pi)*math.Exp(-zf*zf/2))) < 0x1p-45 {
			return z
		}
	}
}

// nodes are n Chebyshev nodes in [0, 1].
func nodes(n int) []float64 {
	x := make([]float64, n)
	for i := range x {
		x[i] = (1 - math.Cos(math.Pi*(float64(i)+0.5)/float64(n))) / 2
	}
	return x
}

// interpolate returns the coefficients of the polynomial with those values at
// the nodes (Newton's divided differences).
func interpolate(x []float64, y []*big.Float) []*big.Float {
	d := len(x) - 1
	for k := 1; k <= d; k++ {
		for i := d; i >= k; i-- {
			y[i].Sub(y[i], y[i-1])
			y[i].Quo(y[i], newFloat(0).Sub(newFloat(x[i]), newFloat(x[i-k])))
		}
	}
	c := make([]*big.Float, d+1)
	for i := range c {
		c[i] = newFloat(0)
	}
	t := newFloat(0)
	for k := d; k >= 0; k-- { // c = c·(τ − x_k) + y_k
		for i := d; i > 0; i-- {
			c[i].Sub(c[i-1], t.Mul(c[i], newFloat(x[k])))
		}
		c[0].Sub(y[k], t.Mul(c[0], newFloat(x[k])))
	}
	return c
}

// makeSegment returns the eight words of a segment. The first of all begins at
// |Z| = 0, where P must be zero too: there |Z|/τ is interpolated.
func makeSegment(t *testing.T, e, seg int) (out [8]uint64) {
	first := e == 0 && seg == 0
	x := nodes(degree + 1)
	if first {
		x = nodes(degree)
	}
	y := make([]*big.Float, len(x))
	for i := range y {
		y[i] = quantile(probability(e, seg, newFloat(x[i])), e)
		if first {
			y[i].Quo(y[i], newFloat(x[i]))
		}
	}
	c := interpolate(x, y)
	if first {
		c = append([]*big.Float{newFloat(0)}, c...)
	}
	var n [degree + 1]uint64
	for k := 1; k <= degree; k++ {
		c[k].SetMantExp(c[k], unitLog)
		v, _ := c[k].Add(c[k], newFloat(0.5)).Uint64()
		n[k] = v
	}
	if first {
		n[1] -= 5
	}
	// The allowance of 5.5 units keeps P below the function where it is rounded up.
	c[0].SetMantExp(c[0], unitLog).Sub(c[0], newFloat(5.5))
	base := new(big.Int)
	if c[0].Sign() > 0 {
		c[0].Int(base)
	}
	f := new(big.Int).And(base, big.NewInt(1<<bitsF-1)).Uint64()
	base.Rsh(base, bitsF)
	if !base.IsUint64() || n[8]>>bitsC8 != 0 || n[7]>>(64-bitsC8-bitsF) != 0 {
		t.Errorf("octave %d, segment %d: a coefficient does not fit", e, seg)
	}
	n[0] = base.Uint64()
	copy(out[:7], n[:7])
	out[7] = n[7]<<(bitsC8+bitsF) | n[8]<<bitsF | f
	return out
}

// TestTableIsReproduced makes the table again, in big arithmetic, and compares.
func TestTableIsReproduced(t *testing.T) {
	if testing.Short() {
		t.Skip("a computation that the race detector makes slow")
	}
	file := make([]byte, tableBytes)
	eachSegment(func(e, seg int) {
		for i, w := range makeSegment(t, e, seg) {
			binary.LittleEndian.PutUint64(file[64*(e*segments+seg)+8*i:], w)
		}
	})
	if *update {
		if err := os.WriteFile("normal.tab", file, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if string(file) != tableFile {
		t.Error("the table differs from the one that is made")
	}
}

// derivatives returns z⁽ᵏ⁾/k! by τ, k ≤ n, where |Z| = z: dz/dτ = s with
// s = 2^(−e)/64·√(π/2)·e^(z²/2), and ds/dτ = z·s².
func derivatives(z *big.Float, e, n int) []*big.Float {
	root := newFloat(0).SetInt(rootTwoOverPi(280))
	root.SetMantExp(root, -280)
	x := newFloat(0).Mul(z, z)
	s := bigExp(x.SetMantExp(x, -1))
	s.Quo(s, root)
	s.SetMantExp(s, -e-segmentBits-1)

	zs, ss, qs := []*big.Float{z}, []*big.Float{s}, []*big.Float{}
	convolve := func(a, b []*big.Float, k int) *big.Float {
		sum, t := newFloat(0), newFloat(0)
		for i := range k + 1 {
			sum.Add(sum, t.Mul(a[i], b[k-i]))
		}
		return sum
	}
	for k := range n {
		qs = append(qs, convolve(ss, ss, k))
		zs = append(zs, newFloat(0).Quo(ss[k], newFloat(float64(k+1))))
		next := convolve(zs, qs, k)
		ss = append(ss, next.Quo(next, newFloat(float64(k+1))))
	}
	return zs
}

// enclose returns lowest and highest values of a polynomial in x over [−1, 1],
// from the sum of its coefficients in Chebyshev's basis.
func enclose(c []float64) (low, high float64) {
	cheb := make([]float64, len(c))
	power := []float64{1} // x^k in Chebyshev's basis
	for _, v := range c {
		next := make([]float64, len(power)+1)
		for j, w := range power {
			cheb[j] += v * w
			if j == 0 {
				next[1] += w
			} else {
				next[j-1] += w / 2
				next[j+1] += w / 2
			}
		}
		power = next
	}
	var s float64
	for _, v := range cheb[1:] {
		s += math.Abs(v)
	}
	return cheb[0] - s, cheb[0] + s
}

// TestTableBound proves the bound that normal_table.go states, for every τ of
// every segment:
//
//	0 ≤ |Z|·2⁶⁹ − P(τ) ≤ 12   and   sup P′ < 2⁶⁴ − 2⁹,
//
// the second also so that no sum in horner leaves 64 bits: its coefficients are
// not negative, so that f + c₁ + … + c₈ < 2⁹ + sup P′.
//
// |Z| is expanded about the middle of the segment, x = 2τ − 1, to order 18; all
// its derivatives by τ are positive and grow, so that the remainder is at most
// the last derivative at the segment's end. The difference from P is a polynomial
// whose range the sum of its Chebyshev coefficients bounds. Rounding in 300 bits
// and in the last sum (float64, on numbers below 2¹⁶) is far below the thousandth
// of a unit that is added.
func TestTableBound(t *testing.T) {
	tab := normalTable()
	var mu sync.Mutex
	lowest, highest := math.Inf(1), math.Inf(-1)
	eachSegment(func(e, seg int) {
		row := &tab[e*segments+seg]
		var steep float64 // sup P′ at τ = 1: no coefficient is negative
		coef := []*big.Float{0: newFloat(float64(row[7] & (1<<bitsF - 1)))}
		for k, w := range append(row[1:7:7], row[7]>>(bitsC8+bitsF), row[7]>>bitsF&(1<<bitsC8-1)) {
			coef = append(coef, newFloat(0).SetInt(new(big.Int).SetUint64(w)))
			f, _ := coef[k+1].Float64()
			steep += float64(k+1) * f
		}
		c0 := newFloat(0).SetInt(new(big.Int).SetUint64(row[0]))
		coef[0].Add(coef[0], c0.SetMantExp(c0, bitsF))

		end, _ := derivatives(quantile(probability(e, seg, newFloat(1)), e), e, taylor+1)[taylor+1].Float64()
		var low, high float64
		if e == 0 && seg == 0 {
			low, high = firstDifference(coef, end)
		} else {
			low, high = difference(t, e, seg, coef, end)
		}
		mu.Lock()
		defer mu.Unlock()
		lowest, highest = min(lowest, low), max(highest, high)
		if !(steep < 0x1p63*1.9) { // room for f and for the rounding of this sum
			t.Errorf("octave %d, segment %d: P grows too fast", e, seg)
		}
		if !(low >= 0 && high <= 12) {
			t.Errorf("octave %d, segment %d: difference within [%.2f, %.2f] units", e, seg, low, high)
		}
	})
	if highest+8+1 > normalWidth {
		t.Errorf("the width leaves no room for 8 units of products and one of digits not drawn")
	}
	t.Logf("|Z|·2⁶⁹ − P within [%.2f, %.2f]", lowest, highest)
}

// shift rewrites Σ c_k τ^k in powers of x = 2τ − 1.
func shift(c []*big.Float) []*big.Float {
	out := make([]*big.Float, len(c))
	for j := range out {
		out[j] = newFloat(0)
		for k := j; k < len(c); k++ {
			b := newFloat(0).SetInt(new(big.Int).Binomial(int64(k), int64(j)))
			b.SetMantExp(b, -k)
			out[j].Add(out[j], b.Mul(b, c[k]))
		}
	}
	return out
}

// difference encloses |Z|·2⁶⁹ − P over a segment; end is the derivative of order
// 19, over 19!, at its end.
func difference(t *testing.T, e, seg int, coef []*big.Float, end float64) (low, high float64) {
	v := probability(e, seg, newFloat(0.5))
	middle := quantile(v, e)
	z := derivatives(middle, e, taylor)
	// |Z| at V = v differs from what quantile returned by the error in V times
	// |dz/dV| = dz/dτ·2^(e+6).
	off := bigTail(middle, e)
	off.Sub(off, v)
	off.Mul(off, newFloat(0).SetMantExp(z[1], e+segmentBits+1+unitLog))
	if f, _ := off.Float64(); math.Abs(f) > 1e-4 {
		t.Errorf("octave %d, segment %d: the middle is off", e, seg)
	}
	p := shift(coef)
	d := make([]float64, taylor+1)
	for k := range d {
		dk := newFloat(0).SetMantExp(z[k], unitLog-k)
		if k < len(p) {
			dk.Sub(dk, p[k])
		}
		d[k], _ = dk.Float64()
	}
	low, high = enclose(d)
	margin := math.Ldexp(end, unitLog-taylor-1)*1.001 + 1e-3
	return low - margin, high + margin
}

// firstDifference is difference where |Z| begins at zero: expanded there, with
// P(0) = 0, a multiple of τ.
func firstDifference(coef []*big.Float, end float64) (low, high float64) {
	z := derivatives(newFloat(0), 0, taylor)
	if coef[0].Sign() != 0 {
		return -1, 1
	}
	d := make([]*big.Float, taylor)
	for k := range d {
		d[k] = newFloat(0).SetMantExp(z[k+1], unitLog)
		if k+1 < len(coef) {
			d[k].Sub(d[k], coef[k+1])
		}
	}
	flat := make([]float64, taylor)
	for k, v := range shift(d) {
		flat[k], _ = v.Float64()
	}
	low, high = enclose(flat)
	// The rest of the expansion is above zero; so is low/τ times τ.
	return min(0, low-1e-3), high + 1e-3 + math.Ldexp(end, unitLog)*1.001
}
