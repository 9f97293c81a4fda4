package accountant

import (
	"encoding/json"
	"errors"
	"math"
	"reflect"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// anyEvent draws valid events of every type.
func anyEvent(adj Adjacency) *rapid.Generator[Event] {
	return rapid.Custom(func(t *rapid.T) Event {
		z := rapid.Float64Range(0.5, 40)
		count := rapid.Int64Range(0, 50).Draw(t, "count")
		switch rapid.IntRange(0, 6).Draw(t, "type") {
		case 0:
			return Gaussian(adj, z.Draw(t, "z"), count)
		case 1:
			return PoissonGaussian(adj, rapid.SampledFrom([]float64{0, 1e-5, 0.01, 0.3, 0.99, 1}).Draw(t, "q"), z.Draw(t, "z"), count)
		case 2:
			return Laplace(adj, z.Draw(t, "b"), count)
		case 3:
			return Pure(adj, MustAmount(rapid.SampledFrom([]string{"0", "0.01", "0.1", "1"}).Draw(t, "eps")), count)
		case 4:
			return Approximate(adj, MustAmount("0.1"), MustAmount(rapid.SampledFrom([]string{"0", "1e-9", "1e-8"}).Draw(t, "delta")), count)
		case 5:
			return Event{Type: TypeGaussian, Adjacency: adj, NoiseMultipliers: rapid.SliceOfN(z, 1, 5).Draw(t, "zs"), Count: count}
		}
		e := Compose(rapid.SliceOfN(anyLeaf(adj), 0, 3).Draw(t, "parts")...)
		e.Adjacency, e.Count = adj, count
		return e
	})
}

// anyKind adds the types that not every accountant has a rule for.
func anyKind(adj Adjacency) *rapid.Generator[Event] {
	other := rapid.Custom(func(t *rapid.T) Event {
		z := rapid.Float64Range(0.5, 40).Draw(t, "z")
		count := rapid.Int64Range(0, 50).Draw(t, "count")
		k := rapid.Int64Range(1, 9).Draw(t, "k")
		switch rapid.IntRange(0, 4).Draw(t, "type") {
		case 0:
			return FixedSizeGaussian(adj, k-1, k, z, count)
		case 1:
			return DiscreteGaussian(adj, z, k-1, count)
		case 2:
			return DiscreteLaplace(adj, z, k, count)
		case 3:
			return PartitionSelection(adj, MustAmount("0.1"), MustAmount("1e-9"), count)
		}
		return ZCDP(adj, MustAmount(rapid.SampledFrom([]string{"0", "0.01", "1"}).Draw(t, "rho")), count)
	})
	return rapid.OneOf(anyEvent(adj), other)
}

func anyLeaf(adj Adjacency) *rapid.Generator[Event] {
	return rapid.Custom(func(t *rapid.T) Event {
		return PoissonGaussian(adj, rapid.SampledFrom([]float64{0.01, 1}).Draw(t, "q"), rapid.SampledFrom([]float64{1, 2, 8}).Draw(t, "z"), rapid.Int64Range(0, 9).Draw(t, "n"))
	})
}

func anyAdjacency(t *rapid.T) Adjacency {
	return rapid.SampledFrom([]Adjacency{AddRemove, ReplaceOne}).Draw(t, "adjacency")
}

func TestValidateRefuses(t *testing.T) {
	eps, delta := MustAmount("1"), MustAmount("1e-6")
	for name, e := range map[string]Event{
		"no type":             {Adjacency: AddRemove, Count: 1},
		"unknown type":        {Type: "magic", Adjacency: AddRemove, Count: 1},
		"no adjacency":        Gaussian("", 1, 1),
		"unknown adjacency":   Gaussian("zero-out", 1, 1),
		"no such sample":      FixedSizeGaussian(ReplaceOne, 11, 10, 1, 1),
		"no source":           FixedSizeGaussian(ReplaceOne, 0, 0, 1, 1),
		"negative sample":     FixedSizeGaussian(ReplaceOne, -1, 10, 1, 1),
		"no sensitivity":      DiscreteLaplace(AddRemove, 1, 0, 1),
		"surplus sensitivity": {Type: TypeLaplace, Adjacency: AddRemove, NoiseMultiplier: 1, Sensitivity: 1, Count: 1},
		"no rho":              {Type: TypeZCDP, Adjacency: AddRemove, Count: 1},
		"surplus rho":         {Type: TypeGaussian, Adjacency: AddRemove, NoiseMultiplier: 1, Rho: &eps, Count: 1},
		"surplus sizes":       {Type: TypePoissonGaussian, Adjacency: AddRemove, SamplingRate: 0.1, SourceSize: 5, NoiseMultiplier: 1, Count: 1},
		"negative noise":      Gaussian(AddRemove, -1, 1),
		"NaN noise":           Gaussian(AddRemove, math.NaN(), 1),
		"infinite noise":      Gaussian(AddRemove, math.Inf(1), 1),
		"negative count":      Gaussian(AddRemove, 1, -1),
		"too many steps":      Gaussian(AddRemove, 1, 1<<53+1),
		"rate above 1":        PoissonGaussian(AddRemove, 1.5, 1, 1),
		"NaN rate":            PoissonGaussian(AddRemove, math.NaN(), 1, 1),
		"rate of a Gaussian":  {Type: TypeGaussian, Adjacency: AddRemove, NoiseMultiplier: 1, SamplingRate: 0.5, Count: 1},
		"two noises":          {Type: TypeGaussian, Adjacency: AddRemove, NoiseMultiplier: 1, NoiseMultipliers: []float64{1}, Count: 1},
		"empty sequence":      {Type: TypeGaussian, Adjacency: AddRemove, NoiseMultipliers: []float64{}, Count: 1},
		"pure without ε":      {Type: TypePure, Adjacency: AddRemove, Count: 1},
		"pure with δ":         {Type: TypePure, Adjacency: AddRemove, Epsilon: &eps, Delta: &delta, Count: 1},
		"pure with noise":     {Type: TypePure, Adjacency: AddRemove, Epsilon: &eps, NoiseMultiplier: 1, Count: 1},
		"approximate, no δ":   {Type: TypeApproximate, Adjacency: AddRemove, Epsilon: &eps, Count: 1},
		"approximate, δ of 1": Approximate(AddRemove, eps, MustAmount("1"), 1),
		"Gaussian with ε":     {Type: TypeGaussian, Adjacency: AddRemove, NoiseMultiplier: 1, Epsilon: &eps, Count: 1},
		"parts of a leaf":     {Type: TypeGaussian, Adjacency: AddRemove, NoiseMultiplier: 1, Events: []Event{}, Count: 1},
		"mixed adjacency":     Compose(Gaussian(AddRemove, 1, 1), Gaussian(ReplaceOne, 1, 1)),
		"steps overflow":      {Type: TypeComposition, Adjacency: AddRemove, Count: 1 << 40, Events: []Event{Gaussian(AddRemove, 1, 1<<40)}},
		"steps add up":        Compose(Gaussian(AddRemove, 1, 1<<53), Gaussian(AddRemove, 1, 1)),
		"too deep":            nested(maxDepth),
	} {
		if err := e.Validate(); !errors.Is(err, ErrDomain) {
			t.Errorf("%s: %v, want ErrDomain", name, err)
		} else if strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: more than one line: %q", name, err)
		}
		if _, _, err := Epsilon(MethodRDP, e, 1e-6); !errors.Is(err, ErrDomain) {
			t.Errorf("%s: Epsilon gives %v, want ErrDomain", name, err)
		}
		if !reflect.DeepEqual(e.Merge(), e) && e.NoiseMultiplier == e.NoiseMultiplier && e.SamplingRate == e.SamplingRate {
			t.Errorf("%s: Merge changed an invalid event", name)
		}
	}
	if err := nested(maxDepth - 1).Validate(); err != nil {
		t.Errorf("%d levels: %v", maxDepth, err)
	}
	if err := Compose().Validate(); err != nil {
		t.Errorf("an empty composition: %v", err)
	}
}

// nested is a Gaussian inside n compositions.
func nested(n int) Event {
	e := Gaussian(AddRemove, 1, 1)
	for range n {
		e = Compose(e)
	}
	return e
}

func TestEventJSON(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		e := anyKind(anyAdjacency(t)).Draw(t, "event")
		data, err := json.Marshal(e)
		if err != nil {
			t.Fatal(err)
		}
		var back Event
		if err := json.Unmarshal(data, &back); err != nil {
			t.Fatalf("%s: %v", data, err)
		}
		if len(e.Events) == 0 {
			e.Events = nil // an empty list and none are the same event
		}
		if !reflect.DeepEqual(e, back) {
			t.Fatalf("%+v became %s became %+v", e, data, back)
		}
	})
}

func TestParseEvents(t *testing.T) {
	e, err := ParseEvents([]byte(`[
		{"type": "poisson_gaussian", "sampling_rate": 0.01, "noise_multiplier": 1.1, "count": 10},
		{"type": "gaussian", "noise_multipliers": [4, 5]},
		{"type": "pure", "epsilon": 0.10},
		{"type": "approximate", "epsilon": 1, "delta": 1e-9, "count": 2}]`), ReplaceOne)
	if err != nil {
		t.Fatal(err)
	}
	want := Compose(PoissonGaussian(ReplaceOne, 0.01, 1.1, 10),
		Event{Type: TypeGaussian, Adjacency: ReplaceOne, NoiseMultipliers: []float64{4, 5}, Count: 1},
		Pure(ReplaceOne, MustAmount("0.1"), 1), Approximate(ReplaceOne, MustAmount("1"), MustAmount("1e-9"), 2))
	if !reflect.DeepEqual(e, want) {
		t.Errorf("got %+v, want %+v", e, want)
	}

	for name, text := range map[string]string{
		"no list":          `{"type": "gaussian", "noise_multiplier": 1}`,
		"no JSON":          `[{]`,
		"unknown key":      `[{"type": "gaussian", "noise_multiplier": 1, "sigma": 2}]`,
		"other case":       `[{"Type": "gaussian", "noise_multiplier": 1}]`,
		"repeated key":     `[{"type": "gaussian", "noise_multiplier": 9, "noise_multiplier": 1}]`,
		"null":             `[{"type": "gaussian", "noise_multiplier": 1, "count": null}]`,
		"no noise":         `[{"type": "gaussian"}]`,
		"no rate":          `[{"type": "poisson_gaussian", "noise_multiplier": 1}]`,
		"surplus rate":     `[{"type": "gaussian", "noise_multiplier": 1, "sampling_rate": 0}]`,
		"no sizes":         `[{"type": "fixed_size_gaussian", "noise_multiplier": 1, "sample_size": 1}]`,
		"zero sensitivity": `[{"type": "discrete_gaussian", "noise_multiplier": 1, "sensitivity": 0}]`,
		"rho as text":      `[{"type": "zcdp", "rho": "1"}]`,
		"surplus rho":      `[{"type": "pure", "epsilon": 1, "rho": 1}]`,
		"surplus noise":    `[{"type": "pure", "epsilon": 1, "noise_multiplier": 0}]`,
		"both noises":      `[{"type": "gaussian", "noise_multiplier": 0, "noise_multipliers": [1]}]`,
		"ε as text":        `[{"type": "pure", "epsilon": "1"}]`,
		"negative ε":       `[{"type": "pure", "epsilon": -1}]`,
		"fractional count": `[{"type": "pure", "epsilon": 1, "count": 1.5}]`,
		"negative count":   `[{"type": "pure", "epsilon": 1, "count": -1}]`,
		"other adjacency":  `[{"type": "pure", "epsilon": 1, "adjacency": "replace-one"}]`,
		"two lists":        `[] []`,
		"deep":             strings.Repeat(`[{"type":"composition","events":`, 5000) + `[]` + strings.Repeat(`}]`, 5000),
	} {
		if _, err := ParseEvents([]byte(text), AddRemove); !errors.Is(err, ErrDomain) {
			t.Errorf("%s: %v, want ErrDomain", name, err)
		} else if strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: more than one line: %q", name, err)
		}
	}
	if e, err := ParseEvents([]byte(`[]`), AddRemove); err != nil || len(e.Events) != 0 {
		t.Errorf("no events: %v, %v", e, err)
	}
}

func TestEventsDocument(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		adj := anyAdjacency(t)
		e := Compose(rapid.SliceOfN(anyKind(adj), 0, 5).Draw(t, "events")...)
		data, err := MarshalEvents(e)
		if err != nil {
			t.Fatal(err)
		}
		if e.Adjacency == "" {
			return // no events: nothing says under which relation
		}
		back, err := ParseEvents(data, adj)
		if err != nil || !reflect.DeepEqual(back.Merge(), e.Merge()) {
			t.Fatalf("%s: %v", data, err)
		}
	})
	for name, text := range map[string]string{
		"newer schema":    `{"schema": "privsgld/events/v2", "adjacency": "add-remove", "events": []}`,
		"no schema":       `{"adjacency": "add-remove", "events": []}`,
		"other adjacency": `{"schema": "privsgld/events/v1", "adjacency": "replace-one", "events": []}`,
		"no events":       `{"schema": "privsgld/events/v1", "adjacency": "add-remove"}`,
		"surplus key":     `{"schema": "privsgld/events/v1", "adjacency": "add-remove", "events": [], "epsilon": 1}`,
		"surplus text":    `{"schema": "privsgld/events/v1", "adjacency": "add-remove", "events": []} []`,
	} {
		if _, err := ParseEvents([]byte(text), AddRemove); !errors.Is(err, ErrDomain) {
			t.Errorf("%s: %v, want ErrDomain", name, err)
		}
	}
	if _, err := MarshalEvents(Gaussian("none", 1, 1)); !errors.Is(err, ErrDomain) {
		t.Errorf("an invalid event was written: %v", err)
	}
}

func TestMergeIsCanonical(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		adj := anyAdjacency(t)
		events := rapid.SliceOfN(anyKind(adj), 0, 5).Draw(t, "events")
		shuffled := rapid.Permutation(events).Draw(t, "shuffled")
		a, b := Compose(events...), Compose(shuffled...)
		merged := a.Merge()
		if !reflect.DeepEqual(merged, b.Merge()) {
			t.Fatalf("order matters: %+v and %+v", merged, b.Merge())
		}
		if !reflect.DeepEqual(merged, merged.Merge()) {
			t.Fatalf("merging twice changes %+v", merged)
		}
		if err := merged.Validate(); err != nil {
			t.Fatal(err)
		}
	})
	merged := Compose(Gaussian(AddRemove, 2, 3), Compose(PoissonGaussian(AddRemove, 1, 2, 4), PoissonGaussian(AddRemove, 0, 2, 4)),
		Event{Type: TypeGaussian, Adjacency: AddRemove, NoiseMultipliers: []float64{1, 2, 1}, Count: 2}).Merge()
	want := Compose(Gaussian(AddRemove, 1, 4), Gaussian(AddRemove, 2, 9))
	if !reflect.DeepEqual(merged, want) {
		t.Errorf("got %+v, want %+v", merged, want)
	}
}

func FuzzParseEvents(f *testing.F) {
	for _, seed := range []string{`[]`, `[{"type":"gaussian","noise_multiplier":1}]`, `[{"type":"pure","epsilon":0.1,"count":3}]`,
		`[{"type":"poisson_gaussian","sampling_rate":0.5,"noise_multipliers":[1,2]}]`,
		`[{"type":"composition","events":[{"type":"laplace","noise_multiplier":10}]}]`,
		`[{"type":"approximate","epsilon":1,"delta":1e-9}]`, `[{"type":"gaussian","noise_multiplier":1e999}]`, `[null]`} {
		f.Add([]byte(seed))
	}
	f.Add([]byte(`{"schema":"privsgld/events/v1","adjacency":"add-remove","events":[{"type":"zcdp","rho":0.1}]}`))
	f.Add([]byte(`[{"type":"fixed_size_gaussian","sample_size":3,"source_size":10,"noise_multiplier":2}]`))
	f.Add([]byte(`[{"type":"discrete_laplace","noise_multiplier":2,"sensitivity":3},{"type":"discrete_gaussian","noise_multiplier":2}]`))
	f.Add([]byte(`[{"type":"partition_selection","epsilon":1,"delta":1e-9,"count":3}]`))
	f.Fuzz(func(t *testing.T, data []byte) {
		e, err := ParseEvents(data, AddRemove)
		if err != nil {
			if !errors.Is(err, ErrDomain) {
				t.Fatalf("%v is not ErrDomain", err)
			}
			return
		}
		text, err := json.Marshal(e.Events)
		if err != nil {
			t.Fatal(err)
		}
		again, err := ParseEvents(text, AddRemove)
		if e.Events == nil {
			return
		}
		if err != nil || !reflect.DeepEqual(e.Merge(), again.Merge()) {
			t.Fatalf("%s became %s: %v", data, text, err)
		}
		if mu, err := MuGDP(e); err == nil && !(mu >= 0) {
			t.Fatalf("%s has μ %g", text, mu)
		}
	})
}

// TestMergeOrder: leaves are ordered by kind, rate, noise multiplier, and then the
// rest, and equal ones count together wherever they stand.
func TestMergeOrder(t *testing.T) {
	sized := func(sample int64, z float64) Event { return FixedSizeGaussian(ReplaceOne, sample, 100, z, 1) }
	list := Gaussian(ReplaceOne, 0, 2)
	list.NoiseMultipliers = []float64{7, 5, 7}
	got := Compose(sized(20, 2), PoissonGaussian(ReplaceOne, 0.5, 1, 1), sized(10, 3), list, sized(10, 2), sized(20, 3), sized(20, 1),
		Gaussian(ReplaceOne, 5, 1), sized(10, 2), Event{Type: TypeGaussian, Adjacency: ReplaceOne, NoiseMultiplier: 9}).Merge().Events
	counted := func(e Event, n int64) Event { e.Count = n; return e }
	want := []Event{
		sized(20, 1), counted(sized(10, 2), 2), sized(20, 2), sized(10, 3), sized(20, 3),
		Gaussian(ReplaceOne, 5, 3), Gaussian(ReplaceOne, 7, 4), PoissonGaussian(ReplaceOne, 0.5, 1, 1),
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}
