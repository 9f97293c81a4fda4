package ledger

import (
	"encoding/json"
	"fmt"
	"net/url"
	"slices"
	"sort"
	"strconv"
	"strings"
)

// The rows of state are what the entries add up to, kept so that a decision
// need not read the history. Names in keys are percent-encoded:
//
//	dataset/NAME                          a dataset
//	cap/NAME/CAP                          terms of a cap
//	total/NAME/PERIOD/ACCOUNT             total charged to a filter
//	event/NAME/PERIOD/ANALYST/MECHANISM   how often a mechanism was charged
//	purpose/NAME/PERIOD/PURPOSE/MECHANISM the same by purpose
//	run/RUN                               a run
//	request/ID                            the run that used a signed request
//	amendment/ID                          the entry of an amendment
//	promise/NAME                          text of the policy that is registered
//	same/NAME/OTHER                       two data sets may hold the same rows
//
// Beside them stand meta/verifier, meta/checkpoint and meta/state (upgrade.go),
// which no entry makes.
const (
	metaPrefix    = "meta/"
	purposePrefix = "purpose/"
)

// policyAccount names the policy's own filter among the accounts; caps have a
// colon in their names.
const policyAccount = "policy"

func key(kind string, names ...string) string {
	b := make([]byte, 0, 256)
	b = append(b, kind...)
	for _, name := range names {
		b = append(b, '/')
		from := 0
		for i := range len(name) {
			if e := pathEscapes[name[i]]; len(e) > 1 {
				b = append(append(b, name[from:i]...), e...)
				from = i + 1
			}
		}
		b = append(b, name[from:]...)
	}
	return string(b)
}

// pathEscapes is url.PathEscape, which takes one byte at a time.
var pathEscapes = func() (table [256]string) {
	for c := range table {
		table[c] = url.PathEscape(string([]byte{byte(c)}))
	}
	return table
}()

// A dataset is the row of a registered data set.
type dataset struct {
	Registration wireRegistration `json:"registration"`
	Policy       string           `json:"policy"`  // name in the newest reservation
	Period       string           `json:"period"`  // the newest
	Periods      int64            `json:"periods"` // opened so far
	Entries      int64            `json:"entries"` // reservations ever made
	Pending      int64            `json:"pending"` // reservations of the period that are neither settled nor void

	Amendments []AmendmentRef `json:"amendments,omitempty"`
}

// A run is the row of a reservation.
type run struct {
	Entry int64  `json:"entry"` // of the reservation
	State string `json:"state"` // reserved, settled or void

	Again []int64 `json:"again,omitempty"` // entries by which later attempts began
}

const (
	stateReserved = "reserved"
	stateSettled  = "settled"
	stateVoid     = "void"
)

func getRow[T any](r rows, key string) (v T, ok bool, err error) {
	m := memoOf(r)
	if m != nil {
		if v, ok := m.values[key].(T); ok {
			return v, true, nil
		}
	}
	text, ok, err := r.Get(key)
	if err != nil || !ok {
		return v, false, err
	}
	if err := json.Unmarshal([]byte(text), &v); err != nil {
		return v, false, fmt.Errorf("%w: a row of state does not read", ErrCorrupt)
	}
	if m != nil {
		m.values[key] = v
	}
	return v, true, nil
}

func putRow(r rows, key string, v any) error {
	if m := memoOf(r); m != nil {
		m.put(key, v)
		return nil
	}
	text, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("%w: a row of state does not write", ErrUsage)
	}
	return r.Put(key, string(text))
}

func getTotal(r rows, dataset, period, account string) (total, error) {
	k := key("total", dataset, period, account)
	if m := memoOf(r); m != nil {
		if t, ok := m.values[k].(total); ok {
			return t, nil
		}
	}
	w, ok, err := getRow[wireTotal](r, k)
	if err != nil || !ok {
		return total{}, err
	}
	return w.total()
}

func putTotal(r rows, dataset, period, account string, t total) error {
	k := key("total", dataset, period, account)
	if m := memoOf(r); m != nil {
		m.put(k, t)
		return nil
	}
	return putRow(r, k, t.wire())
}

// getEvents sums the counts under a data set's period: all analysts', or one's.
func getEvents(r rows, dataset, period string, analyst ...string) (events, error) {
	return countEvents(r, key("event", append([]string{dataset, period}, analyst...)...)+"/")
}

// getPurposeEvents returns the counts of one purpose.
func getPurposeEvents(r rows, dataset, period, purpose string) (events, error) {
	return countEvents(r, key("purpose", dataset, period, purpose)+"/")
}

func countEvents(r rows, prefix string) (events, error) {
	all, err := countEventsBy(r, prefix, 0)
	kind, _, _ := strings.Cut(prefix, "/")
	if all[kind] == nil {
		return events{}, err
	}
	return all[kind], err
}

// countEventsBy sums the counts under a prefix by one part of their keys.
func countEventsBy(r rows, prefix string, part int) (map[string]events, error) {
	out := map[string]events{}
	err := eachCount(r, prefix, func(parts []string, mechanism string, n int64) error {
		return count(out, parts[part], mechanism, n)
	})
	return out, err
}

// count adds to the counts of one part of a key.
func count(to map[string]events, part, mechanism string, n int64) error {
	by, err := url.PathUnescape(part)
	if err != nil {
		return fmt.Errorf("%w: a counted event does not read", ErrCorrupt)
	}
	if to[by] == nil {
		to[by] = events{}
	}
	to[by][mechanism] += n
	return nil
}

// eachCount calls fn with the parts of the key of each count under a prefix.
func eachCount(r rows, prefix string, fn func(parts []string, mechanism string, n int64) error) error {
	return r.List(prefix, func(k, value string) error {
		parts := strings.Split(k, "/")
		if len(parts) != 5 {
			return fmt.Errorf("%w: a counted event does not read", ErrCorrupt)
		}
		mechanism, err := url.PathUnescape(parts[len(parts)-1])
		if err != nil {
			return fmt.Errorf("%w: a counted event does not read", ErrCorrupt)
		}
		n, err := strconv.ParseInt(value, 10, 64)
		if err != nil || n <= 0 {
			return fmt.Errorf("%w: a count of events is none", ErrCorrupt)
		}
		return fn(parts, mechanism, n)
	})
}

// addEvents adds counts under the reservation's analyst and its purpose, or takes
// them out where sign is -1.
func addEvents(r rows, dataset, period string, by wireReservation, m events, sign int64) error {
	if err := addCounts(r, m, sign, counted{"event", dataset, period, by.Analyst, ""}); err != nil {
		return err
	}
	return addCounts(r, m, sign, counted{"purpose", dataset, period, by.Purpose, ""})
}

// counted is what a count of events is of: by is the analyst, or the purpose.
type counted struct{ kind, dataset, period, by, mechanism string }

func (c counted) key() string { return key(c.kind, c.dataset, c.period, c.by, c.mechanism) }

func addCounts(r rows, m events, sign int64, of counted) error {
	memo := memoOf(r)
	for mechanism, n := range m {
		of.mechanism = mechanism
		var k string
		if memo != nil {
			k = memo.countKey(of)
		} else {
			k = of.key()
		}
		text, ok, err := r.Get(k)
		if err != nil {
			return err
		}
		var have int64
		if ok {
			if have, err = strconv.ParseInt(text, 10, 64); err != nil {
				return fmt.Errorf("%w: a count of events is none", ErrCorrupt)
			}
		}
		sum := have + sign*n
		if sum < 0 {
			return fmt.Errorf("%w: fewer events are counted than were charged", ErrCorrupt)
		}
		value := ""
		if sum > 0 {
			value = strconv.FormatInt(sum, 10)
		}
		if err := r.Put(k, value); err != nil {
			return err
		}
	}
	return nil
}

// An overlay keeps what is written to it in memory, above rows that it only
// reads.
type overlay struct {
	base    rows // nil: nothing below
	written map[string]string
	memo    *memo // nil: none
}

func newOverlay(base rows) *overlay { return &overlay{base: base, written: map[string]string{}} }

// settle writes what the memo holds.
func (o *overlay) settle() error {
	if o.memo == nil {
		return nil
	}
	for k := range o.memo.dirty {
		text, err := o.memo.text(k)
		if err != nil {
			return err
		}
		o.written[k] = text
		delete(o.memo.dirty, k)
	}
	return nil
}

func (o *overlay) Get(key string) (string, bool, error) {
	if o.memo != nil && o.memo.dirty[key] {
		text, err := o.memo.text(key)
		return text, err == nil, err
	}
	if v, ok := o.written[key]; ok {
		return v, v != "", nil
	}
	if o.base == nil {
		return "", false, nil
	}
	return o.base.Get(key)
}

func (o *overlay) Put(key, value string) error {
	if o.memo != nil {
		o.memo.forget(key)
	}
	o.written[key] = value
	return nil
}

func (o *overlay) List(prefix string, fn func(key, value string) error) error {
	if err := o.settle(); err != nil {
		return err
	}
	type row struct{ key, value string }
	var all []row
	if o.base != nil {
		err := o.base.List(prefix, func(k, v string) error {
			if _, over := o.written[k]; !over {
				all = append(all, row{k, v})
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	for k, v := range o.written {
		if v != "" && strings.HasPrefix(k, prefix) {
			all = append(all, row{k, v})
		}
	}
	byKey := func(a, b row) int { return strings.Compare(a.key, b.key) }
	if !slices.IsSortedFunc(all, byKey) {
		slices.SortFunc(all, byKey)
	}
	for _, r := range all {
		if err := fn(r.key, r.value); err != nil {
			return err
		}
	}
	return nil
}

// writeTo writes what was put into the overlay, in order of key.
func (o *overlay) writeTo(r rows) error {
	if err := o.settle(); err != nil {
		return err
	}
	keys := make([]string, 0, len(o.written))
	for k := range o.written {
		keys = append(keys, k)
	}
	sort.Strings(keys)
	for _, k := range keys {
		if err := r.Put(k, o.written[k]); err != nil {
			return err
		}
	}
	return nil
}
