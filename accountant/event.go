package accountant

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"sort"
	"strings"
)

// ErrUnsupported: the accountant or filter has no rule for the event.
var ErrUnsupported = errors.New("unsupported")

// ErrDomain: an argument lies outside what the function is defined for.
var ErrDomain = errors.New("invalid value")

// EventType names a mechanism, as in event files and ledgers.
type EventType string

const (
	TypeGaussian           EventType = "gaussian"
	TypePoissonGaussian    EventType = "poisson_gaussian"
	TypeFixedSizeGaussian  EventType = "fixed_size_gaussian"
	TypeDiscreteGaussian   EventType = "discrete_gaussian"
	TypeLaplace            EventType = "laplace"
	TypeDiscreteLaplace    EventType = "discrete_laplace"
	TypePure               EventType = "pure"
	TypeApproximate        EventType = "approximate"
	TypePartitionSelection EventType = "partition_selection"
	TypeZCDP               EventType = "zcdp"
	TypeComposition        EventType = "composition"
)

// parameters says which fields an event type uses beside its count. A type with
// optional parameters accepts them unset.
type parameters struct {
	noise, rate, sizes, sensitivity, epsilon, delta, rho bool
	optionalSensitivity                                  bool
}

var parametersOf = map[EventType]parameters{
	TypeGaussian:           {noise: true},
	TypePoissonGaussian:    {noise: true, rate: true},
	TypeFixedSizeGaussian:  {noise: true, sizes: true},
	TypeDiscreteGaussian:   {noise: true, optionalSensitivity: true},
	TypeLaplace:            {noise: true},
	TypeDiscreteLaplace:    {noise: true, sensitivity: true},
	TypePure:               {epsilon: true},
	TypeApproximate:        {epsilon: true, delta: true},
	TypePartitionSelection: {epsilon: true, delta: true},
	TypeZCDP:               {rho: true},
	TypeComposition:        {},
}

// Bounds of an event tree, so that neither a file nor a ledger entry can make
// an accountant work for ever.
const (
	maxDepth = 8
	maxParts = 1 << 20 // leaves, a listed noise multiplier counting as one
	maxCount = 1 << 53 // of all steps together: exact in a float64

	maxSensitivity = 1 << 31
)

// Event is what happened to the data: a mechanism with its parameters, or a
// composition of events. Build one with the constructors below; fields that a
// type does not use are zero.
//
//	gaussian             NoiseMultiplier or NoiseMultipliers (a sequence of steps)
//	poisson_gaussian     SamplingRate, and noise as above
//	fixed_size_gaussian  SampleSize of SourceSize units drawn without replacement,
//	                     and noise as above
//	discrete_gaussian    noise as above: sigma / L2 sensitivity, on the integers;
//	                     Sensitivity where one coordinate is released
//	laplace              noise as above: scale / L1 sensitivity
//	discrete_laplace     noise as above, on the integers, and Sensitivity
//	pure                 Epsilon
//	approximate          Epsilon, Delta
//	partition_selection  Epsilon, Delta for each partition that a unit may touch
//	zcdp                 Rho
//	composition          Events
//
// Count repeats the event, a sequence or composition as a whole; 0 is nothing.
//
// In JSON the keys are type, adjacency, sampling_rate, sample_size, source_size,
// noise_multiplier, noise_multipliers, sensitivity, epsilon, delta, rho, count,
// events. When read, count is 1 unless given; an unknown or repeated key, or one
// that the type does not use, is an error. A key never changes its meaning; new
// types and keys may be added.
type Event struct {
	Type             EventType
	Adjacency        Adjacency
	SamplingRate     float64 // q in [0, 1]: every unit joins independently
	SampleSize       int64   // 0 ≤ SampleSize ≤ SourceSize
	SourceSize       int64   // ≥ 1
	NoiseMultiplier  float64 // z ≥ 0, finite; 0 costs +Inf
	NoiseMultipliers []float64
	Sensitivity      int64 // add-remove sensitivity in units of the integers; 0: not given
	Epsilon          *Amount
	Delta            *Amount
	Rho              *Amount
	Count            int64
	Events           []Event
}

// Gaussian is count steps of the Gaussian mechanism with noise multiplier z.
func Gaussian(adj Adjacency, z float64, count int64) Event {
	return Event{Type: TypeGaussian, Adjacency: adj, NoiseMultiplier: z, Count: count}
}

// PoissonGaussian is count steps of the Gaussian mechanism with noise
// multiplier z, each on a fresh Poisson sample at rate q. With q = 1 it is
// Gaussian(adj, z, count).
func PoissonGaussian(adj Adjacency, q, z float64, count int64) Event {
	if q == 1 {
		return Gaussian(adj, z, count)
	}
	return Event{Type: TypePoissonGaussian, Adjacency: adj, SamplingRate: q, NoiseMultiplier: z, Count: count}
}

// FixedSizeGaussian is count steps of the Gaussian mechanism with noise
// multiplier z, each on a fresh sample of exactly sample out of source units,
// drawn without replacement. Accountants support it under replace-one only:
// a source of fixed size has no neighbour with one unit more.
func FixedSizeGaussian(adj Adjacency, sample, source int64, z float64, count int64) Event {
	return Event{Type: TypeFixedSizeGaussian, Adjacency: adj, SampleSize: sample, SourceSize: source, NoiseMultiplier: z, Count: count}
}

// DiscreteGaussian is count uses of discrete Gaussian noise with parameter
// sigma = z times the add-remove L2 sensitivity on integer-valued vectors
// (Canonne, Kamath & Steinke 2020, arXiv:2004.00010). A sensitivity above 0 says
// that one coordinate with that sensitivity is released; with 0 the vector may
// have any length, and a privacy loss distribution cannot account for it.
func DiscreteGaussian(adj Adjacency, z float64, sensitivity, count int64) Event {
	return Event{Type: TypeDiscreteGaussian, Adjacency: adj, NoiseMultiplier: z, Sensitivity: sensitivity, Count: count}
}

// DiscreteLaplace is count uses of discrete Laplace (two-sided geometric) noise
// whose scale is b times the add-remove L1 sensitivity, a whole number ≥ 1: the
// probability of x is proportional to exp(−abs(x)/(b·sensitivity)).
func DiscreteLaplace(adj Adjacency, b float64, sensitivity, count int64) Event {
	return Event{Type: TypeDiscreteLaplace, Adjacency: adj, NoiseMultiplier: b, Sensitivity: sensitivity, Count: count}
}

// PartitionSelection is a private selection of partitions, each of which is
// kept by a mechanism that is (eps, delta)-DP under adj; count is the number of
// partitions that one unit may touch.
func PartitionSelection(adj Adjacency, eps, delta Amount, count int64) Event {
	return Event{Type: TypePartitionSelection, Adjacency: adj, Epsilon: &eps, Delta: &delta, Count: count}
}

// ZCDP is count uses of a mechanism that is rho-zCDP under adj (Bun & Steinke
// 2016, arXiv:1605.02065).
func ZCDP(adj Adjacency, rho Amount, count int64) Event {
	return Event{Type: TypeZCDP, Adjacency: adj, Rho: &rho, Count: count}
}

// Laplace is count uses of Laplace noise whose scale is b times the
// add-remove L1 sensitivity.
func Laplace(adj Adjacency, b float64, count int64) Event {
	return Event{Type: TypeLaplace, Adjacency: adj, NoiseMultiplier: b, Count: count}
}

// Pure is count uses of a mechanism that is eps-DP under adj.
func Pure(adj Adjacency, eps Amount, count int64) Event {
	return Event{Type: TypePure, Adjacency: adj, Epsilon: &eps, Count: count}
}

// Approximate is count uses of a mechanism that is (eps, delta)-DP under adj.
func Approximate(adj Adjacency, eps, delta Amount, count int64) Event {
	return Event{Type: TypeApproximate, Adjacency: adj, Epsilon: &eps, Delta: &delta, Count: count}
}

// Compose is all of the events, one after another. Its adjacency is that of
// the events, which must agree.
func Compose(events ...Event) Event {
	e := Event{Type: TypeComposition, Count: 1, Events: slices.Clone(events)}
	for _, part := range events {
		if part.Adjacency != "" {
			e.Adjacency = part.Adjacency
			break
		}
	}
	return e
}

// EventsSchema names the version of an events document. Its keys never change
// their meaning; a document that an older program cannot read gets a new name.
const EventsSchema = "privsgld/events/v1"

// eventsDocument is a list of events with what it needs to be read alone.
type eventsDocument struct {
	Schema    string    `json:"schema"`
	Adjacency Adjacency `json:"adjacency"`
	Events    []Event   `json:"events"`
}

// MarshalEvents writes a valid event as an events document, which ParseEvents
// reads: an object with the keys schema (EventsSchema), adjacency and events,
// in the canonical form of Merge. An invalid event is ErrDomain.
func MarshalEvents(e Event) ([]byte, error) {
	if err := e.Validate(); err != nil {
		return nil, err
	}
	merged := e.Merge()
	return json.Marshal(eventsDocument{EventsSchema, merged.Adjacency, append([]Event{}, merged.Events...)})
}

// ParseEvents reads a JSON list of events, as in an events file, or an events
// document, and returns their composition. An event without an adjacency gets
// adj; one with another adjacency, or a document with another one, is an error.
// The result is valid. Errors wrap ErrDomain.
func ParseEvents(data []byte, adj Adjacency) (Event, error) {
	if _, err := ParseAdjacency(string(adj)); err != nil {
		return Event{}, err
	}
	if err := boundNesting(data); err != nil {
		return Event{}, err
	}
	var d eventsDocument
	var err error
	if bytes.HasPrefix(bytes.TrimLeft(data, " \t\r\n"), []byte("{")) {
		decoder := json.NewDecoder(bytes.NewReader(data))
		decoder.DisallowUnknownFields()
		if err = decoder.Decode(&d); err == nil {
			switch _, more := decoder.Token(); {
			case more != io.EOF:
				err = errors.New("there is text after the document")
			case d.Schema != EventsSchema:
				err = fmt.Errorf("the schema is %q, not %s", clip(d.Schema), EventsSchema)
			case d.Adjacency != adj:
				err = fmt.Errorf("the document's adjacency is %q, not %s", clip(string(d.Adjacency)), adj)
			case d.Events == nil:
				err = errors.New("the key events is missing")
			}
		}
	} else {
		err = json.Unmarshal(data, &d.Events)
	}
	if err != nil {
		if errors.Is(err, ErrDomain) {
			return Event{}, err
		}
		return Event{}, fmt.Errorf("%w: events are neither a JSON list of events nor an events document: %s", ErrDomain, jsonFault(err))
	}
	for i := range d.Events {
		d.Events[i].adopt(adj)
	}
	e := Compose(d.Events...)
	e.Adjacency = adj
	return e, e.Validate()
}

func (e *Event) adopt(adj Adjacency) {
	if e.Adjacency == "" {
		e.Adjacency = adj
	}
	for i := range e.Events {
		e.Events[i].adopt(adj)
	}
}

// Validate reports the first thing wrong with e, wrapping ErrDomain: a missing,
// surplus or impossible parameter, parts of differing adjacency, or a size
// past the bounds. A composition without parts is valid and costs nothing.
func (e Event) Validate() error {
	parts := 0
	_, err := e.validate(e.Adjacency, 1, &parts)
	return err
}

// validate returns the number of steps.
func (e *Event) validate(adj Adjacency, depth int, parts *int) (int64, error) {
	fail := func(format string, args ...any) (int64, error) {
		return 0, fmt.Errorf("%w: event %s: %s", ErrDomain, clip(string(e.Type)), fmt.Sprintf(format, args...))
	}
	if depth > maxDepth {
		return fail("compositions are nested more than %d deep", maxDepth)
	}
	if e.Adjacency != adj {
		return fail("adjacency %q differs from %q beside it; an event has one adjacency", clip(string(e.Adjacency)), clip(string(adj)))
	}
	if adj != AddRemove && adj != ReplaceOne && !(adj == "" && e.Type == TypeComposition && len(e.Events) == 0) {
		return fail("adjacency %q is unknown; write add-remove or replace-one", clip(string(adj)))
	}
	if e.Count < 0 {
		return fail("count is negative")
	}
	has, ok := parametersOf[e.Type]
	switch {
	case e.Type == "":
		return 0, fmt.Errorf("%w: event without a type; the types are %s", ErrDomain, eventTypes())
	case !ok:
		return fail("type is unknown; the types are %s", eventTypes())
	case !has.noise && (e.NoiseMultiplier != 0 || e.NoiseMultipliers != nil):
		return fail("takes no noise_multiplier")
	case e.NoiseMultiplier != 0 && e.NoiseMultipliers != nil:
		return fail("has noise_multiplier and noise_multipliers; write one of them")
	case e.NoiseMultipliers != nil && len(e.NoiseMultipliers) == 0:
		return fail("noise_multipliers is empty")
	case !has.rate && e.SamplingRate != 0:
		return fail("takes no sampling_rate")
	case !(e.SamplingRate >= 0 && e.SamplingRate <= 1):
		return fail("sampling_rate must lie in [0, 1]")
	case !has.sizes && (e.SampleSize != 0 || e.SourceSize != 0):
		return fail("takes no sample_size and source_size")
	case has.sizes && !(1 <= e.SourceSize && e.SourceSize <= maxCount && 0 <= e.SampleSize && e.SampleSize <= e.SourceSize):
		return fail("source_size must be at least 1, and sample_size between 0 and source_size")
	case !has.sensitivity && !has.optionalSensitivity && e.Sensitivity != 0:
		return fail("takes no sensitivity")
	case has.sensitivity && e.Sensitivity < 1, e.Sensitivity < 0, e.Sensitivity > maxSensitivity:
		return fail("sensitivity must be a whole number between 1 and 2^31")
	case has.epsilon != (e.Epsilon != nil):
		return fail("epsilon is missing, or not a parameter of this type")
	case has.delta != (e.Delta != nil):
		return fail("delta is missing, or not a parameter of this type")
	case has.rho != (e.Rho != nil):
		return fail("rho is missing, or not a parameter of this type")
	case has.delta && e.Delta.Cmp(one) >= 0:
		return fail("delta must be below 1")
	case e.Type != TypeComposition && e.Events != nil:
		return fail("takes no events")
	}
	for _, z := range e.multipliers() {
		if !(z >= 0) || math.IsInf(z, 1) {
			return fail("noise_multiplier must be a finite number that is not negative")
		}
	}

	steps := int64(0)
	if e.Type == TypeComposition {
		for i := range e.Events {
			n, err := e.Events[i].validate(adj, depth+1, parts)
			if err != nil {
				return 0, err
			}
			if steps += n; steps > maxCount {
				return fail("more than 2^53 steps")
			}
		}
	} else {
		steps = max(1, int64(len(e.NoiseMultipliers)))
		if *parts += int(steps); *parts > maxParts {
			return fail("more than %d parts", maxParts)
		}
	}
	if steps > 0 && e.Count > maxCount/steps {
		return fail("more than 2^53 steps")
	}
	return steps * e.Count, nil
}

var one = MustAmount("1")

// eventTypes lists the types for an error, in the order of their names.
func eventTypes() string {
	names := make([]string, 0, len(parametersOf))
	for t := range parametersOf {
		names = append(names, string(t))
	}
	sort.Strings(names)
	return strings.Join(names, ", ")
}

func (e *Event) multipliers() []float64 {
	if e.NoiseMultipliers != nil {
		return e.NoiseMultipliers
	}
	return []float64{e.NoiseMultiplier}
}

// Merge returns the canonical form of a valid event: a composition, counted
// once, of leaves in a fixed order, with equal mechanisms counted together,
// sequences written out, a Poisson step of rate 1 as a Gaussian, and one of
// rate 0 or an empty sample left out. It costs the same as e, to the bit. An invalid event is
// returned as it is.
func (e Event) Merge() Event {
	if e.Validate() != nil {
		return e
	}
	u := e.uses()
	merged := Event{Type: TypeComposition, Adjacency: e.Adjacency, Count: 1}
	if len(u.list) > 0 {
		merged.Events = make([]Event, 0, len(u.list))
	}
	for _, x := range u.list {
		l := &u.leaves[x.leaf]
		part := Event{Type: l.kind, Adjacency: e.Adjacency, SamplingRate: l.q, SampleSize: l.sample, SourceSize: l.source,
			NoiseMultiplier: x.z, Sensitivity: l.sensitivity, Count: x.count}
		has := parametersOf[l.kind]
		if has.epsilon {
			part.Epsilon = &l.eps
		}
		if has.delta {
			part.Delta = &l.delta
		}
		if has.rho {
			part.Rho = &l.rho
		}
		merged.Events = append(merged.Events, part)
	}
	return merged
}

// uses are the leaves of an event and how often each is used, with which noise
// multiplier: long sequences have one leaf and many multipliers.
type uses struct {
	leaves []leaf
	index  map[leaf]int
	list   []use
}

type use struct {
	leaf  int
	z     float64
	count int64
}

// leaf is a mechanism without its noise multiplier and count, comparable.
type leaf struct {
	kind            EventType
	q               float64
	sample, source  int64
	sensitivity     int64
	eps, delta, rho Amount
}

func (l leaf) compare(m leaf) int {
	return cmp.Or(
		cmp.Compare(l.kind, m.kind),
		cmp.Compare(l.q, m.q),
		cmp.Compare(l.sample, m.sample),
		cmp.Compare(l.source, m.source),
		cmp.Compare(l.sensitivity, m.sensitivity),
		l.eps.Cmp(m.eps),
		l.delta.Cmp(m.delta),
		l.rho.Cmp(m.rho),
	)
}

// uses are the leaves of a valid event in their order, equal ones counted
// together.
func (e *Event) uses() uses {
	var u uses
	e.collect(&u, 1)
	order := make([]int, len(u.leaves))
	for i := range order {
		order[i] = i
	}
	slices.SortFunc(order, func(i, j int) int { return u.leaves[i].compare(u.leaves[j]) })
	// rank is a leaf's place; first is that of the first leaf of its kind and rate,
	// among which the noise multiplier comes first.
	rank, first := make([]int, len(order)), make([]int, len(order))
	for place, i := range order {
		rank[i], first[i] = place, place
		if place > 0 {
			if before := order[place-1]; u.leaves[before].kind == u.leaves[i].kind && u.leaves[before].q == u.leaves[i].q {
				first[i] = first[before]
			}
		}
	}
	slices.SortFunc(u.list, func(a, b use) int {
		if c := first[a.leaf] - first[b.leaf]; c != 0 {
			return c
		}
		if a.z != b.z {
			return cmp.Compare(a.z, b.z)
		}
		return rank[a.leaf] - rank[b.leaf]
	})

	distinct := u.list[:0]
	for _, x := range u.list {
		if n := len(distinct); n > 0 && x.z == distinct[n-1].z && x.leaf == distinct[n-1].leaf {
			distinct[n-1].count += x.count
		} else {
			distinct = append(distinct, x)
		}
	}
	u.list = distinct
	return u
}

func (e *Event) collect(u *uses, times int64) {
	times *= e.Count
	if times == 0 {
		return
	}
	if e.Type == TypeComposition {
		for i := range e.Events {
			e.Events[i].collect(u, times)
		}
		return
	}
	l := leaf{kind: e.Type, q: e.SamplingRate, sample: e.SampleSize, source: e.SourceSize, sensitivity: e.Sensitivity}
	if e.Type == TypePoissonGaussian {
		switch e.SamplingRate {
		case 0:
			return
		case 1:
			l.kind, l.q = TypeGaussian, 0
		}
	}
	if e.Type == TypeFixedSizeGaussian && e.SampleSize == 0 {
		return
	}
	if e.Epsilon != nil {
		l.eps = *e.Epsilon
	}
	if e.Delta != nil {
		l.delta = *e.Delta
	}
	if e.Rho != nil {
		l.rho = *e.Rho
	}
	at, ok := u.index[l]
	if !ok {
		if u.index == nil {
			u.index = map[leaf]int{}
		}
		at = len(u.leaves)
		u.index[l], u.leaves = at, append(u.leaves, l)
	}
	u.list = slices.Grow(u.list, len(e.multipliers()))
	for _, z := range e.multipliers() {
		u.list = append(u.list, use{at, z + 0, times}) // −0 becomes 0
	}
}

// wireEvent is Event as JSON: pointers tell 0 from absent.
type wireEvent struct {
	Type             EventType `json:"type"`
	Adjacency        Adjacency `json:"adjacency,omitempty"`
	SamplingRate     *float64  `json:"sampling_rate,omitempty"`
	SampleSize       *int64    `json:"sample_size,omitempty"`
	SourceSize       *int64    `json:"source_size,omitempty"`
	NoiseMultiplier  *float64  `json:"noise_multiplier,omitempty"`
	NoiseMultipliers []float64 `json:"noise_multipliers,omitempty"`
	Sensitivity      int64     `json:"sensitivity,omitempty"`
	Epsilon          *Amount   `json:"epsilon,omitempty"`
	Delta            *Amount   `json:"delta,omitempty"`
	Rho              *Amount   `json:"rho,omitempty"`
	Count            *int64    `json:"count,omitempty"`
	Events           []Event   `json:"events,omitempty"`
}

var wireKeys = map[string]bool{
	"type": true, "adjacency": true, "sampling_rate": true, "sample_size": true, "source_size": true,
	"noise_multiplier": true, "noise_multipliers": true, "sensitivity": true,
	"epsilon": true, "delta": true, "rho": true, "count": true, "events": true,
}

// MarshalJSON writes the keys that the event's type uses.
func (e Event) MarshalJSON() ([]byte, error) {
	w := wireEvent{Type: e.Type, Adjacency: e.Adjacency, NoiseMultipliers: e.NoiseMultipliers, Sensitivity: e.Sensitivity,
		Epsilon: e.Epsilon, Delta: e.Delta, Rho: e.Rho, Count: &e.Count, Events: e.Events}
	has := parametersOf[e.Type]
	if has.rate {
		w.SamplingRate = &e.SamplingRate
	}
	if has.sizes {
		w.SampleSize, w.SourceSize = &e.SampleSize, &e.SourceSize
	}
	if has.noise && e.NoiseMultipliers == nil {
		w.NoiseMultiplier = &e.NoiseMultiplier
	}
	return json.Marshal(w)
}

// UnmarshalJSON reads one event, strictly; see Event. It checks the form, not
// what Validate checks.
func (e *Event) UnmarshalJSON(data []byte) error {
	if err := boundNesting(data); err != nil {
		return err
	}
	present, err := objectKeys(data)
	if err != nil {
		return err
	}
	var w wireEvent
	if err := json.Unmarshal(data, &w); err != nil {
		if errors.Is(err, ErrDomain) {
			return err
		}
		return fmt.Errorf("%w: event cannot be read: %s", ErrDomain, jsonFault(err))
	}
	has := parametersOf[w.Type]
	switch {
	case has.noise && w.NoiseMultiplier == nil && w.NoiseMultipliers == nil:
		return fmt.Errorf("%w: event %s: noise_multiplier is missing", ErrDomain, w.Type)
	case has.noise && w.NoiseMultiplier != nil && w.NoiseMultipliers != nil:
		return fmt.Errorf("%w: event %s has noise_multiplier and noise_multipliers; write one of them", ErrDomain, w.Type)
	case !has.noise && (present["noise_multiplier"] || present["noise_multipliers"]):
		return fmt.Errorf("%w: event %s takes no noise_multiplier", ErrDomain, clip(string(w.Type)))
	case has.rate != (w.SamplingRate != nil):
		return fmt.Errorf("%w: event %s: sampling_rate is missing, or not a parameter of this type", ErrDomain, clip(string(w.Type)))
	case has.sizes != (w.SampleSize != nil) || has.sizes != (w.SourceSize != nil):
		return fmt.Errorf("%w: event %s: sample_size or source_size is missing, or not a parameter of this type", ErrDomain, clip(string(w.Type)))
	case has.optionalSensitivity && present["sensitivity"] && w.Sensitivity == 0:
		return fmt.Errorf("%w: event %s: sensitivity must be a whole number of at least 1", ErrDomain, w.Type)
	}
	*e = Event{Type: w.Type, Adjacency: w.Adjacency, NoiseMultipliers: w.NoiseMultipliers, Sensitivity: w.Sensitivity,
		Epsilon: w.Epsilon, Delta: w.Delta, Rho: w.Rho, Count: 1, Events: w.Events}
	if w.SampleSize != nil {
		e.SampleSize, e.SourceSize = *w.SampleSize, *w.SourceSize
	}
	if w.Count != nil {
		e.Count = *w.Count
	}
	if w.SamplingRate != nil {
		e.SamplingRate = *w.SamplingRate
	}
	if w.NoiseMultiplier != nil {
		e.NoiseMultiplier = *w.NoiseMultiplier
	}
	return nil
}

// jsonFault says what is wrong with a JSON text without the names of Go types.
func jsonFault(err error) string {
	var kind *json.UnmarshalTypeError
	switch {
	case !errors.As(err, &kind):
		return strings.TrimPrefix(err.Error(), "json: ")
	case kind.Field == "":
		return "there is a " + kind.Value + " where they should be"
	}
	return fmt.Sprintf("%s cannot be the %s", clip(kind.Field), clip(kind.Value))
}

// objectKeys returns the keys of a JSON object and refuses those that
// encoding/json would let through: unknown, repeated, null, or in other case.
func objectKeys(data []byte) (map[string]bool, error) {
	dec := json.NewDecoder(bytes.NewReader(data))
	if open, err := dec.Token(); err != nil || open != json.Delim('{') {
		return nil, fmt.Errorf("%w: an event is a JSON object", ErrDomain)
	}
	seen := map[string]bool{}
	for dec.More() {
		token, err := dec.Token()
		key, ok := token.(string)
		if err != nil || !ok {
			return nil, fmt.Errorf("%w: an event is a JSON object", ErrDomain)
		}
		if !wireKeys[key] {
			return nil, fmt.Errorf("%w: event has an unknown key %q", ErrDomain, clip(key))
		}
		if seen[key] {
			return nil, fmt.Errorf("%w: event has the key %q twice", ErrDomain, key)
		}
		seen[key] = true
		var value json.RawMessage
		if err := dec.Decode(&value); err != nil {
			return nil, fmt.Errorf("%w: event key %q has no value", ErrDomain, key)
		}
		if strings.TrimSpace(string(value)) == "null" {
			return nil, fmt.Errorf("%w: event key %q is null; leave it out", ErrDomain, key)
		}
	}
	return seen, nil
}

// boundNesting refuses deep nesting before anything recurses into it.
func boundNesting(data []byte) error {
	depth, text, escaped := 0, false, false
	for _, c := range data {
		switch {
		case escaped:
			escaped = false
		case text && c == '\\':
			escaped = true
		case c == '"':
			text = !text
		case text:
		case c == '[' || c == '{':
			if depth++; depth > 2*maxDepth+2 {
				return fmt.Errorf("%w: compositions are nested more than %d deep", ErrDomain, maxDepth)
			}
		case c == ']' || c == '}':
			depth--
		}
	}
	return nil
}
