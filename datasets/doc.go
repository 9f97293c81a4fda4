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
// New rows for predictions ([OpenOwn]) and tables of released draws ([ReadDraws]) go
// the same way: whoever was handed a file
// need not trust it. What comes of them is no [Table], so that no sampler takes it.
//
// # Fingerprints
//
// A [Fingerprint] says under a secret key which rows a table has, apart from how
// files hold them. The child takes it of the decoded cells of all the policy's
// columns, before bounds and levels apply, in one pass and constant memory. A cell
// is
//
//	a number   the bits of its float64, 0 for −0; also what a text spells, or a
//	           decimal; 1 and 0 for truth values and the texts true and false; a
//	           whole number that float64 does not hold is a text of its digits
//	a text     its bytes, as decoded (a CSV's blanks are trimmed where the policy
//	           says so)
//	missing    null, NaN, an infinity, an empty text, and in a column of numbers a
//	           text that is none
//
// so that 1, 1.0 and "1" are one, and so are text and dictionary, CSV and Parquet.
// Two words w stand for a cell: (bits, 0), (0, 1) for a missing one, and for a text
// a polynomial over its words and its length in a secret point, in 𝔽ₚ with
// p = 2¹²⁷ − 1.
//
// The exact fingerprint is the number of rows and ∏ (s + h) in 𝔽ₚ over all rows, with
// h = Σ a·w₀ + b·w₁ over a row's cells; s is secret, and so are a and b, which come
// of the column's name. So the order of rows and columns makes no difference, and how
// often a row stands there does. Two given tables of other rows, n each at most, agree
// with probability below n(4t + 10)/p, t being the most words of a text. For take a row
// that one of them has more often: that another of their 2n rows has its hash has
// probability 2(t+2)/p at most (two texts become one with probability (t+1)/p, other
// cells never, and two rows then by 1/p: Wegman and Carter 1981; the factor 2 is for
// secrets drawn among 2¹²⁷ numbers), and otherwise two polynomials of degree n agree, at
// no more than n points (Schwartz 1980). That is less than 2⁻⁸⁸ for 2³¹ rows with texts
// of 128 bytes. All secrets are HMAC-SHA256 of the key, which is taken to be as good as
// random; nobody who lacks it can do better, since fingerprints are not shown. (Clarke
// et al. 2003, multiset hash functions, treat adversaries who see them.)
//
// The loose fingerprint leaves out the columns' names, small and capital letters and
// what float32 does not hold: a row is ∏ (σ + v) in the field of 2⁶¹ − 1 over its
// cells, v being 61 bits of α·w₀ + β·w₁. A line over that field makes a tag of it, and
// the 256 smallest distinct tags are the sketch (bottom-k: Broder 1997, Cohen 1997;
// that pairwise independence is enough: Thorup 2013). [Fingerprint.Likeness] says
// when it recognises a table, and of what kind of tables it says nothing. The same is
// taken of the rows without the policy's target, and the names of the columns are kept
// beside it, so that [Own.Likeness] recognises rows that come without a target and
// under another policy.
//
// What it does not see: a table of other columns, texts spelt otherwise (levels yes
// and no as 1 and 0), numbers that were moved a little, and, of tables many of whose
// rows are equal, any copy but a whole one.
//
// The limit on memory holds on Linux. Elsewhere the child has the deadline, the
// pipe to its parent and Go's soft memory limit only.
package datasets
