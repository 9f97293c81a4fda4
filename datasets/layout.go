package datasets

import (
	"encoding/binary"
	"hash/crc32"
	"math"
	"os"
)

// The encoded file, as the child writes it and the parent checks it. Integers
// are little-endian and unsigned. Every buffer begins at a multiple of 64 bytes
// (Arrow's alignment), the gaps before it are zero.
//
//	header   8 bytes "PSGLDENC", version u32 = 1, columns u32, one byte a column:
//	         its element (1 float64, 2 uint16, 3 uint8)
//	block    for each column one buffer of rows elements, in order
//	…        more blocks, each of 1 to 16384 rows
//	footer   for each block: rows u32, then for each column the CRC-32C of its
//	         buffer u32; it begins right after the last buffer
//	trailer  24 bytes: rows of all blocks u64, blocks u32, CRC-32C of header and
//	         footer u32, 8 bytes "PSGLDEND"
//
// Every offset follows from the row counts, so none is stored and none can lie.
const (
	headerMagic   = "PSGLDENC"
	trailerMagic  = "PSGLDEND"
	layoutVersion = 1
	trailerSize   = 24
	alignment     = 64

	// blockRows bounds what a child holds of one column: 16384 numbers are
	// 128 KiB, so that a thousand columns stay far below its limit.
	blockRows = 1 << 14

	// maxRows is the most rows of one table.
	maxRows = math.MaxInt32

	elementFloat64 = 1
	elementUint16  = 2
	elementUint8   = 3
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// element returns how the encoded values of a column are stored, and in how
// many bytes each.
func (s columnSpec) element() (code byte, size int64) {
	switch {
	case s.Plain:
		return elementFloat64, 8
	case s.Target:
		return elementUint8, 1
	case s.Type == typeNumber || s.Type == typeInteger:
		return elementFloat64, 8
	}
	return elementUint16, 2
}

func headerOf(columns []columnSpec) []byte {
	h := []byte(headerMagic)
	h = binary.LittleEndian.AppendUint32(h, layoutVersion)
	h = binary.LittleEndian.AppendUint32(h, uint32(len(columns)))
	for _, c := range columns {
		code, _ := c.element()
		h = append(h, code)
	}
	return h
}

func aligned(offset int64) int64 { return (offset + alignment - 1) &^ (alignment - 1) }

// layoutWriter writes the encoded file, block by block.
type layoutWriter struct {
	file    *os.File
	columns []columnSpec
	header  []byte
	footer  []byte
	offset  int64
	rows    int64
	blocks  uint32
	buffer  []byte
}

func newLayoutWriter(f *os.File, columns []columnSpec) (*layoutWriter, error) {
	w := &layoutWriter{file: f, columns: columns, header: headerOf(columns)}
	return w, w.write(w.header)
}

func (w *layoutWriter) write(p []byte) error {
	n, err := w.file.WriteAt(p, w.offset)
	w.offset += int64(n)
	return err
}

// block writes one block out of the columns' buffers, which hold equally many
// elements.
func (w *layoutWriter) block(columns []*column) error {
	rows := columns[0].len()
	w.footer = binary.LittleEndian.AppendUint32(w.footer, uint32(rows))
	for _, c := range columns {
		w.buffer = w.buffer[:0]
		for _, x := range c.floats {
			w.buffer = binary.LittleEndian.AppendUint64(w.buffer, math.Float64bits(x))
		}
		for _, code := range c.codes {
			w.buffer = binary.LittleEndian.AppendUint16(w.buffer, code)
		}
		w.buffer = append(w.buffer, c.bits...)
		w.footer = binary.LittleEndian.AppendUint32(w.footer, crc32.Checksum(w.buffer, castagnoli))
		w.offset = aligned(w.offset) // the gap reads as zeros
		if err := w.write(w.buffer); err != nil {
			return err
		}
	}
	w.rows += int64(rows)
	w.blocks++
	return nil
}

// close writes footer and trailer.
func (w *layoutWriter) close() error {
	sum := crc32.Update(crc32.Checksum(w.header, castagnoli), castagnoli, w.footer)
	end := w.footer
	end = binary.LittleEndian.AppendUint64(end, uint64(w.rows))
	end = binary.LittleEndian.AppendUint32(end, w.blocks)
	end = binary.LittleEndian.AppendUint32(end, sum)
	return w.write(append(end, trailerMagic...))
}

// block is a checked block: its rows and one buffer a column, all within the
// encoded file.
type block struct {
	rows    int64
	buffers [][]byte
}

// checkLayout takes the encoded file apart. It returns ok only if every length
// agrees, every checksum holds, and every element is in its range: numbers in
// [−1, 1] (hence finite) unless the column is plain, codes below their number of
// levels, targets 0 or 1.
func checkLayout(data []byte, columns []columnSpec) (blocks []block, rows int64, ok bool) {
	header := headerOf(columns)
	end := int64(len(data)) - trailerSize
	if end < int64(len(header)) || string(data[:len(header)]) != string(header) {
		return nil, 0, false
	}
	trailer := data[end:]
	total := binary.LittleEndian.Uint64(trailer)
	count := int64(binary.LittleEndian.Uint32(trailer[8:]))
	sum := binary.LittleEndian.Uint32(trailer[12:])
	footerAt := end - count*4*int64(1+len(columns))
	if string(trailer[16:]) != trailerMagic || total > maxRows || footerAt < int64(len(header)) {
		return nil, 0, false
	}
	footer := data[footerAt:end]
	if crc32.Update(crc32.Checksum(header, castagnoli), castagnoli, footer) != sum {
		return nil, 0, false
	}

	blocks = make([]block, 0, count)
	offset := int64(len(header))
	for range count {
		b := block{rows: int64(binary.LittleEndian.Uint32(footer))}
		footer = footer[4:]
		if b.rows == 0 || b.rows > blockRows {
			return nil, 0, false
		}
		rows += b.rows
		for _, c := range columns {
			_, size := c.element()
			from := aligned(offset)
			offset = from + b.rows*size
			if offset > footerAt {
				return nil, 0, false
			}
			buffer := data[from:offset:offset]
			if crc32.Checksum(buffer, castagnoli) != binary.LittleEndian.Uint32(footer) || !c.inRange(buffer) {
				return nil, 0, false
			}
			footer = footer[4:]
			b.buffers = append(b.buffers, buffer)
		}
		blocks = append(blocks, b)
	}
	return blocks, rows, offset == footerAt && uint64(rows) == total
}

// inRange says whether every element of a buffer is one that the column's
// encoding can have. A plain column's may be any.
func (s columnSpec) inRange(buffer []byte) bool {
	if s.Plain {
		return true
	}
	switch code, _ := s.element(); code {
	case elementFloat64:
		for ; len(buffer) > 0; buffer = buffer[8:] {
			// NaN fails both comparisons.
			if x := math.Float64frombits(binary.LittleEndian.Uint64(buffer)); !(x >= -1 && x <= 1) {
				return false
			}
		}
	case elementUint16:
		codes := len(s.Levels)
		if s.Type == typeBoolean {
			codes = 2
		}
		for ; len(buffer) > 0; buffer = buffer[2:] {
			if int(binary.LittleEndian.Uint16(buffer)) >= codes {
				return false
			}
		}
	default:
		for _, bit := range buffer {
			if bit > 1 {
				return false
			}
		}
	}
	return true
}
