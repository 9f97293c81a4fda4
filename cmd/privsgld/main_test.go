package main

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/privsgld/privsgld/datasets"
)

// asProgram makes the test binary be the program: for tests that kill it.
const asProgram = "PRIVSGLD_TEST_AS_PROGRAM"

// asOther makes the test binary be what a control needs, where it is started as that.
var asOther func()

func TestMain(m *testing.M) {
	datasets.DecoderMain()
	if asOther != nil {
		asOther()
	}
	if os.Getenv(asProgram) != "" {
		os.Unsetenv(asProgram)
		os.Exit(realMain(os.Args))
	}
	testscript.Main(m, map[string]func(){"privsgld": main})
}

// TestScripts runs the real binary as a user would: stdout, stderr, exit code,
// files. "code N cmd…" is an exec that must end with exit code N.
func TestScripts(t *testing.T) {
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	testscript.Run(t, testscript.Params{
		Dir: "testdata",
		Setup: func(e *testscript.Env) error {
			e.Setenv("ROOT", root)
			e.Setenv("XDG_STATE_HOME", filepath.Join(e.WorkDir, "state"))
			e.Setenv("HOME", e.WorkDir)
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"code": func(ts *testscript.TestScript, neg bool, args []string) {
				if neg || len(args) < 2 {
					ts.Fatalf("usage: code N command…")
				}
				want, err := strconv.Atoi(args[0])
				ts.Check(err)
				got := 0
				if err := ts.Exec(args[1], args[2:]...); err != nil {
					var exit *exec.ExitError
					if !errors.As(err, &exit) {
						ts.Fatalf("%v", err)
					}
					got = exit.ExitCode()
				}
				if got != want {
					ts.Fatalf("exit code %d, want %d", got, want)
				}
			},
		},
	})
}
