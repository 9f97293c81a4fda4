// Package signed is the form of what people sign: that a policy may be used, that
// a job may run, that a budget may grow; and of the keys that they sign with.
//
// # Text
//
// A text has two lines, each with its end: a first line that names the kind and
// its version,
//
//	privsgld policy approval v1
//	privsgld request v1
//	privsgld amendment v1
//
// and one JSON object in canonical form (RFC 8785: members sorted, no blanks). The
// first line keeps the kinds apart: a signature over one is none over another, and
// none is a checkpoint, which begins otherwise, or a report, which begins with a
// brace.
//
// # Signatures
//
// A file is a note (golang.org/x/mod/sumdb/note): the text, an empty line, and a
// line for each signature,
//
//	— NAME BASE64
//
// The decoded bytes are four of the key's hash and then those of an ed25519
// signature over the text. Without a signature yet the file is the text alone. A
// key's public half is written
//
//	NAME+HASH+BASE64
//
// with HASH the first four bytes, in hexadecimal, of SHA-256 over NAME, a line's
// end, a byte 1 and the public key, and BASE64 that byte and the public key. The
// private half lies in a file of its own that nobody but its owner may read.
//
// # Rules
//
// A Rule asks for signatures of at least k of its n keys. Keys are told apart by
// their public bytes. A signature counts if it is by one of them and over exactly
// the text in question; all else in a file is as if it were not there.
package signed
