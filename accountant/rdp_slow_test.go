//go:build slow

package accountant

import (
	"fmt"
	"math"
	"math/big"
	"math/rand/v2"
	"runtime"
	"sync"
	"testing"
)

// A computation that shares nothing with the accountant: the divergences as they
// are written, integrated in 200 bits, on ever finer grids until two agree.
const bigBits = 200

func bigOf(x float64) *big.Float { return new(big.Float).SetPrec(bigBits).SetFloat64(x) }

func mul(x, y *big.Float) *big.Float { return new(big.Float).SetPrec(bigBits).Mul(x, y) }
func add(x, y *big.Float) *big.Float { return new(big.Float).SetPrec(bigBits).Add(x, y) }
func sub(x, y *big.Float) *big.Float { return new(big.Float).SetPrec(bigBits).Sub(x, y) }
func div(x, y *big.Float) *big.Float { return new(big.Float).SetPrec(bigBits).Quo(x, y) }

var ln2, bigPi = bigText("0.693147180559945309417232121458176568075500134360255254120680009493393621969694715605863326996418687"),
	bigText("3.14159265358979323846264338327950288419716939937510582097494459230781640628620899862803482534211706798")

func bigText(s string) *big.Float {
	x, _, err := big.ParseFloat(s, 10, bigBits, big.ToNearestEven)
	if err != nil {
		panic(err)
	}
	return x
}

// bigExp is e^x by Taylor's series of a small part of x.
func bigExp(x *big.Float) *big.Float {
	f, _ := x.Float64()
	n := math.Round(f / math.Ln2)
	r := sub(x, mul(bigOf(n), ln2))
	r.SetMantExp(r, -10)
	total, term := bigOf(1), bigOf(1)
	for k := 1.0; k < 18; k++ {
		term = div(mul(term, r), bigOf(k))
		total.Add(total, term)
	}
	for range 10 {
		total.Mul(total, total)
	}
	return total.SetMantExp(total, int(n))
}

// bigLog is log x by Halley's iteration on bigExp.
func bigLog(x *big.Float) *big.Float {
	m := new(big.Float)
	exponent := x.MantExp(m)
	f, _ := m.Float64()
	y := add(bigOf(math.Log(f)), mul(bigOf(float64(exponent)), ln2))
	for range 2 {
		e := bigExp(y)
		y.Add(y, mul(bigOf(2), div(sub(x, e), add(x, e))))
	}
	return y
}

// bigDivergence is the divergence of one sampled step, relative to 10⁻¹³.
func bigDivergence(kind int, q, z, alpha float64) (float64, error) {
	sigma := z
	if kind == fixedSize {
		sigma = z / 2
	}
	Q, A, one := bigOf(q), bigOf(alpha), bigOf(1)
	notQ := sub(one, Q)
	spread := mul(bigOf(2), mul(bigOf(sigma), bigOf(sigma)))
	norm := div(one, new(big.Float).SetPrec(bigBits).Sqrt(mul(bigPi, spread)))
	// (1−q)·N(0) + q·N(m), over N(0), at x
	mixture := func(x *big.Float, m float64) *big.Float {
		y := div(sub(mul(bigOf(2*m), x), bigOf(m*m)), spread)
		return add(notQ, mul(Q, bigExp(y)))
	}
	normal := func(x *big.Float) *big.Float { return mul(norm, bigExp(new(big.Float).Neg(div(mul(x, x), spread)))) }
	power := func(log *big.Float, a *big.Float) *big.Float { return bigExp(mul(log, a)) }

	// The integrand at x; under a fixed size at x = ½ + e^t, by t.
	integrand := func(x *big.Float) *big.Float {
		if kind != fixedSize {
			p, o := mixture(x, 1), one
			if kind == antipodal {
				o = mixture(x, -1)
			}
			return mul(mul(normal(x), o), power(bigLog(div(p, o)), A))
		}
		e := bigExp(x)
		x = add(bigOf(0.5), e)
		r := mixture(x, 1)
		log := bigLog(r)
		g := sub(sub(add(power(log, A), power(log, sub(one, A))), r), one)
		return mul(mul(normal(x), e), g)
	}
	// Nodes are exact: the integral may be within 10⁻³⁰ of 1.
	low, high, width := bigOf(-14*sigma), alpha+14*sigma+1, min(sigma, sigma*sigma)/2
	switch kind {
	case antipodal:
		high += alpha
	case fixedSize:
		low, high, width = bigOf(-30), math.Log(high), min(0.25, sigma*sigma/high)
	}
	start, _ := low.Float64()
	n := int((high-start)/width) + 8
	step := div(sub(bigOf(high), low), bigOf(float64(n)))
	total := integrand(low)
	for i := range n {
		total.Add(total, integrand(add(low, mul(step, bigOf(float64(i+1))))))
	}
	excess := func() *big.Float {
		e := mul(total, step)
		if kind != fixedSize {
			e.Sub(e, one)
		}
		return e
	}
	before := excess()
	for range 6 {
		for i := range n {
			total.Add(total, integrand(add(low, mul(step, bigOf(float64(i)+0.5)))))
		}
		n, step = 2*n, mul(step, bigOf(0.5))
		now := excess()
		if change, _ := div(sub(now, before), now).Float64(); math.Abs(change) < 1e-14 {
			r, _ := div(bigLog(add(one, now)), sub(A, one)).Float64()
			return r, nil
		}
		before = now
	}
	return 0, fmt.Errorf("kind %d q %g z %g order %g: no convergence", kind, q, z, alpha)
}

func TestDivergencesAgainstBigNumbers(t *testing.T) {
	if x, _ := bigLog(bigExp(bigOf(3.25))).Float64(); x != 3.25 {
		t.Fatalf("log e^3.25 is %.17g", x)
	}
	random := rand.New(rand.NewPCG(1, 4))
	logUniform := func(low, high float64) float64 {
		return low * math.Pow(high/low, random.Float64())
	}
	type point struct {
		kind        int
		q, z, alpha float64
	}
	var points []point
	for i := range 330 {
		p := point{i % 3, logUniform(1e-9, 0.99), logUniform(0.3, 1e4), 1 + logUniform(1e-3, 30)}
		if i%7 == 0 {
			p.q = 1 - p.q
		}
		if p.z > 3 { // few points are needed
			p.alpha = 1 + logUniform(1e-3, 300)
		}
		points = append(points, p)
	}
	next := make(chan point)
	var workers sync.WaitGroup
	var lock sync.Mutex
	worst := 0.0
	for range runtime.GOMAXPROCS(0) {
		workers.Go(func() {
			for p := range next {
				want, err := bigDivergence(p.kind, p.q, p.z, p.alpha)
				if err != nil {
					t.Error(err)
					continue
				}
				got := newPair(p.kind, p.q, p.z).rdp(p.alpha)
				off := got/want - 1
				if off < -ulp || off > 1e-9 {
					t.Errorf("kind %d q %g z %g order %g: %.17g, in 200 bits %.17g (off by %.2g)", p.kind, p.q, p.z, p.alpha, got, want, off)
				}
				lock.Lock()
				worst = max(worst, off)
				lock.Unlock()
			}
		})
	}
	for _, p := range points {
		next <- p
	}
	close(next)
	workers.Wait()
	t.Logf("%d points, largest excess %.2g", len(points), worst)
}
