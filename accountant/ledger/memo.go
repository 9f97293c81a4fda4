package ledger

import (
	"encoding/json"
	"fmt"

	"github.com/privsgld/privsgld/accountant"
)

// A memo keeps what a replay of all entries would otherwise compute again for each:
// rows of state as values, filters by their terms, and the mechanisms of events, of
// which many are alike. Only Verify's overlay has one.
type memo struct {
	values     map[string]any // by key; newer than the overlay's text where dirty
	dirty      map[string]bool
	filters    map[wireTerms]*accountant.Filter
	mechanisms map[string]events     // by the event's canonical JSON
	keys       map[*wireEvent]string // the event's canonical JSON, where it is known
	countKeys  map[counted]string
}

func newMemo() *memo {
	return &memo{map[string]any{}, map[string]bool{}, map[wireTerms]*accountant.Filter{}, map[string]events{}, map[*wireEvent]string{}, map[counted]string{}}
}

// memoOf returns the memo of an overlay that has one, or nil.
func memoOf(r rows) *memo {
	if o, ok := r.(*overlay); ok {
		return o.memo
	}
	return nil
}

func (m *memo) put(key string, v any) {
	m.values[key] = v
	m.dirty[key] = true
}

// forget drops a value whose text is written by itself.
func (m *memo) forget(key string) {
	delete(m.values, key)
	delete(m.dirty, key)
}

// text is the row's text of a value.
func (m *memo) text(key string) (string, error) {
	v := m.values[key]
	if t, ok := v.(total); ok {
		v = t.wire()
	}
	text, err := json.Marshal(v)
	if err != nil {
		return "", fmt.Errorf("%w: a row of state does not write", ErrUsage)
	}
	return string(text), nil
}

// filter returns the filter of terms.
func (m *memo) filter(w wireTerms) (*accountant.Filter, error) {
	if f, ok := m.filters[w]; ok {
		return f, nil
	}
	f, err := w.filter()
	if err == nil {
		m.filters[w] = f
	}
	return f, err
}

// countKey is the key of a count's row.
func (m *memo) countKey(c counted) string {
	k, ok := m.countKeys[c]
	if !ok {
		k = c.key()
		m.countKeys[c] = k
	}
	return k
}
