package ledger

import (
	"fmt"
	"strings"
)

// The rows of state have a version of their own, in meta/state: entries of
// earlier programs stay as they were written, and the first entry of this one
// is written together with the rows that theirs lacked. A program that does
// not know an entry's version can do nothing with a ledger that ends in one.
const (
	versionKey   = metaPrefix + "state"
	stateVersion = "2" // 1, without a row: no events by purpose
)

// upgrade puts what an earlier program did not keep into s, from the entries
// in past: events by purpose.
func upgrade(s rows, past earlierEntries) error {
	version, ok, err := s.Get(versionKey)
	if err != nil || ok && version == stateVersion {
		return err
	}
	if ok {
		return fmt.Errorf("%w: a newer version of this program wrote it; use that one", ErrUnavailable)
	}
	anew := newOverlay(nil)
	for n := range past.size {
		e, err := past.read(n)
		if err != nil {
			return err
		}
		if err := apply(anew, past.read, verified, e); err != nil {
			return at(n, err)
		}
	}
	for k, v := range anew.written {
		if strings.HasPrefix(k, purposePrefix) {
			if err := s.Put(k, v); err != nil {
				return err
			}
		}
	}
	return s.Put(versionKey, stateVersion)
}

// checkVersion compares the version of the stored state with what its entries
// are of, and takes from the rows that the entries make those that a state of
// an earlier version does not have.
func checkVersion(made, stored map[string]string, newest int) error {
	version, ok := stored[versionKey]
	if ok != (newest > 1) || ok && version != stateVersion {
		return contradiction("its state is of another version than its entries")
	}
	if !ok {
		for k := range made {
			if strings.HasPrefix(k, purposePrefix) {
				delete(made, k)
			}
		}
	}
	return nil
}
