package datasets

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"

	"github.com/privsgld/privsgld/policies"
	"github.com/privsgld/privsgld/privacy/gate"
)

// A Fingerprint recognises the rows of a table under its key, whatever the names,
// format, order and parts of the files: see the package comment. It is made of the
// rows, so it prints, marshals as text and logs as a constant, and belongs into the
// owner's state folder only.
type Fingerprint struct{ print *print }

// FingerprintKey keeps fingerprints from confirming guesses of rows. It prints as a
// constant.
type FingerprintKey struct{ secret [32]byte }

// NewFingerprintKey takes 32 secret bytes.
func NewFingerprintKey(secret []byte) (*FingerprintKey, error) {
	k := &FingerprintKey{}
	if len(secret) != len(k.secret) {
		return nil, errors.New("datasets: a fingerprint's key has 32 bytes")
	}
	copy(k.secret[:], secret)
	return k, nil
}

const unprintableKey = "datasets.FingerprintKey(secret)"

// Format writes a constant for every verb.
func (FingerprintKey) Format(s fmt.State, _ rune) { _, _ = io.WriteString(s, unprintableKey) }

// job is what the decoder is asked for; nil where there is no key.
func (k *FingerprintKey) job(earlier *Fingerprint) *printJob {
	if k == nil {
		return nil
	}
	j := &printJob{Secret: k.secret, Prefix: noPrefix}
	if earlier != nil {
		j.Prefix = earlier.print.Total.Rows
	}
	return j
}

// printJob asks the decoder for a fingerprint.
type printJob struct {
	Secret [32]byte `json:"secret"`
	Prefix int64    `json:"prefix"` // number of rows at which to look at the total as well
	Left   int      `json:"left"`   // which of the job's columns the rest leaves out, from 1; 0: none
}

const noPrefix = -1

// print is what a fingerprint holds.
type print struct {
	Total  digest     `json:"total"`  // of the rows as they are
	Loose  digest     `json:"loose"`  // but for the columns' names, and numbers beyond float32
	Parts  []digest   `json:"parts"`  // of each part file
	Sketch []tagCount `json:"sketch"` // of the loose tags
	Prefix digest     `json:"prefix"` // of the first rows, where they were asked for

	// Rest is what Loose and Sketch are, of the rows without the policy's target: new
	// rows lack it. Columns are those of the rows.
	Rest    *restPrint    `json:"rest,omitempty"`
	Columns []printColumn `json:"columns,omitempty"`
}

type restPrint struct {
	Loose  digest     `json:"loose"`
	Sketch []tagCount `json:"sketch"`
}

// A printColumn is what a fingerprint depends on of a policy's column, and where a CSV
// without a header has it.
type printColumn struct {
	Name     string `json:"name"`
	Number   bool   `json:"number,omitempty"`
	Left     bool   `json:"left,omitempty"` // out of the rest
	Position int    `json:"position"`
}

func printColumns(columns []columnSpec, left int) []printColumn {
	out := make([]printColumn, len(columns))
	for i, c := range columns {
		out[i] = printColumn{c.Name, c.Type == typeNumber || c.Type == typeInteger, i == left-1, c.Position}
	}
	return out
}

// answers says whether a child's print can be what it was asked for.
func (p *print) answers(j *printJob, files int) bool {
	return p.valid(files) && (p.Rest != nil) == (j.Left > 0)
}

// valid says whether a print can be one of so many files.
func (p *print) valid(files int) bool {
	if p == nil || len(p.Parts) != files || p.Loose.Rows != p.Total.Rows || !p.Loose.valid() || !p.Total.valid() || !validSketch(p.Sketch, p.Total.Rows) {
		return false
	}
	if r := p.Rest; r != nil && (r.Loose.Rows != p.Total.Rows || !r.Loose.valid() || !validSketch(r.Sketch, p.Total.Rows)) {
		return false
	}
	all := noRows
	for _, part := range p.Parts {
		if !part.valid() {
			return false
		}
		all = all.and(part)
	}
	return all == p.Total
}

// validSketch says whether a sketch can be one of so many rows.
func validSketch(s []tagCount, rows int64) bool {
	seen := int64(0)
	for i, x := range s {
		if x.Count < 1 || i > 0 && x.Tag <= s[i-1].Tag {
			return false
		}
		seen += x.Count
	}
	return len(s) <= sketchSize && seen <= rows && (len(s) == sketchSize || seen == rows)
}

// TakeFingerprint reads all rows of the files at path and takes the fingerprint of
// the policy's columns. It opens data for the holder's own eyes, under a structure
// permit, and yields no table. Where an earlier version's fingerprint is given,
// Continues can compare the two. The error is *BadData, gate.ErrPermit, the
// context's, or one of this machine.
func TakeFingerprint(ctx context.Context, s gate.Structure, path string, d policies.Dataset, k *FingerprintKey, earlier *Fingerprint, o Options) (*Fingerprint, error) {
	if !s.Granted() || k == nil {
		return nil, gate.ErrPermit
	}
	memory, err := o.memory()
	if err != nil {
		return nil, err
	}
	b := &Binding{csv: csvOf(d.CSV), left: d.Target.Column}
	for i, c := range d.Columns {
		spec, err := specOf(c, i)
		if err != nil {
			return nil, err
		}
		b.also = append(b.also, spec)
	}
	files, err := openSources(path)
	if err != nil {
		return nil, err
	}
	defer closeAll(files)
	p, err := decode(ctx, files, b, nil, k.job(earlier), memory)
	if err != nil {
		return nil, err
	}
	return &Fingerprint{p}, nil
}

// Equal says whether two tables hold the same rows, equally often.
func (f *Fingerprint) Equal(g *Fingerprint) bool { return f.print.Total == g.print.Total }

// A Likeness says how one table's rows are another's.
type Likeness int

// The kinds of likeness.
const (
	Unlike    Likeness = iota
	SameRows           // the same rows, under these names of columns or others
	MostOfAll          // most rows of the smaller table, by a sample
)

// Likeness compares two tables' rows: whether they are the same, but for the names
// of their columns and numbers beyond float32; or whether most rows of the smaller
// one, by a keyed sample, are in the other.
func (f *Fingerprint) Likeness(g *Fingerprint) Likeness {
	switch {
	case f.print.Total.Rows == 0 || g.print.Total.Rows == 0:
		return Unlike // nobody stands in both
	case f.Equal(g), f.print.Loose == g.print.Loose:
		return SameRows
	case resemble(f.print.Sketch, g.print.Sketch):
		return MostOfAll
	}
	return Unlike
}

// Continues says whether all rows of an earlier version are in this one, as far as
// that can be seen: they are the first rows of this one in any order, or each part
// file of the earlier version is among this one's, under any name. This one must
// have been taken with the earlier one at hand.
func (f *Fingerprint) Continues(earlier *Fingerprint) bool {
	if earlier.print.Total == f.print.Prefix {
		return true
	}
	left := slices.Clone(f.print.Parts)
	for _, part := range earlier.print.Parts {
		at := slices.Index(left, part)
		if at < 0 {
			return false
		}
		left = slices.Delete(left, at, at+1)
	}
	return true
}

// Encode returns the bytes of a fingerprint, for the owner's state folder.
func (f *Fingerprint) Encode() ([]byte, error) {
	p := *f.print
	p.Prefix = digest{}
	return json.Marshal(p)
}

// DecodeFingerprint reads what Encode wrote.
func DecodeFingerprint(data []byte) (*Fingerprint, error) {
	p := &print{}
	if json.Unmarshal(data, p) != nil || !p.valid(len(p.Parts)) {
		return nil, errors.New("datasets: these bytes are no fingerprint")
	}
	return &Fingerprint{p}, nil
}

const unprintableFingerprint = "datasets.Fingerprint(private)"

// Format writes a constant for every verb.
func (Fingerprint) Format(s fmt.State, _ rune) { _, _ = io.WriteString(s, unprintableFingerprint) }

// String returns a constant.
func (Fingerprint) String() string { return unprintableFingerprint }

// LogValue returns a constant.
func (Fingerprint) LogValue() slog.Value { return slog.StringValue(unprintableFingerprint) }

// MarshalText returns a constant; so JSON, XML and YAML hold nothing else.
func (Fingerprint) MarshalText() ([]byte, error) { return []byte(unprintableFingerprint), nil }
