package ledger

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"math/big"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/privsgld/privsgld/accountant"
)

// The simulation: analysts who pick each job from the answers and refusals
// before it ask one ledger of four data sets, under all kinds of cap, both
// filters and both neighbouring relations, while other jobs are settled for less,
// voided or left pending and the clock moves forwards and back. A judge that has
// nothing but the ledger's export and the list of requests, and computes every
// filter again from the formulas in 256 bits, must come to the same decision each
// time, by the same accounts. Nearly all of the analysts' greed goes to the limits:
// many jobs are aimed to be too dear, or cheap enough, by one part in 10¹⁰.

// A simRequest is what was asked, and what came of it.
type simRequest struct {
	before  int64 // entries in the ledger
	clock   time.Time
	dataset string
	run     string
	analyst string
	purpose string
	event   judgeEvent
	caps    []simTerms
	granted bool
	by      []string // that refused
}

type simTerms struct{ name, epsilon, delta string }

// Entries of the export, as its documentation describes them.
type simEntry struct {
	Version, Number                         int64
	Time, Nonce, Kind, Dataset, Run, Period string
	Registration                            *struct {
		Adjacency, Renews string
		Terms             simWireTerms
	}
	Cap *struct {
		Name  string
		Terms simWireTerms
	}
	Event       *judgeEvent
	Reservation *struct{ Analyst, Purpose string }
}

type simWireTerms struct {
	Method           string
	Epsilon, Delta   string
	ApproximateDelta string `json:"approximate_delta"`
	PureEpsilon      string `json:"pure_epsilon"`
	Order            float64
}

// A charge as the export tells of it: what it is charged after each entry.
type simCharge struct {
	dataset, period, analyst, purpose string
	reserved                          time.Time
	changes                           []simChange
}

type simChange struct {
	entry int64
	event *judgeEvent // nil: nothing
}

// at is what was charged before an entry.
func (c *simCharge) at(entry int64) (e *judgeEvent) {
	for _, change := range c.changes {
		if change.entry < entry {
			e = change.event
		}
	}
	return e
}

// pending reports whether the charge was neither settled nor void before an entry.
func (c *simCharge) pending(entry int64) bool {
	return len(c.changes) == 1 || c.changes[1].entry >= entry
}

// A judge decides again.
type judge struct {
	entries []simEntry
	charges []*simCharge
	orders  map[string]float64    // of rdp filters, by terms: which order an ε and δ get is the registration's to say
	memory  map[string]*big.Float // of costs and limits

	// Wrong rules, for the controls.
	forgetsPending, ignoresPurposes, ignoresMonths, followsClock, forgetsBefore bool
	tolerance                                                                   float64
}

func newJudge(t testing.TB, export []byte, memory map[string]*big.Float) *judge {
	t.Helper()
	lines := bytes.Split(bytes.TrimSuffix(export, []byte("\n")), []byte("\n"))
	var head struct {
		Schema  string
		Entries int64
	}
	if err := json.Unmarshal(lines[0], &head); err != nil || head.Schema != "privsgld/ledger-export/v1" || head.Entries != int64(len(lines)-1) {
		t.Fatalf("head %s: %v", lines[0], err)
	}
	j := &judge{orders: map[string]float64{}, memory: memory}
	byRun := map[string]*simCharge{}
	for _, line := range lines[1:] {
		var e simEntry
		if err := json.Unmarshal(line, &e); err != nil {
			t.Fatal(err)
		}
		j.entries = append(j.entries, e)
		switch {
		case e.Cap != nil:
			k := e.Cap.Name + e.Dataset
			if _, ok := j.orders[k]; !ok {
				j.orders[k] = e.Cap.Terms.Order
			} else if j.orders[k] != e.Cap.Terms.Order {
				t.Errorf("entry %d: a cap's order changed", e.Number)
			}
			if kind, _, _ := strings.Cut(e.Cap.Name, ":"); j.orders[termsKey(kind, e.Cap.Terms)] == 0 {
				j.orders[termsKey(kind, e.Cap.Terms)] = e.Cap.Terms.Order
			}
		case e.Kind == "reserve":
			at, err := time.Parse(time.RFC3339, e.Time)
			if err != nil {
				t.Fatal(err)
			}
			c := &simCharge{e.Dataset, e.Period, e.Reservation.Analyst, e.Reservation.Purpose, at, []simChange{{e.Number, e.Event}}}
			byRun[e.Run] = c
			j.charges = append(j.charges, c)
		case e.Kind == "settle", e.Kind == "void":
			c := byRun[e.Run]
			c.changes = append(c.changes, simChange{e.Number, e.Event})
		}
	}
	return j
}

func termsKey(kind string, t simWireTerms) string {
	return strings.Join([]string{kind, t.Method, t.Epsilon, t.Delta}, " ")
}

// A simAccount is a filter that the judge asks: its terms, and from which entry
// on charges are counted as they change; before it, as they were then.
type simAccount struct {
	name  string
	terms simWireTerms
	since int64
	holds func(c *simCharge) bool
}

// accounts finds the filters that a request must pass, by the entries before it.
func (j *judge) accounts(q simRequest) (all []simAccount, adjacency string) {
	now := q.clock.UTC().Truncate(time.Second)
	if q.before > 0 && !j.followsClock {
		if last, _ := time.Parse(time.RFC3339, j.entries[q.before-1].Time); last.After(now) {
			now = last
		}
	}
	policy := simAccount{name: "policy", since: -1}
	renews, period := "", ""
	caps := map[string]simAccount{}
	registered := false
	for _, e := range j.entries {
		if e.Dataset != q.dataset || e.Number >= q.before && (registered || e.Registration == nil) {
			continue
		}
		switch {
		case e.Registration != nil: // also where this request was the first
			registered = true
			policy.terms, adjacency, renews, period = e.Registration.Terms, e.Registration.Adjacency, e.Registration.Renews, e.Period
		case e.Kind == "close":
			period = e.Period
		case e.Cap != nil:
			a, again := caps[e.Cap.Name]
			if !again {
				a.since = e.Number
			}
			a.terms = e.Cap.Terms
			caps[e.Cap.Name] = a
		}
	}
	if p := simPeriod(renews, now); p > period || j.followsClock {
		period = p
	}
	inPeriod := func(c *simCharge) bool { return c.dataset == q.dataset && c.period == period }
	policy.holds = inPeriod
	all = append(all, policy)
	for _, c := range q.caps {
		kind, of, _ := strings.Cut(c.name, ":")
		if kind == "purpose" && j.ignoresPurposes || kind == "period" && j.ignoresMonths {
			continue
		}
		a, ok := caps[c.name]
		a.name = c.name
		if !ok {
			a.since = q.before
			a.terms = simWireTerms{Method: policy.terms.Method, Epsilon: c.epsilon, Delta: c.delta, ApproximateDelta: "0", PureEpsilon: "0"}
			a.terms.Order = j.orders[termsKey(kind, a.terms)]
		} else if mustRat(c.epsilon).Cmp(mustRat(a.terms.Epsilon)) < 0 {
			a.terms.Epsilon = c.epsilon // made smaller by this request
		}
		month := simPeriod(of, now)
		a.holds = func(charge *simCharge) bool {
			switch {
			case !inPeriod(charge):
				return false
			case kind == "analyst":
				return charge.analyst == of
			case kind == "purpose":
				return charge.purpose == of
			}
			return simPeriod(of, charge.reserved) == month
		}
		all = append(all, a)
	}
	return all, adjacency
}

func simPeriod(renews string, t time.Time) string {
	switch y, m := t.Year(), int(t.Month()); renews {
	case "monthly":
		return fmt.Sprintf("%04d-%02d", y, m)
	case "quarterly":
		return fmt.Sprintf("%04d-Q%d", y, (m-1)/3+1)
	case "yearly":
		return fmt.Sprintf("%04d", y)
	}
	return "always"
}

// spent is what an account has been charged before an entry: its loss, and its
// pure ε where the terms set a share of it aside.
func (j *judge) spent(a simAccount, adjacency string, before int64) (loss *big.Float, pure *big.Rat) {
	loss, pure = bigFloat(0), new(big.Rat)
	for _, c := range j.charges {
		if c.changes[0].entry >= before || !a.holds(c) {
			continue
		}
		if j.forgetsPending && c.pending(before) || j.forgetsBefore && c.changes[0].entry < a.since {
			continue
		}
		at := before
		if c.changes[0].entry < a.since {
			at = min(before, a.since)
		}
		if e := c.at(at); e != nil {
			l, p := j.cost(a, adjacency, *e)
			loss, pure = bigAdd(loss, l), pure.Add(pure, p)
		}
	}
	return loss, pure
}

func (j *judge) cost(a simAccount, adjacency string, e judgeEvent) (*big.Float, *big.Rat) {
	if e.Type == "composition" {
		loss, pure := bigFloat(0), new(big.Rat)
		for _, inner := range e.Events {
			l, p := j.cost(a, adjacency, inner)
			loss, pure = bigAdd(loss, l), pure.Add(pure, p)
		}
		return loss, pure
	}
	if e.Type == "pure" && mustRat(a.terms.PureEpsilon).Sign() > 0 {
		return bigFloat(0), new(big.Rat).Mul(mustRat(e.Epsilon), new(big.Rat).SetInt64(e.Count))
	}
	one := e
	one.Count = 1
	k := fmt.Sprint(a.terms.Method, a.terms.Order, adjacency, one)
	if j.memory[k] == nil {
		j.memory[k] = lossOf(a.terms.Method, adjacency, a.terms.Order, one)
	}
	return bigMul(j.memory[k], bigFloat(float64(e.Count))), new(big.Rat)
}

func (j *judge) limit(a simAccount) *big.Float {
	k := fmt.Sprint("limit", a.terms)
	if j.memory[k] == nil {
		eps := new(big.Rat).Sub(mustRat(a.terms.Epsilon), mustRat(a.terms.PureEpsilon))
		delta := new(big.Rat).Sub(mustRat(a.terms.Delta), mustRat(a.terms.ApproximateDelta))
		j.memory[k] = limitOf(a.terms.Method, eps, delta, a.terms.Order)
	}
	return bigMul(j.memory[k], bigFloat(1+j.tolerance))
}

// refusals are the accounts that do not hold the request, and by how much the
// nearest of all decisions was away from its limit, as a share of it.
func (j *judge) refusals(q simRequest) (by []string, nearest float64) {
	all, adjacency := j.accounts(q)
	nearest = math.Inf(1)
	for _, a := range all {
		loss, pure := j.spent(a, adjacency, q.before)
		l, p := j.cost(a, adjacency, q.event)
		loss, pure = bigAdd(loss, l), pure.Add(pure, p)
		limit := j.limit(a)
		if loss.Cmp(limit) > 0 || pure.Cmp(mustRat(a.terms.PureEpsilon)) > 0 {
			by = append(by, a.name)
		}
		away, _ := bigQuo(bigSub(loss, limit), limit).Float64()
		nearest = min(nearest, math.Abs(away))
	}
	return by, nearest
}

// disagreements counts the requests that a judge decides otherwise.
func (j *judge) disagreements(requests []simRequest) (n int, first *simRequest) {
	for i, q := range requests {
		if by, _ := j.refusals(q); !slices.Equal(by, q.by) {
			if n++; first == nil {
				first = &requests[i]
			}
		}
	}
	return n, first
}

// simSet is a data set of the simulation and its policy.
type simSet struct {
	reg     Registration
	perKind map[string]string // ε of the caps: analyst, purpose, monthly, quarterly
	from    map[string]int    // step from which on a cap is in the policy
	smaller map[string]string // ε of the cap of ann after the middle
}

func simSets() []simSet {
	set := func(name string, method accountant.Method, adj accountant.Adjacency, renews, eps, pure string, caps map[string]string) simSet {
		reg := testRegistration(testTerms(method, eps, "1e-6"))
		reg.Dataset, reg.Adjacency, reg.Renews = name, adj, renews
		if pure != "" {
			reg.Terms.PureEpsilon = accountant.MustAmount(pure)
		}
		return simSet{reg: reg, perKind: caps, from: map[string]int{}}
	}
	sets := []simSet{
		set("a", accountant.MethodRDP, accountant.AddRemove, "never", "30", "", map[string]string{"analyst": "16", "purpose": "5", "monthly": "3"}),
		set("b", accountant.MethodGDP, accountant.AddRemove, "monthly", "3", "", map[string]string{"analyst": "2", "purpose": "2"}),
		set("c", accountant.MethodRDP, accountant.ReplaceOne, "quarterly", "6", "1.5", map[string]string{"analyst": "4", "monthly": "3"}),
		set("d", accountant.MethodGDP, accountant.ReplaceOne, "yearly", "8", "", map[string]string{"purpose": "5", "monthly": "2", "quarterly": "4"}),
	}
	sets[0].from["purpose"], sets[3].from["monthly"] = 1, 2 // quarters of the simulation
	sets[1].smaller = map[string]string{"analyst": "1.5"}
	return sets
}

// terms are the caps of a request in that step.
func (s simSet) terms(analyst, purpose string, quarter int) (caps []Cap, plain []simTerms) {
	for _, kind := range []string{"analyst", "purpose", "monthly", "quarterly"} {
		eps, ok := s.perKind[kind]
		if !ok || quarter < s.from[kind] {
			continue
		}
		if less, ok := s.smaller[kind]; ok && quarter >= 2 && analyst == "ann" {
			eps = less
		}
		name := map[string]string{"analyst": "analyst:" + analyst, "purpose": "purpose:" + purpose}[kind]
		if name == "" {
			name = "period:" + kind
		}
		caps = append(caps, Cap{name, testTerms(s.reg.Terms.Method, eps, "1e-6")})
		plain = append(plain, simTerms{name, eps, "1e-6"})
	}
	return caps, plain
}

// plainEvent reads an event as the judge does: from its JSON in an export.
func plainEvent(t testing.TB, e accountant.Event) (out judgeEvent) {
	t.Helper()
	text, err := json.Marshal(eventToWire(e.Merge()))
	if err == nil {
		err = json.Unmarshal(text, &out)
	}
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func simulate(t *testing.T, seed uint64, jobs int) {
	c := startClock()
	l, err := Open(ctx, Options{StateDir: t.TempDir(), Clock: c.now})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if _, err := l.store.(*sqliteStore).db.Exec("PRAGMA synchronous = OFF"); err != nil {
		t.Fatal(err) // durability is not what this is about
	}
	r := rand.New(rand.NewPCG(seed, 7))
	export := func() []byte {
		var out bytes.Buffer
		if err := l.Export(ctx, &out); err != nil {
			t.Fatal(err)
		}
		return out.Bytes()
	}
	sets := simSets()
	memory := map[string]*big.Float{}
	var requests []simRequest
	type open struct {
		r *Reservation
		z float64
		q Request
	}
	var pending []open
	now := c.t
	answer, entries, granted, aimed := 0.0, int64(0), 0, 0
	ended := map[string]int{}
	end := func(i int) {
		o := pending[i]
		pending = slices.Delete(pending, i, i+1)
		kind, err := "settled", error(nil)
		switch r.IntN(4) {
		case 0:
			kind, err = "void", l.Void(ctx, o.r)
		case 1:
			_, err = l.Settle(ctx, o.r, o.q.Event)
		default:
			kind = "settled for less"
			less := accountant.Compose()
			if o.z > 0 {
				less = accountant.Gaussian(o.q.Adjacency, o.z*(1+r.Float64()), 1)
			}
			_, err = l.Settle(ctx, o.r, less)
		}
		switch {
		case err == nil:
			entries++
		case errors.Is(err, ErrCharge):
			kind = "closed"
		default:
			t.Fatal(err)
		}
		ended[kind]++
	}
	for i := range jobs {
		if r.IntN(6) == 0 {
			now = now.AddDate(0, 0, r.IntN(16))
		}
		if c.t = now; r.IntN(12) == 0 {
			c.t = now.AddDate(0, 0, -r.IntN(400))
		}
		// The next job follows the last answer: where to look on, for whom, how closely.
		s := sets[int(math.Abs(answer)*7+r.Float64()*2)%len(sets)]
		analyst := []string{"ann", "bob"}[b2i(answer > 0.3)]
		purpose := []string{"research", "teaching"}[b2i(math.Mod(math.Abs(answer)*10, 1) < 0.6)]
		caps, plain := s.terms(analyst, purpose, 4*i/jobs)
		q := Request{RunID: fmt.Sprint("job ", i), Kind: "run", Analyst: analyst, Purpose: purpose, Registration: s.reg,
			JobEpsilon: accountant.MustAmount("1"), JobDelta: s.reg.Terms.Delta, Caps: caps}
		scale := 4 + 12*r.Float64()/(1+answer*answer)
		z := 0.0
		ask := simRequest{before: entries, clock: c.t, dataset: s.reg.Dataset, run: q.RunID, analyst: analyst, purpose: purpose, caps: plain}
		switch kind := r.IntN(10); {
		case kind < 4:
			z = scale
			q.Event = accountant.Gaussian(s.reg.Adjacency, z, 1+int64(r.IntN(3)))
		case kind == 4:
			q.Event = accountant.PoissonGaussian(s.reg.Adjacency, []float64{0.1, 0.25}[r.IntN(2)], 2.5, 1+int64(r.IntN(40)))
			if s.reg.Terms.Method == accountant.MethodGDP {
				q.Event = accountant.PoissonGaussian(s.reg.Adjacency, 0.25, 4.5, 1)
			}
		case kind == 5:
			q.Event = accountant.Pure(s.reg.Adjacency, accountant.MustAmount([]string{"0.1", "0.25", "0.05"}[r.IntN(3)]), 1+int64(r.IntN(2)))
		case kind == 6:
			z = 2 * scale
			q.Event = accountant.Compose(accountant.Gaussian(s.reg.Adjacency, z, 1), accountant.Laplace(s.reg.Adjacency, 8, 1))
			if !s.reg.Terms.PureEpsilon.IsZero() {
				q.Event = accountant.Compose(accountant.Gaussian(s.reg.Adjacency, z, 1), accountant.Pure(s.reg.Adjacency, accountant.MustAmount("0.01"), 1))
			}
		default:
			// Aimed at the tightest limit, just above or just below it.
			z = newJudge(t, export(), memory).aim(t, ask, []float64{1 + 1e-10, 1 - 1e-10}[r.IntN(2)])
			if z == 0 {
				z = scale
			} else {
				aimed++
			}
			q.Event = accountant.Gaussian(s.reg.Adjacency, z, 1)
		}
		ask.event = plainEvent(t, q.Event)
		reservation, err := l.Reserve(ctx, q)
		var refused *Refused
		switch {
		case err == nil:
			ask.granted = true
			granted++
			entries = reservation.Entry + 1
			pending = append(pending, open{reservation, z, q})
			answer = 0.3 + r.NormFloat64()/2
		case errors.As(err, &refused):
			ask.by = refused.By
			answer = refused.GrantableEpsilon
		default:
			t.Fatal(err)
		}
		requests = append(requests, ask)
		if len(pending) > 0 && r.IntN(4) == 0 {
			end(r.IntN(len(pending)))
		}
	}
	mustVerify(t, l)

	final := export()
	j := newJudge(t, final, memory)
	if int64(len(j.entries)) != entries {
		t.Fatalf("%d entries were exported, %d written", len(j.entries), entries)
	}
	near := 0
	byKind := map[string]int{}
	for _, q := range requests {
		by, nearest := j.refusals(q)
		if !slices.Equal(by, q.by) || q.granted != (len(by) == 0) {
			t.Errorf("%s on %s after %d entries: the ledger granted it %v (refused by %v), the judge says %v; %.2g from a limit", q.run, q.dataset, q.before, q.granted, q.by, by, nearest)
		}
		if nearest < 1e-9 {
			near++
		}
		for _, name := range by {
			kind, _, _ := strings.Cut(name, ":")
			byKind[kind]++
		}
	}
	t.Logf("seed %d: %d jobs, %d granted; %d aimed, %d within 1e-9 of a limit; refusals %v; %v, %d pending", seed, jobs, granted, aimed, near, byKind, ended, len(pending))
	if granted < jobs/5 || granted > jobs*9/10 || near < jobs/20 || ended["void"] == 0 || ended["closed"] == 0 || len(pending) == 0 {
		t.Error("the simulation decides too little")
	}
	for _, kind := range []string{"policy", "analyst", "purpose", "period"} {
		if byKind[kind] == 0 {
			t.Errorf("nothing was refused by %s", kind)
		}
	}
	for name, wrong := range map[string]func(*judge){
		"forgets pending charges":                    func(j *judge) { j.forgetsPending = true },
		"ignores the caps of purposes":               func(j *judge) { j.ignoresPurposes = true },
		"ignores the caps of periods":                func(j *judge) { j.ignoresMonths = true },
		"forgets what was charged before a cap":      func(j *judge) { j.forgetsBefore = true },
		"follows a clock that is set back":           func(j *judge) { j.followsClock = true },
		"tolerates one part in a billion":            func(j *judge) { j.tolerance = 1e-9 },
		"stops one part in a billion before a limit": func(j *judge) { j.tolerance = -1e-9 },
	} {
		control := newJudge(t, final, memory)
		wrong(control)
		n, first := control.disagreements(requests)
		if n == 0 {
			t.Errorf("a filter that %s is not noticed", name)
			continue
		}
		t.Logf("a filter that %s decides %d of %d otherwise, first %s", name, n, len(requests), first.run)
	}
}

// aim returns the noise of a Gaussian that takes the account that is nearest to
// its limit to a share of it; 0 where nothing is left.
func (j *judge) aim(t testing.TB, q simRequest, share float64) float64 {
	t.Helper()
	z := 0.0
	if q.before == 0 {
		return 0
	}
	all, adjacency := j.accounts(q)
	for _, a := range all {
		if a.terms.Method == "rdp" && a.terms.Order == 0 || a.terms.Method == "" {
			return 0 // its first request says at which order it counts
		}
		loss, _ := j.spent(a, adjacency, q.before)
		left, _ := bigSub(bigMul(j.limit(a), bigFloat(share)), loss).Float64()
		if left <= 0 {
			return 0
		}
		each, _ := lossOf(a.terms.Method, adjacency, a.terms.Order, judgeEvent{Type: "gaussian", NoiseMultiplier: 1, Count: 1}).Float64()
		z = max(z, math.Sqrt(each/left))
	}
	return z
}

func b2i(b bool) int {
	if b {
		return 1
	}
	return 0
}
