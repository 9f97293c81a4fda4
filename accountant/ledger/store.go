package ledger

import (
	"context"

	"golang.org/x/mod/sumdb/tlog"
)

// A store keeps entries, the hashes of their Merkle tree and named rows of
// state, and knows nothing of what they mean. Transactions are serialisable,
// across processes; what Update has committed is on the disk.
type store interface {
	// View runs fn on one consistent state.
	View(ctx context.Context, fn func(tx) error) error

	// Update runs fn and commits what it wrote, all or nothing; nothing where
	// fn returns an error, which Update then returns. A failed commit is an
	// error too, and the store then is as before, or as after. fn may run more
	// than once, each time on the state of the moment; the last time counts.
	Update(ctx context.Context, fn func(tx) error) error

	Close() error
}

// A tx reads and writes within one transaction.
type tx interface {
	rows
	tlog.HashReader

	Size() (int64, error)                                       // number of entries
	Entry(number int64) ([]byte, error)                         // an absent entry is ErrCorrupt
	Append(number int64, body []byte, hashes []tlog.Hash) error // the entry, and the hashes that it completes
	Entries(fn func(body []byte) error) error                   // all, in order; a gap is ErrCorrupt; fn asks for nothing else
	Hashes(fn func(tlog.Hash) error) error                      // all, likewise
}

// rows are named rows of state.
type rows interface {
	Get(key string) (value string, ok bool, err error)
	Put(key, value string) error                                // "" removes
	List(prefix string, fn func(key, value string) error) error // in order of key
}

// prefixEnd is the first key after those with a prefix, which ends in "/".
func prefixEnd(prefix string) string {
	end := []byte(prefix)
	end[len(end)-1]++
	return string(end)
}
