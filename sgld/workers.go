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
	what   contribution
	factor []float64 // what.bounds
	w      []*worker
	help   []func()
	chunk  int // units that a worker takes at a time: some microseconds
	group  sync.WaitGroup
	failed atomic.Bool

	// Of the step in hand.
	units []uint32
	times []int64
	full  bool
	parts int
	next  atomic.Int64
}

// worker is what one goroutine writes to.
type worker struct {
	state atomic.Uint32 // gone, lingering, called or running

	part  part
	total []int64 // by parameter

	blocks blocks
	batch  blocks // a block of units of a batch

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

func newWorkers(g *design, what contribution, d int) *workers {
	return newWorkersOf(g, what, d, runtime.GOMAXPROCS(0))
}

// newWorkersOf returns n workers for sums of d parameters.
func newWorkersOf(g *design, what contribution, d, n int) *workers {
	w := &workers{
		design: g, what: what, factor: what.bounds(),
		w: make([]*worker, n), help: make([]func(), n),
	}
	w.chunk = lanes * max(1, 512/(8+len(g.numbers)+8*len(g.joints)))
	const slack = 8 // between the memory of two workers
	for k := range w.w {
		ints := make([]int64, lanes+d+slack)
		w.w[k] = &worker{
			part: what.part(), total: ints[lanes:][:d],
			batch: blocks{
				x: make([]float64, lanes*len(g.numbers)), code: make([]uint16, lanes*len(g.joints)), weight: ints[:lanes],
				target: make([]float64, min(lanes, len(g.target))), class: make([]uint16, min(lanes, len(g.class))), bound: make([]float64, min(lanes, len(w.factor))),
			},
		}
		w.help[k] = func() { w.helper(w.w[k]) }
	}
	return w
}

// sum adds up all contributions of a step at theta into dst, both by parameter. In
// full, every distinct unit counts with its multiplicity; otherwise units[i] counts
// times[i] times.
func (w *workers) sum(dst []int64, theta []float64, units []uint32, times []int64, full bool) {
	g := w.design
	w.what.begin(theta)
	n := len(units)
	if full {
		n = len(g.count)
	}
	w.units, w.times, w.full = units, times, full
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
	for {
		chunk := int(w.next.Add(1) - 1)
		if w.full && !k.wholeBlocks(w, chunk) || !w.full && !k.batchBlocks(w, chunk) {
			break
		}
	}
	k.part.finish(k.total)
}

// wholeBlocks adds the blocks of a chunk as they are stored; false past the end.
func (k *worker) wholeBlocks(w *workers, chunk int) bool {
	g, b := w.design, &k.blocks
	lo, hi := chunk*w.chunk, min((chunk+1)*w.chunk, len(g.weight))
	if lo >= hi {
		return false
	}
	b.x = g.x[lo*len(g.numbers) : hi*len(g.numbers)]
	b.code = g.code[lo*len(g.joints) : hi*len(g.joints)]
	if g.target != nil {
		b.target = g.target[lo:hi]
	}
	if g.class != nil {
		b.class = g.class[lo:hi]
	}
	if w.factor != nil {
		b.bound = w.factor[lo:hi]
	}
	b.weight = g.weight[lo:hi]
	k.part.add(b)
	return true
}

// batchBlocks gathers the units of a chunk of the batch into blocks and adds
// those; false past the end.
func (k *worker) batchBlocks(w *workers, chunk int) bool {
	g, b := w.design, &k.batch
	numbers, joints := len(g.numbers), len(g.joints)
	lo, hi := chunk*w.chunk, min((chunk+1)*w.chunk, len(w.units))
	if lo >= hi {
		return false
	}
	for ; lo < hi; lo += lanes {
		for l := range lanes {
			if lo+l >= hi {
				// What an earlier block left in this lane is valid, and counts zero times.
				b.weight[l] = 0
				continue
			}
			u := int(w.units[lo+l])
			block, lane := u/lanes, u%lanes
			for i := range numbers {
				b.x[i*lanes+l] = g.x[(block*numbers+i)*lanes+lane]
			}
			for i := range joints {
				b.code[i*lanes+l] = g.code[(block*joints+i)*lanes+lane]
			}
			if g.target != nil {
				b.target[l] = g.target[u]
			}
			if g.class != nil {
				b.class[l] = g.class[u]
			}
			if w.factor != nil {
				b.bound[l] = w.factor[u]
			}
			b.weight[l] = g.signed(u, w.times[lo+l])
		}
		k.part.add(b)
	}
	return true
}
