package accountant

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
)

// ExportSchema names the object that ExportDPAccounting writes, and its version.
const ExportSchema = "privsgld/dp_accounting-events/v1"

// ExportDPAccounting returns e under the event names of Google's Python library
// dp_accounting (as of version 0.6), as one JSON object, so that its accountants can
// recompute a figure of this package:
//
//	schema                ExportSchema
//	neighboring_relation  ADD_OR_REMOVE_ONE or REPLACE_ONE
//	event                 the tree for its PLDAccountant
//	rdp_event             the tree for its RdpAccountant, where it differs
//	failure_probability   1 − Π(1−δᵢ) of approximate events; left out where there are none
//	notes                 what the reader must know
//
// A node of a tree is an object with module_name, class_name and the fields of
// that class by their own names. The trees hold the parts of e.Merge().
//
//	gaussian            GaussianDpEvent(z)
//	poisson_gaussian    PoissonSampledDpEvent(q, GaussianDpEvent(z))
//	fixed_size_gaussian SampledWithoutReplacementDpEvent(source, sample, GaussianDpEvent(z))
//	laplace             LaplaceDpEvent(b)
//	discrete_laplace    DiscreteLaplaceDpEvent(1/(b·sensitivity), sensitivity)
//	pure, replace-one   RandomizedResponseDpEvent(2/(1+e^ε), 2)
//	pure, add-remove    DiscreteLaplaceDpEvent(ε, 1): its loss is ε with probability
//	                    1/(1+e^−ε), otherwise −ε, which is randomised response
//	discrete_gaussian   ZCDpEvent(½/z², or 2/z² under replace-one), a bound
//	zcdp                ZCDpEvent(rho)
//	approximate,        as pure; beside the rest stands an UnsupportedDpEvent, so
//	partition_selection that nobody leaves failure_probability out by mistake
//
// A noise multiplier of 0 is NonPrivateDpEvent. Under replace-one the library's
// PLDAccountant doubles the sensitivity of a GaussianDpEvent and its RdpAccountant
// does not, so rdp_event has half the noise multipliers there. Numbers are
// float64: what the library makes of them is for
// comparison and decides nothing. Its PLDAccountant takes a repeated
// RandomizedResponseDpEvent for a single one (seen in 0.6.0): event lists up to
// 1000 copies in place of a count, and an UnsupportedDpEvent beyond.
//
// Errors: ErrDomain; ErrUnsupported where e has no accountant here, as
// fixed_size_gaussian under add-remove.
func ExportDPAccounting(e Event) ([]byte, error) {
	c, err := curveOf(e)
	if err != nil {
		return nil, err
	}
	x := &exporter{adj: e.Adjacency, noted: map[string]bool{}}
	doc := struct {
		Schema   string   `json:"schema"`
		Relation string   `json:"neighboring_relation"`
		Event    *dpEvent `json:"event"`
		RDPEvent *dpEvent `json:"rdp_event,omitempty"`
		Failure  dpFloat  `json:"failure_probability,omitempty"`
		Notes    []string `json:"notes"`
	}{Schema: ExportSchema, Relation: "ADD_OR_REMOVE_ONE", Failure: dpFloat(c.deltaInf)}
	x.note("event is for PLDAccountant; rdp_event, where there is one, otherwise event, is for RdpAccountant; both under neighboring_relation")
	if e.Adjacency == ReplaceOne {
		doc.Relation = "REPLACE_ONE"
	}
	leaves := e.Merge().Events
	doc.Event = x.tree(leaves, x.forPLD, c.deltaInf > 0)
	if x.differs {
		doc.RDPEvent = x.tree(leaves, x.forRDP, c.deltaInf > 0)
	}
	doc.Notes = x.notes
	b, err := json.Marshal(doc)
	if err != nil {
		return nil, fmt.Errorf("events cannot be written: %w", err)
	}
	const readable = 1000 // leaves up to which a person may want to read it
	if len(leaves) <= readable {
		var out bytes.Buffer
		if err := json.Indent(&out, b, "", "  "); err != nil {
			return nil, fmt.Errorf("events cannot be written: %w", err)
		}
		b = out.Bytes()
	}
	return append(b, '\n'), nil
}

// dpEvent is one node: a class of dp_accounting.dp_event and its fields.
type dpEvent struct {
	Module              string      `json:"module_name"`
	Class               string      `json:"class_name"`
	Events              *[]*dpEvent `json:"events,omitempty"`
	SamplingProbability *dpFloat    `json:"sampling_probability,omitempty"`
	SourceDatasetSize   int64       `json:"source_dataset_size,omitempty"`
	SampleSize          int64       `json:"sample_size,omitempty"`
	Event               *dpEvent    `json:"event,omitempty"`
	Count               int64       `json:"count,omitempty"`
	NoiseMultiplier     *dpFloat    `json:"noise_multiplier,omitempty"`
	NoiseParameter      *dpFloat    `json:"noise_parameter,omitempty"`
	Sensitivity         int64       `json:"sensitivity,omitempty"`
	NumBuckets          int         `json:"num_buckets,omitempty"`
	Rho                 *dpFloat    `json:"rho,omitempty"`
	Xi                  *dpFloat    `json:"xi,omitempty"`
}

func newDPEvent(class string) *dpEvent {
	return &dpEvent{Module: "dp_accounting.dp_event", Class: class}
}

// dpFloat marshals with a point or an exponent: Python would read 1 as an int,
// which the library takes for something else in places.
type dpFloat float64

// MarshalJSON writes the shortest text that reads back as f.
func (f dpFloat) MarshalJSON() ([]byte, error) {
	text := strconv.FormatFloat(float64(f), 'g', -1, 64)
	if !strings.ContainsAny(text, ".e") {
		text += ".0"
	}
	return []byte(text), nil
}

func dp(x float64) *dpFloat {
	f := dpFloat(x)
	return &f
}

// exporter collects the notes while it makes trees of one relation.
type exporter struct {
	adj     Adjacency
	differs bool // RdpAccountant needs another tree
	notes   []string
	noted   map[string]bool
}

func (x *exporter) note(text string) {
	if !x.noted[text] {
		x.noted[text] = true
		x.notes = append(x.notes, text)
	}
}

// tree composes the leaves; where one may fail altogether, that stands beside
// them.
func (x *exporter) tree(leaves []Event, of func(Event) *dpEvent, fails bool) *dpEvent {
	parts := make([]*dpEvent, 0, len(leaves))
	for _, l := range leaves {
		parts = append(parts, of(l))
	}
	all := composed(parts...)
	if !fails {
		return all
	}
	x.note("approximate events: with failure_probability f the whole costs, at delta, what events[0] alone costs at (delta-f)/(1-f); the UnsupportedDpEvent beside it makes an accountant refuse the whole")
	return composed(all, newDPEvent("UnsupportedDpEvent"))
}

func composed(parts ...*dpEvent) *dpEvent {
	all := newDPEvent("ComposedDpEvent")
	all.Events = &parts
	return all
}

func repeated(part *dpEvent, count int64) *dpEvent {
	if count == 1 {
		return part
	}
	many := newDPEvent("SelfComposedDpEvent")
	many.Event, many.Count = part, count
	return many
}

// forPLD is one leaf with its count, as dp_accounting documents its events.
func (x *exporter) forPLD(l Event) *dpEvent {
	const copies = 1000
	part := x.leaf(l, l.NoiseMultiplier)
	if part.Class != "RandomizedResponseDpEvent" || l.Count == 1 {
		return repeated(part, l.Count)
	}
	x.differs = true
	x.note("RandomizedResponseDpEvent: PLDAccountant takes a repeated one for a single one, so event lists copies of it, and an UnsupportedDpEvent for more than 1000")
	if l.Count > copies {
		return newDPEvent("UnsupportedDpEvent")
	}
	return composed(slices.Repeat([]*dpEvent{part}, int(l.Count))...)
}

// forRDP is one leaf with its count as RdpAccountant takes its events: it never
// doubles a sensitivity.
func (x *exporter) forRDP(l Event) *dpEvent {
	return repeated(x.leaf(l, l.NoiseMultiplier/x.adj.distance()), l.Count)
}

// leaf is one leaf without its count, for the noise multiplier z where its
// class has one over a sensitivity.
func (x *exporter) leaf(l Event, z float64) *dpEvent {
	replace := x.adj == ReplaceOne
	if parametersOf[l.Type].noise && z == 0 {
		return newDPEvent("NonPrivateDpEvent")
	}
	switch l.Type {
	case TypeGaussian:
		if replace {
			x.differs = true
			x.note("GaussianDpEvent: PLDAccountant doubles its sensitivity under REPLACE_ONE and RdpAccountant does not, so rdp_event has half the noise multiplier")
		}
		g := newDPEvent("GaussianDpEvent")
		g.NoiseMultiplier = dp(z)
		return g
	case TypePoissonGaussian:
		if replace {
			// RdpAccountant refuses it: halving would only mislead.
			z = l.NoiseMultiplier
			x.note("PoissonSampledDpEvent: RdpAccountant refuses it under REPLACE_ONE; PLDAccountant takes the antipodal pair, as is done here")
		}
		g := newDPEvent("GaussianDpEvent")
		g.NoiseMultiplier = dp(z)
		p := newDPEvent("PoissonSampledDpEvent")
		p.SamplingProbability, p.Event = dp(l.SamplingRate), g
		return p
	case TypeFixedSizeGaussian:
		x.differs = true
		x.note("SampledWithoutReplacementDpEvent: PLDAccountant refuses it; RdpAccountant takes its noise multiplier over the sensitivity under REPLACE_ONE, so rdp_event has half of it, and uses the looser bound of Wang, Balle and Kasiviswanathan 2019, Theorem 27")
		g := newDPEvent("GaussianDpEvent")
		g.NoiseMultiplier = dp(z)
		s := newDPEvent("SampledWithoutReplacementDpEvent")
		s.SourceDatasetSize, s.SampleSize, s.Event = l.SourceSize, l.SampleSize, g
		return s
	case TypeLaplace:
		if replace {
			x.differs = true
			x.note("LaplaceDpEvent: PLDAccountant refuses it under REPLACE_ONE; RdpAccountant does not double its sensitivity, so rdp_event has half the noise multiplier")
		}
		p := newDPEvent("LaplaceDpEvent")
		p.NoiseMultiplier = dp(z)
		return p
	case TypeDiscreteLaplace:
		if replace {
			x.note("DiscreteLaplaceDpEvent: both accountants refuse it under REPLACE_ONE")
		} else {
			x.note("DiscreteLaplaceDpEvent: RdpAccountant refuses it")
		}
		return discreteLaplaceEvent(1/(l.NoiseMultiplier*float64(l.Sensitivity)), l.Sensitivity)
	case TypeDiscreteGaussian:
		distance := x.adj.distance()
		x.note("discrete_gaussian: the library has no event for it; ZCDpEvent bounds it, and PLDAccountant refuses that")
		return zcdpEvent(distance * distance / (2 * l.NoiseMultiplier * l.NoiseMultiplier))
	case TypeZCDP:
		x.note("ZCDpEvent: PLDAccountant refuses it")
		return zcdpEvent(l.Rho.Float64Up())
	default: // pure, approximate, partition_selection
		eps := l.Epsilon.Float64Up()
		switch {
		case eps == 0:
			return newDPEvent("NoOpDpEvent")
		case !replace:
			x.note("pure events are DiscreteLaplaceDpEvent with sensitivity 1, whose loss is exactly that of binary randomised response; PLDAccountant refuses RandomizedResponseDpEvent under ADD_OR_REMOVE_ONE, and RdpAccountant refuses both")
			return discreteLaplaceEvent(eps, 1)
		}
		x.note("pure events are RandomizedResponseDpEvent with two buckets, which dominates every mechanism of that epsilon")
		p := 2 * math.Exp(-eps) / (1 + math.Exp(-eps))
		if p == 0 {
			return newDPEvent("NonPrivateDpEvent")
		}
		r := newDPEvent("RandomizedResponseDpEvent")
		r.NoiseParameter, r.NumBuckets = dp(p), 2
		return r
	}
}

// discreteLaplaceEvent is the mechanism whose noise has exp(−a·abs(x)) for a
// density on the integers.
func discreteLaplaceEvent(a float64, sensitivity int64) *dpEvent {
	switch {
	case a == 0: // underflow; 0 means no privacy there
		a = math.SmallestNonzeroFloat64
	case math.IsInf(a, 1):
		return newDPEvent("NonPrivateDpEvent")
	}
	d := newDPEvent("DiscreteLaplaceDpEvent")
	d.NoiseParameter, d.Sensitivity = dp(a), sensitivity
	return d
}

func zcdpEvent(rho float64) *dpEvent {
	if math.IsInf(rho, 1) {
		return newDPEvent("NonPrivateDpEvent")
	}
	z := newDPEvent("ZCDpEvent")
	z.Rho, z.Xi = dp(rho), dp(0)
	return z
}
