package ledger

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/mod/sumdb/tlog"
	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"
)

// applicationID marks a database as a ledger.
const applicationID = 0x70736764 // "psgd"

// sqliteSteps make an empty file a ledger of version 1, that one of version 2,
// and so on.
var sqliteSteps = []string{`
CREATE TABLE entries (number INTEGER PRIMARY KEY, body BLOB NOT NULL) STRICT;
CREATE TABLE hashes (number INTEGER PRIMARY KEY, hash BLOB NOT NULL) STRICT;
CREATE TABLE state (key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT, WITHOUT ROWID;
`}

// sqliteStore is a store in one SQLite file: rollback journal, synchronous
// EXTRA (the file, the journal and the folder are on the disk before a commit
// returns), writers one at a time by BEGIN IMMEDIATE.
//
// Nothing may open the file beside SQL: see createFile.
type sqliteStore struct {
	path    string
	db      *sql.DB
	timeout time.Duration
	hook    func(point string) // tests kill themselves here
}

// POSIX record locks vanish when the process closes any other descriptor of
// the file; locks of open file descriptions do not. They must be chosen
// before the first connection of the process.
var descriptionLocks = sync.OnceValue(func() error {
	_, err := sqlite.OFDLocking(true)
	return err
})

func openSQLite(ctx context.Context, path string, timeout time.Duration, hook func(string)) (_ *sqliteStore, created bool, err error) {
	if hook == nil {
		hook = func(string) {}
	}
	if path, err = filepath.Abs(path); err != nil {
		return nil, false, fmt.Errorf("%w: the current folder is gone", ErrUnavailable)
	}
	if err := descriptionLocks(); err != nil && (runtime.GOOS == "linux" || !errors.Is(err, sqlite.ErrOFDLockingUnavailable)) {
		return nil, false, fmt.Errorf("%w: file locks of open file descriptions are not in effect on this system", ErrUnavailable)
	}
	if err := createFile(path); err != nil {
		return nil, false, err
	}
	if kind := networkFileSystem(path); kind != "" {
		return nil, false, fmt.Errorf("%w: %s is on a network file system (%s), whose locks cannot be relied on; keep it on a local disk", ErrUnavailable, path, kind)
	}

	q := url.Values{"_pragma": {"busy_timeout(100)", "synchronous(EXTRA)", "foreign_keys(ON)", "trusted_schema(OFF)", "cell_size_check(ON)"}}
	db, err := sql.Open("sqlite", (&url.URL{Scheme: "file", Path: path, RawQuery: q.Encode()}).String())
	if err != nil {
		return nil, false, fmt.Errorf("%w: %s does not open", ErrUnavailable, path)
	}
	db.SetMaxOpenConns(1)
	s := &sqliteStore{path, db, timeout, hook}
	if created, err = s.prepare(ctx); err != nil {
		_ = db.Close()
		return nil, false, err
	}
	return s, created, nil
}

// createFile makes an empty ledger file, owner-only, in an owner-only folder,
// where there is none. It is the only place that opens the file beside SQL,
// and it does so only while nobody else can have it.
func createFile(path string) error {
	if info, err := os.Stat(path); err == nil {
		if info.IsDir() {
			return fmt.Errorf("%w: %s is a folder; name a file", ErrUnavailable, path)
		}
		if !info.Mode().IsRegular() {
			return fmt.Errorf("%w: %s is no ordinary file", ErrUnavailable, path)
		}
		return nil
	}
	folder := filepath.Dir(path)
	if err := makeFolder(folder); err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if errors.Is(err, os.ErrExist) {
		return nil // another process was faster
	}
	if err != nil {
		return fmt.Errorf("%w: %s cannot be made: %v", ErrUnavailable, path, reason(err))
	}
	if err := f.Close(); err != nil {
		return fmt.Errorf("%w: %s cannot be made: %v", ErrUnavailable, path, reason(err))
	}
	return syncFolder(folder)
}

// syncFolder makes the names in a folder durable.
func syncFolder(folder string) error {
	d, err := os.Open(folder)
	if err != nil {
		return fmt.Errorf("%w: the folder %s does not open: %v", ErrUnavailable, folder, reason(err))
	}
	defer d.Close()
	if err := d.Sync(); err != nil {
		return fmt.Errorf("%w: the folder %s is not durable: %v", ErrUnavailable, folder, reason(err))
	}
	return nil
}

// reason is an error of the file system without the path, which the line
// names already.
func reason(err error) error {
	var p *os.PathError
	if errors.As(err, &p) {
		return p.Err
	}
	return err
}

// prepare checks that the file is a sound ledger of this version, or makes it
// one where it is empty.
func (s *sqliteStore) prepare(ctx context.Context) (created bool, err error) {
	var have int
	err = s.run(ctx, "BEGIN", func(t *sqliteTx) error {
		var check string
		if err := t.row("PRAGMA quick_check(1)", nil, &check); err != nil {
			return err
		}
		if check != "ok" {
			return fmt.Errorf("%w: %s fails SQLite's own check", ErrCorrupt, s.path)
		}
		have, err = t.version()
		return err
	})
	if err != nil {
		return false, err
	}
	if runtime.GOOS == "linux" && !sqlite.OFDLockingEnabled() {
		return false, fmt.Errorf("%w: file locks of open file descriptions are not in effect on this file system", ErrUnavailable)
	}
	if err := s.journal(ctx); err != nil {
		return false, err
	}
	if have == len(sqliteSteps) {
		return false, nil
	}
	err = s.run(ctx, "BEGIN IMMEDIATE", func(t *sqliteTx) error {
		have, err := t.version()
		if err != nil || have == len(sqliteSteps) {
			return err // another process was faster
		}
		created = have == 0
		return t.exec(strings.Join(sqliteSteps[have:], "") + fmt.Sprintf("PRAGMA application_id = %d; PRAGMA user_version = %d;", applicationID, len(sqliteSteps)))
	})
	return created, err
}

// version is the ledger's version, 0 where the file is empty.
func (t *sqliteTx) version() (int, error) {
	var id, version, tables int64
	for _, q := range []struct {
		text string
		to   any
	}{{"PRAGMA application_id", &id}, {"PRAGMA user_version", &version}, {"SELECT count(*) FROM sqlite_schema", &tables}} {
		if err := t.row(q.text, nil, q.to); err != nil {
			return 0, err
		}
	}
	switch {
	case id == 0 && version == 0 && tables == 0:
		return 0, nil
	case id != applicationID:
		return 0, fmt.Errorf("%w: %s is a database of something else, not a ledger", ErrUnavailable, t.store.path)
	case version > int64(len(sqliteSteps)):
		return 0, fmt.Errorf("%w: %s was written by a newer version of this program; use that one", ErrUnavailable, t.store.path)
	case version < 1:
		return 0, fmt.Errorf("%w: %s has no version", ErrCorrupt, t.store.path)
	}
	return int(version), nil
}

// journal puts the file into rollback-journal mode: the locks of the
// write-ahead log's shared memory stay POSIX locks.
func (s *sqliteStore) journal(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	for {
		var mode string
		err := s.db.QueryRowContext(ctx, "PRAGMA journal_mode = DELETE").Scan(&mode)
		if err == nil && mode != "delete" {
			return fmt.Errorf("%w: %s is in journal mode %s and cannot leave it", ErrUnavailable, s.path, mode)
		}
		if err == nil {
			return nil
		}
		if !busy(err) {
			return s.mapped(ctx, err)
		}
		if err := s.wait(ctx); err != nil {
			return err
		}
	}
}

func (s *sqliteStore) View(ctx context.Context, fn func(tx) error) error {
	return s.run(ctx, "BEGIN", func(t *sqliteTx) error { return fn(t) })
}

func (s *sqliteStore) Update(ctx context.Context, fn func(tx) error) error {
	return s.run(ctx, "BEGIN IMMEDIATE", func(t *sqliteTx) error { return fn(t) })
}

func (s *sqliteStore) Close() error {
	if err := s.db.Close(); err != nil {
		return fmt.Errorf("%w: %s does not close", ErrUnavailable, s.path)
	}
	return nil
}

// run is one transaction. It waits for locks up to the timeout; SQLite's own
// waiting is short, so that a cancelled context is noticed.
func (s *sqliteStore) run(ctx context.Context, begin string, fn func(*sqliteTx) error) error {
	waiting, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	var conn *sql.Conn
	for {
		var err error
		if conn, err = s.begin(waiting, begin); err == nil {
			break
		}
		if !busy(err) {
			return s.mapped(ctx, err)
		}
		if err := s.wait(waiting); err != nil {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			return err
		}
	}
	defer conn.Close()
	s.hook("begun")

	done := false
	defer func() {
		if !done {
			rollback(conn)
		}
	}()
	t := &sqliteTx{ctx: ctx, conn: conn, store: s}
	if err := fn(t); err != nil {
		return err
	}
	s.hook("written")
	// From here on a cancelled context no longer interrupts: it would leave
	// open whether the charge was made.
	uncancelled := context.WithoutCancel(ctx)
	waiting, cancel = context.WithTimeout(uncancelled, s.timeout)
	defer cancel()
	for {
		_, err := conn.ExecContext(uncancelled, "COMMIT")
		if err == nil {
			break
		}
		if !busy(err) {
			return s.mapped(ctx, err)
		}
		if err := s.wait(waiting); err != nil {
			return err
		}
	}
	done = true
	s.hook("committed")
	return nil
}

// begin tries once to begin a transaction that holds its lock. A new
// connection reads the file for its settings, and may find it locked as well.
func (s *sqliteStore) begin(ctx context.Context, begin string) (*sql.Conn, error) {
	conn, err := s.db.Conn(ctx)
	if err != nil {
		return nil, err
	}
	if _, err = conn.ExecContext(ctx, begin); err == nil {
		// A deferred transaction takes its lock with the first read.
		var n int64
		if err = conn.QueryRowContext(ctx, "SELECT count(*) FROM sqlite_schema").Scan(&n); err == nil {
			return conn, nil
		}
		rollback(conn)
	}
	_ = conn.Close()
	return nil, err
}

func rollback(conn *sql.Conn) {
	_, _ = conn.ExecContext(context.Background(), "ROLLBACK") // fails where SQLite has rolled back already
}

// wait pauses between two tries for a lock; the error says that time is up.
func (s *sqliteStore) wait(ctx context.Context) error {
	select {
	case <-time.After(time.Duration(1+rand.IntN(10)) * time.Millisecond):
		return nil
	case <-ctx.Done():
		return s.locked()
	}
}

func (s *sqliteStore) locked() error {
	return fmt.Errorf("%w: %s is locked by another process for more than %v; wait for it, or allow more time", ErrUnavailable, s.path, s.timeout)
}

func busy(err error) bool {
	code := resultCode(err)
	return code == sqlite3.SQLITE_BUSY || code == sqlite3.SQLITE_LOCKED
}

// resultCode is SQLite's primary result code, or 0.
func resultCode(err error) int {
	var e *sqlite.Error
	if errors.As(err, &e) {
		return e.Code() & 0xff
	}
	return 0
}

// mapped turns the driver's error into one of this package.
func (s *sqliteStore) mapped(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return s.locked()
	}
	switch resultCode(err) {
	case sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED:
		return s.locked()
	case sqlite3.SQLITE_NOTADB:
		return fmt.Errorf("%w: %s is no SQLite file", ErrCorrupt, s.path)
	case sqlite3.SQLITE_CORRUPT:
		return fmt.Errorf("%w: %s fails SQLite's own check", ErrCorrupt, s.path)
	case sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM, sqlite3.SQLITE_AUTH:
		return fmt.Errorf("%w: %s cannot be written: check its permissions and its folder's", ErrUnavailable, s.path)
	case sqlite3.SQLITE_CANTOPEN:
		return fmt.Errorf("%w: %s or its journal cannot be opened: check their permissions and the folder's", ErrUnavailable, s.path)
	case sqlite3.SQLITE_FULL:
		return fmt.Errorf("%w: no room on the disk of %s", ErrUnavailable, s.path)
	case sqlite3.SQLITE_IOERR:
		return fmt.Errorf("%w: the disk of %s fails to read or write (SQLite code %s)", ErrUnavailable, s.path, ioCode(err))
	case sqlite3.SQLITE_ERROR:
		return fmt.Errorf("%w: %s lacks a table, or has one of another shape", ErrCorrupt, s.path)
	}
	if resultCode(err) == 0 {
		return fmt.Errorf("%w: %s: %v", ErrUnavailable, s.path, err)
	}
	return fmt.Errorf("%w: %s: SQLite code %s", ErrUnavailable, s.path, ioCode(err))
}

func ioCode(err error) string {
	var e *sqlite.Error
	if errors.As(err, &e) {
		return strconv.Itoa(e.Code())
	}
	return "unknown"
}

// A sqliteTx is one open transaction.
type sqliteTx struct {
	ctx   context.Context
	conn  *sql.Conn
	store *sqliteStore
}

var errNoRow = errors.New("ledger: no such row")

// row reads one row into to; errNoRow where there is none.
func (t *sqliteTx) row(query string, args []any, to ...any) error {
	err := t.conn.QueryRowContext(t.ctx, query, args...).Scan(to...)
	if errors.Is(err, sql.ErrNoRows) {
		return errNoRow
	}
	if err != nil {
		return t.store.mapped(t.ctx, err)
	}
	return nil
}

func (t *sqliteTx) exec(query string, args ...any) error {
	if _, err := t.conn.ExecContext(t.ctx, query, args...); err != nil {
		return t.store.mapped(t.ctx, err)
	}
	return nil
}

func (t *sqliteTx) Size() (n int64, err error) {
	err = t.row("SELECT coalesce(max(number) + 1, 0) FROM entries", nil, &n)
	return n, err
}

func (t *sqliteTx) Entries(fn func(body []byte) error) error {
	return t.blobs("SELECT number, body FROM entries ORDER BY number", "an entry is missing", fn)
}

func (t *sqliteTx) Hashes(fn func(tlog.Hash) error) error {
	const missing = "a hash of the tree is missing"
	return t.blobs("SELECT number, hash FROM hashes ORDER BY number", missing, func(b []byte) error {
		if len(b) != tlog.HashSize {
			return contradiction(missing)
		}
		return fn(tlog.Hash(b))
	})
}

// blobs calls fn for each blob of numbered rows, which must be all there.
func (t *sqliteTx) blobs(query, missing string, fn func(b []byte) error) error {
	rows, err := t.conn.QueryContext(t.ctx, query)
	if err != nil {
		return t.store.mapped(t.ctx, err)
	}
	defer rows.Close()
	for next := int64(0); rows.Next(); next++ {
		var number int64
		var b []byte
		if err := rows.Scan(&number, &b); err != nil {
			return t.store.mapped(t.ctx, err)
		}
		if number != next {
			return contradiction(missing)
		}
		if err := fn(b); err != nil {
			return err
		}
	}
	if err := rows.Err(); err != nil {
		return t.store.mapped(t.ctx, err)
	}
	return nil
}

func (t *sqliteTx) Entry(number int64) (body []byte, err error) {
	if err = t.row("SELECT body FROM entries WHERE number = ?", []any{number}, &body); errors.Is(err, errNoRow) {
		err = contradiction("an entry is missing")
	}
	return body, err
}

func (t *sqliteTx) ReadHashes(indexes []int64) ([]tlog.Hash, error) {
	out := make([]tlog.Hash, len(indexes))
	for i, index := range indexes {
		var b []byte
		err := t.row("SELECT hash FROM hashes WHERE number = ?", []any{index}, &b)
		if errors.Is(err, errNoRow) || err == nil && len(b) != tlog.HashSize {
			return nil, contradiction("a hash of the tree is missing")
		}
		if err != nil {
			return nil, err
		}
		copy(out[i][:], b)
	}
	return out, nil
}

func (t *sqliteTx) Append(number int64, body []byte, hashes []tlog.Hash) error {
	if err := t.exec("INSERT INTO entries (number, body) VALUES (?, ?)", number, body); err != nil {
		return err
	}
	first := tlog.StoredHashIndex(0, number)
	for i := range hashes {
		if err := t.exec("INSERT INTO hashes (number, hash) VALUES (?, ?)", first+int64(i), hashes[i][:]); err != nil {
			return err
		}
	}
	t.store.hook("appended")
	return nil
}

func (t *sqliteTx) Get(key string) (value string, ok bool, err error) {
	if err = t.row("SELECT value FROM state WHERE key = ?", []any{key}, &value); errors.Is(err, errNoRow) {
		return "", false, nil
	}
	return value, err == nil, err
}

func (t *sqliteTx) Put(key, value string) error {
	if value == "" {
		return t.exec("DELETE FROM state WHERE key = ?", key)
	}
	return t.exec("INSERT INTO state (key, value) VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value", key, value)
}

func (t *sqliteTx) List(prefix string, fn func(key, value string) error) error {
	query, args := "SELECT key, value FROM state ORDER BY key", []any(nil)
	if prefix != "" {
		query, args = "SELECT key, value FROM state WHERE key >= ? AND key < ? ORDER BY key", []any{prefix, prefixEnd(prefix)}
	}
	type row struct{ key, value string }
	var all []row
	rows, err := t.conn.QueryContext(t.ctx, query, args...)
	if err != nil {
		return t.store.mapped(t.ctx, err)
	}
	defer rows.Close()
	for rows.Next() {
		var r row
		if err := rows.Scan(&r.key, &r.value); err != nil {
			return t.store.mapped(t.ctx, err)
		}
		all = append(all, r)
	}
	if err := rows.Err(); err != nil {
		return t.store.mapped(t.ctx, err)
	}
	_ = rows.Close()
	for _, r := range all {
		if err := fn(r.key, r.value); err != nil {
			return err
		}
	}
	return nil
}
