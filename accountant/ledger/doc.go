// Package ledger keeps what was charged to a privacy budget, durably, and
// decides what may still be charged.
//
// A job reserves the most that it may do before the first row is read, and
// settles what it did before anything is released:
//
//	l, err := ledger.Open(ctx, ledger.Options{})
//	r, err := l.Reserve(ctx, request)    // *Refused where the budget does not allow it
//	…                                    // read, compute
//	s, err := l.Settle(ctx, r, event)    // never more than was reserved
//
// # Promises
//
//   - A granted reservation is on the disk when Reserve returns. One that is
//     neither settled nor void counts as spent for ever.
//   - Registration, the filters' decisions and the entry are one serialisable
//     transaction: processes that share a ledger cannot overspend together.
//   - A refused request writes nothing.
//   - Decisions take the same time however long the history is: running totals
//     are kept, exactly. (The ε that has been spent, which a report states, is
//     computed from the distinct mechanisms of the period: many jobs at the same
//     settings cost nothing, many different ones do.) A settlement takes the reserved cost out of the exact
//     sum and puts the actual one in; filters see the sum rounded up.
//   - A request is charged to the policy's filter and to all of its caps (of the
//     analyst, of the purpose, of a month, quarter or year) in that one transaction:
//     all of them admit it, or nothing is written. Each cap has a filter of its own,
//     at an order fixed when it is registered; registered late, it starts with what
//     was charged before. It may become smaller, and neither larger nor left out.
//   - A data set keeps the unit, adjacency, terms (with the filter's order) and
//     renewal that it was registered with; any other value is a *Mismatch.
//   - Time is the clock's or the newest entry's, whichever is later, for the periods
//     of caps too: a clock that is set back opens nothing again. A period opens when
//     the first reservation falls into it; pending reservations of the one before
//     are closed: they count as spent and can no longer settle.
//   - Verify recomputes all of it from the entries.
//
// The newest checkpoint is remembered in the state folder, as anchors/HASH: an
// earlier copy of the ledger, or one that went another way from there, does not
// open. Where that file was set back too, only a checkpoint kept elsewhere shows it,
// one in a report among them (Verify with a Witness). Nor does the ledger stop
// somebody who holds the job key and can write the file.
//
// # Bytes of an entry
//
// Entries are numbered from 0. Each is one JSON object in canonical form (RFC
// 8785: members sorted, no blanks, numbers as ECMAScript writes a float64).
// Amounts are strings, in the accountant's decimal form, so that no digit is
// lost. All entries have
//
//	version   3; 1 or 2 in entries of earlier programs, which come before all others
//	number    of the entry
//	time      RFC 3339, UTC, whole seconds, never before the last entry's
//	nonce     16 random bytes in hexadecimal, so that a checkpoint's hashes
//	          confirm no guess of an entry
//	kind      register, reserve, again, settle, void, close, fingerprint or amend
//	dataset   name of the data set
//
// and, by kind,
//
//	register  registration {unit, adjacency, terms, renews, requests, owner, policy
//	          {sha256, text}} and period, the first
//	register  cap {name, terms}, and costs with what had been charged before, to
//	          the same analyst or purpose in the data set's period, or to the data
//	          set in the cap's; of a cap that is registered, made smaller: no costs
//	reserve   run, period, event, costs, reservation {kind, analyst, purpose,
//	          policy_name, policy_sha256, epsilon, delta, approval}
//	again     run, period, attempt, event, costs: of a reservation that is neither
//	          settled nor void, another attempt begins; attempt counts from 2, event is
//	          what it may do a second time. Period and accounts are the reservation's
//	settle    run, period, event, costs
//	void      run, period
//	close     period, the one that opens; pending, how many reservations of the
//	          last one it closes
//	fingerprint  fingerprint {version, growth, commitment}: a version, counted from 1,
//	          of the rows that the data set's name stands for
//	amend     amendment {note}
//
// A cap's name is analyst: or purpose: and the reservation's own, or period: and
// monthly, quarterly or yearly. The period of a cap of the last kind is that of
// the reservation's time (2026-11, 2026-Q4, 2026); other caps count in the data
// set's. terms are {method, epsilon, delta, approximate_delta, pure_epsilon, order};
// costs a list of {account, loss, pure_epsilon, approximate_delta}, account being
// "policy" or the cap's name; event is an accountant's event in merged form,
// with its amounts as strings.
//
// A data set that was registered with requests {at_least, keys} takes only jobs
// with an approval {note, rule {at_least, keys}}: a note of package signed, of kind
// "privsgld request v1", whose object is that of SignedRequest. It names ledger, data
// set, policy, kind, analyst, purpose, epsilon and delta of its reservation, whose time
// lies within not_before and not_after; enough of the rule's keys, and of the registered
// ones, signed it; and no id is used twice.
//
// growth is fixed (one version), append-only or replaced. The fingerprint itself is
// in the state folder, sealed by AES-256-GCM, as fingerprints/HASH/COMMITMENT, HASH
// being that of the job key; commitment is HMAC-SHA256 over "LENGTH NAME VERSION", a
// line's end and the fingerprint, so that it says nothing of the rows, and not even
// whether two versions are equal. Both keys come of keys/HASH.fingerprint.
//
// # Amendments
//
// policy is the sum of the policy that registered the data set, and its text with all
// defaults and base files filled in. Another policy of the same data set is admitted
// only where it promises no less in any clause (package policies, Diff); the ledger
// records the sum of the one in use with each reservation. Only an amend entry changes
// a registration. Its note is of package signed, of kind "privsgld amendment v1",
// signed by the registered owner; its object is that of SignedAmendment: from is the
// sum that was registered, registration what is from then on, caps the caps whose terms
// change. Unit, adjacency, renewal, accountant and the orders of all filters stay; ε, δ,
// their shares and what is beside these do not fall, so that all that was admitted before
// is within the new limits. No id is used twice.
//
// # Tree and checkpoint
//
// The entries' bytes are the leaves of a Merkle tree as in RFC 6962 and
// golang.org/x/mod/sumdb/tlog. With every entry, in the same transaction, the
// new head is signed: a note (golang.org/x/mod/sumdb/note) whose text is
//
//	go.sum database tree
//	N
//	HASH
//
// with the number of entries and the root in base64 (tlog.FormatTree; the first
// line is that library's), under the job key, whose verifier
//
//	privsgld-ledger+HASH+KEY
//
// is the ledger's name. The key lies in the state folder as keys/HASH.key.
//
// # Export
//
// JSON Lines. The first line is {schema, id, entries, checkpoint}: the schema
// privsgld/ledger-export/v1, the ledger's name with its public key, the number of
// lines that follow, and the signed note over them. Each other line is an entry, its
// bytes without the line's end a leaf of the tree. In a checkpoint's signature line,
// "— NAME BASE64", the decoded bytes are four of the key's hash and then ed25519's over
// the text up to and with the line's end before the blank line; in the name's last
// part, a byte 1 and then the public key. What a data set has spent in a period is the
// sum over its runs of the settled event, of the reserved one where nothing is settled,
// and of nothing for a void one, and of all events of kind again. For a cap it is the same sum over the runs whose
// costs name it, and the costs with which it was registered.
//
// # The file, and the server
//
// SQLite, application_id 0x70736764, user_version 1, with the tables entries
// (number, body), hashes (number as tlog.StoredHashIndex counts, hash) and
// state (key, value). State is derived from the entries, but for
// meta/verifier, meta/checkpoint and meta/state. It holds events by analyst and by
// purpose; an earlier program kept none by purpose, and the first entry of this
// one is written together with them (upgrade.go).
//
// Or PostgreSQL 15 or later: the same tables in the schema that is the first of the
// address's search_path, with ledger_head, one row (one, application, version) of the
// same numbers. A ledger has its schema to itself. Every transaction is serialisable
// and holds a lock on ledger_head before it sees anything, sets synchronous_commit on
// and fails where the server's fsync is off. A commit whose answer is lost is looked
// up under that lock: it counts where the entry's bytes are there; where the server
// cannot be asked, Reserve and Settle fail, and a charge that was made stays. Errors
// name host and database, never user, password or the server's own words.
//
// A ledger of an earlier version is brought forward when it is opened; one of a later
// version does not open.
package ledger
