package datasets

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"encoding/csv"
	"errors"
	"io"
	"os"
	"slices"
	"strings"
	"unicode/utf8"
)

// errNUL is what textReader answers to a NUL byte: such a file is no text.
var errNUL = errors.New("NUL byte in a text file")

// decodeCSV reads comma- (or otherwise) separated text, gzipped or not.
//
// The Arrow library's CSV reader cannot keep the policy's rules: it refuses a
// row whose number of cells differs from the first row's, stops at the first
// cell that is no number, reads every column, keeps a byte-order mark as part of
// the first name, and has no switch for any of these. It is itself a layer over
// encoding/csv, so this reads with encoding/csv and encodes each cell straight
// away: short rows are filled with nulls, surplus cells dropped, cells that are
// no number null.
//
// Quotes are strict: with lenient ones a single row with a stray quote could
// swallow the rows after it, and one row must never change another. Blank lines
// are no rows.
func decodeCSV(f *os.File, zipped bool, s *sink) error {
	var raw io.Reader = bufio.NewReaderSize(f, 1<<20)
	if zipped {
		unzipped, err := gzip.NewReader(raw)
		if err != nil {
			return verdict{Kind: kindNoTable}
		}
		raw = unzipped
	}
	text := bufio.NewReaderSize(&textReader{raw}, 1<<16)
	if mark, _ := text.Peek(3); bytes.Equal(mark, []byte("\xef\xbb\xbf")) {
		_, _ = text.Discard(3) // it has just been peeked at
	}
	cells := csv.NewReader(text)
	cells.Comma = s.csv.Separator
	cells.FieldsPerRecord = -1
	cells.ReuseRecord = true
	// Blanks before a quoted cell. A blank that separates cells is none.
	cells.TrimLeadingSpace = s.csv.Trim && s.csv.Separator != '\t' && s.csv.Separator != ' '

	places, err := bindCSV(cells, s)
	if err != nil || s.structureOnly {
		return err
	}
	for {
		row, err := cells.Read()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return csvVerdict(err, kindDamaged)
		}
		at := 0
		if s.hash != nil {
			at = s.hash.begin(1)
		}
		for i := range s.bound {
			cell, missing := "", true
			if places[i] < len(row) {
				cell = s.csv.clean(row[places[i]])
				missing = slices.Contains(s.csv.Null, cell)
			}
			if s.hash != nil {
				s.hash.text(i, at, cell, missing)
			}
			switch {
			case i >= len(s.columns):
			case missing:
				s.columns[i].invalid()
			default:
				s.columns[i].string(cell)
			}
		}
		if err := s.added(1); err != nil {
			return err
		}
	}
}

// bindCSV returns each column's place in a row: by the names of the header, or
// without one by the column's place in the policy.
func bindCSV(cells *csv.Reader, s *sink) ([]int, error) {
	places := make([]int, len(s.bound))
	if !s.csv.Header {
		for i, c := range s.bound {
			places[i] = c.Position
		}
		return places, nil
	}
	header, err := cells.Read()
	if err != nil {
		return nil, csvVerdict(err, kindNoTable)
	}
	names := make([]string, len(header))
	for i, name := range header {
		if !utf8.ValidString(name) {
			return nil, verdict{Kind: kindNoTable}
		}
		names[i] = s.csv.clean(name)
	}
	return s.bind(names, nil)
}

// clean removes blanks around a cell if the policy says so.
func (r csvRules) clean(cell string) string {
	if r.Trim {
		return strings.TrimSpace(cell)
	}
	return cell
}

// csvVerdict turns a reader's error into a kind: NUL bytes and stray quotes
// have their own, everything else is other.
func csvVerdict(err error, other kind) verdict {
	switch {
	case errors.Is(err, errNUL):
		return verdict{Kind: kindNoTable}
	case errors.Is(err, csv.ErrQuote), errors.Is(err, csv.ErrBareQuote):
		return verdict{Kind: kindQuotes}
	}
	return verdict{Kind: other}
}

// textReader passes text through and ends with errNUL at the first NUL byte.
type textReader struct{ r io.Reader }

func (t *textReader) Read(p []byte) (int, error) {
	n, err := t.r.Read(p)
	if at := bytes.IndexByte(p[:n], 0); at >= 0 {
		return at, errNUL
	}
	return n, err
}
