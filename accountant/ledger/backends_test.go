package ledger

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/privsgld/privsgld/accountant/ledger/pgtest"
)

// The kinds of store. Each test runs on the one that is in force, SQLite unless
// TestConformance says otherwise; none of them runs beside another.
const (
	onSQLite   = "SQLite"
	onPostgres = "PostgreSQL"
	inMemory   = "memory"
)

var backend = onSQLite

// placed names, in the store that is in force, the ledger of a state folder.
func placed(dir string, o Options) Options {
	o.StateDir = dir
	if o.Timeout == 0 {
		o.Timeout = defaultTimeout
	}
	switch backend {
	case onSQLite:
		o.DSN = "sqlite:" + filepath.Join(dir, "ledger.db")
	case onPostgres:
		o.DSN = schemaOf(dir)
	case inMemory:
		m, ok := memories[dir]
		if !ok {
			m = newMemory()
			memories[dir] = m
		}
		o.store = memoryStore{m, o.Timeout}
	}
	return o
}

var memories = map[string]*memory{}

// postgresServer is the server of this test process, started when it is first
// asked for; nil where there is none.
var postgresServer = sync.OnceValues(func() (*pgtest.Server, error) {
	s, err := pgtest.New()
	serverStarted = s
	return s, err
})

var serverStarted *pgtest.Server // TestMain ends it

// needPostgres returns the server, or leaves the test out.
func needPostgres(t testing.TB) *pgtest.Server {
	t.Helper()
	s, err := postgresServer()
	if errors.Is(err, pgtest.ErrNone) {
		fmt.Fprintln(os.Stderr, err)
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	return s
}

var schemas = map[string]string{} // by state folder

// schemaOf makes a schema for the ledger of a state folder, once, and returns its
// address. A child process is told it.
func schemaOf(dir string) string {
	if address, ok := schemas[dir]; ok {
		return address
	}
	s, err := postgresServer()
	if err != nil {
		panic(err)
	}
	schemas[dir] = schemaOn(s, dir)
	return schemas[dir]
}

func schemaOn(s *pgtest.Server, dir string) string {
	sum := sha256.Sum256([]byte(dir))
	name := "s" + hex.EncodeToString(sum[:8])
	onServer(s.URL("postgres"), "CREATE SCHEMA "+name)
	return s.URL("postgres", "search_path", name)
}

// onServer runs statements beside the ledger.
func onServer(address string, statements ...string) {
	conn, err := pgx.Connect(ctx, address)
	if err != nil {
		panic(err)
	}
	defer conn.Close(ctx)
	for _, text := range statements {
		if _, err := conn.Exec(ctx, text); err != nil {
			panic(fmt.Sprint(text, ": ", err))
		}
	}
}

// each runs a test on every kind of store.
func each(t *testing.T, kinds []string, test func(t *testing.T)) {
	for _, kind := range kinds {
		t.Run(kind, func(t *testing.T) {
			if kind == onPostgres {
				needPostgres(t)
			}
			backend = kind
			defer func() { backend = onSQLite }()
			test(t)
		})
	}
}

// A meddler changes what a ledger holds behind its back.
type meddler struct {
	exec   func(query string, args ...any) error
	memory *memory
}

func meddle(t testing.TB, l *Ledger) meddler {
	t.Helper()
	switch s := l.store.(type) {
	case *sqliteStore:
		// On the ledger's own connection, and fast: there are thousands of changes to come.
		for _, fast := range []string{"PRAGMA synchronous = OFF", "PRAGMA journal_mode = MEMORY", "PRAGMA locking_mode = EXCLUSIVE"} {
			if _, err := s.db.Exec(fast); err != nil {
				t.Fatal(err)
			}
		}
		return meddler{exec: func(query string, args ...any) error { return inSQLite(s.db, query, args) }}
	case *postgresStore:
		config := s.config.Copy()
		config.RuntimeParams["synchronous_commit"] = "off"
		conn, err := pgx.ConnectConfig(ctx, config)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close(context.Background()) })
		return meddler{exec: func(query string, args ...any) error { _, err := conn.Exec(ctx, query, args...); return err }}
	case memoryStore:
		return meddler{memory: s.memory}
	}
	t.Fatal("a store of another kind")
	return meddler{}
}

// inSQLite runs a statement with arguments $1, $2.
func inSQLite(db *sql.DB, query string, args []any) error {
	for i := range args {
		query = strings.ReplaceAll(query, fmt.Sprint("$", i+1), fmt.Sprint("?", i+1))
	}
	_, err := db.Exec(query, args...)
	return err
}

func (m meddler) do(query string, args ...any) {
	if err := m.exec(query, args...); err != nil {
		panic(fmt.Sprint(query, ": ", err))
	}
}

// entry writes an entry; nil removes it.
func (m meddler) entry(number int64, body []byte) {
	switch {
	case m.memory != nil:
		c := <-m.memory.turn
		c.bodies = append([][]byte(nil), c.bodies...)
		c.bodies[number] = body
		if body == nil && number == int64(len(c.bodies))-1 {
			c.bodies = c.bodies[:number]
		}
		m.memory.turn <- c
	case body == nil:
		m.do("DELETE FROM entries WHERE number = $1", number)
	default:
		m.do("INSERT INTO entries (number, body) VALUES ($1, $2) ON CONFLICT (number) DO UPDATE SET body = excluded.body", number, body)
	}
}

// hash writes a hash of the tree; nil removes it, the last one at most.
func (m meddler) hash(number int64, h []byte) {
	switch {
	case m.memory != nil:
		c := <-m.memory.turn
		c.hashes = append([]tlog.Hash(nil), c.hashes...)
		switch {
		case h == nil:
			c.hashes = c.hashes[:number]
		case number == int64(len(c.hashes)):
			c.hashes = append(c.hashes, tlog.Hash(h))
		default:
			c.hashes[number] = tlog.Hash(h)
		}
		m.memory.turn <- c
	case h == nil:
		m.do("DELETE FROM hashes WHERE number = $1", number)
	default:
		m.do("INSERT INTO hashes (number, hash) VALUES ($1, $2) ON CONFLICT (number) DO UPDATE SET hash = excluded.hash", number, h)
	}
}

// row writes a row of state; "" removes it.
func (m meddler) row(key, value string) {
	switch {
	case m.memory != nil:
		c := <-m.memory.turn
		t := memoryTx{c}
		_ = t.Put(key, value)
		m.memory.turn <- c
	case value == "":
		m.do("DELETE FROM state WHERE key = $1", key)
	default:
		m.do("INSERT INTO state (key, value) VALUES ($1, $2) ON CONFLICT (key) DO UPDATE SET value = excluded.value", key, value)
	}
}

// wholeOf is all that a ledger holds.
func wholeOf(t testing.TB, l *Ledger) image {
	t.Helper()
	var im image
	if err := l.store.View(ctx, func(t tx) error { return im.read(t) }); err != nil {
		t.Fatal(err)
	}
	return im
}

// restore puts an earlier content back.
func (m meddler) restore(im image) {
	if m.memory != nil {
		<-m.memory.turn
		c := content{bodies: im.bodies, hashes: im.hashes, state: map[string]string{}}
		for k, v := range im.state {
			c.state[k] = v
		}
		m.memory.turn <- c
		return
	}
	for _, table := range []string{"entries", "hashes", "state"} {
		m.do("DELETE FROM " + table)
	}
	for n, body := range im.bodies {
		m.entry(int64(n), body)
	}
	for n, h := range im.hashes {
		m.hash(int64(n), h[:])
	}
	for k, v := range im.state {
		m.row(k, v)
	}
}
