package ledger

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/privsgld/privsgld/accountant/ledger/pgtest"
)

// onOwnServer starts a server that the test may stop and kill.
func onOwnServer(t *testing.T) *pgtest.Server {
	t.Helper()
	needPostgres(t)
	s, err := pgtest.New()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

const secret = "s3cretW0rd"

// What is wrong with an address, or keeps its server from answering, is said in
// one line without the password.
func TestAddressesThatAreNone(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("PGPASSWORD", "")
	t.Setenv("PGPASSFILE", filepath.Join(dir, "none"))
	type address struct {
		dsn  string
		kind error
		says string
	}
	addresses := []address{
		{"postgres://u:" + secret + "/x@host/db", ErrUsage, "%2F"},
		{"postgres://u:1#" + secret + "@host/db", ErrUsage, "%2F"},
		{"postgres://u:1?" + secret + "@host/db", ErrUsage, "%2F"},
		{"postgres://u:1/" + secret + "@host/db", ErrUsage, "%2F"},
		{"postgres://u:" + secret + "%zz@host/db", ErrUsage, "no URL"},
		{"postgres://u:" + secret + "@host:port/db", ErrUsage, "no URL"},
		{"postgres://u:" + secret + "@host/db?sslmode=perhaps", ErrUsage, "unknown setting"},
		{"postgres://u:" + secret + "@host/db?connect_timeout=x", ErrUsage, "unknown setting"},
		{"postgres://u:" + secret + "@127.0.0.1:1/db", ErrUnavailable, "refused"},
		{"postgresql://u:" + secret + "@/db?host=" + url.QueryEscape(dir), ErrUnavailable, "no such file"},
	}
	if s, err := postgresServer(); err == nil {
		onServer(s.URL("postgres"), "CREATE ROLE guarded LOGIN PASSWORD '"+secret+"'", "CREATE SCHEMA owned", "GRANT USAGE ON SCHEMA owned TO guarded", "CREATE SCHEMA other", "CREATE TABLE other.things (x int)",
			"CREATE DATABASE latin ENCODING 'LATIN1' TEMPLATE template0")
		addresses = append(addresses,
			address{s.URL("postgres", "user", "guarded", "password", "not the "+secret), ErrUnavailable, "does not let this user in"},
			address{s.URL("postgres", "user", "guarded", "password", secret, "search_path", "owned"), ErrUnavailable, "may not"},
			address{s.URL("none", "password", secret), ErrUnavailable, "no such database"},
			address{s.URL("postgres", "password", secret, "search_path", "none"), ErrUnavailable, "no schema"},
			address{s.URL("postgres", "password", secret, "search_path", "other"), ErrUnavailable, "something else"},
			address{s.URL("postgres", "password", secret, "nonsense", "on"), ErrUnavailable, "does not know"},
			address{s.URL("latin", "password", secret), ErrUnavailable, "UTF8"})
	}
	for _, a := range addresses {
		_, err := Open(ctx, Options{DSN: a.dsn, StateDir: dir, Timeout: defaultTimeout})
		if !errors.Is(err, a.kind) || !strings.Contains(err.Error(), a.says) || strings.Contains(err.Error(), "\n") || strings.Contains(err.Error(), secret) {
			t.Errorf("%s: %v", a.dsn, err)
		}
	}
	if s, err := postgresServer(); err == nil {
		onServer(s.URL("postgres"), "GRANT ALL ON SCHEMA owned TO guarded")
		t.Setenv("PGPASSWORD", secret)
		l, err := Open(ctx, Options{DSN: s.URL("postgres", "user", "guarded", "search_path", "owned"), StateDir: dir})
		if err != nil {
			t.Fatal(err)
		}
		mustVerify(t, l)
		l.Close()
	}
}

func TestSchemasThatAreNoLedger(t *testing.T) {
	s := needPostgres(t)
	for i, c := range []struct {
		change string
		kind   error
		says   string
	}{
		{"UPDATE ledger_head SET version = 2", ErrUnavailable, "newer version"},
		{"UPDATE ledger_head SET version = 0", ErrCorrupt, "no version"},
		{"UPDATE ledger_head SET application = 1", ErrUnavailable, "something else"},
		{"DELETE FROM ledger_head", ErrCorrupt, "no version"},
		{"DROP TABLE hashes", ErrCorrupt, "table"},
		{"ALTER TABLE state RENAME value TO what", ErrCorrupt, "shape"},
		{"ALTER TABLE hashes ALTER hash TYPE text USING 'x'", ErrCorrupt, "missing"},
		{"REVOKE ALL ON ALL TABLES IN SCHEMA %s FROM other; ", ErrUnavailable, "may not"},
	} {
		name := fmt.Sprint("broken", i)
		onServer(s.URL("postgres"), "CREATE SCHEMA "+name, "DROP ROLE IF EXISTS other", "CREATE ROLE other LOGIN", "GRANT ALL ON SCHEMA "+name+" TO other")
		o := Options{DSN: s.URL("postgres", "search_path", name, "user", "other"), StateDir: t.TempDir(), Timeout: defaultTimeout}
		l, err := Open(ctx, o)
		if err != nil {
			t.Fatal(err)
		}
		mustReserve(t, l, gaussianRun("a", sharedRegistration(), "0.1"))
		mustVerify(t, l)
		change := strings.ReplaceAll(c.change, "%s", name)
		onServer(s.URL("postgres", "search_path", name), change)
		l.Close()
		if _, err := Open(ctx, o); !errors.Is(err, c.kind) || !strings.Contains(err.Error(), c.says) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %v", c.change, err)
		}
		onServer(s.URL("postgres"), "DROP SCHEMA "+name+" CASCADE")
	}
}

// An older ledger is brought forward at its opening, once, and keeps what it holds;
// the program of before then refuses it.
func TestMigrations(t *testing.T) {
	each(t, []string{onSQLite, onPostgres}, func(t *testing.T) {
		o := placed(t.TempDir(), Options{Clock: startClock().now})
		l, err := Open(ctx, o)
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		mustReserve(t, l, gaussianRun("a", sharedRegistration(), "0.1"))
		before := wholeOf(t, l)
		sqliteBefore, postgresBefore := sqliteSteps, postgresSteps
		defer func() { sqliteSteps, postgresSteps = sqliteBefore, postgresBefore }()
		sqliteSteps = append(sqliteSteps[:1:1], "CREATE TABLE later (x INTEGER);")
		postgresSteps = append(postgresSteps[:1:1], "CREATE TABLE later (x integer);")
		for range 2 {
			newer, err := Open(ctx, o)
			if err != nil {
				t.Fatal(err)
			}
			after := wholeOf(t, newer)
			if len(after.bodies) != len(before.bodies) || after.state[checkpointKey] != before.state[checkpointKey] {
				t.Error("the content is another")
			}
			mustVerify(t, newer)
			newer.Close()
		}
		sqliteSteps, postgresSteps = sqliteBefore, postgresBefore
		if _, err := Open(ctx, o); !errors.Is(err, ErrUnavailable) || !strings.Contains(err.Error(), "newer version") {
			t.Errorf("the older program: %v", err)
		}
		if backend == onPostgres { // one that was open asks every time
			if _, err := l.Reserve(ctx, gaussianRun("b", sharedRegistration(), "0.1")); !errors.Is(err, ErrUnavailable) || !strings.Contains(err.Error(), "newer version") {
				t.Errorf("the older program, open: %v", err)
			}
		}
	})
}

// A server that does not keep what it commits is refused, and what the address asks
// for does not count.
func TestDurableServer(t *testing.T) {
	s := onOwnServer(t)
	o := Options{DSN: s.URL("postgres", "synchronous_commit", "off"), StateDir: t.TempDir()}
	l, err := Open(ctx, o)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	mustReserve(t, l, gaussianRun("a", sharedRegistration(), "0.1"))
	err = l.store.Update(ctx, func(u tx) error {
		var commits, isolation string
		err := u.(*postgresTx).row("SELECT current_setting('synchronous_commit'), current_setting('transaction_isolation')", nil, &commits, &isolation)
		if commits != "on" || isolation != "serializable" {
			t.Errorf("synchronous_commit is %s, the isolation %s", commits, isolation)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	conn, err := pgx.Connect(ctx, s.URL("postgres"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(ctx)
	deadline := time.Now().Add(defaultTimeout)
	set := func(to string) {
		for _, text := range []string{"ALTER SYSTEM SET fsync = " + to, "SELECT pg_reload_conf()"} {
			if _, err := conn.Exec(ctx, text); err != nil {
				t.Fatal(err)
			}
		}
		for now := ""; now != to && time.Now().Before(deadline); {
			if err := conn.QueryRow(ctx, "SHOW fsync").Scan(&now); err != nil {
				t.Fatal(err)
			}
		}
	}
	set("off")
	// The ledger's own connection reads the setting as soon as it has nothing to do.
	for err == nil && time.Now().Before(deadline) {
		_, err = l.Status(ctx)
	}
	if !errors.Is(err, ErrUnavailable) || !strings.Contains(err.Error(), "fsync is off") {
		t.Errorf("without fsync: %v", err)
	}
	set("on")
}

// A cutter stands between ledger and server and cuts the connection at a commit.
type cutter struct {
	folder   string
	before   atomic.Bool // the commit is not passed on
	after    atomic.Bool // it is, and the answer is kept back
	closed   atomic.Bool // nobody is let in any more
	cut      atomic.Int32
	listener net.Listener
}

// newCutter listens beside a server's socket.
func newCutter(t *testing.T, server string) *cutter {
	t.Helper()
	folder, err := os.MkdirTemp("", "cut") // a short path
	if err != nil {
		t.Fatal(err)
	}
	c := &cutter{folder: folder}
	if c.listener, err = net.Listen("unix", filepath.Join(folder, ".s.PGSQL.5432")); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.listener.Close(); os.RemoveAll(folder) })
	go func() {
		for {
			in, err := c.listener.Accept()
			if err != nil {
				return
			}
			out, err := net.Dial("unix", filepath.Join(server, ".s.PGSQL.5432"))
			if err != nil || c.closed.Load() {
				in.Close()
				continue
			}
			go c.serve(in, out)
		}
	}()
	return c
}

func (c *cutter) serve(in, out net.Conn) {
	defer in.Close()
	defer out.Close()
	var mute atomic.Bool
	answered := make(chan bool, 1)
	go func() {
		buffer := make([]byte, 1<<16)
		for {
			n, err := out.Read(buffer)
			if mute.Load() {
				answered <- true
				return
			}
			if err != nil {
				in.Close()
				return
			}
			if _, err := in.Write(buffer[:n]); err != nil {
				return
			}
		}
	}()
	buffer := make([]byte, 1<<20)
	for {
		n, err := in.Read(buffer)
		if err != nil {
			return
		}
		if bytes.Contains(buffer[:n], []byte("COMMIT\x00")) {
			if c.before.CompareAndSwap(true, false) {
				c.cut.Add(1)
				return
			}
			if c.after.CompareAndSwap(true, false) {
				c.cut.Add(1)
				mute.Store(true)
				if _, err := io.Copy(out, bytes.NewReader(buffer[:n])); err == nil {
					<-answered
				}
				return
			}
		}
		if _, err := out.Write(buffer[:n]); err != nil {
			return
		}
	}
}

// A commit whose answer does not come is looked up afterwards: it is charged once
// where it was made, and an error where not; and where the server cannot be asked,
// an error that says neither.
func TestLostCommit(t *testing.T) {
	s := needPostgres(t)
	u, err := url.Parse(s.URL("postgres"))
	if err != nil {
		t.Fatal(err)
	}
	onServer(s.URL("postgres"), "CREATE SCHEMA lost")
	c := newCutter(t, u.Query().Get("host"))
	dir := t.TempDir()
	l, err := Open(ctx, Options{DSN: s.URL("postgres", "search_path", "lost", "host", c.folder), StateDir: dir, Timeout: 5 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	reg := sharedRegistration()
	count := func() int64 {
		t.Helper()
		plain, err := Open(ctx, Options{DSN: s.URL("postgres", "search_path", "lost"), StateDir: dir})
		if err != nil {
			t.Fatal(err)
		}
		defer plain.Close()
		mustVerify(t, plain)
		status, err := plain.Status(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if len(status) == 0 {
			return 0
		}
		return status[0].Entries
	}

	c.after.Store(true)
	r := mustReserve(t, l, gaussianRun("made", reg, "0.1"))
	if n := count(); n != 1 || c.cut.Load() != 1 {
		t.Errorf("%d reservations, %d cuts", n, c.cut.Load())
	}
	c.after.Store(true)
	if _, err := l.Settle(ctx, r, gaussianRun("", reg, "0.05").Event); err != nil {
		t.Errorf("a settlement that was made: %v", err)
	}

	c.before.Store(true)
	if _, err := l.Reserve(ctx, gaussianRun("not made", reg, "0.1")); !errors.Is(err, ErrUnavailable) || !strings.Contains(err.Error(), "nothing was written") {
		t.Errorf("a commit that did not arrive: %v", err)
	}
	if n := count(); n != 1 {
		t.Errorf("%d reservations", n)
	}
	mustReserve(t, l, gaussianRun("not made", reg, "0.1"))

	unsure := false
	l.store.(*postgresStore).hook = func(point string) {
		if point == "written" {
			c.after.Store(true)
			c.closed.Store(true)
			unsure = true
		}
	}
	l.store.(*postgresStore).timeout = 500 * time.Millisecond
	if _, err := l.Reserve(ctx, gaussianRun("unknown", reg, "0.1")); !errors.Is(err, ErrUnavailable) || !strings.Contains(err.Error(), "if the charge was made, it stays") || !unsure {
		t.Errorf("a commit of which nobody knows: %v", err)
	}
	if n := count(); n != 3 {
		t.Errorf("%d reservations", n)
	}
	if c.cut.Load() != 4 {
		t.Errorf("%d cuts", c.cut.Load())
	}
}

// A server that is stopped, or killed, and started again: between two transactions
// nobody notices; in the middle of one the request fails and nothing of it is there.
func TestServerRestarts(t *testing.T) {
	if testing.Short() {
		t.Skip("many processes, or a server that restarts: left out in short mode")
	}
	s := onOwnServer(t)
	dir := t.TempDir()
	at, how := "", 0
	hook := func(point string) {
		if point != at {
			return
		}
		at = ""
		if how == 0 {
			if err := s.Stop(); err != nil {
				t.Error(err)
			}
		} else {
			s.Kill()
		}
		if err := s.Start(); err != nil {
			t.Error(err)
		}
	}
	l, err := Open(ctx, Options{DSN: s.URL("postgres"), StateDir: dir, hook: hook, Timeout: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	reg := sharedRegistration()
	recorded := int64(0)
	for how = range 2 {
		for _, point := range restartPoints {
			at = point
			if point == "" {
				at = "now"
				hook("now")
			}
			id := fmt.Sprint(how, " at ", point)
			_, err := l.Reserve(ctx, gaussianRun(id, reg, "0.1"))
			if point == "" || point == "committed" {
				recorded++
				if err != nil {
					t.Errorf("%q: %v", id, err)
				}
			} else if !errors.Is(err, ErrUnavailable) || strings.Contains(err.Error(), "\n") || !strings.Contains(err.Error(), "nothing was written") {
				t.Errorf("%q: %v", id, err)
			}
			mustVerify(t, l)
			if status, err := l.Status(ctx); err != nil || recorded > 0 && (len(status) != 1 || status[0].Entries != recorded) {
				t.Errorf("%q: %+v, not %d reservations; %v", id, status, recorded, err)
			}
		}
	}

	// Away for longer than one waits.
	l.store.(*postgresStore).timeout = 300 * time.Millisecond
	s.Kill()
	if _, err := l.Reserve(ctx, gaussianRun("away", reg, "0.1")); !errors.Is(err, ErrUnavailable) || !strings.Contains(err.Error(), "not to be reached") {
		t.Errorf("away: %v", err)
	}
	if err := s.Start(); err != nil {
		t.Fatal(err)
	}
	l.store.(*postgresStore).timeout = time.Minute
	mustReserve(t, l, gaussianRun("away", reg, "0.1"))
	mustVerify(t, l)
}

// A cancelled request does not wait, and what follows it works.
func TestCancelledOnPostgres(t *testing.T) {
	s := needPostgres(t)
	onServer(s.URL("postgres"), "CREATE SCHEMA cancelled")
	o := Options{DSN: s.URL("postgres", "search_path", "cancelled"), StateDir: t.TempDir()}
	l, err := Open(ctx, o)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	conn, err := pgx.Connect(ctx, o.DSN)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(ctx)
	for _, text := range []string{"BEGIN", "LOCK TABLE ledger_head IN EXCLUSIVE MODE"} {
		if _, err := conn.Exec(ctx, text); err != nil {
			t.Fatal(err)
		}
	}
	cancelled, cancel := contextWithCancelAfter(100 * time.Millisecond)
	defer cancel()
	if _, err := l.Reserve(cancelled, gaussianRun("a", sharedRegistration(), "0.1")); cancelled.Err() == nil || !errors.Is(err, cancelled.Err()) {
		t.Errorf("cancelled: %v", err)
	}
	if _, err := conn.Exec(ctx, "ROLLBACK"); err != nil {
		t.Fatal(err)
	}
	mustReserve(t, l, gaussianRun("a", sharedRegistration(), "0.1"))
	mustVerify(t, l)
}
