package ledger

import (
	"bufio"
	"database/sql"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"modernc.org/sqlite"
)

// Two children: one holds the write lock of a file and opens and closes it beside SQL,
// the other tries to write.
const (
	asHolder   = "holder"
	asIntruder = "intruder"
)

// lockMode says how a holder locks: as the ledger does, or as the library does unless it
// is told.
const lockMode = "LEDGER_TEST_LOCKS"

// holder takes the write lock of the file and opens and closes it for each line.
func holder(dir, _, _ string) error {
	path := filepath.Join(dir, "locked.db")
	if os.Getenv(lockMode) == "default" {
		if _, err := sqlite.OFDLocking(false); err != nil {
			return err
		}
	} else if err := descriptionLocks(); err != nil {
		return err
	}
	db, err := sql.Open("sqlite", "file:"+path)
	if err != nil {
		return err
	}
	defer db.Close()
	db.SetMaxOpenConns(1)
	if _, err := db.Exec("CREATE TABLE IF NOT EXISTS t (x); BEGIN IMMEDIATE"); err != nil {
		return err
	}
	fmt.Println("ready")
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		if err := f.Close(); err != nil {
			return err
		}
		fmt.Println("closed")
	}
	return lines.Err()
}

// intruder tries for each line to take the write lock, and gives it back.
func intruder(dir, _, _ string) error {
	if err := descriptionLocks(); err != nil {
		return err
	}
	db, err := sql.Open("sqlite", "file:"+filepath.Join(dir, "locked.db")+"?_pragma=busy_timeout(0)")
	if err != nil {
		return err
	}
	defer db.Close()
	db.SetMaxOpenConns(1)
	fmt.Println("ready")
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		_, err := db.Exec("BEGIN IMMEDIATE")
		switch {
		case err == nil:
			if _, err := db.Exec("ROLLBACK"); err != nil {
				return err
			}
			fmt.Println("in")
		case strings.Contains(err.Error(), "locked"):
			fmt.Println("out")
		default:
			return err
		}
	}
	return lines.Err()
}

// TestLockSurvives is threat L18: a process that holds the ledger's write lock opens
// and closes the file, as a hash, a backup or a virus scanner within it would. With the
// ledger's locks nobody else gets in; with those that the library takes by itself the
// first such closing lets them in, which is the control.
func TestLockSurvives(t *testing.T) {
	if testing.Short() {
		t.Skip("many processes: left out in short mode")
	}
	for _, mode := range []string{"ledger", "default"} {
		t.Setenv(lockMode, mode)
		dir := t.TempDir()
		begun := time.Now()
		h := startWorker(t, dir, "", asHolder)
		if text := h.line(); text != "ready" {
			t.Fatalf("%s: the holder is %s", mode, text)
		}
		i := startWorker(t, dir, "", asIntruder)
		if text := i.line(); text != "ready" {
			t.Fatalf("%s: the intruder is %s", mode, text)
		}
		i.say("")
		if text := i.line(); text != "out" {
			t.Errorf("%s: nothing is locked to begin with: %s", mode, text)
		}
		in := 0
		for range lockTries {
			h.say("")
			if text := h.line(); text != "closed" {
				t.Fatalf("%s: the holder is %s", mode, text)
			}
			i.say("")
			switch text := i.line(); text {
			case "in":
				in++
			case "out":
			default:
				t.Fatalf("%s: the intruder is %s", mode, text)
			}
		}
		i.end(t)
		h.end(t)
		t.Logf("%s: %d intrusions in %d tries, %v", mode, in, lockTries, time.Since(begun))
		if (in > 0) != (mode == "default") {
			t.Errorf("%s: %d intrusions in %d tries", mode, in, lockTries)
		}
	}
}

// init: the children of this file are those of Linux.
func init() {
	parts[asHolder], parts[asIntruder] = holder, intruder
}
