package sgld

import (
	"runtime"
	"sync"
	"sync/atomic"
)

// workers splits the units of a step over goroutines with sums of their own.
// Sums of integers do not depend on the split. A step allocates nothing.
//
// The caller is the first worker. The others linger for a moment after a step,
// because to wake a thread takes as long as a small step; then they are gone, so
// that nothing needs to be closed. One that has not begun when the work is done,
// on a busy machine, is not waited for.
type workers struct {
	design *design
	add    func(*operands)
	theta  []float64 // of the intercept and the numbers
	table  []float64 // of the entries of the joint codes
	w      []*worker
	help   []func()
	chunk  int // units that a worker takes at a time: some microseconds
	group  sync.WaitGroup
	failed atomic.Bool

	// Of the step in hand.
	factor []float64
	units  []uint32
	times  []int64
	full   bool
	parts  int
	next   atomic.Int64
}

// worker is what one goroutine writes to.
type worker struct {
	state atomic.Uint32 // gone, lingering, called or running

	o       operands
	sums    []int64
	entries []int64
	total   []int64 // by coefficient, and what the reference levels have

	// A block of units of a batch.
	x      []float64
	code   []uint16
	bound  []float64
	weight []int64

	_ [64]byte // nothing of another worker in the same cache line
}

const (
	gone = iota
	lingering
	called
	running
)

// patience is how often the others get a turn before a worker stops waiting:
// tens of microseconds where there are none.
const patience = 100

func newWorkers(g *design) *workers { return newWorkersOf(g, runtime.GOMAXPROCS(0)) }

func newWorkersOf(g *design, n int) *workers {
	w := &workers{
		design: g, add: addBlocks, theta: make([]float64, 1+len(g.numbers)), table: make([]float64, g.entries),
		w: make([]*worker, n), help: make([]func(), n),
	}
	w.chunk = lanes * max(1, 512/(8+len(g.numbers)+8*len(g.joints)))
	const slack = 8 // between the memory of two workers
	for k := range w.w {
		sums := sumLanes * len(w.theta)
		entries := entryCopies * g.entries
		ints := make([]int64, sums+entries+lanes+g.d+1+slack)
		w.w[k] = &worker{
			sums: ints[:sums], entries: ints[sums : sums+entries], weight: ints[sums+entries:][:lanes], total: ints[sums+entries+lanes:][:g.d+1],
			x: make([]float64, lanes*len(g.numbers)), code: make([]uint16, lanes*len(g.joints)), bound: make([]float64, lanes),
		}
		w.help[k] = func() { w.helper(w.w[k]) }
	}
	return w
}

// sum adds up all contributions of a step into dst (length d). theta has length
// d+1 with a zero at the end. In full, every distinct unit counts with its
// multiplicity; otherwise units[i] counts times[i] times.
func (w *workers) sum(dst []int64, theta, factor []float64, units []uint32, times []int64, full bool) {
	g := w.design
	w.theta[0] = theta[0]
	for j, o := range g.numbers {
		w.theta[1+j] = theta[o]
	}
	g.expand(w.table, theta)
	n := len(units)
	if full {
		n = len(g.count)
	}
	w.factor, w.units, w.times, w.full = factor, units, times, full
	w.parts = min(len(w.w), (n+w.chunk-1)/w.chunk)
	w.next.Store(0)
	helpers := w.w[min(1, w.parts):w.parts]
	w.group.Add(len(helpers))
	for i, k := range helpers {
		if k.state.Swap(called) == gone {
			go w.help[1+i]()
		}
	}
	if w.parts > 0 {
		w.guarded(w.w[0])
	}
	for _, k := range helpers {
		if k.state.CompareAndSwap(called, lingering) {
			clear(k.total)
			w.group.Done()
		}
		for i := 0; i < patience && k.state.Load() == running; i++ {
			runtime.Gosched()
		}
	}
	w.group.Wait()
	if w.failed.Load() {
		panic("sgld: a worker failed")
	}
	clear(dst)
	for _, k := range w.w[:w.parts] {
		for i := range dst {
			dst[i] += k.total[i]
		}
	}
}

// helper does a worker's part of one step after the other, when called.
func (w *workers) helper(k *worker) {
	for {
		for i := 0; !k.state.CompareAndSwap(called, running); i++ {
			if i >= patience && k.state.CompareAndSwap(lingering, gone) {
				return
			}
			runtime.Gosched()
		}
		w.guarded(k)
		k.state.Store(lingering)
		w.group.Done()
	}
}

// guarded is run without its panics: their text could hold data, and none
// escapes a goroutine quietly.
func (w *workers) guarded(k *worker) {
	defer func() {
		if recover() != nil {
			w.failed.Store(true)
		}
	}()
	w.run(k)
}

// run takes chunks until none is left.
func (w *workers) run(k *worker) {
	g := w.design
	k.o = operands{
		numbers: len(g.numbers), joints: len(g.joints),
		theta: w.theta, table: w.table, sums: k.sums, entries: k.entries,
	}
	for {
		chunk := int(w.next.Add(1) - 1)
		if w.full && !k.wholeBlocks(w, chunk) || !w.full && !k.batchBlocks(w, chunk) {
			break
		}
	}
	k.finish(g)
}

// wholeBlocks adds the blocks of a chunk as they are stored; false past the end.
func (k *worker) wholeBlocks(w *workers, chunk int) bool {
	g, o := w.design, &k.o
	lo, hi := chunk*w.chunk, min((chunk+1)*w.chunk, len(g.weight))
	if lo >= hi {
		return false
	}
	o.x = g.x[lo*o.numbers : hi*o.numbers]
	o.code = g.code[lo*o.joints : hi*o.joints]
	o.bound = w.factor[lo:hi]
	o.weight = g.weight[lo:hi]
	w.add(o)
	return true
}

// batchBlocks gathers the units of a chunk of the batch into blocks and adds
// those; false past the end.
func (k *worker) batchBlocks(w *workers, chunk int) bool {
	g, o := w.design, &k.o
	lo, hi := chunk*w.chunk, min((chunk+1)*w.chunk, len(w.units))
	if lo >= hi {
		return false
	}
	o.x, o.code, o.bound, o.weight = k.x, k.code, k.bound, k.weight
	for ; lo < hi; lo += lanes {
		for l := range lanes {
			if lo+l >= hi {
				// What an earlier block left in this lane is valid, and counts zero times.
				k.weight[l] = 0
				continue
			}
			u := int(w.units[lo+l])
			block, lane := u/lanes, u%lanes
			for i := range o.numbers {
				k.x[i*lanes+l] = g.x[(block*o.numbers+i)*lanes+lane]
			}
			for i := range o.joints {
				k.code[i*lanes+l] = g.code[(block*o.joints+i)*lanes+lane]
			}
			k.bound[l] = w.factor[u]
			k.weight[l] = g.signed(u, w.times[lo+l])
		}
		w.add(o)
	}
	return true
}

// finish writes the sum of all that k has added to total, and leaves zeros for
// the next step.
func (k *worker) finish(g *design) {
	clear(k.total)
	for j := range len(g.numbers) + 1 {
		o := 0
		if j > 0 {
			o = g.numbers[j-1]
		}
		for _, v := range k.sums[j*sumLanes : (j+1)*sumLanes] {
			k.total[o] += v
		}
	}
	for e := range g.entries {
		p := (*[entryCopies]int64)(k.entries[e*entryCopies:])
		k.entries[e] = p[0] + p[1] + p[2] + p[3]
	}
	g.unfold(k.total, k.entries)
	clear(k.sums)
	clear(k.entries)
}
