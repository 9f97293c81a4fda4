// Package datasets turns untrusted files into encoded tables.
//
// A policy declares what is public about a table: its columns, the bounds of
// its numbers, the levels of its categories, the defaults for whatever is
// missing. [Bind] picks a target and features out of those public facts and
// fixes the encoding; [Check] says whether files bind to it, without decoding a
// row; [Open] takes a release permit and returns the encoded [Table]:
//
//	number, integer  x → 2·(clamp(x, lower, upper) − lower)/(upper − lower) − 1
//	boolean          0 or 1
//	category         the index of its level; treatment coding over all levels
//	                 but the reference is left to whoever reads the codes
//	target           0 or 1
//
// A null, NaN, infinity, unknown level, invalid text or, in an integer column,
// a fraction becomes the column's default; a number out of bounds is clamped to
// them. So no value, however odd, ends a run: only structure does (a file that
// is no table, a missing column, a type that does not fit, a damaged page), and
// then the one error is [BadData] with a text out of a closed list.
//
// # The child process
//
// The Arrow library's readers panic in goroutines of their own and allocate
// what a malformed file claims, so no recover makes them safe. The parent
// therefore never parses a byte of a data file. It opens the files, starts the
// running program again as a decoder (its main function calls [DecoderMain]
// first), and passes it open files and the public facts. Before its first byte
// the child limits its data segment (RLIMIT_DATA), forbids core dumps and stack
// traces, and ties its life to the parent's; the parent kills it at a deadline.
// The child decodes, encodes and writes a plain checksummed file (its bytes are
// specified in table.go) into an unlinked temporary file of the parent; its
// standard error goes to the null device. Whatever else the child does, die,
// hang or answer nonsense, is the one fixed text for damaged files.
//
// The parent then checks every length, checksum, code and number of that file,
// maps it read-only and wraps it as Arrow record batches without copying.
//
// The limit on memory holds on Linux. Elsewhere the child has the deadline, the
// pipe to its parent and Go's soft memory limit only.
package datasets
