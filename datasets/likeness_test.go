package datasets

import (
	"crypto/sha256"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/privsgld/privsgld/policies"
)

// The figures of the sketch. Of tables whose rows are nearly all distinct each trick
// is recognised in every trial, and no unrelated table is taken for another.
//
// Where two tables of n rows differ in 1 % of them, both ways, the share of common
// rows among those compared is 0.99 by expectation; that it falls below 0.6 among 256
// has a probability below 10⁻²⁰⁰. Unrelated tables have no row in common but those of
// nulls and few values, less than 1 %: 0.6 is as far away. So a trial that goes wrong
// is a fault and no bad luck; a trick that slipped through in 2.3 % of the cases would
// be seen with probability 0.99 in 200 trials.
func TestLikeness(t *testing.T) {
	r := rand.New(rand.NewPCG(9, 1))
	d := printDataset()
	renamed := printDataset()
	for i := range renamed.Columns {
		renamed.Columns[i].Name += "2"
	}
	renamed.Target.Column = "y2"
	percent := func(p plain, drop, add bool) plain {
		return p.with(func(p *plain) {
			n := len(p.rows) / 100
			r.Shuffle(len(p.rows), func(i, j int) { p.rows[i], p.rows[j] = p.rows[j], p.rows[i] })
			if drop {
				p.rows = p.rows[n:]
			}
			if add {
				p.rows = append(p.rows, randomTable(r, n).rows...)
			}
		})
	}
	halves := func(p plain) (a, b []byte) {
		k := r.IntN(len(p.rows))
		return plain{p.names, p.rows[:k]}.csv(t), plain{p.names, p.rows[k:]}.csv(t)
	}
	type trick struct {
		name string
		like Likeness
		d    policies.Dataset
		make func(p plain) [][]byte
	}
	one := func(data []byte) [][]byte { return [][]byte{data} }
	tricks := []trick{
		{"copy", SameRows, d, func(p plain) [][]byte { return one(p.csv(t)) }},
		{"Parquet", SameRows, d, func(p plain) [][]byte { return one(p.groups(t, storage{}, int64(1+r.IntN(len(p.rows))))) }},
		{"Arrow", SameRows, d, func(p plain) [][]byte { return one(streamBytes(t, p.record(t, storage{dictionary: true}))) }},
		{"whole as float", SameRows, d, func(p plain) [][]byte { return one(fileBytes(t, p.record(t, storage{float: true}))) }},
		{"float32", SameRows, d, func(p plain) [][]byte { return one(streamBytes(t, p.record(t, storage{narrow: true, float: true}))) }},
		{"other names", SameRows, renamed, func(p plain) [][]byte {
			return one(p.with(func(p *plain) {
				for i := range p.names {
					p.names[i] += "2"
				}
			}).csv(t))
		}},
		{"shuffle", SameRows, d, func(p plain) [][]byte {
			return one(p.with(func(p *plain) {
				r.Shuffle(len(p.rows), func(i, j int) { p.rows[i], p.rows[j] = p.rows[j], p.rows[i] })
			}).csv(t))
		}},
		{"split", SameRows, d, func(p plain) [][]byte { a, b := halves(p); return [][]byte{b, a} }},
		{"a row less", MostOfAll, d, func(p plain) [][]byte {
			i := r.IntN(len(p.rows))
			return one(plain{p.names, slices.Delete(p.rows, i, i+1)}.csv(t))
		}},
		{"a row more", MostOfAll, d, func(p plain) [][]byte { return one(plain{p.names, append(p.rows, randomTable(r, 1).rows...)}.csv(t)) }},
		{"1 % less", MostOfAll, d, func(p plain) [][]byte { return one(percent(p, true, false).csv(t)) }},
		{"1 % more", MostOfAll, d, func(p plain) [][]byte { return one(percent(p, false, true).csv(t)) }},
		{"1 % others, renamed, float32", MostOfAll, renamed, func(p plain) [][]byte {
			q := percent(p, true, true)
			for i := range q.names {
				q.names[i] += "2"
			}
			return one(streamBytes(t, q.record(t, storage{narrow: true, float: true})))
		}},
		{"half of it", MostOfAll, d, func(p plain) [][]byte { return one(plain{p.names, p.rows[:len(p.rows)/2]}.csv(t)) }},
		{"unrelated", Unlike, d, func(p plain) [][]byte { return one(randomTable(r, len(p.rows)).csv(t)) }},
	}
	wrong := map[string]int{}
	control := map[string]int{}
	for range likenessTrials {
		p := randomTable(r, 1000+r.IntN(1000))
		of := printOf(t, d, noPrefix, p.csv(t))
		inOrder := sha256.Sum256(p.csv(t))
		for _, c := range tricks {
			files := c.make(p.with(func(*plain) {}))
			f := printOf(t, c.d, noPrefix, files...)
			if f.Likeness(of) != c.like || of.Likeness(f) != c.like {
				wrong[c.name]++
			}
			// Controls: a hash of the bytes; the exact hash alone; a sketch of 4 tags,
			// of which 3 must be shared.
			if sha256.Sum256(files[0]) != inOrder {
				control["bytes: "+c.name]++
			}
			if !f.Equal(of) {
				control["exact: "+c.name]++
			}
			few := sharedOf(f.print.Sketch[:4], of.print.Sketch[:4])
			if (few >= 3) != (c.like != Unlike) {
				control["four: "+c.name]++
			}
		}
	}
	if len(wrong) > 0 {
		t.Errorf("of %d trials each went wrong: %v", likenessTrials, wrong)
	}
	for _, must := range []string{"bytes: shuffle", "bytes: Parquet", "exact: a row more", "exact: 1 % less", "exact: float32", "exact: other names"} {
		if control[must] != likenessTrials {
			t.Errorf("control %q went wrong in %d of %d trials", must, control[must], likenessTrials)
		}
	}
	if control["four: half of it"] < likenessTrials/4 {
		t.Errorf("four tags are enough: %v", control)
	}
}

func sharedOf(a, b []tagCount) (n int) {
	for _, x := range a {
		for _, y := range b {
			if x.Tag == y.Tag {
				n++
			}
		}
	}
	return n
}

// Tables of few kinds of rows have them in common by nature: halves of one that
// share no person are not taken for each other, though they share four of five
// rows; the whole in another order is.
func TestLikenessOfEqualRows(t *testing.T) {
	r := rand.New(rand.NewPCG(9, 2))
	d := dataset(category("a", "a", "b"), number("w", 0, 52), category("y", "no", "yes"))
	p := plain{names: []string{"a", "w", "y"}}
	for range 4000 {
		p.rows = append(p.rows, []any{[]string{"a", "b"}[r.IntN(2)], int64(r.IntN(53)), []string{"no", "yes"}[r.IntN(2)]})
	}
	whole := printOf(t, d, noPrefix, p.csv(t))
	a := printOf(t, d, noPrefix, plain{p.names, p.rows[:2000]}.csv(t))
	b := printOf(t, d, noPrefix, plain{p.names, p.rows[2000:]}.csv(t))
	slices.Reverse(p.rows)
	turned := printOf(t, d, noPrefix, p.csv(t))
	if a.Likeness(b) != Unlike || turned.Likeness(whole) != SameRows {
		t.Error("disjoint halves are alike, or a copy is not")
	}
	if few := sharedOf(a.print.Sketch, b.print.Sketch); few < len(a.print.Sketch)/2 {
		t.Errorf("the control fails: disjoint halves share %d of %d kinds of rows", few, len(a.print.Sketch))
	}
	empty := printOf(t, d, noPrefix, plain{p.names, nil}.csv(t))
	if empty.Likeness(empty) != Unlike || !empty.Equal(empty) {
		t.Error("somebody stands in two tables without rows")
	}
}

// A sketch holds the k smallest tags, with exact counts, whatever the order.
func TestBottomK(t *testing.T) {
	r := rand.New(rand.NewPCG(9, 3))
	for range 100 {
		k, n := 1+r.IntN(20), r.IntN(200)
		tags := make([]uint64, n)
		count := map[uint64]int64{}
		for i := range tags {
			tags[i] = r.Uint64N(60)
			count[tags[i]]++
		}
		b := newBottomK(k)
		for _, tag := range tags {
			b.add(tag)
		}
		slices.Sort(tags)
		want := []tagCount{}
		for _, tag := range slices.Compact(tags) {
			if len(want) < k {
				want = append(want, tagCount{tag, count[tag]})
			}
		}
		if got := b.sorted(); fmt.Sprint(got) != fmt.Sprint(want) {
			t.Fatalf("k = %d: %v, want %v", k, got, want)
		}
	}
}

// A version continues the last where its rows come first, in any order among them,
// or its part files are there; with one of them changed, gone, or mixed among new
// ones, it does not.
func TestContinues(t *testing.T) {
	r := rand.New(rand.NewPCG(9, 4))
	d := printDataset()
	p := randomTable(r, 40)
	old := [][][]any{p.rows[:10], p.rows[10:11], p.rows[11:]}
	more := randomTable(r, 30).rows
	files := func(parts ...[][]any) (out [][]byte) {
		for _, rows := range parts {
			out = append(out, plain{p.names, rows}.csv(t))
		}
		return out
	}
	earlier := printOf(t, d, noPrefix, files(old...)...)
	shuffled := func(rows [][]any) [][]any {
		rows = slices.Clone(rows)
		r.Shuffle(len(rows), func(i, j int) { rows[i], rows[j] = rows[j], rows[i] })
		return rows
	}
	changed := func(rows [][]any) [][]any {
		rows = slices.Clone(rows)
		i := r.IntN(len(rows))
		rows[i] = slices.Clone(rows[i])
		rows[i][0] = 0.125
		return rows
	}
	for _, c := range []struct {
		name  string
		want  bool
		parts [][][]any
	}{
		{"the same", true, old},
		{"in one file", true, [][][]any{p.rows}},
		{"rows behind", true, [][][]any{append(shuffled(p.rows), more...)}},
		{"rows behind, elsewhere cut", true, [][][]any{p.rows[:20], p.rows[20:35], append(slices.Clone(p.rows[35:]), more...)}},
		{"a part behind", true, append(slices.Clone(old), more)},
		{"a part before, parts turned and shuffled", true, [][][]any{more, shuffled(old[2]), old[1], shuffled(old[0])}},
		{"new parts between", true, [][][]any{old[0], more[:3], old[1], more[3:], old[2]}},
		{"one row fewer", false, [][][]any{p.rows[:39]}},
		{"nothing", false, [][][]any{nil}},
		{"a changed row, rows behind", false, [][][]any{append(changed(p.rows), more...)}},
		{"a changed row in a part", false, [][][]any{old[0], old[1], changed(old[2]), more}},
		{"a part twice for another", false, [][][]any{old[0], old[0], old[2], more}},
		{"rows mixed", false, [][][]any{append(append(slices.Clone(more[:1]), p.rows...), more[1:]...)}},
	} {
		f := printOf(t, d, earlier.print.Total.Rows, files(c.parts...)...)
		if got := f.Continues(earlier); got != c.want {
			t.Errorf("%s: %t", c.name, got)
		}
	}
	// The control: the number of rows and their sketch see none of the changes of order
	// or of one row in a large table.
	grown := printOf(t, d, earlier.print.Total.Rows, files(append(changed(p.rows), more...))...)
	if grown.Likeness(earlier) != MostOfAll || grown.print.Total.Rows != int64(len(p.rows)+len(more)) {
		t.Error("the control fails")
	}
}
