package datasets

import (
	"container/heap"
	"slices"
)

// sketchSize is k: how many row tags a sketch keeps. It is public.
const sketchSize = 256

// A tagCount is a row tag and how many rows bear it.
type tagCount struct {
	Tag   uint64 `json:"tag"`
	Count int64  `json:"count"`
}

// bottomK keeps the k smallest distinct of the tags that it is shown, with exact
// counts: a tag that is among them at the end was so from its first row on, since
// the bound only falls. Source: Cohen 1997, J. Comput. Syst. Sci. 55; Broder 1997.
type bottomK struct {
	k     int
	tags  tagHeap // the greatest first
	count map[uint64]int64
}

func newBottomK(k int) *bottomK { return &bottomK{k: k, count: make(map[uint64]int64, k)} }

func (b *bottomK) add(tag uint64) {
	if len(b.tags) == b.k && tag > b.tags[0] {
		return
	}
	if n, ok := b.count[tag]; ok {
		b.count[tag] = n + 1
		return
	}
	b.count[tag] = 1
	if len(b.tags) < b.k {
		heap.Push(&b.tags, tag)
		return
	}
	delete(b.count, b.tags[0])
	b.tags[0] = tag
	heap.Fix(&b.tags, 0)
}

// sorted returns what is kept, by tag.
func (b *bottomK) sorted() []tagCount {
	out := make([]tagCount, 0, len(b.tags))
	for _, tag := range b.tags {
		out = append(out, tagCount{tag, b.count[tag]})
	}
	slices.SortFunc(out, func(x, y tagCount) int {
		if x.Tag < y.Tag {
			return -1
		}
		return 1 // tags are distinct
	})
	return out
}

type tagHeap []uint64

func (h tagHeap) Len() int           { return len(h) }
func (h tagHeap) Less(i, j int) bool { return h[i] > h[j] }
func (h tagHeap) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }
func (h *tagHeap) Push(x any)        { *h = append(*h, x.(uint64)) }
func (h *tagHeap) Pop() any {
	last := (*h)[len(*h)-1]
	*h = (*h)[:len(*h)-1]
	return last
}

// The figures of resemble: what share of the smaller sketch's rows the other must
// have, among at least how many, and what share of a table's rows must be distinct
// for that to mean anything.
const (
	leastShared   = 0.6
	leastCompared = 32
	leastDistinct = 0.75
)

// resemble says whether two tables have most of the smaller one's rows in common.
//
// Up to the smaller of the sketches' greatest tags each sketch is a uniform sample,
// by the keyed tags, of its table's distinct rows, and of one that holds the rows in
// common the other holds them too. So the share of the shorter list that is in the
// other estimates how much of the smaller table's rows the larger one has: 1 for a
// copy or a part of it, with a deviation below 0.5/√32. It says nothing of a part
// below an eighth of the other (fewer than 32 tags to compare), and nothing where
// many rows are equal: tables of the same few kinds of rows have them in common by
// nature.
func resemble(a, b []tagCount) bool {
	if distinctShare(a) < leastDistinct || distinctShare(b) < leastDistinct {
		return false
	}
	a, b = upTo(a, b), upTo(b, a)
	compared := min(len(a), len(b))
	if compared < leastCompared {
		return false
	}
	shared := 0
	for _, x := range a {
		if _, ok := slices.BinarySearchFunc(b, x, func(y, x tagCount) int {
			switch {
			case y.Tag < x.Tag:
				return -1
			case y.Tag > x.Tag:
				return 1
			}
			return 0
		}); ok {
			shared++
		}
	}
	return float64(shared) >= leastShared*float64(compared)
}

// upTo returns the tags of a that a table with b's sketch would have kept: all
// where b is not full and so holds all of its table's.
func upTo(a, b []tagCount) []tagCount {
	if len(b) < sketchSize {
		return a
	}
	bound := b[len(b)-1].Tag
	n := len(a)
	for n > 0 && a[n-1].Tag > bound {
		n--
	}
	return a[:n]
}

// distinctShare estimates the number of distinct rows over the number of rows: the
// sketch is a uniform sample of the distinct ones, with their counts.
func distinctShare(s []tagCount) float64 {
	rows := int64(0)
	for _, x := range s {
		rows += x.Count
	}
	if rows == 0 {
		return 0
	}
	return float64(len(s)) / float64(rows)
}
