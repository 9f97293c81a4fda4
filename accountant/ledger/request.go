package ledger

import (
	"time"

	"github.com/privsgld/privsgld/accountant"
	"github.com/privsgld/privsgld/accountant/ledger/signed"
)

// A Registration binds a data set, by its name, to one budget: the first
// request that is granted registers it, and every later one must carry the
// same unit, adjacency, terms and renewal, and a policy that promises no less. Terms.Order 0 means the order that
// was fixed then. PolicyName and PolicySHA256 are recorded with each charge
// and may change.
type Registration struct {
	Dataset      string
	PolicyName   string
	PolicySHA256 string // hexadecimal
	Unit         string // privacy unit, as the policy states it
	Adjacency    accountant.Adjacency
	Terms        accountant.Terms
	Renews       string // never, monthly, quarterly or yearly

	// Requests says who must sign each job. The registered rule holds for every
	// later one, beside that of its own policy.
	Requests signed.Rule

	// Promise is what the rest of the policy says; nil: nothing is registered of it.
	Promise *Promise
}

// A Cap is a smaller budget that a request must fit into besides the
// policy's. It is registered on first use, like a data set, with a filter and
// a fixed order of its own. The caps of analysts and purposes count within the
// data set's periods, those of periods within their own, which are shorter.
type Cap struct {
	Name  string // "analyst:" or "purpose:" and the request's, or "period:" and monthly, quarterly or yearly
	Terms accountant.Terms
}

// A Request asks for a charge: the most that a job may do to a data set.
type Request struct {
	RunID   string // unique in the ledger for ever
	Kind    string // run or query
	Analyst string
	Purpose string
	Registration
	Event      accountant.Event // what is reserved
	JobEpsilon accountant.Amount
	JobDelta   accountant.Amount
	Caps       []Cap // all of them must admit the event, and are charged with it

	Approval *Approval // the signed request; nil: none

	preview bool // nothing is written: signatures may come later
}

// A Reservation is a charge that is durable in the ledger. Only the pointer
// that Reserve returned can be settled or made void; a copy describes it.
type Reservation struct {
	RunID  string
	Entry  int64     // number of its entry, from 0
	Time   time.Time // of that entry, UTC, whole seconds
	Budget Budget

	self    *Reservation // points to itself in the value that Reserve, or Again, returned
	attempt int64
}

// A Settlement is the end of a charge: what was done, and the signed
// checkpoint of the ledger that holds it.
type Settlement struct {
	Entry      int64
	Checkpoint string // signed note, see the package comment
	Budget     Budget
}

// A Verification is the result of checking the whole ledger.
type Verification struct {
	OK      bool   `json:"ok"`
	Entries int64  `json:"entries"`
	Head    string `json:"head"` // "sha256:" and the Merkle tree's root in hexadecimal
}
