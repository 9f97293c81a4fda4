package ledger

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"

	"github.com/privsgld/privsgld/accountant/ledger/signed"
)

// ExportSchema names the first line of an export and its version.
const ExportSchema = "privsgld/ledger-export/v1"

// exportHead is the first line of an export.
type exportHead struct {
	Schema     string `json:"schema"`
	ID         string `json:"id"`         // the job key's verifier
	Entries    int64  `json:"entries"`    // lines that follow
	Checkpoint string `json:"checkpoint"` // signed note over all of them
}

// Export writes the ledger as JSON Lines: a head, then every entry, byte for byte
// as it was hashed (see the package comment). Whoever has the file can build the
// tree, check the signature and account every charge again, with no other key
// than the public one in the head. The error is w's, ErrUnavailable, ErrCorrupt
// where the tree or the signature is not that of the entries, or the context's.
func (l *Ledger) Export(ctx context.Context, w io.Writer) error {
	im, head, err := l.whole(ctx)
	if err != nil {
		return err
	}
	out := bufio.NewWriter(w)
	first, err := json.Marshal(head)
	if err != nil {
		return fmt.Errorf("%w: the head of an export cannot be written", ErrUsage)
	}
	for _, line := range append([][]byte{first}, im.bodies...) {
		if _, err := out.Write(line); err != nil {
			return err
		}
		if err := out.WriteByte('\n'); err != nil {
			return err
		}
	}
	return out.Flush()
}

// whole reads everything and checks tree and signature.
func (l *Ledger) whole(ctx context.Context) (*image, exportHead, error) {
	var im *image
	err := l.store.View(ctx, func(t tx) error {
		im = &image{}
		return im.read(t)
	})
	if err != nil {
		return nil, exportHead{}, err
	}
	root, err := im.checkTree()
	if err == nil {
		err = im.checkHead(l, root)
	}
	return im, exportHead{ExportSchema, l.id, int64(len(im.bodies)), im.state[checkpointKey]}, err
}

// A Record is an entry for people to read.
type Record struct {
	Number  int64  `json:"number"`
	Time    string `json:"time"` // UTC
	Kind    string `json:"kind"` // register, reserve, again, settle, void, close, fingerprint or amend
	Dataset string `json:"dataset"`
	Period  string `json:"period"`
	Run     string `json:"run,omitempty"`
	Analyst string `json:"analyst,omitempty"` // reserve
	Purpose string `json:"purpose,omitempty"` // reserve
	Epsilon string `json:"epsilon,omitempty"` // reserve: what the job asked for; register: the budget
	Delta   string `json:"delta,omitempty"`
	From    string `json:"from,omitempty"` // amend: SHA-256 of the policy that was registered
	To      string `json:"to,omitempty"`   // amend: and of the one that is
	What    string `json:"what,omitempty"` // kind of job, name of a cap, version of a data set, or why there is an amendment
}

// Records returns all entries, oldest first. Its errors are those of Export.
func (l *Ledger) Records(ctx context.Context) ([]Record, error) {
	im, _, err := l.whole(ctx)
	if err != nil {
		return nil, err
	}
	out := make([]Record, 0, len(im.bodies))
	for n, body := range im.bodies {
		e, err := decodeEntry(body)
		if err != nil {
			return nil, at(int64(n), err)
		}
		r := Record{Number: e.Number, Time: e.Time, Kind: e.Kind, Dataset: e.Dataset, Period: e.Period, Run: e.Run}
		switch {
		case e.Amendment != nil:
			a, err := ReadAmendment(signed.TextOf([]byte(e.Amendment.Note)))
			if err != nil {
				return nil, at(int64(n), contradiction("an amendment is none"))
			}
			r.From, r.To, r.What = a.From, a.To(), a.Why
			r.Epsilon, r.Delta = a.Budget()
		case e.Reservation != nil:
			r.Analyst, r.Purpose, r.What = e.Reservation.Analyst, e.Reservation.Purpose, e.Reservation.Kind
			r.Epsilon, r.Delta = e.Reservation.Epsilon, e.Reservation.Delta
		case e.Registration != nil:
			r.Epsilon, r.Delta = e.Registration.Terms.Epsilon, e.Registration.Terms.Delta
		case e.Fingerprint != nil:
			r.What = fmt.Sprintf("%s version %d", e.Fingerprint.Growth, e.Fingerprint.Version)
		case e.Kind == kindAgain:
			r.What = fmt.Sprintf("attempt %d", e.Attempt)
		case e.Cap != nil:
			r.What, r.Epsilon, r.Delta = e.Cap.Name, e.Cap.Terms.Epsilon, e.Cap.Terms.Delta
		}
		out = append(out, r)
	}
	return out, nil
}
