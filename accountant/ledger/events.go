package ledger

import (
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"sort"

	"github.com/gowebpki/jcs"

	"github.com/privsgld/privsgld/accountant"
)

// events counts the mechanisms charged in one period: canonical JSON of the
// mechanism with count 1 → how often.
type events map[string]int64

// maxMechanisms bounds the distinct mechanisms of one event, and so an entry.
const maxMechanisms = 1 << 14

// mechanisms returns a valid event as such counts.
func mechanisms(e accountant.Event) (events, error) {
	list := e.Merge().Events
	if len(list) > maxMechanisms {
		return nil, fmt.Errorf("%w: an event has more than %d distinct mechanisms", ErrUsage, maxMechanisms)
	}
	out := make(events, len(list))
	for _, m := range list {
		count := m.Count
		m.Count = 1
		plain, err := json.Marshal(eventToWire(m))
		if err != nil {
			return nil, fmt.Errorf("%w: an event cannot be written as JSON", ErrUsage)
		}
		key, err := jcs.Transform(plain)
		if err != nil {
			return nil, fmt.Errorf("%w: an event has no canonical JSON", ErrUsage)
		}
		out[string(key)] += count
	}
	return out, nil
}

// with returns the counts of both.
func (m events) with(other events) events {
	out := maps.Clone(m)
	for k, n := range other {
		out[k] += n
	}
	return out
}

// without returns the counts with other's taken out.
func (m events) without(other events) events {
	out := events{}
	for k, n := range m {
		if n -= other[k]; n > 0 {
			out[k] = n
		}
	}
	return out
}

// list returns the mechanisms as events with their counts, in one order.
func (m events) list(read map[string]accountant.Event) ([]accountant.Event, error) {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	sort.Strings(keys)
	out := make([]accountant.Event, len(keys))
	for i, k := range keys {
		e, ok := read[k]
		if !ok {
			var err error
			if e, err = readMechanism(k); err != nil {
				return nil, err
			}
			read[k] = e
		}
		e.Count = m[k]
		out[i] = e
	}
	return out, nil
}

func readMechanism(text string) (accountant.Event, error) {
	var w wireEvent
	if v := reflect.ValueOf(&w).Elem(); !new(reader).all(text, v) {
		v.SetZero()
		if json.Unmarshal([]byte(text), &w) != nil {
			return accountant.Event{}, contradiction("a counted event does not read")
		}
	}
	return w.event()
}

// figures are what is spent of counts that have much in common: it reads each
// mechanism once, and converts equal counts once.
type figures struct {
	read  map[string]accountant.Event
	known []figure
}

type figure struct {
	of     events
	method accountant.Method
	delta  accountant.Amount
	eps    float64
}

func newFigures() *figures { return &figures{read: map[string]accountant.Event{}} }

// composed returns the mechanisms as one event.
func (f *figures) composed(m events) (accountant.Event, error) {
	list, err := m.list(f.read)
	return accountant.Compose(list...), err
}

// epsilon returns the ε, rounded up, of all the mechanisms composed, at the
// terms' δ: by the accountant's composed curve and its best order.
//
// Under the Gaussian accountant Poisson-sampled steps have no curve; they enter
// as the filter charges them, as if they were not sampled.
func (f *figures) epsilon(m events, t accountant.Terms) (float64, error) {
	for _, k := range f.known {
		if k.method == t.Method && k.delta.Cmp(t.Delta) == 0 && maps.Equal(k.of, m) {
			return k.eps, nil
		}
	}
	all, err := f.composed(m)
	if err != nil || len(m) == 0 {
		return 0, err
	}
	if t.Method == accountant.MethodGDP {
		for i, e := range all.Events {
			if e.Type == accountant.TypePoissonGaussian {
				all.Events[i] = accountant.Gaussian(e.Adjacency, e.NoiseMultiplier, e.Count)
			}
		}
	}
	eps, _, err := accountant.Epsilon(t.Method, all, t.Delta.Float64Down())
	if err != nil {
		return 0, fmt.Errorf("ledger: what is spent: %w", err)
	}
	f.known = append(f.known, figure{m, t.Method, t.Delta, eps})
	return eps, nil
}

// odometer returns the ε, rounded up, that the loss of all the mechanisms has not
// exceeded at any time, with the terms' δ and their share for approximate events.
func (f *figures) odometer(m events, t accountant.Terms) (float64, error) {
	all, err := f.composed(m)
	if err != nil || len(m) == 0 {
		return 0, err
	}
	o, err := accountant.NewOdometer(t.Delta, t.ApproximateDelta, nil)
	if err != nil {
		return 0, fmt.Errorf("ledger: the odometer: %w", err)
	}
	s, err := o.Add(accountant.OdometerState{}, all)
	if err != nil {
		return 0, fmt.Errorf("ledger: the odometer: %w", err)
	}
	return o.Epsilon(s), nil
}
