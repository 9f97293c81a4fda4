package ledger

import (
	"bufio"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/privsgld/privsgld/accountant"
	"github.com/privsgld/privsgld/accountant/ledger/pgtest"
)

// A test process that finds LEDGER_TEST_CHILD in its environment is a child:
// it makes requests to the ledger of a folder, prints a line for each that was
// granted or settled, and may kill itself at a named point.
func TestMain(m *testing.M) {
	if dir := os.Getenv("LEDGER_TEST_CHILD"); dir != "" {
		part, ok := parts[os.Getenv("LEDGER_TEST_POINT")]
		if !ok {
			part = child
		}
		if err := part(dir, os.Getenv("LEDGER_TEST_NAME"), os.Getenv("LEDGER_TEST_POINT")); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	flag.Set("rapid.checks", modelChecks)
	code := m.Run()
	if serverStarted != nil {
		serverStarted.Close()
	}
	os.Exit(code)
}

// parts are what a child does when it is no victim.
var parts = map[string]func(dir, name, point string) error{asRacer: racer, asHistorian: historian, asBurster: burster}

const childRequests = 20

// sharedRegistration has room for about 75 runs of ε = 0.1.
func sharedRegistration() Registration {
	return testRegistration(testTerms(accountant.MethodRDP, "1", "1e-6"))
}

func child(dir, name, point string) error {
	seen := 0
	hook := func(at string) {
		// "written 3" is the third time that a transaction has written.
		if want, n, ok := strings.Cut(point, " "); ok && at == want {
			if seen++; fmt.Sprint(seen) == n {
				syscall.Kill(os.Getpid(), syscall.SIGKILL)
				select {}
			}
		}
	}
	l, err := Open(ctx, Options{DSN: os.Getenv("LEDGER_TEST_DSN"), StateDir: dir, Timeout: 30 * time.Second, hook: hook})
	if err != nil {
		return err
	}
	defer l.Close()
	for i := range childRequests {
		q := gaussianRun(fmt.Sprint(name, " ", i), sharedRegistration(), "0.1")
		q.Analyst = name
		r, err := l.Reserve(ctx, q)
		var refused *Refused
		if errors.As(err, &refused) {
			continue
		}
		if err != nil {
			return err
		}
		fmt.Println("granted", q.RunID)
		switch {
		case point == "":
		case i%3 == 0:
			err = l.Void(ctx, r)
		case i%3 == 1:
			_, err = l.Settle(ctx, r, gaussianRun("", sharedRegistration(), "0.05").Event)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// startChild runs a child and sends its lines.
func startChild(t *testing.T, dir, name, point string) (*exec.Cmd, io.Reader) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "LEDGER_TEST_CHILD="+dir, "LEDGER_TEST_NAME="+name, "LEDGER_TEST_POINT="+point, "LEDGER_TEST_DSN="+placed(dir, Options{}).DSN)
	if backend == onSQLite { // elsewhere a server may be killed under it
		cmd.Stderr = os.Stderr
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return cmd, out
}

// Eight processes that start on no ledger at all, twenty requests each: as
// many are granted as a plain sum of the losses allows.
func TestProcessesShareABudget(t *testing.T) {
	dir := t.TempDir()
	const processes = 8
	granted := 0
	var mu sync.Mutex
	var wait sync.WaitGroup
	for p := range processes {
		cmd, out := startChild(t, dir, fmt.Sprint("p", p), "")
		wait.Go(func() {
			lines := bufio.NewScanner(out)
			for lines.Scan() {
				mu.Lock()
				granted++
				mu.Unlock()
			}
			if err := cmd.Wait(); err != nil {
				t.Errorf("process %d: %v", p, err)
			}
		})
	}
	wait.Wait()

	l := openIn(t, dir, &clock{time.Now()})
	s, err := l.Status(ctx)
	if err != nil || len(s) != 1 {
		t.Fatal(err)
	}
	// α·μ²/2 each, of B(α) = ε − log((α−1)/α) + (log δ + log α)/(α−1).
	f, err := accountant.NewFilter(sharedRegistration().Terms)
	if err != nil {
		t.Fatal(err)
	}
	mu0 := accountant.GaussianMu(accountant.MethodRDP, 0.1, 1e-6)
	want := int(f.Limit() / (s[0].Order * mu0 * mu0 / 2))
	if granted != want || want < 50 || want > processes*childRequests/2+40 || s[0].Entries != int64(want) {
		t.Errorf("%d of %d were granted and %d recorded, the sum allows %d", granted, processes*childRequests, s[0].Entries, want)
	}
	if len(s[0].Analysts) < 2 {
		t.Errorf("one process took everything: %d", len(s[0].Analysts))
	}
}

// Processes are killed at named points of a transaction, and at random
// moments. After each, the ledger opens without repair and verifies, no
// granted reservation is missing, and what was spent has not dropped.
func TestKilledProcesses(t *testing.T) {
	for range killBatches {
		killProcesses(t, []int{1, 2, 4, 5}, 20, nil)
	}
}

// The same on PostgreSQL, where at half of the random moments it is the server that
// is killed, and started again.
func TestKilledOnPostgres(t *testing.T) {
	if testing.Short() {
		t.Skip("many processes, or a server that restarts: left out in short mode")
	}
	s := onOwnServer(t)
	backend = onPostgres
	defer func() { backend = onSQLite }()
	for range killBatchesPostgres {
		killProcesses(t, killPointsPostgres, killMomentsPostgres, s)
	}
}

func killProcesses(t *testing.T, times []int, moments int, server *pgtest.Server) {
	dir := t.TempDir()
	if server != nil {
		schemas[dir] = schemaOn(server, dir)
	}
	c := &clock{time.Now()}
	var points []string
	for _, at := range []string{"begun", "appended", "written", "committed"} {
		for _, n := range times {
			points = append(points, fmt.Sprint(at, " ", n))
		}
	}
	for range moments {
		points = append(points, "")
	}
	recorded := int64(0)
	for i, point := range points {
		name := fmt.Sprint("k", i)
		told := point
		if told == "" {
			told = "never 1"
		}
		cmd, out := startChild(t, dir, name, told)
		served := make(chan bool)
		moment := time.Duration(rand.IntN(120)) * time.Millisecond
		switch {
		case point == "" && server != nil && i%2 == 0:
			time.AfterFunc(moment, func() { server.Kill(); close(served) })
		case point == "":
			time.AfterFunc(moment, func() { cmd.Process.Kill() })
			close(served)
		default:
			close(served)
		}
		if server != nil && point == "" && i%2 == 0 {
			go func() {
				<-served
				time.Sleep(50 * time.Millisecond)
				cmd.Process.Kill() // it may wait for the server
			}()
		}
		granted := map[string]bool{}
		lines := bufio.NewScanner(out)
		for lines.Scan() {
			granted[strings.TrimPrefix(lines.Text(), "granted ")] = true
		}
		<-served
		err := cmd.Wait()
		if point != "" && err == nil {
			t.Errorf("%s: the process was not killed", point)
		}
		if server != nil && point == "" && i%2 == 0 {
			if err := server.Start(); err != nil {
				t.Fatal(err)
			}
		}

		l, err := Open(ctx, placed(dir, Options{Clock: c.now, Timeout: time.Minute}))
		if err != nil {
			t.Fatalf("%s: %v", point, err)
		}
		mustVerify(t, l)
		s, err := l.Status(ctx)
		if err != nil {
			t.Fatalf("%s: %v", point, err)
		}
		if len(s) == 0 {
			if len(granted) > 0 {
				t.Errorf("%s: reservations are lost", point)
			}
		} else {
			if s[0].Entries < recorded {
				t.Errorf("%s: %d reservations, %d before", point, s[0].Entries, recorded)
			}
			recorded = s[0].Entries
		}
		for id := range granted {
			if _, err := l.Reserve(ctx, gaussianRun(id, sharedRegistration(), "0.1")); !errors.Is(err, ErrUsage) {
				t.Errorf("%s: the reservation %s is lost: %v", point, id, err)
			}
		}
		l.Close()
	}
	if recorded == 0 {
		t.Error("nothing was ever reserved")
	}
}

func TestLockedLedger(t *testing.T) {
	dir := t.TempDir()
	holder := openIn(t, dir, startClock())
	reg := sharedRegistration()
	mustReserve(t, holder, gaussianRun("a", reg, "0.1"))
	held, release := make(chan bool), make(chan bool)
	done := make(chan error, 1)
	go func() {
		done <- holder.store.Update(ctx, func(t tx) error { close(held); <-release; return nil })
	}()
	<-held
	l, err := Open(ctx, Options{StateDir: dir, Timeout: 150 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if _, err := l.Reserve(ctx, gaussianRun("b", reg, "0.1")); !errors.Is(err, ErrUnavailable) || !strings.Contains(err.Error(), "locked") {
		t.Errorf("on a locked ledger: %v", err)
	}

	// Opening and closing the file beside SQL does not drop the lock.
	for range 50 {
		f, err := os.Open(dir + "/ledger.db")
		if err != nil {
			t.Fatal(err)
		}
		f.Close()
	}
	if _, err := l.Reserve(ctx, gaussianRun("b", reg, "0.1")); !errors.Is(err, ErrUnavailable) {
		t.Errorf("the lock was dropped: %v", err)
	}

	patient, err := Open(ctx, Options{StateDir: dir, Timeout: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	defer patient.Close()
	cancelled, cancel := contextWithCancelAfter(100 * time.Millisecond)
	defer cancel()
	start := time.Now()
	if _, err := patient.Reserve(cancelled, gaussianRun("c", reg, "0.1")); !errors.Is(err, cancelled.Err()) || cancelled.Err() == nil {
		t.Errorf("cancelled: %v", err)
	}
	if waited := time.Since(start); waited > 30*time.Second {
		t.Errorf("a cancelled request waited %v", waited)
	}
	close(release)
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	mustReserve(t, patient, gaussianRun("d", reg, "0.1"))
}

// While a commit has the file to itself, even opening it has to wait.
func TestOpeningWaits(t *testing.T) {
	dir := t.TempDir()
	holder := openIn(t, dir, startClock())
	mustReserve(t, holder, gaussianRun("a", sharedRegistration(), "0.1"))
	conn, err := holder.store.(*sqliteStore).db.Conn(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := conn.ExecContext(ctx, "BEGIN EXCLUSIVE"); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(ctx, Options{StateDir: dir, Timeout: 300 * time.Millisecond}); !errors.Is(err, ErrUnavailable) || !strings.Contains(err.Error(), "locked") {
		t.Errorf("an impatient opening: %v", err)
	}
	time.AfterFunc(400*time.Millisecond, func() {
		rollback(conn)
		conn.Close()
	})
	l, err := Open(ctx, Options{StateDir: dir, Timeout: 30 * time.Second})
	if err != nil {
		t.Fatalf("a patient opening: %v", err)
	}
	l.Close()
}
