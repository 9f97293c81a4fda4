package sgld

import (
	"cmp"
	"slices"
)

// category is how one category or boolean of an encoding is read.
type category struct {
	levels    int
	reference int
	offset    int // coefficient of the first level that has one
	joint     int // joint code that it is part of
	stride    int // weight of its level there
}

// coefficient is treatment coding: the coefficient of a level, in declared
// order with the reference level left out, or d for the reference level itself.
func (k *category) coefficient(level, d int) int32 {
	switch {
	case level == k.reference:
		return int32(d)
	case level < k.reference:
		return int32(k.offset + level)
	default:
		return int32(k.offset + level - 1)
	}
}

// joint is one code for several categories: a combination of levels is an entry
// of a table, so that one read serves all of them, and so does one addition.
// Sums of integers over the entries unfold to sums over the levels exactly.
type joint struct {
	first   int // number of its first entry among those of all joint codes
	entries int
	members []member // by increasing stride
}

// member is one category of a joint code.
type member struct {
	stride int
	coef   []int32 // of each level, d for the reference level
}

// Joint codes are joined as long as one has at most mostJoined entries and all
// together have at most mostEntries: the tables of a worker then stay in the
// first two levels of its cache. With at most MaxDim coefficients there are
// fewer than 2¹² entries in any case, and a code fits 16 bits.
const (
	mostJoined  = 512
	mostEntries = 2048
)

// joinCategories partitions the categories into joint codes, from public facts
// alone, and returns these and the number of their entries. It completes
// categories.
func joinCategories(categories []category, d int) ([]joint, int) {
	order := make([]int, len(categories))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(categories[b].levels, categories[a].levels) })
	var sizes []int
	total := 0
	for limit := mostJoined; ; limit /= 2 {
		// First fit, the largest first.
		sizes = sizes[:0]
		for _, c := range order {
			k := &categories[c]
			k.joint = slices.IndexFunc(sizes, func(s int) bool { return s*k.levels <= limit })
			if k.joint < 0 {
				k.joint = len(sizes)
				sizes = append(sizes, 1)
			}
			k.stride = sizes[k.joint]
			sizes[k.joint] *= k.levels
		}
		total = 0
		for _, s := range sizes {
			total += s
		}
		if total <= mostEntries || limit == 1 {
			break
		}
	}
	joints := make([]joint, len(sizes))
	first := 0
	for i, n := range sizes {
		joints[i].first, joints[i].entries = first, n
		first += n
	}
	for _, c := range order {
		k := &categories[c]
		m := member{stride: k.stride}
		for level := range k.levels {
			m.coef = append(m.coef, k.coefficient(level, d))
		}
		joints[k.joint].members = append(joints[k.joint].members, m)
	}
	return joints, total
}

// expand writes to table the sum of the coefficients of every entry, added in
// the order of the members. theta has length d+1 with a zero at the end.
func (g *design) expand(table, theta []float64) {
	for _, j := range g.joints {
		t := table[j.first : j.first+j.entries]
		t[0] = 0
		for _, m := range j.members {
			// The first stride entries hold the members before; they are last to change.
			for level := len(m.coef) - 1; level >= 0; level-- {
				v := theta[m.coef[level]]
				to := t[level*m.stride:][:m.stride]
				for i, before := range t[:m.stride] {
					to[i] = before + v
				}
			}
		}
	}
}

// unfold adds to dst, of length d+1, for every level the sum of the entries that
// have it; the last slot gathers the reference levels. It overwrites entries.
func (g *design) unfold(dst, entries []int64) {
	for _, j := range g.joints {
		t := entries[j.first : j.first+j.entries]
		for k := len(j.members) - 1; k >= 0; k-- {
			m := &j.members[k]
			for level, o := range m.coef {
				var sum int64
				from := t[level*m.stride:][:m.stride]
				for _, v := range from {
					sum += v
				}
				dst[o] += sum
				if level > 0 {
					for i, v := range from {
						t[i] += v
					}
				}
			}
		}
	}
}
