package sgld

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"math"
	"reflect"
	"slices"
	"testing"

	"github.com/privsgld/privsgld/accountant"
	"github.com/privsgld/privsgld/privacy"
)

// streams are those of a run whose generator may be switched between two steps. They
// remember all words.
type streams struct {
	seed  uint64
	words []uint64
}

func (s *streams) bits(use string) privacy.Bits { return &switched{all: s, use: use} }

type switched struct {
	all  *streams
	use  string
	seed uint64
	now  privacy.Bits
}

func (b *switched) Uint64() uint64 {
	if b.now == nil || b.seed != b.all.seed {
		b.seed, b.now = b.all.seed, privacy.NewSeeded(b.all.seed, b.use)
	}
	w := b.now.Uint64()
	b.all.words = append(b.all.words, w)
	return w
}

// replayed gives the words of another run, which is all that it knows of a generator.
type replayed struct{ words *[]uint64 }

func (r replayed) Uint64() uint64 {
	w := (*r.words)[0]
	*r.words = (*r.words)[1:]
	return w
}

var errKilled = errors.New("killed")

// longPlans have points, by a prediction that is far above what they take: every 6 of
// 120 steps, or over the end of a chain and in the middle of a segment.
func longPlans(t *testing.T) (*design, map[string]*Plan) {
	t.Helper()
	g, enc := robustDesign(t)
	plans := map[string]*Plan{}
	for name, change := range map[string]func(*Plan){
		"full":     func(*Plan) {},
		"sampled":  func(p *Plan) { p.Rate = 0.8 },
		"chains":   func(p *Plan) { p.Request.Chains, p.Steps, p.Segments[0].Steps, p.Thin = 3, 47, 47, 3 },
		"momentum": func(p *Plan) { p.Sampler, p.Momentum = SamplerSGHMC, 0.6 },
		"psgld":    func(p *Plan) { p.Sampler = SamplerPSGLD },
		"timed":    func(p *Plan) { p.Request.Schedule.Alpha = 0.5 },
		"zero":     func(p *Plan) { p.Request.Init = InitZero },
		"segments": func(p *Plan) {
			p.Segments = []Segment{{Steps: 7, StepSize: 0.02, NoiseMultiplier: 300}, {Steps: 40, StepSize: 0.01, NoiseMultiplier: 310}, {Steps: 73, StepSize: 0.005, NoiseMultiplier: 320}}
		},
		"bought": func(p *Plan) { p.Metric, p.GramNoiseMultiplier, p.gramNu = MetricBought, 20, 1 },
	} {
		p := robustPlan(enc, 1, 0.02, 10, 9)
		p.Warmup, p.Steps, p.Segments[0].Steps = 30, 120, 120
		change(p)
		p.facts.cost, p.Units = 1, 1e12
		p.Units *= float64(p.Steps) * float64(p.Request.Chains) / p.Seconds() // a second a step
		plans[name] = p
	}
	return g, plans
}

// TestResumedRun: a run that was killed after a point and went on from it with another
// generator has the draws and events, to the last bit, of one whose generator was
// switched at that point: what is restored is all that a chain depends on.
func TestResumedRun(t *testing.T) {
	g, plans := longPlans(t)
	for name, p := range plans {
		every := p.PointEvery()
		steps := p.Steps * int64(p.Request.Chains)
		if every < 2 || every > steps/pointsAtLeast {
			t.Fatalf("%s: a point every %d of %d steps", name, every, steps)
		}
		for at := int64(0); at < steps; at += every {
			one := &streams{seed: 1}
			whole, err := runFrom(context.Background(), p, g, one.bits, Points{Save: func(point *Point) error {
				if point.Done == at {
					one.seed = 2
				}
				return nil
			}}, nil)
			if err != nil {
				t.Fatal(name, err)
			}
			var saved []byte
			killed := &streams{seed: 1}
			_, err = runFrom(context.Background(), p, g, killed.bits, Points{Save: func(point *Point) error {
				text, err := json.Marshal(point)
				if err != nil {
					return err
				}
				if saved = text; point.Done == at {
					return errKilled
				}
				return nil
			}}, nil)
			if !errors.Is(err, errKilled) {
				t.Fatalf("%s: %v", name, err)
			}
			point := &Point{}
			if err := json.Unmarshal(saved, point); err != nil {
				t.Fatal(err)
			}
			next := int64(-1)
			again := &streams{seed: 2}
			got, err := runFrom(context.Background(), p, g, again.bits, Points{From: point, Save: func(point *Point) error {
				if next < 0 {
					next = point.Done
				}
				return nil
			}}, nil)
			if err != nil {
				t.Fatal(name, err)
			}
			if !reflect.DeepEqual(got.Draws, whole.Draws) {
				t.Errorf("%s: from step %d the draws are others", name, at)
			}
			if a, b := got.Event(), whole.Event(); !reflect.DeepEqual(a, b) {
				t.Errorf("%s: from step %d the events are %v, not %v", name, at, a, b)
			}
			if at+every < steps && next != at+every {
				t.Errorf("%s: the point after step %d is at %d", name, at, next)
			}
		}
	}
}

// dying is a generator with which a run is killed after so many words.
type dying struct {
	privacy.Bits
	left int
}

func (b *dying) Uint64() uint64 {
	if b.left--; b.left < 0 {
		panic(errKilled)
	}
	return b.Bits.Uint64()
}

// TestAgainCoversWhatRan: wherever an attempt is killed, the steps that it did since its
// last point are among those that the next is charged for. The control charges nothing
// again, as one that goes on with the reservation alone, and is caught.
func TestAgainCoversWhatRan(t *testing.T) {
	g, plans := longPlans(t)
	caught := 0
	for name, p := range plans {
		steps := p.Steps * int64(p.Request.Chains)
		// With a point before every step it is seen how many words came before each.
		var begins []int
		words := &streams{seed: 3}
		dense := *p
		dense.Units = 1e16
		_, err := runFrom(context.Background(), &dense, g, func(use string) privacy.Bits {
			if use == "steps" {
				return words.bits(use)
			}
			return privacy.NewSeeded(3, use)
		}, Points{Save: func(*Point) error { begins = append(begins, len(words.words)); return nil }}, nil)
		if err != nil || int64(len(begins)) != steps {
			t.Fatal(name, len(begins), err)
		}
		for kill := 0; kill < len(words.words); kill += 1 + len(words.words)/97 {
			var last *Point
			func() {
				defer func() {
					if r := recover(); r != any(errKilled) {
						t.Fatalf("%s: ended with %v", name, r)
					}
				}()
				_, _ = runFrom(context.Background(), p, g, func(use string) privacy.Bits {
					if use == "steps" {
						return &dying{privacy.NewSeeded(3, use), kill}
					}
					return privacy.NewSeeded(3, use)
				}, Points{Save: func(point *Point) error { last = point; return nil }}, nil)
			}()
			begun, _ := slices.BinarySearch(begins, kill+1) // steps that took a word
			ran, charged := map[float64]int64{}, map[float64]int64{}
			for _, r := range p.between(0, int64(begun)) {
				ran[r.NoiseMultiplier] += r.Steps
			}
			for _, r := range slices.Concat(last.Ran, last.Again) {
				charged[r.NoiseMultiplier] += r.Steps
			}
			for z, n := range ran {
				if n > charged[z] {
					t.Fatalf("%s, killed at word %d: %d steps at %g began and %d are charged", name, kill, n, z, charged[z])
				}
			}
			if int64(begun) > last.Done {
				caught++
			}
		}
	}
	if caught == 0 {
		t.Error("no attempt did a step beyond its point")
	}
}

// TestPointHoldsNoGenerator is threat L16: a run that is given the words of another and
// knows no generator has the same points, byte for byte; and none of the words stands in
// one. A word that is there by chance has probability below 10⁻¹².
func TestPointHoldsNoGenerator(t *testing.T) {
	g, plans := longPlans(t)
	for name, p := range plans {
		uses := map[string]*streams{}
		points := func(bits func(string) privacy.Bits) (out [][]byte) {
			_, err := runFrom(context.Background(), p, g, bits, Points{Save: func(point *Point) error {
				text, err := json.Marshal(point)
				out = append(out, text)
				return err
			}}, nil)
			if err != nil {
				t.Fatal(err)
			}
			return out
		}
		first := points(func(use string) privacy.Bits {
			uses[use] = &streams{seed: 5}
			return uses[use].bits(use)
		})
		second := points(func(use string) privacy.Bits {
			words := slices.Clone(uses[use].words)
			return replayed{&words}
		})
		if len(first) < pointsAtLeast || !slices.EqualFunc(first, second, bytes.Equal) {
			t.Errorf("%s: %d points depend on more than the words that were drawn", name, len(first))
		}
		last := &Point{}
		if err := json.Unmarshal(first[len(first)-1], last); err != nil {
			t.Fatal(err)
		}
		var raw []byte
		for _, v := range slices.Concat(last.State, slices.Concat(last.Draws...), []Vector{last.Gram}) {
			for _, x := range v {
				raw = binary.LittleEndian.AppendUint64(raw, math.Float64bits(x))
			}
		}
		for _, s := range uses {
			for _, w := range s.words {
				if bytes.Contains(raw, binary.LittleEndian.AppendUint64(nil, w)) {
					t.Fatalf("%s: a point holds a word of the generator", name)
				}
			}
		}
	}
}

// TestForeignPoint: a point of another plan is refused.
func TestForeignPoint(t *testing.T) {
	g, plans := longPlans(t)
	var point *Point
	_, err := runFrom(context.Background(), plans["full"], g, (&streams{seed: 1}).bits, Points{Save: func(p *Point) error { point = p; return nil }}, nil)
	if err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*Point){
		"steps":   func(p *Point) { p.Done = 121 },
		"draws":   func(p *Point) { p.Draws = p.Draws[1:] },
		"draw":    func(p *Point) { p.Draws = [][]Vector{{p.Draws[0][0][1:]}} },
		"counted": func(p *Point) { p.Ran = []Ran{{p.Ran[0].NoiseMultiplier, 1}} },
		"again":   func(p *Point) { p.Again = nil },
		"state":   func(p *Point) { p.State = p.State[1:] },
		"length":  func(p *Point) { p.State = []Vector{p.State[0][1:], p.State[1]} },
		"every":   func(p *Point) { p.Every = 0 },
	} {
		changed := *point
		change(&changed)
		if _, err := runFrom(context.Background(), plans["full"], g, (&streams{seed: 1}).bits, Points{From: &changed}, nil); !errors.Is(err, errPoint) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if e := plans["full"].AgainEvent(point); e.Merge().Events[0].Count != point.Again[0].Steps || e.Merge().Events[0].Type != accountant.TypeGaussian {
		t.Errorf("the event of %v is %v", point.Again, e)
	}
}
