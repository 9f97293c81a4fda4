package ledger

import "runtime"

// A decoder decodes entries on all processors while they are still being read. One
// goroutine adds them, closes it, and asks.
type decoder struct {
	blocks []*block
	queue  chan *block
	closed bool
}

// A block is some entries in a row, which are decoded together.
type block struct {
	bodies  [][]byte
	entries []decoded
	done    chan struct{} // closed when entries are there
}

// decoded is what decodeKeyed returns of an entry.
type decoded struct {
	entry entry
	event string
	err   error
}

const blockSize = 512

func newDecoder() *decoder {
	d := &decoder{queue: make(chan *block, 1024)}
	for range runtime.GOMAXPROCS(0) {
		go func() {
			for b := range d.queue {
				b.entries = make([]decoded, len(b.bodies))
				for i, body := range b.bodies {
					e := &b.entries[i]
					e.entry, e.event, e.err = decodeKeyed(body)
				}
				close(b.done)
			}
		}()
	}
	return d
}

// add adds the next entry, whose bytes stay as they are.
func (d *decoder) add(body []byte) {
	last := len(d.blocks) - 1
	if last < 0 || len(d.blocks[last].bodies) == blockSize {
		d.blocks = append(d.blocks, &block{bodies: make([][]byte, 0, blockSize), done: make(chan struct{})})
		last++
	}
	b := d.blocks[last]
	if b.bodies = append(b.bodies, body); len(b.bodies) == blockSize {
		d.queue <- b
	}
}

// close says that there are no more entries.
func (d *decoder) close() {
	if d.closed {
		return
	}
	d.closed = true
	if last := len(d.blocks) - 1; last >= 0 && len(d.blocks[last].bodies) < blockSize {
		d.queue <- d.blocks[last]
	}
	close(d.queue)
}

// at returns an entry of a closed decoder, when it is decoded.
func (d *decoder) at(n int64) *decoded {
	b := d.blocks[n/blockSize]
	<-b.done
	return &b.entries[n%blockSize]
}
