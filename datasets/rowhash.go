package datasets

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"math"
	"math/bits"
	"strconv"
	"strings"

	"github.com/apache/arrow/go/v15/arrow"
	"github.com/apache/arrow/go/v15/arrow/array"
)

// A meaning is what a cell says, apart from how a file stores it, in two words.
type meaning struct{ w0, w1 uint64 }

// missing is a null, an empty text, NaN, an infinity, and in a column of numbers a
// text that is none.
var missing = meaning{0, 1}

// numeral is a finite number, its float64; 0 and −0 are one.
func numeral(x float64) meaning {
	if math.IsNaN(x) || math.IsInf(x, 0) {
		return missing
	}
	if x == 0 {
		x = 0 // −0 too
	}
	return meaning{math.Float64bits(x), 0}
}

// A cell is a cell's meaning under the key: what it adds to its row's exact hash,
// and its factor of the loose one.
type cell struct {
	exact field
	loose uint64
}

// columnHasher hashes one column's cells.
type columnHasher struct {
	name   string
	number bool     // the policy says number or integer
	left   bool     // out of the rest of a row
	a, b   field    // of the exact hash: by the column's name
	shared *hashKey // of the loose hash, and of texts

	texts        [64]textSlot
	all          map[string]textSlot
	dictionaryOf arrow.ArrayData
	distinct     []cell
}

type textSlot struct {
	text string
	cell cell
}

// mostTexts bounds the texts of a column that are remembered.
const mostTexts = 1 << 12

// hashKey is everything that the key determines.
type hashKey struct {
	secret      [32]byte
	text        field  // point of the hash of texts
	alpha, beta field  // of the loose value of a cell
	shift       uint64 // point of a row's loose hash
	slope, rise uint64 // of a row's tag
	rows, loose field  // points of the hashes of tables
}

func newHashKey(secret [32]byte) *hashKey {
	k := &hashKey{secret: secret}
	k.text, _ = k.pair("text")
	k.alpha, k.beta = k.pair("cell")
	k.rows, k.loose = k.pair("table")
	point, line := k.pair("row")
	k.shift, k.slope, k.rise = point.lo%prime61, 1+line.lo%(prime61-1), line.hi%prime61
	return k
}

// derive returns 32 bytes for a purpose: HMAC-SHA256 under the secret.
func (k *hashKey) derive(purpose string) []byte {
	mac := hmac.New(sha256.New, k.secret[:])
	mac.Write([]byte(purpose))
	return mac.Sum(nil)
}

// pair returns two secret elements of the field, uniform but for 2⁻¹²⁷.
func (k *hashKey) pair(purpose string) (field, field) {
	b := k.derive(purpose)
	element := func(b []byte) field {
		return field{binary.LittleEndian.Uint64(b) & low63, binary.LittleEndian.Uint64(b[8:])}
	}
	return element(b), element(b[16:])
}

// of hashes a text to a pair of words that no number and no null has: a polynomial
// in a secret point, over its words of 8 bytes and its length. Two given texts of m
// words are one with probability at most (m+1)/2¹²⁷.
func (k *hashKey) of(text string) meaning {
	sum := field{lo: uint64(len(text))}
	for len(text) > 0 {
		var word [8]byte
		text = text[copy(word[:], text):]
		sum = sum.product(k.text).plus(field{lo: binary.LittleEndian.Uint64(word[:])})
	}
	sum = sum.product(k.text).normal()
	return meaning{sum.lo, sum.hi | 1<<63}
}

// looseOf is the factor of a row's loose hash: s + v mod 2⁶¹ − 1, v being 61 bits of
// α·w0 + β·w1.
func (k *hashKey) looseOf(m meaning) uint64 {
	v := k.alpha.times(m.w0)
	if m.w1 != 0 {
		v = v.plus(k.beta.times(m.w1))
	}
	return fold61(v.lo&prime61 + k.shift)
}

func newColumnHasher(k *hashKey, c columnSpec) *columnHasher {
	h := &columnHasher{name: c.Name, number: c.Type == typeNumber || c.Type == typeInteger, shared: k, all: map[string]textSlot{}}
	h.a, h.b = k.pair("column " + c.Name)
	return h
}

// cellOf hashes a meaning, and for the loose hash another where it has one.
func (h *columnHasher) cellOf(m, loose meaning) cell {
	exact := h.a.times(m.w0)
	if m.w1 != 0 {
		exact = exact.plus(h.b.times(m.w1))
	}
	return cell{exact, h.shared.looseOf(loose)}
}

// numeralCell hashes a number; for the loose hash rounded to float32, so that a
// table that was stored in float32 is still recognised.
func (h *columnHasher) numeralCell(x float64) cell {
	return h.cellOf(numeral(x), numeral(float64(float32(x))))
}

func (h *columnHasher) missingCell() cell { return h.cellOf(missing, missing) }

func (h *columnHasher) integerCell(i int64) cell {
	if x := float64(i); x < 1<<63 && int64(x) == i {
		return h.numeralCell(x)
	}
	return h.wide(strconv.FormatInt(i, 10), float64(i))
}

func (h *columnHasher) unsignedCell(u uint64) cell {
	if u <= math.MaxInt64 {
		return h.integerCell(int64(u))
	}
	if bits.TrailingZeros64(u) >= 11 {
		return h.numeralCell(float64(u))
	}
	return h.wide(strconv.FormatUint(u, 10), float64(u))
}

// wide hashes an integer that float64 does not hold: by its digits.
func (h *columnHasher) wide(digits string, x float64) cell {
	return h.cellOf(h.shared.of(digits), numeral(float64(float32(x))))
}

func (h *columnHasher) truthCell(b bool) cell { return h.numeralCell(float64(codeOf(b))) }

// textCell hashes a text by what it says: a number, a truth value, nothing, or itself.
func (h *columnHasher) textCell(s string) cell {
	if s == "" {
		return h.missingCell()
	}
	slot := &h.texts[(len(s)*17+int(s[0])+int(s[len(s)-1])*5)%len(h.texts)]
	if slot.text == s {
		return slot.cell
	}
	known, ok := h.all[s]
	if !ok {
		s = strings.Clone(s) // the array's memory is not ours
		known = textSlot{s, h.readText(s)}
		if len(h.all) < mostTexts {
			h.all[s] = known
		}
	}
	*slot = known
	return known.cell
}

func (h *columnHasher) readText(s string) cell {
	if x, ok := parseNumber(s); ok {
		if i, err := strconv.ParseInt(s, 10, 64); err == nil {
			return h.integerCell(i)
		}
		if u, err := strconv.ParseUint(s, 10, 64); err == nil {
			return h.unsignedCell(u)
		}
		return h.numeralCell(x)
	}
	switch truth, ok := parseTruth(s); {
	case ok:
		return h.truthCell(truth)
	case h.number:
		return h.missingCell()
	}
	loose := strings.ToLower(strings.TrimSpace(s))
	return h.cellOf(h.shared.of(s), h.shared.of(loose))
}

// A digest is a multiset of rows: the product of s + h over their hashes h, s being a
// secret point, and their number.
type digest struct {
	Hi   uint64 `json:"hi"`
	Lo   uint64 `json:"lo"`
	Rows int64  `json:"rows"`
}

var noRows = digest{Lo: 1}

// and joins two multisets.
func (d digest) and(e digest) digest {
	x := field{d.Hi, d.Lo}.product(field{e.Hi, e.Lo}).normal()
	return digest{x.hi, x.lo, d.Rows + e.Rows}
}

func (d digest) valid() bool { return d.Hi <= low63 && d.Rows >= 0 && d.Rows <= maxRows }

// rowHasher hashes rows, a batch of them column by column.
type rowHasher struct {
	key     *hashKey
	columns []*columnHasher

	// Rows begun and not yet finished.
	exact []field
	loose []uint64
	rest  []uint64 // loose without the column that is left out

	total  digest // of the part files that have ended
	part   digest // of this one
	same   digest // of all rows, by their loose hashes
	others digest // the same, by those of the rest
	parts  []digest
	sketch *bottomK
	apart  *bottomK // of the rest; nil: no column is left out
	prefix int64    // number of rows at which to look at the total
	seen   digest
}

func newRowHasher(secret [32]byte, columns []columnSpec, prefix int64) *rowHasher {
	r := &rowHasher{key: newHashKey(secret), total: noRows, part: noRows, same: noRows, sketch: newBottomK(sketchSize), prefix: prefix}
	for _, c := range columns {
		r.columns = append(r.columns, newColumnHasher(r.key, c))
	}
	return r
}

// leave has the rest of each row hashed too, without a column; −1 is none.
func (r *rowHasher) leave(column int) {
	if column >= 0 {
		r.columns[column].left = true
		r.others, r.apart = noRows, newBottomK(sketchSize)
	}
}

// begin begins n rows and returns the place of the first.
func (r *rowHasher) begin(n int) int {
	at := len(r.exact)
	for range n {
		r.exact = append(r.exact, field{})
		r.loose = append(r.loose, 1)
		r.rest = append(r.rest, 1)
	}
	return at
}

// put adds a cell to a row that was begun.
func (r *rowHasher) put(c *columnHasher, row int, x cell) {
	r.exact[row] = r.exact[row].plus(x.exact)
	r.loose[row] = times61(r.loose[row], x.loose)
	if r.apart != nil && !c.left {
		r.rest[row] = times61(r.rest[row], x.loose)
	}
}

// finish puts the rows begun into the digests and the sketch.
func (r *rowHasher) finish() {
	part, same := field{r.part.Hi, r.part.Lo}, field{r.same.Hi, r.same.Lo}
	left := r.prefix - r.total.Rows - r.part.Rows // rows until the prefix ends
	for i, x := range r.exact {
		if int64(i) == left {
			r.seen = r.total.and(digest{part.hi, part.lo, r.part.Rows + left})
		}
		part = part.product(x.plus(r.key.rows))
		// A line over the field, so that the tags of two rows are independent.
		tag := fold61(times61(r.loose[i], r.key.slope) + r.key.rise)
		same = same.product(field{lo: tag}.plus(r.key.loose))
		r.sketch.add(tag)
	}
	if r.apart != nil {
		rest := field{r.others.Hi, r.others.Lo}
		for _, x := range r.rest {
			tag := fold61(times61(x, r.key.slope) + r.key.rise)
			rest = rest.product(field{lo: tag}.plus(r.key.loose))
			r.apart.add(tag)
		}
		r.others = digest{rest.hi, rest.lo, r.others.Rows + int64(len(r.rest))}
	}
	n := int64(len(r.exact))
	r.part = digest{part.hi, part.lo, r.part.Rows + n}
	r.same = digest{same.hi, same.lo, r.same.Rows + n}
	if n == left {
		r.seen = r.total.and(r.part)
	}
	r.exact, r.loose, r.rest = r.exact[:0], r.loose[:0], r.rest[:0]
}

// endPart ends a part file.
func (r *rowHasher) endPart() {
	r.finish()
	part := noRows.and(r.part)
	r.parts, r.total, r.part = append(r.parts, part), r.total.and(part), noRows
}

// print is what all part files add up to.
func (r *rowHasher) print() *print {
	if r == nil {
		return nil
	}
	p := &print{Total: r.total, Loose: noRows.and(r.same), Parts: r.parts, Sketch: r.sketch.sorted(), Prefix: r.seen}
	if r.apart != nil {
		p.Rest = &restPrint{noRows.and(r.others), r.apart.sorted()}
	}
	return p
}

// record hashes rows, and finishes them. A panic of the library's is an error.
func (r *rowHasher) record(rows arrow.Record, places []int) (err error) {
	defer func() {
		if recover() != nil {
			err = verdict{Kind: kindDamaged}
		}
	}()
	at := r.begin(int(rows.NumRows()))
	for i, c := range r.columns {
		if err := r.array(c, at, rows.Column(places[i])); err != nil {
			return err
		}
	}
	r.finish()
	return nil
}

// text hashes the cell of a CSV.
func (r *rowHasher) text(column, row int, cell string, missing bool) {
	if missing {
		cell = ""
	}
	c := r.columns[column]
	r.put(c, row, c.textCell(cell))
}

// array hashes a column of rows that were begun at a place. The library does not
// check an index of a dictionary; this does.
func (r *rowHasher) array(c *columnHasher, at int, values arrow.Array) error {
	switch a := values.(type) {
	case *array.String:
		putEach(r, c, at, a, a.Value, c.textCell)
	case *array.LargeString:
		putEach(r, c, at, a, a.Value, c.textCell)
	case *array.Binary:
		putEach(r, c, at, a, a.ValueString, c.textCell)
	case *array.LargeBinary:
		putEach(r, c, at, a, a.ValueString, c.textCell)
	case *array.Int8:
		putIntegers(r, c, at, a, a.Value)
	case *array.Int16:
		putIntegers(r, c, at, a, a.Value)
	case *array.Int32:
		putIntegers(r, c, at, a, a.Value)
	case *array.Int64:
		putIntegers(r, c, at, a, a.Value)
	case *array.Uint8:
		putIntegers(r, c, at, a, a.Value)
	case *array.Uint16:
		putIntegers(r, c, at, a, a.Value)
	case *array.Uint32:
		putIntegers(r, c, at, a, a.Value)
	case *array.Uint64:
		putEach(r, c, at, a, a.Value, c.unsignedCell)
	case *array.Float16:
		putEach(r, c, at, a, func(i int) float64 { return float64(a.Value(i).Float32()) }, c.numeralCell)
	case *array.Float32:
		putEach(r, c, at, a, func(i int) float64 { return float64(a.Value(i)) }, c.numeralCell)
	case *array.Float64:
		putEach(r, c, at, a, a.Value, c.numeralCell)
	case *array.Decimal128:
		scale := a.DataType().(*arrow.Decimal128Type).Scale
		putEach(r, c, at, a, func(i int) string { return a.Value(i).ToString(scale) }, c.textCell)
	case *array.Decimal256:
		scale := a.DataType().(*arrow.Decimal256Type).Scale
		putEach(r, c, at, a, func(i int) string { return a.Value(i).ToString(scale) }, c.textCell)
	case *array.Boolean:
		putEach(r, c, at, a, a.Value, c.truthCell)
	case *array.Null:
		missing := c.missingCell()
		for i := range a.Len() {
			r.put(c, at+i, missing)
		}
	case *array.Dictionary:
		return r.dictionary(c, at, a)
	default:
		return verdict{Kind: kindDamaged}
	}
	return nil
}

func putEach[V any](r *rowHasher, c *columnHasher, at int, a arrow.Array, value func(int) V, hash func(V) cell) {
	missing := c.missingCell()
	exact, loose, rest := r.exact[at:at+a.Len()], r.loose[at:at+a.Len()], r.rest[at:at+a.Len()]
	if r.apart == nil || c.left {
		rest = nil
	}
	for i := range exact {
		x := missing
		if !a.IsNull(i) {
			x = hash(value(i))
		}
		exact[i] = exact[i].plus(x.exact)
		loose[i] = times61(loose[i], x.loose)
		if rest != nil {
			rest[i] = times61(rest[i], x.loose)
		}
	}
}

func putIntegers[V int8 | int16 | int32 | int64 | uint8 | uint16 | uint32](r *rowHasher, c *columnHasher, at int, a arrow.Array, value func(int) V) {
	putEach(r, c, at, a, value, func(v V) cell { return c.integerCell(int64(v)) })
}

// dictionary hashes each distinct value once, and again only when another dictionary
// comes.
func (r *rowHasher) dictionary(c *columnHasher, at int, a *array.Dictionary) error {
	if c.distinct == nil || c.dictionaryOf != a.Data().Dictionary() {
		one := &rowHasher{key: r.key}
		one.begin(a.Dictionary().Len())
		if err := one.array(c, 0, a.Dictionary()); err != nil {
			return err
		}
		c.dictionaryOf, c.distinct = a.Data().Dictionary(), make([]cell, len(one.exact))
		for i := range c.distinct {
			c.distinct[i] = cell{one.exact[i], one.loose[i]} // a row of one cell
		}
	}
	missing := c.missingCell()
	for i := range a.Len() {
		if a.IsNull(i) {
			r.put(c, at+i, missing)
			continue
		}
		place := a.GetValueIndex(i)
		if place < 0 || place >= len(c.distinct) {
			return verdict{Kind: kindDamaged}
		}
		r.put(c, at+i, c.distinct[place])
	}
	return nil
}
