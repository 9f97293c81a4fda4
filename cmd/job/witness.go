package job

import (
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/gowebpki/jcs"

	"github.com/privsgld/privsgld/accountant/ledger"
)

// A ForgedReport error says that a report is not as the ledger's job key signed it.
type ForgedReport struct {
	Message string
}

func (f *ForgedReport) Error() string { return f.Message }

// WitnessOf checks the signature of a released report under the ledger's name and
// returns what it says of that ledger. Errors: *UsageError where the text is no
// report of a release, *ForgedReport where it is another ledger's, or was changed.
func WitnessOf(report []byte, ledgerID string) (ledger.Witness, error) {
	var r struct {
		Schema string    `json:"schema"`
		RunID  string    `json:"run_id"`
		Ledger LedgerRef `json:"ledger"`
		Signed Signature `json:"signature"`
	}
	if err := json.Unmarshal(report, &r); err != nil || r.Schema != ReportSchema || r.RunID == "" {
		return ledger.Witness{}, &UsageError{Message: "the file is no report of a run", Hint: "give the report.json of a release"}
	}
	if r.Ledger.Entry == nil || r.Ledger.Checkpoint == "" || r.Signed.Value == "" {
		return ledger.Witness{}, &UsageError{Message: "the report is of no release: it has no entry, checkpoint or signature", Hint: "give the report.json of a release"}
	}
	if r.Ledger.ID != ledgerID || r.Signed.Key != ledgerID {
		return ledger.Witness{}, &ForgedReport{"the report is another ledger's: " + r.Ledger.ID}
	}
	key, err := publicKey(ledgerID)
	if err != nil {
		return ledger.Witness{}, err
	}
	var members map[string]json.RawMessage
	if err := json.Unmarshal(report, &members); err != nil {
		return ledger.Witness{}, &UsageError{Message: "the file is no report of a run"}
	}
	// A member that stands twice would be signed once, and read either way.
	if _, err := jcs.Transform(report); err != nil {
		return ledger.Witness{}, &ForgedReport{"the report is not as it was signed: it has no canonical form"}
	}
	delete(members, "signature")
	plain, err := json.Marshal(members)
	if err != nil {
		return ledger.Witness{}, fmt.Errorf("report: %w", err)
	}
	canonical, err := jcs.Transform(plain)
	value, err2 := base64.StdEncoding.DecodeString(r.Signed.Value)
	if err != nil || err2 != nil || !ed25519.Verify(key, canonical, value) {
		return ledger.Witness{}, &ForgedReport{"the report is not as it was signed: something in it was changed"}
	}
	return ledger.Witness{Checkpoint: r.Ledger.Checkpoint, Run: r.RunID, Entry: *r.Ledger.Entry}, nil
}

// publicKey is the ed25519 key in a verifier in note form, "NAME+HASH+KEY".
func publicKey(verifier string) (ed25519.PublicKey, error) {
	parts := strings.SplitN(verifier, "+", 3)
	if len(parts) == 3 {
		if key, err := base64.StdEncoding.DecodeString(parts[2]); err == nil && len(key) == 1+ed25519.PublicKeySize && key[0] == 1 {
			return key[1:], nil
		}
	}
	return nil, &ForgedReport{"the ledger's name holds no key"}
}
