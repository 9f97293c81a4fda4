package datasets

import (
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/privsgld/privsgld/policies"
)

// TestBindOutcome: a target that is not binary is encoded like a feature of its type,
// and one that does not fit the model is refused by name.
func TestBindOutcome(t *testing.T) {
	d := dataset(number("x", 0, 10), category("c", "a", "b", "c"), category("one", "a"), boolean("flag"), category("y", "no", "yes"))
	d.Columns[1].Reference = "b"
	b, err := BindOutcome(d, "x", nil, Numeric)
	if err != nil {
		t.Fatal(err)
	}
	if e := b.Encoding(); e.Lower != 0 || e.Upper != 10 || e.Outcome != Numeric || slices.Contains(e.Coefficients, "x") {
		t.Errorf("number: %+v", e)
	}
	if code, _ := b.columns[len(b.columns)-1].element(); code != elementFloat64 {
		t.Error("a number is not stored as one")
	}
	if b, err = BindOutcome(d, "c", nil, Levels); err != nil {
		t.Fatal(err)
	}
	if e := b.Encoding(); len(e.Levels) != 3 || e.Reference != 1 {
		t.Errorf("category: %+v", e)
	}
	if b, err = BindOutcome(d, "flag", nil, Levels); err != nil || b.Encoding().Levels[1] != "true" {
		t.Errorf("boolean: %v", err)
	}
	for _, c := range []struct {
		target  string
		outcome Outcome
		want    string
	}{{"c", Numeric, "needs a number"}, {"flag", Numeric, "needs a number"}, {"x", Levels, "needs a category"}, {"one", Levels, "one level"}, {"x", Binary, "binary target"}, {"c", Binary, "positive level"}} {
		if _, err := BindOutcome(d, c.target, nil, c.outcome); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", c.target, err)
		}
	}
}

func TestBindEncoding(t *testing.T) {
	region := category("region", "north", "south", "west")
	region.Reference = "south"
	d := dataset(number("age", 18, 62), category("y", "no", "yes"), region, boolean("member"), integer("kids", 0, 9))
	b := mustBind(t, d)
	e := b.Encoding()
	if got, want := strings.Join(e.Coefficients, " "), "intercept age region=north region=west member kids"; got != want {
		t.Errorf("coefficients %q, want %q", got, want)
	}
	var offsets, widths []float64
	for _, f := range e.Features {
		offsets, widths = append(offsets, float64(f.Offset)), append(widths, float64(f.Width))
	}
	wantColumn(t, offsets, 1, 2, 4, 5)
	wantColumn(t, widths, 1, 2, 1, 1)
	if e.Features[1].Reference != 1 || e.Target != "y" || e.Positive != "yes" {
		t.Errorf("encoding %+v", e)
	}
	if e.Features[0].Lower != 18 || e.Features[0].Upper != 62 || e.Features[0].Kind != Number || e.Features[2].Kind != Boolean {
		t.Errorf("features %+v", e.Features)
	}

	b, err := Bind(d, "member", []string{"kids", "y"})
	if err != nil {
		t.Fatal(err)
	}
	if got, want := strings.Join(b.Encoding().Coefficients, " "), "intercept kids y=yes"; got != want {
		t.Errorf("coefficients %q, want %q", got, want)
	}
}

func TestBindRefuses(t *testing.T) {
	noDefault := withDefault(category("c", "a", "b"), "z")
	badReference := category("c", "a")
	badReference.Reference = "b"
	for name, c := range map[string]struct {
		d        policies.Dataset
		target   string
		features []string
		want     string
	}{
		"unknown feature":         {smallDataset(), "", []string{"z"}, `feature "z"`},
		"target as feature":       {smallDataset(), "", []string{"y"}, `feature "y"`},
		"named twice":             {smallDataset(), "", []string{"x", "x"}, `feature "x"`},
		"unknown target":          {smallDataset(), "z", nil, `target "z"`},
		"numeric target":          {smallDataset(), "x", nil, `target "x"`},
		"target without positive": {dataset(category("y", "no", "yes"), category("c", "a", "b")), "c", nil, `target "c"`},
		"equal bounds":            {dataset(category("y", "no", "yes"), number("x", 1, 1)), "", nil, `column "x"`},
		"NaN bound":               {dataset(category("y", "no", "yes"), number("x", math.NaN(), 1)), "", nil, `column "x"`},
		"bounds too far":          {dataset(category("y", "no", "yes"), number("x", -1e308, 1e308)), "", nil, `column "x"`},
		"default no level":        {dataset(category("y", "no", "yes"), noDefault), "", nil, `column "c"`},
		"reference":               {dataset(category("y", "no", "yes"), badReference), "", nil, `column "c"`},
		"no levels":               {dataset(category("y", "no", "yes"), category("c")), "", nil, `column "c"`},
		"default no number":       {dataset(category("y", "no", "yes"), withDefault(number("x", 0, 1), "one")), "", nil, `column "x"`},
		"default no truth":        {dataset(category("y", "no", "yes"), withDefault(boolean("b"), "yes")), "", nil, `column "b"`},
	} {
		if _, err := Bind(c.d, c.target, c.features); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: error %v, want one with %q", name, err, c.want)
		}
	}
	d := smallDataset()
	d.Unit.Kind = "entity"
	if _, err := Bind(d, "", nil); err == nil {
		t.Error("entities: no error")
	}
}
