package datasets

import (
	"errors"
	"path/filepath"
	"testing"

	"github.com/privsgld/privsgld/accountant"
	"github.com/privsgld/privsgld/accountant/ledger"
	"github.com/privsgld/privsgld/privacy/gate"
)

// A table opens under a permit only, and from then on the charge stands, even
// if the files turn out to be bad.
func TestOpenNeedsAPermit(t *testing.T) {
	folder := t.TempDir()
	l, err := ledger.Open(t.Context(), ledger.Options{DSN: "sqlite:" + filepath.Join(folder, "ledger.db"), StateDir: folder})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	reserve := func(run string) *gate.Permit {
		p, err := gate.Reserve(t.Context(), l, ledger.Request{
			RunID: run, Kind: "run", Analyst: "ann",
			Registration: ledger.Registration{
				Dataset: "test", PolicyName: "test", PolicySHA256: "00", Unit: "row",
				Adjacency: accountant.AddRemove, Renews: "never",
				Terms: accountant.Terms{Method: accountant.MethodRDP, Epsilon: accountant.MustAmount("3"), Delta: accountant.MustAmount("1e-6")},
			},
			Event:      accountant.Gaussian(accountant.AddRemove, 10, 1),
			JobEpsilon: accountant.MustAmount("1"), JobDelta: accountant.MustAmount("1e-6"),
		})
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	b := mustBind(t, smallDataset())
	path := put(t, "d.csv", []byte("y,x\nyes,75\n"))

	p := reserve("first")
	table, err := Open(t.Context(), p, path, b, Options{})
	if err != nil {
		t.Fatal(err)
	}
	wantColumn(t, values(table)[0], 0.5)
	if err := table.Close(); err != nil {
		t.Error(err)
	}
	if err := p.Void(t.Context()); !errors.Is(err, gate.ErrPermit) {
		t.Errorf("voided after opening: %v", err)
	}

	p = reserve("second")
	_, err = Open(t.Context(), p, filepath.Join(folder, "none"), b, Options{})
	wantBadData(t, err, textNoFile)
	if err := p.Void(t.Context()); !errors.Is(err, gate.ErrPermit) {
		t.Errorf("voided after trying to open: %v", err)
	}

	p = reserve("third")
	if err := p.Void(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(t.Context(), p, path, b, Options{}); !errors.Is(err, gate.ErrPermit) {
		t.Errorf("opened under a void charge: %v", err)
	}
	if _, err := Open(t.Context(), nil, path, b, Options{}); !errors.Is(err, gate.ErrPermit) {
		t.Errorf("opened without a permit: %v", err)
	}
	if err := Check(gate.Structure{}, path, b); !errors.Is(err, gate.ErrPermit) {
		t.Errorf("checked without a permit: %v", err)
	}
	if _, err := OpenOwn(t.Context(), gate.Structure{}, path, nil); !errors.Is(err, gate.ErrPermit) {
		t.Errorf("rows opened without a permit: %v", err)
	}
	if _, err := ReadDraws(t.Context(), gate.Structure{}, nil, Options{}); !errors.Is(err, gate.ErrPermit) {
		t.Errorf("draws read without a permit: %v", err)
	}
}
