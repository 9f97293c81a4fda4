package accountant

import (
	"encoding/json"
	"errors"
	"maps"
	"math"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// dpFields are the fields of each class, from dp_event.py of dp_accounting 0.6.0.
var dpFields = map[string][]string{
	"NoOpDpEvent": {}, "NonPrivateDpEvent": {}, "UnsupportedDpEvent": {},
	"ComposedDpEvent":                  {"events"},
	"SelfComposedDpEvent":              {"count", "event"},
	"GaussianDpEvent":                  {"noise_multiplier"},
	"LaplaceDpEvent":                   {"noise_multiplier"},
	"DiscreteLaplaceDpEvent":           {"noise_parameter", "sensitivity"},
	"RandomizedResponseDpEvent":        {"noise_parameter", "num_buckets"},
	"PoissonSampledDpEvent":            {"event", "sampling_probability"},
	"SampledWithoutReplacementDpEvent": {"event", "sample_size", "source_dataset_size"},
	"ZCDpEvent":                        {"rho", "xi"},
}

// show writes a tree as its constructor calls would read, and fails on a class
// or field that the library does not have.
func show(t require, node any) string {
	t.Helper()
	m, ok := node.(map[string]any)
	if !ok {
		b, _ := json.Marshal(node)
		return string(b)
	}
	class, _ := m["class_name"].(string)
	fields, known := dpFields[class]
	if !known || m["module_name"] != "dp_accounting.dp_event" {
		t.Fatalf("no such class: %v %v", m["module_name"], class)
	}
	delete(m, "module_name")
	delete(m, "class_name")
	if names := slices.Sorted(maps.Keys(m)); !slices.Equal(names, fields) {
		t.Fatalf("%s has the fields %v, not %v", class, fields, names)
	}
	var args []string
	for _, name := range fields {
		if list, ok := m[name].([]any); ok {
			var parts []string
			for _, part := range list {
				parts = append(parts, show(t, part))
			}
			args = append(args, "["+strings.Join(parts, " ")+"]")
			continue
		}
		args = append(args, show(t, m[name]))
	}
	return strings.TrimSuffix(class, "DpEvent") + "(" + strings.Join(args, " ") + ")"
}

type require interface {
	Helper()
	Fatalf(format string, args ...any)
}

type exported struct {
	Schema   string   `json:"schema"`
	Relation string   `json:"neighboring_relation"`
	Event    any      `json:"event"`
	RDPEvent any      `json:"rdp_event"`
	Failure  float64  `json:"failure_probability"`
	Notes    []string `json:"notes"`
}

func export(t require, e Event) exported {
	t.Helper()
	b, err := ExportDPAccounting(e)
	if err != nil {
		t.Fatalf("%v", err)
	}
	var doc exported
	dec := json.NewDecoder(strings.NewReader(string(b)))
	dec.UseNumber()
	dec.DisallowUnknownFields()
	if err := dec.Decode(&doc); err != nil {
		t.Fatalf("%v", err)
	}
	return doc
}

// TestExportNames: each event by the name, fields and numbers under which
// dp_accounting means the same mechanism. For pure events the figures are
// e = 1: 2/(1+e^1) = 0.5378828427399902.
func TestExportNames(t *testing.T) {
	eps, delta := MustAmount("1"), MustAmount("1e-6")
	for _, c := range []struct {
		of   func(adj Adjacency) Event
		adj  Adjacency
		pld  string
		rdp  string // empty: the same
		says string
	}{
		{of: func(a Adjacency) Event { return Gaussian(a, 4, 1) }, adj: AddRemove, pld: `Gaussian(4.0)`},
		{of: func(a Adjacency) Event { return Gaussian(a, 4, 1) }, adj: ReplaceOne, pld: `Gaussian(4.0)`, rdp: `Gaussian(2.0)`, says: "PLDAccountant doubles"},
		{of: func(a Adjacency) Event { return PoissonGaussian(a, 0.01, 1.1, 300) }, adj: AddRemove, pld: `SelfComposed(300 PoissonSampled(Gaussian(1.1) 0.01))`},
		{of: func(a Adjacency) Event { return PoissonGaussian(a, 0.01, 1.1, 300) }, adj: ReplaceOne, pld: `SelfComposed(300 PoissonSampled(Gaussian(1.1) 0.01))`, says: "antipodal"},
		{of: func(a Adjacency) Event { return PoissonGaussian(a, 1, 4, 2) }, adj: AddRemove, pld: `SelfComposed(2 Gaussian(4.0))`},
		{of: func(a Adjacency) Event { return FixedSizeGaussian(a, 10, 1000, 4, 3) }, adj: ReplaceOne,
			pld: `SelfComposed(3 SampledWithoutReplacement(Gaussian(4.0) 10 1000))`, rdp: `SelfComposed(3 SampledWithoutReplacement(Gaussian(2.0) 10 1000))`, says: "Theorem 27"},
		{of: func(a Adjacency) Event { return Laplace(a, 3, 2) }, adj: AddRemove, pld: `SelfComposed(2 Laplace(3.0))`},
		{of: func(a Adjacency) Event { return Laplace(a, 3, 2) }, adj: ReplaceOne, pld: `SelfComposed(2 Laplace(3.0))`, rdp: `SelfComposed(2 Laplace(1.5))`, says: "refuses it under REPLACE_ONE"},
		{of: func(a Adjacency) Event { return DiscreteLaplace(a, 2, 4, 1) }, adj: AddRemove, pld: `DiscreteLaplace(0.125 4)`, says: "RdpAccountant refuses it"},
		{of: func(a Adjacency) Event { return DiscreteLaplace(a, 2, 4, 1) }, adj: ReplaceOne, pld: `DiscreteLaplace(0.125 4)`, says: "both accountants refuse it"},
		{of: func(a Adjacency) Event { return DiscreteGaussian(a, 2, 0, 1) }, adj: AddRemove, pld: `ZC(0.125 0.0)`, says: "ZCDpEvent bounds it"},
		{of: func(a Adjacency) Event { return DiscreteGaussian(a, 2, 3, 1) }, adj: ReplaceOne, pld: `ZC(0.5 0.0)`},
		{of: func(a Adjacency) Event { return ZCDP(a, MustAmount("0.25"), 1) }, adj: ReplaceOne, pld: `ZC(0.25 0.0)`},
		{of: func(a Adjacency) Event { return Pure(a, eps, 7) }, adj: AddRemove, pld: `SelfComposed(7 DiscreteLaplace(1.0 1))`, says: "exactly that of binary randomised response"},
		{of: func(a Adjacency) Event { return Pure(a, eps, 1) }, adj: ReplaceOne, pld: `RandomizedResponse(0.5378828427399902 2)`},
		// Google's PLDAccountant ignores the count of these.
		{of: func(a Adjacency) Event { return Pure(a, eps, 2) }, adj: ReplaceOne,
			pld: `Composed([RandomizedResponse(0.5378828427399902 2) RandomizedResponse(0.5378828427399902 2)])`,
			rdp: `SelfComposed(2 RandomizedResponse(0.5378828427399902 2))`, says: "takes a repeated one for a single one"},
		{of: func(a Adjacency) Event { return Pure(a, eps, 1001) }, adj: ReplaceOne, pld: `Unsupported()`,
			rdp: `SelfComposed(1001 RandomizedResponse(0.5378828427399902 2))`},
		{of: func(a Adjacency) Event { return Pure(a, Amount{}, 1) }, adj: AddRemove, pld: `NoOp()`},
		{of: func(a Adjacency) Event { return Pure(a, MustAmount("1e9"), 1) }, adj: ReplaceOne, pld: `NonPrivate()`},
		{of: func(a Adjacency) Event { return Pure(a, MustAmount("1e999"), 1) }, adj: AddRemove, pld: `NonPrivate()`},
		{of: func(a Adjacency) Event { return Gaussian(a, 0, 1) }, adj: AddRemove, pld: `NonPrivate()`},
		{of: func(a Adjacency) Event { return Laplace(a, 0, 1) }, adj: ReplaceOne, pld: `NonPrivate()`},
	} {
		doc := export(t, c.of(c.adj))
		if doc.Schema != "privsgld/dp_accounting-events/v1" || (doc.Relation == "REPLACE_ONE") != (c.adj == ReplaceOne) || doc.Failure != 0 {
			t.Errorf("head %+v", doc)
		}
		if got := show(t, doc.Event); got != "Composed(["+c.pld+"])" {
			t.Errorf("%s: %s, want %s", c.adj, got, c.pld)
		}
		switch {
		case c.rdp == "" && doc.RDPEvent != nil:
			t.Errorf("%s %s: rdp_event %s is not needed", c.adj, c.pld, show(t, doc.RDPEvent))
		case c.rdp != "" && doc.RDPEvent == nil:
			t.Errorf("%s %s: no rdp_event", c.adj, c.pld)
		case c.rdp != "" && show(t, doc.RDPEvent) != "Composed(["+c.rdp+"])":
			t.Errorf("%s %s: rdp_event is not %s", c.adj, c.pld, c.rdp)
		}
		if !strings.Contains(strings.Join(doc.Notes, "\n"), c.says) {
			t.Errorf("%s %s: the notes do not say %q: %q", c.adj, c.pld, c.says, doc.Notes)
		}
	}

	// Failures stand beside the rest, and no accountant takes the whole.
	doc := export(t, Compose(Approximate(AddRemove, eps, delta, 2), PartitionSelection(AddRemove, eps, delta, 1)))
	if got, want := show(t, doc.Event), "Composed([Composed([SelfComposed(2 DiscreteLaplace(1.0 1)) DiscreteLaplace(1.0 1)]) Unsupported()])"; got != want {
		t.Errorf("approximate: %s, want %s", got, want)
	}
	if exact := -math.Expm1(3 * math.Log1p(-1e-6)); doc.Failure < exact || doc.Failure > exact*(1+1e-12) {
		t.Errorf("failure_probability %g, want %g", doc.Failure, exact)
	}
	if doc := export(t, Event{Type: TypeComposition, Adjacency: AddRemove, Count: 1}); show(t, doc.Event) != "Composed([])" {
		t.Error("nothing is not an empty composition")
	}
	for _, e := range []Event{FixedSizeGaussian(AddRemove, 10, 100, 1, 1)} {
		if _, err := ExportDPAccounting(e); !errors.Is(err, ErrUnsupported) {
			t.Errorf("%s: %v", e.Type, err)
		}
	}
	if _, err := ExportDPAccounting(Gaussian(AddRemove, -1, 1)); !errors.Is(err, ErrDomain) {
		t.Errorf("a negative noise multiplier: %v", err)
	}
}

// TestExportAny: whatever is valid is exported, by classes and fields that the
// library has, the same for equal events, and with its steps all there.
func TestExportAny(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		adj := rapid.SampledFrom([]Adjacency{AddRemove, ReplaceOne}).Draw(t, "adjacency")
		e := anyEvent(adj).Draw(t, "event")
		doc := export(t, e)
		show(t, doc.Event)
		if doc.RDPEvent != nil {
			show(t, doc.RDPEvent)
		}
		a, _ := ExportDPAccounting(e)
		b, _ := ExportDPAccounting(e.Merge())
		if string(a) != string(b) {
			t.Fatalf("not the same after merging")
		}
		if steps, want := countSteps(doc.Event), stepsOf(e.Merge()); steps != want && doc.Failure == 0 {
			t.Fatalf("%d steps of %d", steps, want)
		}
	})
}

func countSteps(node any) int64 {
	m, _ := node.(map[string]any)
	if list, ok := m["events"].([]any); ok {
		var n int64
		for _, part := range list {
			n += countSteps(part)
		}
		return n
	}
	if count, ok := m["count"].(json.Number); ok {
		n, _ := count.Int64()
		return n
	}
	return 1
}

func stepsOf(merged Event) int64 {
	var n int64
	for _, part := range merged.Events {
		n += part.Count
	}
	return n
}
