package ledger

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/privsgld/privsgld/accountant"
)

// What figures that share their work say is, to the last bit, what each says alone:
// whatever was asked before, of equal counts at another δ or by another accountant too.
func TestSharedFigures(t *testing.T) {
	var kinds []string
	for _, e := range []accountant.Event{accountant.Gaussian(accountant.AddRemove, 5, 1), accountant.Gaussian(accountant.AddRemove, 7, 1),
		accountant.PoissonGaussian(accountant.AddRemove, 0.01, 6, 1), accountant.Laplace(accountant.AddRemove, 20, 1)} {
		m, err := mechanisms(e)
		if err != nil {
			t.Fatal(err)
		}
		for k := range m {
			kinds = append(kinds, k)
		}
	}
	terms := []accountant.Terms{testTerms(accountant.MethodRDP, "3", "1e-6"), testTerms(accountant.MethodRDP, "3", "1e-5"),
		testTerms(accountant.MethodGDP, "3", "1e-6"), testTerms(accountant.MethodRDP, "2", "1e-6")}
	rapid.Check(t, func(t *rapid.T) {
		shared := newFigures()
		for range rapid.IntRange(2, 8).Draw(t, "figures") {
			m := events{}
			for i, n := range rapid.SliceOfN(rapid.Int64Range(0, 2), len(kinds), len(kinds)).Draw(t, "counts") {
				if n > 0 {
					m[kinds[i]] = n
				}
			}
			by := rapid.SampledFrom(terms).Draw(t, "terms")
			for what, of := range map[string]func(*figures) (float64, error){
				"ε":        func(f *figures) (float64, error) { return f.epsilon(m, by) },
				"odometer": func(f *figures) (float64, error) { return f.odometer(m, by) },
			} {
				got, err := of(shared)
				if err != nil {
					t.Fatal(err)
				}
				if want, err := of(newFigures()); err != nil || got != want {
					t.Fatalf("%s of %v: %v, alone %v, %v", what, m, got, want, err)
				}
			}
		}
	})
}

// The rows of an overlay are those below and those that were written, each once, in
// order of key, whatever the order below.
func TestOverlayList(t *testing.T) {
	base := backwards{"a/1": "1", "a/2": "2", "a/4": "4", "b/1": "b"}
	o := newOverlay(base)
	for _, w := range [][2]string{{"a/2", "new"}, {"a/3", "3"}, {"a/4", ""}, {"a/5", ""}, {"b/2", "b"}} {
		if err := o.Put(w[0], w[1]); err != nil {
			t.Fatal(err)
		}
	}
	got := ""
	if err := o.List("a/", func(k, v string) error { got += k + "=" + v + " "; return nil }); err != nil {
		t.Fatal(err)
	}
	if want := "a/1=1 a/2=new a/3=3 "; got != want {
		t.Errorf("%s, not %s", got, want)
	}
}

// backwards lists its rows in falling order of key.
type backwards map[string]string

func (b backwards) Get(k string) (string, bool, error) { v, ok := b[k]; return v, ok, nil }

func (b backwards) Put(k, v string) error { b[k] = v; return nil }

func (b backwards) List(prefix string, fn func(k, v string) error) error {
	for _, k := range slices.Backward(slices.Sorted(maps.Keys(b))) {
		if strings.HasPrefix(k, prefix) {
			if err := fn(k, b[k]); err != nil {
				return err
			}
		}
	}
	return nil
}
