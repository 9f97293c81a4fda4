//go:build slow || soak

package accountant_test

import (
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"testing"

	. "github.com/privsgld/privsgld/accountant"
)

// A second computation of what the accountant says, written without it: in 192
// bits, by adaptive quadrature, sums in exact arithmetic and closed forms. The
// accountant must never be below it. The only allowance is the reference's own
// error, which every reference returns with its value.

// seed makes every case reproducible: a failure names its family and case.
const seed = 20241124

func draws(family uint64, i int) *rand.Rand { return rand.New(rand.NewPCG(seed+family, uint64(i))) }

func logUniform(r *rand.Rand, low, high float64) float64 {
	return min(high, max(low, math.Exp(math.Log(low)+r.Float64()*math.Log(high/low))))
}

// rate is log-uniform, at times close to 1.
func rate(r *rand.Rand) float64 {
	if r.IntN(8) == 0 {
		return 1 - logUniform(r, 1e-9, 0.5)
	}
	return min(logUniform(r, 1e-9, 1), 1-0x1p-53)
}

// order is 1.01 to 1000, whole at times.
func order(r *rand.Rand) float64 {
	alpha := 1 + logUniform(r, 0.01, 999)
	if r.IntN(3) == 0 {
		return max(2, math.Round(alpha))
	}
	return alpha
}

// true value and the bound on its error
type truth struct{ value, err number }

func exact(x number) truth { return truth{x, mul(x, num(0x1p-150))} }

// tally keeps the extremes of a family. A float64 that is just above the truth is
// within one ulp; ordinary points exceed it by 10⁻⁹ at most, any by 10⁻⁶.
type tally struct {
	sync.Mutex
	points   int
	ordinary float64 // largest excess where an ordinary point
	any      float64 // largest excess
	worst    string
	err      float64 // largest relative error of the reference
	loose    int
}

// fewLoose counts a loose point: only the first few are printed.
func (y *tally) fewLoose() bool {
	y.Lock()
	defer y.Unlock()
	y.loose++
	return y.loose <= 5
}

const (
	excessOrdinary = 1e-9
	excessAny      = 1e-6
)

// check compares one number of the accountant with the truth, one-sidedly.
func (y *tally) check(t *testing.T, name string, got float64, want truth, ordinary bool) {
	t.Helper()
	if math.IsNaN(got) || got < 0 {
		t.Errorf("%s: %g", name, got)
		return
	}
	refErr := math.Abs(ratio(want.err, want.value))
	if want.value.Sign() <= 0 || refErr > 1e-14 {
		t.Errorf("%s: the reference %.17g is known to %.2g only", name, float(want.value), refErr)
		return
	}
	excess := math.Inf(1)
	if !math.IsInf(got, 1) {
		excess = ratio(sub(num(got), want.value), want.value)
		if less(num(got), sub(want.value, want.err)) {
			t.Errorf("UNSOUND %s: %.17g is below the true %.17g (by %.3g of it)", name, got, float(want.value), -excess)
		}
	}
	limit := excessAny
	if ordinary {
		limit = excessOrdinary
	}
	if excess > limit && y.fewLoose() {
		t.Errorf("LOOSE %s: %.17g exceeds the true %.17g by %.3g of it", name, got, float(want.value), excess)
	}
	y.Lock()
	defer y.Unlock()
	y.points++
	y.err = max(y.err, refErr)
	if ordinary {
		y.ordinary = max(y.ordinary, excess)
	}
	if excess > y.any || y.worst == "" {
		y.any, y.worst = excess, name
	}
}

func (y *tally) report(t *testing.T, at int) {
	t.Helper()
	t.Logf("seed %d: %d points; largest excess %.2g ordinary, %.2g any (%s); reference known to %.1g", seed, y.points, y.ordinary, y.any, y.worst, y.err)
	if y.loose > 0 {
		t.Errorf("%d points are loose", y.loose)
	}
	if y.points < at {
		t.Errorf("%d points, want %d at least", y.points, at)
	}
}

// forEach runs n cases on all processors.
func forEach(n int, f func(i int)) {
	var wait sync.WaitGroup
	next := make(chan int)
	for range runtime.GOMAXPROCS(0) {
		wait.Go(func() {
			for i := range next {
				f(i)
			}
		})
	}
	for i := range n {
		next <- i
	}
	close(next)
	wait.Wait()
}

// sampledPair is the pair of one Poisson-sampled Gaussian step,
//
//	P = (1−q)·N(0,z²) + q·N(1,z²), Q = N(0,z²), or (1−q)·N(0,z²) + q·N(−1,z²) if antipodal.
type sampledPair struct {
	q, z      float64
	antipodal bool
}

// excess is P/Q − 1 at x, P/Q, which it may be too close to −1 to tell, and the
// density of Q; roughly does it in float64.
func (p sampledPair) excess(x number) (w, ratio, density number) {
	spread := twice(mul(num(p.z), num(p.z)))
	// q·(e^((2x−1)/(2z²)) − 1), and at −x for the other part
	u := mul(num(p.q), expm1(div(sub(twice(x), unit), spread)))
	density = normal(x, blank(), num(p.z))
	if !p.antipodal {
		return u, add(unit, u), density
	}
	v := mul(num(p.q), expm1(div(sub(neg(twice(x)), unit), spread)))
	below := add(unit, v)
	return div(sub(u, v), below), div(add(unit, u), below), mul(density, below)
}

func (p sampledPair) roughly(x float64) (logRatio, logDensity float64) {
	soft := func(x float64) float64 { // log(1 − q + q·e^y)
		y := (2*x - 1) / (2 * p.z * p.z)
		if y > 30 {
			return y + math.Log(p.q) + math.Log1p((1-p.q)/p.q*math.Exp(-y))
		}
		return math.Log1p(p.q * math.Expm1(y))
	}
	logRatio, logDensity = soft(x), -x*x/(2*p.z*p.z)
	if p.antipodal {
		other := soft(-x)
		logRatio, logDensity = logRatio-other, logDensity+other
	}
	return logRatio, logDensity
}

// panels covers [low, high] for integrands that vary over z, and over z² near
// x₀ = ½ + z²·log((1−q)/q), where the parts of a mixture are equal: log(1−q+q·r)
// is singular at x₀ ± iπz².
func (p sampledPair) panels(low, high float64) []float64 {
	centre := 0.5 + p.z*p.z*(math.Log1p(-p.q)-math.Log(p.q))
	near := func(x float64) float64 {
		d := math.Abs(x - centre)
		if p.antipodal {
			d = min(d, math.Abs(x+centre))
		}
		return d
	}
	points := []float64{low}
	for x := low; x < high; {
		x += min(3*p.z, max(1.2*p.z*p.z, near(x)/2))
		points = append(points, min(x, high))
	}
	return points
}

// powerExcess is (1+w)^a − 1 − a·w, by the binomial series where that would
// cancel.
func powerExcess(w, ratio, a number) number {
	if math.Abs(float(w))*max(1, math.Abs(float(a))) < 1e-6 {
		sum, term := num(1), num(1)
		for k := int64(2); k < 10; k++ {
			term = mul(term, div(mul(sub(a, whole(k)), w), whole(k+1)))
			sum.Add(sum, term)
		}
		return mul(sum, mul(half(mul(a, sub(a, unit))), mul(w, w)))
	}
	return sub(sub(exp(mul(a, log(ratio))), unit), mul(a, w))
}

// moment is E_Q[(P/Q)^a] − 1 = E_Q[(1+w)^a − 1 − a·w] for a > 1 or a < 0.
func (p sampledPair) moment(a float64) truth {
	power := num(a)
	integrand := func(x number) number {
		w, ratio, density := p.excess(x)
		return mul(density, powerExcess(w, ratio, power))
	}
	size := func(low, high float64) float64 {
		top := math.Inf(-1)
		for _, x := range []float64{low, low + (high-low)/2, high} {
			l, density := p.roughly(x)
			// (1+w)^a − 1 − a·w is a(a−1)/2·w² at first, (1+w)^a at last.
			top = max(top, density+max(0, a*l)+min(0, math.Log(math.Abs(a*(a-1)))+2*math.Log(math.Abs(math.Expm1(min(l, 1))))))
		}
		return top
	}
	reach := 1.0
	if p.antipodal {
		reach = 2
	}
	low, high := min(0, reach*a)-30*p.z-1, max(0, reach*a)+30*p.z+1
	value, err := integral(p.panels(low, high), size, 1e-18, integrand)
	// What lies beyond 30 standard deviations, and the panels left out.
	return truth{value, add(err, mul(value, num(1e-30)))}
}

// divergence is log(1 + m)/(α−1) for a moment m.
func divergence(m truth, alpha float64) truth {
	over := sub(num(alpha), unit)
	value := div(log1p(m.value), over)
	return truth{value, add(div(div(m.err, add(unit, m.value)), over), mul(value, num(1e-35)))}
}

// binomialMoment is the moment of the add-remove pair at a whole order, by the
// sum Σ C(α,k)·q^k·(1−q)^(α−k)·e^(k(k−1)/(2z²)) in exact arithmetic but for the
// exponentials.
func binomialMoment(q, z float64, alpha int) number {
	spread := twice(mul(num(z), num(z)))
	rest, total := sub(unit, num(q)), num(-1)
	term := num(1)
	for range alpha {
		term.Mul(term, rest)
	}
	for k := 0; k <= alpha; k++ {
		total.Add(total, mul(term, exp(div(whole(int64(k)*int64(k-1)), spread))))
		term.Mul(term, mul(num(q), whole(int64(alpha-k))))
		term.Quo(term, mul(rest, whole(int64(k+1))))
	}
	return total
}

func mustRDP(t *testing.T, e Event, alpha float64) float64 {
	t.Helper()
	r, err := RDP(e, alpha)
	if err != nil {
		t.Fatalf("%+v: %v", e, err)
	}
	return r
}

func TestIndependentRDPOfSampledGaussian(t *testing.T) {
	var y tally
	forEach(points, func(i int) {
		r := draws(1, i)
		q, z, alpha := rate(r), logUniform(r, 0.1, 1e4), order(r)
		name := fmt.Sprintf("case %d: q %.17g z %.17g order %.17g", i, q, z, alpha)
		pair := sampledPair{q: q, z: z}
		forward := pair.moment(alpha)
		if alpha == math.Floor(alpha) {
			sum := binomialMoment(q, z, int(alpha))
			// The sum starts at 1 + moment: it loses what the moment is small by.
			if off := math.Abs(float(sub(sum, forward.value))) / max(1, float(sum)); off > 1e-17*float(forward.value) && off > 1e-45 {
				t.Errorf("%s: the references differ: sum %.17g, quadrature %.17g", name, float(sum), float(forward.value))
			}
		}
		y.check(t, name, mustRDP(t, PoissonGaussian(AddRemove, q, z, 1), alpha), divergence(forward, alpha), z >= 0.3)

		// The other direction never exceeds it.
		if i%4 == 0 {
			reverse := pair.moment(1 - alpha)
			if less(add(forward.value, forward.err), sub(reverse.value, reverse.err)) {
				t.Errorf("%s: the reverse direction is larger: %.17g against %.17g", name, float(reverse.value), float(forward.value))
			}
		}
	})
	y.report(t, points)
}

func TestIndependentRDPOfAntipodalPair(t *testing.T) {
	var y tally
	forEach(points, func(i int) {
		r := draws(2, i)
		q, z, alpha := rate(r), logUniform(r, 0.1, 1e4), order(r)
		name := fmt.Sprintf("case %d: q %.17g z %.17g order %.17g", i, q, z, alpha)
		want := divergence(sampledPair{q, z, true}.moment(alpha), alpha)
		y.check(t, name, mustRDP(t, PoissonGaussian(ReplaceOne, q, z, 1), alpha), want, z >= 0.3)
	})
	y.report(t, points)
}

// The reference against the published one: both directions.
func TestIndependentRDPMeetsGolden(t *testing.T) {
	data, err := os.ReadFile(filepath.Join("..", "testdata", "golden", "accounting", "rdp.json"))
	if err != nil {
		t.Fatal(err)
	}
	var rows []struct {
		Type    string
		Q       float64 `json:"sampling_rate"`
		Z       float64 `json:"noise_multiplier"`
		Order   float64
		RDP     float64
		Reverse float64 `json:"rdp_reverse"`
	}
	if err := json.Unmarshal(data, &rows); err != nil {
		t.Fatal(err)
	}
	found := 0
	forEach(len(rows), func(i int) {
		row := rows[i]
		if row.Type != "poisson_gaussian" || row.Q == 1 || row.Reverse == 0 {
			return
		}
		for power, want := range map[float64]float64{row.Order: row.RDP, 1 - row.Order: row.Reverse} {
			got := divergence(sampledPair{q: row.Q, z: row.Z}.moment(power), row.Order)
			if off := math.Abs(float(got.value)/want - 1); off > 0x1p-52 {
				t.Errorf("row %d, power %g: %.17g here, %.17g there", i, power, float(got.value), want)
			}
		}
	})
	for _, row := range rows {
		if row.Type == "poisson_gaussian" && row.Q != 1 && row.Reverse != 0 {
			found++
		}
	}
	if found < 100 {
		t.Errorf("%d rows with both directions", found)
	}
}

// The other families: closed forms and sums, and the fixed-size pair by its
// profile: E_Q[(P/Q)^α] − 1 = α(α−1)·∫₀^∞ (e^((α−1)ε) + e^(−αε))·δ(ε) dε for a
// symmetric pair.
func fixedSizeMoment(m, n int64, z, alpha float64) truth {
	gamma, mu := div(whole(m), whole(n)), div(num(2), num(z))
	full := gaussianStep(mu).delta
	g, sd := float(gamma), z/2
	more, less := sub(num(alpha), unit), neg(num(alpha))
	// Over the unsampled ε: e^ε′ = 1 + γ(e^ε−1).
	integrand := func(eps number) number {
		r := log(add(unit, mul(gamma, expm1(eps))))
		kernel := add(exp(mul(more, r)), exp(mul(less, r)))
		jacobian := mul(gamma, exp(sub(eps, r)))
		return mul(mul(kernel, jacobian), mul(gamma, full(eps)))
	}
	size := func(low, high float64) float64 {
		top := math.Inf(-1)
		for _, e := range []float64{low, high} {
			r := math.Log1p(g * math.Expm1(min(e, 30)))
			if e > 30 {
				r = e + math.Log(g)
			}
			a := e*sd - 0.5/sd
			top = max(top, (alpha-1)*r+e-r-max(0, a)*max(0, a)/2-math.Log1p(max(0, a)))
		}
		return top
	}
	end := (2*(alpha+30*sd+1) - 1) / (2 * sd * sd)
	centre := math.Log1p(-g) - math.Log(g)
	points := []float64{0}
	for x := 0.0; x < end; {
		x += min(3/sd, max(1.2, math.Abs(x-centre)/2))
		points = append(points, min(x, end))
	}
	value, err := integral(points, size, 1e-18, integrand)
	scale := mul(num(alpha), more)
	return truth{mul(scale, value), mul(scale, add(err, mul(value, num(1e-24))))}
}

// latticeMoment is E_P[e^((α−1)L)] − 1.
func latticeMoment(l lattice, alpha float64) truth {
	more, total, size := sub(num(alpha), unit), blank(), blank()
	for i, m := range l.mass {
		x := mul(m, expm1(mul(more, add(l.start, mul(whole(int64(i)), l.unit)))))
		total.Add(total, x)
		size.Add(size, x.Abs(x))
	}
	return truth{total, mul(size, num(0x1p-170))}
}

func TestIndependentRDPOfFixedSize(t *testing.T) {
	var y tally
	forEach(points, func(i int) {
		r := draws(3, i)
		z, alpha := logUniform(r, 0.1, 1e4), order(r)
		n := int64(logUniform(r, 2, 1e9))
		m := max(1, min(n-1, int64(float64(n)*rate(r))))
		name := fmt.Sprintf("case %d: %d of %d z %.17g order %.17g", i, m, n, z, alpha)
		want := divergence(fixedSizeMoment(m, n, z, alpha), alpha)
		y.check(t, name, mustRDP(t, FixedSizeGaussian(ReplaceOne, m, n, z, 1), alpha), want, z >= 0.6)
	})
	y.report(t, points)
}

func TestIndependentRDPOfClosedForms(t *testing.T) {
	var gaussian, laplace, pure, discrete tally
	adjacencies := []Adjacency{AddRemove, ReplaceOne}
	forEach(points, func(i int) {
		r := draws(4, i)
		adj := adjacencies[i%2]
		distance := num(float64(1 + i%2))
		alpha := order(r)
		if r.IntN(4) == 0 {
			alpha = 1 + logUniform(r, 1e-9, 1e6)
		}
		a := num(alpha)
		more := sub(a, unit)
		z := logUniform(r, 1e-3, 1e5)
		name := func(kind string) string {
			return fmt.Sprintf("case %d: %s %s %.17g order %.17g", i, adj, kind, z, alpha)
		}

		mu := div(distance, num(z))
		gaussian.check(t, name("gaussian"), mustRDP(t, Gaussian(adj, z, 1), alpha), exact(half(mul(a, mul(mu, mu)))), true)

		// α/(2α−1)·(e^((α−1)/b) − 1) + (α−1)/(2α−1)·(e^(−α/b) − 1)
		span := sub(twice(a), unit)
		moment := div(add(mul(a, expm1(mul(more, mu))), mul(more, expm1(neg(mul(a, mu))))), span)
		laplace.check(t, name("laplace"), mustRDP(t, Laplace(adj, z, 1), alpha), divergence(exact(moment), alpha), alpha > 1.001)

		text := fmt.Sprintf("%.6g", logUniform(r, 1e-9, 1e3))
		pure.check(t, name("pure "+text), mustRDP(t, Pure(adj, MustAmount(text), 1), alpha),
			divergence(latticeMoment(response(literal(text)), alpha), alpha), alpha > 1.001)

		shift := 1 + r.IntN(40)
		scale := mul(num(z), whole(int64(shift)))
		discrete.check(t, name(fmt.Sprintf("discrete laplace, sensitivity %d, ", shift)), mustRDP(t, DiscreteLaplace(adj, z, int64(shift), 1), alpha),
			divergence(latticeMoment(discreteLaplace(scale, (1+i%2)*shift), alpha), alpha), alpha > 1.001)
	})
	for _, y := range []*tally{&gaussian, &laplace, &pure, &discrete} {
		y.report(t, points)
	}
}

// Discrete Gaussians are charged by zCDP, which is above the divergence: soundness
// alone is checked.
func TestIndependentRDPOfDiscreteGaussian(t *testing.T) {
	forEach(points/3, func(i int) {
		r := draws(5, i)
		z, shift, alpha := logUniform(r, 0.2, 20), 1+r.IntN(4), 1+logUniform(r, 0.01, 8)
		if z*float64(shift) > 30 {
			return
		}
		// The mass at x = α·shift decides: it must lie within the lattice.
		if alpha*float64(shift) > 6*z*float64(shift) {
			alpha = 1 + 2*z
		}
		for d, adj := range []Adjacency{AddRemove, ReplaceOne} {
			sigma := mul(num(z), whole(int64(shift)))
			want := divergence(latticeMoment(discreteGaussian(sigma, (1+d)*shift), alpha), alpha)
			got := mustRDP(t, DiscreteGaussian(adj, z, int64(shift), 1), alpha)
			if less(num(got), sub(want.value, add(want.err, mul(want.value, num(1e-30))))) {
				t.Errorf("UNSOUND case %d: %s z %.17g sensitivity %d order %.17g: %.17g is below the true %.17g", i, adj, z, shift, alpha, got, float(want.value))
			}
		}
	})
}

// Far out: orders from 1 + 10⁻⁶ to 10⁶, noise from 10⁻² to 10⁸, rates down to
// 10⁻³⁰, where the search for the best order and a ledger may still go.
func TestIndependentRDPAtExtremes(t *testing.T) {
	var y tally
	forEach(points, func(i int) {
		r := draws(6, i)
		q, z, alpha := logUniform(r, 1e-30, 1), logUniform(r, 1e-2, 1e8), 1+logUniform(r, 1e-6, 1e6)
		if r.IntN(3) == 0 {
			q = 1 - logUniform(r, 1e-15, 0.5)
		}
		if alpha/z > 3e4 {
			alpha = 1 + 1e4*z // the reference walks there in steps of 3z
		}
		if i%3 == 0 {
			alpha = max(2, math.Round(alpha))
		}
		antipodal := i%2 == 1
		name := fmt.Sprintf("case %d: q %.17g z %.17g order %.17g antipodal %t", i, q, z, alpha, antipodal)
		want := divergence(sampledPair{q, z, antipodal}.moment(alpha), alpha)
		y.check(t, name, mustRDP(t, PoissonGaussian(adjacencies[i%2], q, z, 1), alpha), want, false)
	})
	y.report(t, points)
}

// A long list of noise multipliers is charged by chords: R is convex as a function
// of v, where s = 1/z² is v itself for the add-remove pair, −2·log(−v) for the
// antipodal pair with q ≤ ½ and −8·log(−v) for the fixed-size pair. Here that is
// looked at in 192 bits, where a second difference keeps its digits.
func TestIndependentConvexity(t *testing.T) {
	var mutex sync.Mutex
	least := map[string]float64{}
	forEach(points/3, func(i int) {
		r := draws(7, i)
		alpha := 1 + logUniform(r, 1e-4, 300)
		s, width := logUniform(r, 1e-6, 80), 1+logUniform(r, 1e-3, 1)
		low, high := s, s*width
		part := 0.1 + 0.8*r.Float64()
		q := logUniform(r, 1e-9, 1)
		if r.IntN(3) == 0 {
			q = r.Float64()
		}
		var kind string
		var v, inverse func(number) number
		var cost func(z number) number
		curved := func(rate float64) {
			v = func(s number) number { return neg(exp(mul(num(-rate), s))) }
			inverse = func(v number) number { return div(log(neg(v)), num(-rate)) }
		}
		moment := func(m truth) number { return divergence(m, alpha).value }
		switch i % 3 {
		case 0:
			kind = "add-remove"
			v, inverse = func(s number) number { return s }, func(v number) number { return v }
			cost = func(z number) number { return moment(sampledPair{q: q, z: float(z)}.moment(alpha)) }
		case 1:
			kind, q = "antipodal", min(q, 0.5)
			curved(0.5)
			cost = func(z number) number { return moment(sampledPair{q: q, z: float(z), antipodal: true}.moment(alpha)) }
		default:
			kind = "fixed size"
			curved(0.5) // σ = z/2, and s is that of z
			m := int64(math.Ceil(q * (1 << 30)))
			m = min(m, 1<<30-1)
			cost = func(z number) number { return moment(fixedSizeMoment(m, 1<<30, float(z), alpha)) }
		}
		// The noise multipliers as float64, then exactly what s and v they have.
		at := func(s number) float64 { return float(div(unit, root(s))) }
		precision := func(z float64) number { return div(unit, mul(num(z), num(z))) }
		zs := [3]float64{at(num(low)), 0, at(num(high))}
		vl, vh := v(precision(zs[0])), v(precision(zs[2]))
		zs[1] = at(inverse(add(vl, mul(num(part), sub(vh, vl)))))
		vm := v(precision(zs[1]))
		var cs [3]number
		for j, z := range zs {
			cs[j] = cost(num(z))
		}
		chord := add(cs[0], mul(div(sub(vm, vl), sub(vh, vl)), sub(cs[2], cs[0])))
		bend := ratio(sub(chord, cs[1]), cs[1])
		if bend < -1e-16 {
			t.Errorf("case %d: %s q %.17g order %.17g: at z %.17g R is %.3g above the chord of %.17g and %.17g", i, kind, q, alpha, zs[1], -bend, zs[0], zs[2])
		}
		mutex.Lock()
		defer mutex.Unlock()
		if old, ok := least[kind]; !ok || bend < old {
			least[kind] = bend
		}
	})
	t.Logf("seed %d: %d chords; R lies below by at least %v of it", seed, points/3, least)
}
