package sgld

import (
	"encoding/binary"
	"math"
	"slices"
	"testing"

	"github.com/privsgld/privsgld/datasets"
	"github.com/privsgld/privsgld/privacy"
)

// FuzzModels: whatever model, rows, targets and iterate are, what a row adds has an
// image of norm at most C, also when it is rounded, and the sum of the table is that
// of its rows, for any number of workers.
func FuzzModels(f *testing.F) {
	f.Add([]byte{})
	for i := range uint64(60) {
		f.Add(binary.LittleEndian.AppendUint64(nil, i))
	}
	cases := modelCases()
	f.Fuzz(func(t *testing.T, data []byte) {
		w := newWords(data)
		r := cases[w.next()%uint64(len(cases))].request()
		of, err := newModel(&r)
		if err != nil {
			t.Fatal(err)
		}
		facts := of.facts()
		rows, target := make([]testRow, 1+w.next()%60), []float64{}
		for i := range rows {
			v := w.next()
			rows[i] = testRow{x: w.float(), b: uint16(v & 1), c: uint16(v >> 1 % 4), y: uint8(v >> 8 & 1)}
			switch {
			case r.Encoding.Outcome == datasets.Levels:
				target = append(target, float64(v>>16%6))
			case v>>16&7 == 0:
				target = append(target, math.Float64frombits(w.next()))
			default:
				target = append(target, w.float())
			}
		}
		clip := (0.004 + 0.05*float64(w.next()>>11)*0x1p-53) * facts.least * math.Pow(facts.most/facts.least, float64(w.next()>>11)*0x1p-53)
		s, _ := modelSum(t, r, rows, target, skewRoot(), 0.05, clip, 1)
		theta := make([]float64, s.metric.dim())
		for i := range theta {
			theta[i] = w.float() * float64(1+w.next()%1000)
			if w.next()&15 == 0 {
				theta[i] = math.Float64frombits(w.next())
			}
		}
		var parts [][]int64
		for u := range s.design.count {
			if image := s.exact(theta, []uint32{uint32(u)}); !exactBelow(image, clip, s.metric.m.Spacing()) {
				t.Fatal("a row adds more than C")
			}
			parts = append(parts, slices.Clone(s.sum))
		}
		var units []uint32
		var times []int64
		left := int64(privacy.MaxUnits - 1)
		for u := range parts {
			if m := min(left, int64(w.next()>>(33+w.next()%31))); m > 0 {
				units, times, left = append(units, uint32(u)), append(times, m), left-m
			}
		}
		all := make([]uint32, len(parts))
		for u := range all {
			all[u] = uint32(u)
		}
		d := len(theta)
		what, err := of.contribution(s.design, s.metric, clip)
		if err != nil {
			t.Fatal(err)
		}
		s.workers = newWorkersOf(s.design, what, d, 1+int(w.next()%9))
		if s.workers.sum(s.sum, theta, units, times, false); !s.equals(addUp(d, parts, units, times)) {
			t.Fatal("the sum of a batch is not that of its rows")
		}
		if s.exact(theta, nil); !s.equals(addUp(d, parts, all, s.design.count)) {
			t.Fatal("the sum of the table is not that of its rows")
		}
	})
}
