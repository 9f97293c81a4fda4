package sgld

import (
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"maps"
	"math"
	"slices"

	"github.com/privsgld/privsgld/accountant"
)

// Points has a run keep resume points. Save makes a point durable before it returns;
// no step beyond a point runs before that, so that an attempt that was killed has run
// the steps of [Point.Again] at most since the point that is kept.
type Points struct {
	From *Point // nil: from the start
	Save func(*Point) error
}

// A Point is what a run goes on from. All of it is covered by events: bought answers,
// a chain's state vectors and draws are outputs of mechanisms that were charged, and
// the rest is public. It holds nothing of a generator, and no row.
type Point struct {
	Count *int64   `json:"count,omitempty"` // noisy count
	Gram  Vector   `json:"gram,omitempty"`  // noisy Gram matrix, row-major
	Every int64    `json:"every"`           // steps from one point to the next, over all chains
	Done  int64    `json:"done"`            // steps done, over all chains
	State []Vector `json:"state"`           // of the chain in hand, see chain.vectors
	Ran   []Ran    `json:"ran"`             // what was counted where the noise was drawn

	Draws [][]Vector `json:"draws"` // kept so far, of each chain

	// Again are the events of the steps from this point up to the next: what an
	// attempt that is killed may have done, and the next attempt may do again.
	Again []Ran `json:"again"`
}

// Ran counts steps of one noise multiplier.
type Ran struct {
	NoiseMultiplier float64 `json:"noise_multiplier"`
	Steps           int64   `json:"steps"`
}

// Vector is a vector that reads back to the same bits.
type Vector []float64

// MarshalJSON writes the bits in base64, little-endian.
func (v Vector) MarshalJSON() ([]byte, error) {
	raw := make([]byte, 0, 8*len(v))
	for _, x := range v {
		raw = binary.LittleEndian.AppendUint64(raw, math.Float64bits(x))
	}
	return json.Marshal(base64.StdEncoding.EncodeToString(raw))
}

// UnmarshalJSON reads what MarshalJSON wrote.
func (v *Vector) UnmarshalJSON(text []byte) error {
	var raw []byte
	if err := json.Unmarshal(text, &raw); err != nil || len(raw)%8 != 0 {
		return errPoint
	}
	*v = make(Vector, len(raw)/8)
	for i := range *v {
		(*v)[i] = math.Float64frombits(binary.LittleEndian.Uint64(raw[8*i:]))
	}
	return nil
}

var errPoint = errors.New("the resume point is of another run")

// Figures of resume points: habits, not guarantees.
const (
	pointsFrom    = 60      // predicted seconds from which a run has any
	pointSeconds  = 10      // predicted seconds between two
	pointsAtLeast = 20      // in a run
	mostKept      = 1 << 23 // numbers in the draws of a run that has points
)

// PointEvery is the number of steps between two resume points, over all chains: a
// function of the plan and of the machine's processors. It is 0 for a run that is too
// short to need any, or keeps too many draws to write them again and again.
func (p *Plan) PointEvery() int64 {
	r := &p.Request
	steps := p.Steps * int64(r.Chains)
	seconds := p.Seconds()
	if seconds < pointsFrom || r.Draws*r.Chains*len(r.Encoding.Coefficients) > mostKept {
		return 0
	}
	return max(1, min(steps/pointsAtLeast, int64(float64(steps)/seconds*pointSeconds)))
}

// AgainEvent is the event of what the next attempt at a run may do again.
func (p *Plan) AgainEvent(at *Point) accountant.Event {
	var events []accountant.Event
	for _, r := range at.Again {
		events = append(events, stepEvent(p.Request.Adjacency, p.Rate, r.NoiseMultiplier, r.Steps))
	}
	return accountant.Compose(events...)
}

// between counts the steps from one number of steps to another, over all chains.
func (p *Plan) between(from, to int64) []Ran {
	ran := map[float64]int64{}
	for from < to {
		end := from - from%p.Steps // of the segment, over all chains
		for _, s := range p.Segments {
			if end += s.Steps; end > from {
				n := min(end, to) - from
				ran[s.NoiseMultiplier] += n
				if from += n; from == to {
					break
				}
			}
		}
	}
	return counted(ran)
}

func counted(ran map[float64]int64) []Ran {
	out := []Ran{}
	for _, z := range slices.Sorted(maps.Keys(ran)) {
		out = append(out, Ran{z, ran[z]})
	}
	return out
}

// A keeper saves points at the steps where they are due.
type keeper struct {
	save   func(*Point) error // nil: none
	plan   *Plan
	sum    *noisySum
	every  int64
	last   int64         // steps done at the last point; -1: there is none
	made   Point         // what all points of the run have
	chains [][][]float64 // draws of the chains before the one in hand
}

// at is called before each step of a chain.
func (k *keeper) at(c *chain) error {
	p := k.plan
	done := int64(len(k.chains))*p.Steps + c.done
	if k.every == 0 || done%k.every != 0 || done == k.last {
		return nil
	}
	k.last = done
	point := k.made
	point.Every, point.Done = k.every, done
	for _, v := range c.vectors() {
		point.State = append(point.State, slices.Clone(v))
	}
	for _, draws := range append(slices.Clone(k.chains), c.draws) {
		of := make([]Vector, len(draws))
		for i, d := range draws {
			of[i] = d
		}
		point.Draws = append(point.Draws, of)
	}
	point.Ran = counted(k.sum.ran)
	point.Again = p.between(done, min(done+k.every, p.Steps*int64(p.Request.Chains)))
	return k.save(&point)
}

// vectors are what a chain's later steps depend on, in one order; θ stands beside φ,
// since a start from the prior is no rounded Rφ.
func (c *chain) vectors() [][]float64 {
	return [][]float64{c.phi, c.theta, c.move, c.square, c.scale}
}

func plain(draws []Vector) [][]float64 {
	out := make([][]float64, len(draws))
	for i, d := range draws {
		out[i] = d
	}
	return out
}

// restore sets a chain, and what was counted, from a point of the same plan.
func (at *Point) restore(p *Plan, c *chain, sum *noisySum) error {
	to := c.vectors()
	if len(at.State) != len(to) {
		return errPoint
	}
	for i, v := range at.State {
		if len(v) != len(to[i]) {
			return errPoint
		}
		copy(to[i], v)
	}
	for _, draws := range at.Draws {
		for _, d := range draws {
			if len(d) != len(c.phi) {
				return errPoint
			}
		}
	}
	if !slices.Equal(at.Ran, p.between(0, at.Done)) {
		return errPoint
	}
	for _, r := range at.Ran {
		sum.ran[r.NoiseMultiplier] += r.Steps
	}
	c.done = at.Done % p.Steps
	c.draws = append(c.draws, plain(at.Draws[len(at.Draws)-1])...)
	return nil
}

// fits says whether a point can be one of the plan.
func (at *Point) fits(p *Plan) bool {
	steps := p.Steps * int64(p.Request.Chains)
	if at.Every < 1 || at.Done < 0 || at.Done >= steps || at.Done%at.Every != 0 {
		return false
	}
	if int64(len(at.Draws)) != at.Done/p.Steps+1 || len(at.Draws[len(at.Draws)-1]) > p.Request.Draws {
		return false
	}
	return slices.Equal(at.Again, p.between(at.Done, min(at.Done+at.Every, steps)))
}
