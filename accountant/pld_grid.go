package accountant

import (
	"math"
	"slices"
	"sort"
)

const (
	maxCells = 1 << 18
)

// lattice is the grid of losses i·h on which cells end. h has 20 significant
// bits, so that i·h is exact.
type lattice struct {
	h       float64
	width   int64   // of cells in the core
	most    float64 // of others, in nats, or a sixteenth of the loss
	share   float64 // of the core's variance that each factor e of the tails may add
	crowded bool    // some loss had too many cells
	// The mass beyond each of some losses, in the tilted distributions that
	// the grid must serve; out there cells may be wider.
	beyond []tailMass
}

// tailMass holds ascending losses with the mass up to and from each.
type tailMass struct{ loss, upTo, from []float64 }

func newTailMass(loss, mass []float64) tailMass {
	n := len(loss)
	t := tailMass{loss, make([]float64, n), make([]float64, n)}
	for i := range n {
		t.upTo[i] = mass[i]
		t.from[n-1-i] = mass[n-1-i]
		if i > 0 {
			t.upTo[i] += t.upTo[i-1]
			t.from[n-1-i] += t.from[n-i]
		}
	}
	return t
}

// outside is about the largest of min(mass below, mass above) between a and b.
func (t tailMass) outside(a, b float64) float64 {
	i := sort.SearchFloat64s(t.loss, a)
	j := sort.SearchFloat64s(t.loss, b)
	from, upTo := t.from[max(0, i-1)], t.upTo[min(len(t.loss)-1, j)]
	return min(from, upTo)
}

func (g *lattice) loss(i int64) float64 { return float64(i) * g.h }

// cut returns the ends of cells that cover [low, high], 0 among them where it
// lies inside; nil where they are too many. Splitting a cell of width w adds up to
// w²/4 to the loss's variance; in the tails, where the mass beyond is s, cells of
// width/√s cost as much together for each factor e of s.
func (g *lattice) cut(low, high float64) []int64 {
	walk := func(end float64, sign int64) []int64 {
		var at []int64
		i, w := int64(0), g.width
		for float64(sign)*g.loss(i) < end {
			for w = max(w+1, w+w/8); w > g.width; w -= max(1, w/8) {
				if g.loss(w) > max(g.most, min(math.Abs(g.loss(i))/16, 256)) {
					continue
				}
				s := 0.0
				for _, t := range g.beyond {
					a, b := g.loss(i), g.loss(i+sign*w)
					s = max(s, t.outside(min(a, b), max(a, b)))
				}
				if ratio := float64(w) / float64(g.width); ratio*ratio*s <= g.share {
					break
				}
			}
			w = max(w, g.width)
			i += sign * w
			if len(at) > maxCells || math.Abs(float64(i)) > 1<<30 {
				g.crowded = true
				return nil
			}
			at = append(at, i)
		}
		return at
	}
	if !(high-low >= 0) || math.IsInf(high-low, 0) {
		return nil
	}
	below, above := walk(-low, -1), walk(high, 1)
	if low < 0 && below == nil || high > 0 && above == nil {
		return nil
	}
	slices.Reverse(below)
	return append(append(below, 0), above...)
}

const tailShare = 0.01

// around returns the grid points next to some losses.
func (g *lattice) around(losses ...float64) []int64 {
	at := make([]int64, 0, 4*len(losses))
	for _, l := range losses {
		if !(math.Abs(l)/g.h < 1<<30) {
			return nil
		}
		i := int64(math.Floor(l / g.h))
		at = append(at, i-1, i, i+1, i+2)
	}
	slices.Sort(at)
	return slices.Compact(at)
}

// losses is a loss distribution on the cells of a grid: of cell j, between the
// grid points at[j] and at[j+1], up[j] goes to the upper end and down[j] to the
// lower. err[j] bounds the relative error of both.
type lossCells struct {
	at       []int64
	up, down []float64
	err      []float64
	exact    []mass  // atoms on grid points
	fringe   []mass  // beyond the cells, moved up to a grid point
	inf      float64 // beyond all: as if infinite
	slack    float64 // by which some atoms lie too high
	last     int
}

type mass struct {
	at int64
	p  float64
}

func newLosses(at []int64) *lossCells {
	if len(at) < 2 {
		return nil
	}
	n := len(at) - 1
	v := make([]float64, 3*n)
	return &lossCells{at: at, up: v[:n:n], down: v[n : 2*n : 2*n], err: v[2*n:]}
}

func (c *lossCells) add(at int64, p float64) { c.fringe = append(c.fringe, mass{at, p}) }

// atom adds mass at a loss known to within slip, with the given relative error.
func (c *lossCells) atom(g *lattice, loss, slip, p, rounding float64, low bool) {
	slip += 4 * ulp * math.Abs(loss)
	if low {
		// Next to a grid point it is set on it; what it is lifted by is
		// taken off ε in the end.
		i := math.Round(loss / g.h)
		lift := i*g.h - (loss - slip)
		if math.Abs(lift) <= math.Abs(loss)*nearGrid+2*slip && math.Abs(i) < 1<<30 {
			if _, ok := slices.BinarySearch(c.at, int64(i)); ok {
				c.exact = append(c.exact, mass{int64(i), p * (1 - rounding - ulp)})
				c.slack = max(c.slack, up(lift, 4))
				return
			}
		}
		slip = -slip
	}
	loss += slip
	j := c.last
	for j > 0 && g.loss(c.at[j]) > loss {
		j--
	}
	for j < len(c.up)-1 && g.loss(c.at[j+1]) <= loss {
		j++
	}
	c.last = j
	w := g.loss(c.at[j+1] - c.at[j])
	off := loss - g.loss(c.at[j])
	switch {
	case off < 0 && low:
		return
	case off < 0:
		off = 0
	case off > w && !low:
		c.inf += p * (1 + rounding + 4*ulp)
		return
	case off > w:
		off = w
	}
	c.up[j] += p * min(1, math.Expm1(-off)/math.Expm1(-w))
	c.down[j] += p * max(0, math.Expm1(w-off+math.Copysign(ulp*w, slip))) / math.Expm1(w)
	c.err[j] = max(c.err[j], rounding+16*ulp)
}

// reverse is the distribution of −L under Q.
func (c *lossCells) reverse(g *lattice) *lossCells {
	n := len(c.up)
	at := make([]int64, n+1)
	for i, l := range c.at {
		at[n-i] = -l
	}
	r := newLosses(at)
	for j := range n {
		i := n - 1 - j
		a, b := g.loss(c.at[i]), g.loss(c.at[i+1])
		r.up[j] = c.down[i] * math.Exp(-a)
		r.down[j] = c.up[i] * math.Exp(-b)
		r.err[j] = c.err[i] + ulp*(4+math.Abs(a)+math.Abs(b))
	}
	return r
}

// mirror is the symmetric distribution whose part above 0 is c, which begins there.
func (c *lossCells) mirror(g *lattice) *lossCells {
	n := len(c.up)
	r := c.reverse(g)
	m := newLosses(append(r.at, c.at[1:]...))
	copy(m.up, r.up)
	copy(m.down, r.down)
	copy(m.err, r.err)
	copy(m.up[n:], c.up)
	copy(m.down[n:], c.down)
	copy(m.err[n:], c.err)
	m.inf = c.inf
	return m
}

// place adds the atoms on grid points to p.
func (c *lossCells) place(p lossPoints, atoms []mass) {
	for _, m := range atoms {
		i, _ := slices.BinarySearch(c.at, m.at)
		p.mass[i] += m.p
	}
}

// lossPoints is a loss distribution on grid points, ascending.
type lossPoints struct {
	at    []int64
	mass  []float64
	inf   float64
	slack float64
}

// nearGrid is how close, relative to its loss, an atom is next to a grid point:
// a grid made for it is off by less, its spacing having 20 bits.
const nearGrid = 0x1p-18

// high is the distribution that dominates: every mass where splitting puts it,
// raised by its error (δ is non-decreasing in every mass). This is connect-the-dots
// (Doroshenko, Ghazi, Kamath, Kumar & Manurangsi 2022, arXiv:2207.04380): the
// profile is exact at the grid points, and a chord in e^ε between them.
func (c *lossCells) high() lossPoints {
	p := lossPoints{at: c.at, mass: make([]float64, len(c.at)), inf: c.inf}
	for j := range c.up {
		p.mass[j] += c.down[j] * (1 + c.err[j])
		p.mass[j+1] += c.up[j] * (1 + c.err[j])
	}
	c.place(p, c.exact)
	c.place(p, c.fringe)
	for i := range p.mass {
		p.mass[i] *= 1 + 4*ulp
	}
	return p
}

// low is a distribution that is dominated: post-processing of the cells. A share
// α of cell j joins 1−α of cell j+1 in one outcome, whose loss is at least the grid
// point between them as long as
//
//	α_j·down_j·(e^w − 1) ≤ (1−α_(j+1))·up_(j+1)·(1 − e^−w′),
//
// and is set down on it. The shares follow that recursion, so that the loss is short
// by O(w²) only: inwards from both ends, or outwards from the fullest cell, whichever
// does better.
func (c *lossCells) low(g *lattice) lossPoints {
	n := len(c.up)
	lack := make([]float64, n)   // e^l′·Q − P of a cell
	room := make([]float64, n+1) // P − e^l·Q
	full := 0
	for j := range n {
		w := g.loss(c.at[j+1] - c.at[j])
		lack[j] = c.down[j] * (1 + c.err[j]) * math.Expm1(w)
		room[j] = c.up[j] * max(0, 1-c.err[j]) * -math.Expm1(-w) * (1 - 16*ulp)
		if c.up[j]+c.down[j] > c.up[full]+c.down[full] {
			full = j
		}
	}
	// most is the largest α of cell j if beta of cell j+1 joins it, and need the
	// least beta.
	most := func(j int, beta float64) float64 {
		if beta *= room[j+1]; lack[j] > beta {
			return beta / lack[j]
		}
		return 1
	}
	need := func(j int, alpha float64) float64 {
		if alpha *= lack[j]; room[j+1] > alpha {
			return alpha / room[j+1]
		}
		return 1
	}
	// upward fixes α of cells from … to−1 given what cell from leaves, downward
	// those of to−1 … from given what cell to takes.
	upward := func(share []float64, from, to int, used float64) {
		for j := from; j < to; j++ {
			share[j] = min(1-used, most(j, 1))
			used = need(j, share[j])
		}
	}
	downward := func(share []float64, from, to int, beta float64) {
		for j := to - 1; j >= from; j-- {
			share[j] = most(j, beta)
			beta = 1 - share[j]
		}
	}
	settle := func(share []float64) (lossPoints, float64) {
		downward2 := 0.0
		for j := n - 1; j >= 0; j-- {
			share[j] = min(share[j], most(j, downward2))
			downward2 = 1 - share[j]
		}
		p, mean := lossPoints{at: c.at, mass: make([]float64, n+1), slack: c.slack}, 0.0
		for j := range n {
			m := (c.up[j] + c.down[j]) * max(0, 1-c.err[j]) * (1 - 8*ulp)
			p.mass[j] += (1 - share[j]) * m
			p.mass[j+1] += share[j] * m
			mean += m * (g.loss(c.at[j]) + share[j]*g.loss(c.at[j+1]-c.at[j]))
		}
		c.place(p, c.exact)
		return p, mean
	}
	in, out := make([]float64, n), make([]float64, n)
	upward(in, 0, full, 0)
	downward(in, full, n, 0)
	share := 0.5
	if full+1 < n {
		share = room[full+1] / (room[full+1] + lack[full])
	}
	out[full] = share
	upward(out, full+1, n, need(full, share))
	downward(out, 0, full, 1-share)
	a, meanA := settle(in)
	b, meanB := settle(out)
	if meanB > meanA {
		return b
	}
	return a
}
