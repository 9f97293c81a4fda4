package privacy

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
)

// Bits yields independent uniform 64-bit words. It is what the samplers of this
// package need of a generator; only [Source] is fit for a release.
type Bits interface {
	Uint64() uint64
}

// blockBytes is how much key stream is made at a time: two pages, so that the
// cost of a call to the cipher is spread over a thousand words.
const blockBytes = 8192

// stream is AES-256 in counter mode, read as little-endian words.
type stream struct {
	ctr cipher.Stream
	buf [blockBytes]byte
	pos int
}

// newStream takes the key and wipes it.
func newStream(key []byte) *stream {
	block, err := aes.NewCipher(key)
	clear(key)
	if err != nil {
		panic("privacy: the key of a stream has 32 bytes")
	}
	// Every stream has a key of its own, so the counter may start at zero.
	return &stream{ctr: cipher.NewCTR(block, make([]byte, aes.BlockSize)), pos: blockBytes}
}

func (s *stream) refill() {
	clear(s.buf[:])
	s.ctr.XORKeyStream(s.buf[:], s.buf[:])
	s.pos = 0
}

func (s *stream) next() uint64 {
	if s.pos == blockBytes {
		s.refill()
	}
	w := binary.LittleEndian.Uint64(s.buf[s.pos:])
	// A word is wiped when it is handed out, so that memory read later does not
	// tell the noise that a released sum was given.
	binary.LittleEndian.PutUint64(s.buf[s.pos:], 0)
	s.pos += 8
	return w
}

// ahead returns the words that are ready and not yet handed out, at least one;
// skip says how many bytes of them were used, and wipes those.
func (s *stream) ahead() []byte {
	if s.pos == blockBytes {
		s.refill()
	}
	return s.buf[s.pos:]
}

func (s *stream) skip(n int) {
	clear(s.buf[s.pos : s.pos+n])
	s.pos += n
}

// streamOf returns the stream of a source, or nil for another kind of Bits.
func streamOf(b Bits) *stream {
	switch b := b.(type) {
	case *Source:
		return b.s
	case *Seeded:
		return b.s
	}
	return nil
}

// Source is the cryptographic generator: AES-256-CTR under a key that is
// derived by HKDF-SHA-256 (RFC 5869) from 32 fresh bytes of the operating
// system's generator and a label. Two sources share no key, even with equal
// labels. It cannot be seeded, copied to disk or printed. Not safe for
// concurrent use: give each goroutine its own.
type Source struct {
	s *stream
}

// NewSource returns a freshly keyed source. The label separates streams should
// the operating system ever repeat itself (a restored snapshot of a virtual
// machine): name the reservation, the attempt and the use. It panics if the
// operating system yields no randomness.
func NewSource(label string) *Source {
	var seed [32]byte
	if _, err := rand.Read(seed[:]); err != nil {
		panic("privacy: the operating system yields no randomness")
	}
	return &Source{s: newStream(deriveKey(seed[:], label))}
}

// deriveKey is the one place where seeds become keys.
func deriveKey(seed []byte, label string) []byte {
	key, err := hkdf.Key(sha256.New, seed, nil, "privsgld/stream/v1 "+label, 32)
	if err != nil {
		panic("privacy: key derivation failed")
	}
	clear(seed)
	return key
}

// Uint64 returns the next word, uniform on [0, 2⁶⁴).
func (s *Source) Uint64() uint64 { return s.s.next() }

// Erase wipes the unused key stream and lets go of the cipher. The source cannot
// be used afterwards. The standard library offers no way to overwrite a cipher's
// expanded key: it stays in freed memory until that is used again. Seed and key
// themselves were wiped when the source was made, and words when handed out.
func (s *Source) Erase() {
	clear(s.s.buf[:])
	s.s = nil
}

// String and GoString keep the state out of any message.
func (s *Source) String() string { return "privacy.Source" }

// GoString returns the same constant as String.
func (s *Source) GoString() string { return "privacy.Source" }

// Seeded is a reproducible generator for tests. It is a type of its own, and
// nothing that releases accepts it.
type Seeded struct {
	s *stream
}

// NewSeeded returns the generator of that seed: AES-256-CTR under a key derived
// from the seed and the label.
func NewSeeded(seed uint64, label string) *Seeded {
	var b [8]byte
	binary.LittleEndian.PutUint64(b[:], seed)
	return &Seeded{s: newStream(deriveKey(b[:], label))}
}

// Uint64 returns the next word.
func (s *Seeded) Uint64() uint64 { return s.s.next() }

// fill sets dst to the next words of b, which it copies where b is a stream: the
// words that as many calls of Uint64 would return.
func fill(dst []uint64, b Bits) {
	s := streamOf(b)
	if s == nil {
		for i := range dst {
			dst[i] = b.Uint64()
		}
		return
	}
	for len(dst) > 0 {
		ready := s.ahead()
		n := min(len(dst), len(ready)/8)
		for i := range dst[:n] {
			dst[i] = binary.LittleEndian.Uint64(ready[8*i:])
		}
		s.skip(8 * n)
		dst = dst[n:]
	}
}

// fillBytes is fill for words as they lie in the stream, in little-endian order.
func fillBytes(dst []byte, b Bits) {
	s := streamOf(b)
	if s == nil {
		for ; len(dst) > 0; dst = dst[8:] {
			binary.LittleEndian.PutUint64(dst, b.Uint64())
		}
		return
	}
	for len(dst) > 0 {
		n := copy(dst, s.ahead())
		s.skip(n)
		dst = dst[n:]
	}
}
