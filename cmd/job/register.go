package job

import (
	"context"
	"fmt"
	"slices"

	"github.com/privsgld/privsgld/accountant/ledger"
	"github.com/privsgld/privsgld/accountant/ledger/signed"
	"github.com/privsgld/privsgld/datasets"
	"github.com/privsgld/privsgld/policies"
	"github.com/privsgld/privsgld/privacy/gate"
)

// A WrongRows error says that rows are not those that a data set's name stands for,
// or stand for another one's: exit code 4. It is for the holder's eyes; what it says
// is a function of the data.
type WrongRows struct {
	Message string
	Hint    string
}

func (e *WrongRows) Error() string { return e.Message }

// Register registers the rows that a policy's data set stands for.
type Register struct {
	PolicyPath string
	DataPath   string
	Memory     int64 // limit of the decoder in bytes; 0: its default

	OpenLedger func(context.Context) (*ledger.Ledger, error)
}

// Registered is what became of it.
type Registered struct {
	Dataset string    `json:"dataset"`
	Version int64     `json:"version"`
	Growth  string    `json:"growth"`
	Status  string    `json:"status"` // registered, or unchanged where these very rows were
	Ledger  LedgerRef `json:"ledger"`
}

// Do reads all rows, for the holder, and registers their fingerprint and, where it is
// new, the data set with its budget. It charges nothing and releases nothing. Errors:
// *WrongRows where the rows are another data set's, or no version of this one;
// *ledger.Mismatch, *UsageError, and those of policy, ledger and data.
func (r *Register) Do(ctx context.Context) (*Registered, error) {
	policy, err := LoadPolicy(r.PolicyPath)
	if err != nil {
		return nil, err
	}
	if r.Memory != 0 && r.Memory < LeastMemory {
		return nil, &UsageError{Message: "the memory limit is too small to decode a table", Hint: "give at least 256MiB"}
	}
	if err := r.approved(policy); err != nil {
		return nil, err
	}
	l, err := r.OpenLedger(ctx)
	if err != nil {
		return nil, err
	}
	defer l.Close() //nolint:errcheck // every entry is durable when it is made
	if policy.LedgerID != "" && policy.LedgerID != l.ID() {
		return nil, &policies.Refusal{Code: policies.PolicyViolation, Message: "the policy is charged to another ledger", Hint: "name that ledger with --ledger"}
	}
	i, err := openIdentity(ctx, l, policy, true)
	if err != nil {
		return nil, err
	}
	earlier, err := i.registered()
	if err != nil {
		return nil, err
	}
	f, err := datasets.TakeFingerprint(ctx, gate.StructurePermit(), r.DataPath, policy.Dataset, i.key, earlier, datasets.Options{Memory: r.Memory})
	if err != nil {
		return nil, err
	}
	content, err := i.register(ctx, f)
	if err != nil {
		return nil, err
	}
	out := &Registered{Dataset: content.Dataset, Version: content.Version, Growth: content.Growth, Status: "registered", Ledger: LedgerRef{ID: l.ID()}}
	if content.Version == i.contents[content.Dataset].Version {
		out.Status = "unchanged"
	}
	if out.Ledger.Checkpoint, err = l.Checkpoint(ctx); err != nil {
		return nil, err
	}
	return out, nil
}

// approved checks the policy's own signatures: its budget is registered as well.
func (r *Register) approved(p *policies.Policy) error {
	a, err := (&Run{PolicyPath: r.PolicyPath}).readApprovals(p, forReal)
	if err != nil {
		return err
	}
	policy := *p
	policy.Approvals.Requests = signed.Rule{} // for jobs
	return policy.Approved(a.signatures, nil)
}

// An identity knows what the ledger has registered, around one policy's data set.
type identity struct {
	ledger   *ledger.Ledger
	policy   *policies.Policy
	contents map[string]ledger.Content
	key      *datasets.FingerprintKey // nil: nothing is registered, and nothing will be
}

// openIdentity reads what is registered. It depends on the ledger and its state
// folder only. Where nothing is, a key is made only if something will be.
func openIdentity(ctx context.Context, l *ledger.Ledger, p *policies.Policy, will bool) (*identity, error) {
	i := &identity{ledger: l, policy: p}
	var err error
	if i.contents, err = l.Contents(ctx); err != nil {
		return nil, err
	}
	if len(i.contents) == 0 && !will {
		return i, nil
	}
	if c, ok := i.contents[p.Dataset.Name]; ok && c.Growth != p.Dataset.Growth {
		return nil, &ledger.Mismatch{Message: fmt.Sprintf("data set %q is registered with growth %s, the policy says %s; a data set keeps the meaning of a row that it was registered with", p.Dataset.Name, c.Growth, p.Dataset.Growth)}
	}
	secret, err := l.FingerprintKey(ctx)
	if err != nil {
		return nil, err
	}
	i.key, err = datasets.NewFingerprintKey(secret)
	return i, err
}

// registered returns the fingerprint of the data set's newest version, nil where
// there is none.
func (i *identity) registered() (*datasets.Fingerprint, error) {
	c, ok := i.contents[i.policy.Dataset.Name]
	if !ok {
		return nil, nil
	}
	return fingerprintOf(c)
}

// has says whether the data set's rows are registered, by this run's first reading.
func (i *identity) has() bool {
	_, ok := i.contents[i.policy.Dataset.Name]
	return ok
}

// assumption says what a report assumes of the data set's name.
func (i *identity) assumption() string {
	if c, ok := i.contents[i.policy.Dataset.Name]; ok {
		text := fmt.Sprintf("the policy's name for the data set stands for the rows that the holder registered under it, version %d, with which this run's were compared by a keyed fingerprint", c.Version)
		switch c.Growth {
		case policies.GrowthAppend:
			text += "; versions are append-only: what is protected is one row, in all versions from its first on"
		case policies.GrowthReplaced:
			text += "; a version replaces the last: what is protected is one row in each version, in all of them together, and nobody stands in two rows of one"
		}
		return text
	}
	return "the policy's name for the data set stands for the same rows at every run, whose content is not fingerprinted"
}

func fingerprintOf(c ledger.Content) (*datasets.Fingerprint, error) {
	f, err := datasets.DecodeFingerprint(c.Fingerprint)
	if err != nil {
		return nil, fmt.Errorf("%w: the fingerprint of data set %q does not read", ledger.ErrCorrupt, c.Dataset)
	}
	return f, nil
}

// register registers a fingerprint as the data set's newest version.
func (i *identity) register(ctx context.Context, f *datasets.Fingerprint) (ledger.Content, error) {
	record, err := f.Encode()
	if err != nil {
		return ledger.Content{}, err
	}
	return i.ledger.RegisterContent(ctx, registrationOf(i.policy), i.policy.Dataset.Growth, record, func(all map[string]ledger.Content) (bool, error) {
		return i.judge(f, all)
	})
}

// judge says whether a fingerprint is a new version of the data set, or refuses it.
func (i *identity) judge(f *datasets.Fingerprint, all map[string]ledger.Content) (bool, error) {
	name := i.policy.Dataset.Name
	if c, ok := all[name]; ok {
		have, err := fingerprintOf(c)
		if err != nil {
			return false, err
		}
		switch {
		case f.Equal(have):
			return false, nil
		case c.Growth == policies.GrowthFixed:
			return false, &WrongRows{
				Message: fmt.Sprintf("data set %q: these rows are not those that are registered under this name", name),
				Hint:    "restore the registered table, or give other rows a data set and a budget of their own",
			}
		case c.Growth == policies.GrowthAppend && !f.Continues(have):
			return false, &WrongRows{
				Message: fmt.Sprintf("data set %q: the rows of version %d are not all there, or cannot be told from the new ones; the data set is append-only", name, c.Version),
				Hint:    "add new rows behind the old ones, or in part files of their own",
			}
		}
	}
	other, like, err := i.known(f, all)
	if err != nil {
		return false, err
	}
	switch like {
	case datasets.SameRows:
		return false, &WrongRows{
			Message: fmt.Sprintf("data set %q: these rows are registered as data set %q already", name, other),
			Hint:    "one table has one budget: use that data set's name and policy; or its owner declares it, and the budgets add up: ledger amend --same-rows-as",
		}
	case datasets.MostOfAll:
		return false, &WrongRows{
			Message: fmt.Sprintf("data set %q: most of these rows are registered as data set %q already, or most of its rows are among these", name, other),
			Hint:    "one table has one budget: use that data set's name and policy; or its owner declares it, and the budgets add up: ledger amend --same-rows-as",
		}
	}
	return true, nil
}

// known finds another data set whose rows these are, of which no owner declared it.
func (i *identity) known(f *datasets.Fingerprint, all map[string]ledger.Content) (name string, like datasets.Likeness, err error) {
	for other, c := range all {
		if other == i.policy.Dataset.Name || slices.Contains(c.SameRowsAs, i.policy.Dataset.Name) {
			continue
		}
		have, err := fingerprintOf(c)
		if err != nil {
			return "", datasets.Unlike, err
		}
		if l := f.Likeness(have); l != datasets.Unlike && (like == datasets.Unlike || other < name) {
			name, like = other, l
		}
	}
	return name, like, nil
}

// check compares the rows that a run has read, after its charge, with what is
// registered; where nothing is for this name, they must be no other data set's. What
// it says names no other data set.
func (i *identity) check(f *datasets.Fingerprint) error {
	if i.key == nil {
		return nil
	}
	name := i.policy.Dataset.Name
	have, err := i.registered()
	if err != nil {
		return err
	}
	if have != nil {
		if f.Equal(have) {
			return nil
		}
		return &WrongRows{
			Message: fmt.Sprintf("data set %q: the rows are not those that are registered under this name; nothing is released, and the charge stands", name),
			Hint:    `check the table with "privsgld data register"`,
		}
	}
	_, like, err := i.known(f, i.contents)
	if err != nil || like == datasets.Unlike {
		return err
	}
	return &WrongRows{
		Message: fmt.Sprintf("data set %q: the rows are registered under another name; nothing is released, and the charge stands", name),
		Hint:    `check the table with "privsgld data register"`,
	}
}
