package ledger

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"slices"
	"sort"
	"strings"
	"time"

	"golang.org/x/mod/sumdb/tlog"
)

// memory is a ledger's content without a file or a server.
type memory struct {
	turn chan content // holds the content while nobody writes
}

type content struct {
	bodies [][]byte
	hashes []tlog.Hash
	state  map[string]string
}

func newMemory() *memory {
	m := &memory{turn: make(chan content, 1)}
	m.turn <- content{state: map[string]string{}}
	return m
}

// memoryStore is the store of the shortest code: every transaction has the
// content to itself and works on a copy.
type memoryStore struct {
	*memory
	timeout time.Duration
}

func (s memoryStore) View(ctx context.Context, fn func(tx) error) error {
	return s.run(ctx, false, fn)
}
func (s memoryStore) Update(ctx context.Context, fn func(tx) error) error {
	return s.run(ctx, true, fn)
}
func (s memoryStore) Close() error { return nil }

func (s memoryStore) run(ctx context.Context, writes bool, fn func(tx) error) error {
	var c content
	select {
	case c = <-s.turn:
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(s.timeout):
		return fmt.Errorf("%w: it is locked", ErrUnavailable)
	}
	t := &memoryTx{content{slices.Clip(c.bodies), slices.Clip(c.hashes), maps.Clone(c.state)}}
	if !writes {
		s.turn <- c
		return fn(t)
	}
	defer func() { s.turn <- c }()
	if err := fn(t); err != nil {
		return err
	}
	c = t.content
	return nil
}

type memoryTx struct{ content }

func (t *memoryTx) Size() (int64, error) { return int64(len(t.bodies)), nil }

func (t *memoryTx) Entry(number int64) ([]byte, error) {
	if number < 0 || number >= int64(len(t.bodies)) || t.bodies[number] == nil {
		return nil, contradiction("an entry is missing")
	}
	return bytes.Clone(t.bodies[number]), nil
}

func (t *memoryTx) Entries(fn func([]byte) error) error {
	for n := range t.bodies {
		body, err := t.Entry(int64(n))
		if err == nil {
			err = fn(body)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (t *memoryTx) Hashes(fn func(tlog.Hash) error) error {
	for _, h := range t.hashes {
		if err := fn(h); err != nil {
			return err
		}
	}
	return nil
}

func (t *memoryTx) ReadHashes(indexes []int64) ([]tlog.Hash, error) {
	out := make([]tlog.Hash, len(indexes))
	for i, index := range indexes {
		if index >= int64(len(t.hashes)) {
			return nil, contradiction("a hash of the tree is missing")
		}
		out[i] = t.hashes[index]
	}
	return out, nil
}

func (t *memoryTx) Append(_ int64, body []byte, hashes []tlog.Hash) error {
	t.bodies = append(t.bodies, bytes.Clone(body))
	t.hashes = append(t.hashes, hashes...)
	return nil
}

func (t *memoryTx) Get(key string) (string, bool, error) {
	v, ok := t.state[key]
	return v, ok, nil
}

func (t *memoryTx) Put(key, value string) error {
	if t.state[key] = value; value == "" {
		delete(t.state, key)
	}
	return nil
}

func (t *memoryTx) List(prefix string, fn func(key, value string) error) error {
	var keys []string
	for k := range t.state {
		if strings.HasPrefix(k, prefix) {
			keys = append(keys, k)
		}
	}
	sort.Strings(keys)
	for _, k := range keys {
		if err := fn(k, t.state[k]); err != nil {
			return err
		}
	}
	return nil
}
