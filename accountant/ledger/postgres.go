package ledger

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/url"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"golang.org/x/mod/sumdb/tlog"
)

// postgresSteps make an empty schema a ledger of version 1, that one of version 2,
// and so on.
var postgresSteps = []string{`
CREATE TABLE entries (number bigint PRIMARY KEY, body bytea NOT NULL);
CREATE TABLE hashes (number bigint PRIMARY KEY, hash bytea NOT NULL);
CREATE TABLE state (key text COLLATE "C" PRIMARY KEY, value text NOT NULL);
CREATE TABLE ledger_head (one boolean PRIMARY KEY CHECK (one), application integer NOT NULL, version integer NOT NULL);
INSERT INTO ledger_head VALUES (true, ` + strconv.Itoa(applicationID) + `, 1);
`}

// postgresLeast is the oldest server that is spoken to, as server_version_num.
const postgresLeast = 150000

// postgresStore is a store in one schema of a PostgreSQL database. Writers come
// one at a time: each locks ledger_head before its transaction sees anything, so
// that serialisable isolation, the second line, finds next to nothing to refuse.
//
// Every setting that matters is set in each transaction anew and checked in it.
// An error names the database and its host, never the rest of the address, and
// never a server's own words.
type postgresStore struct {
	name    string // for people: database and host
	schema  string // quoted
	config  *pgx.ConnConfig
	timeout time.Duration
	hook    func(point string)
	opened  bool           // a lost server is waited for
	conn    chan *pgx.Conn // the one connection; nil where it is to be made
}

// errConflict never leaves the store.
var errConflict = errors.New("ledger: the transaction is to be tried again")

func openPostgres(ctx context.Context, address string, timeout time.Duration, mustExist bool, hook func(string)) (*postgresStore, error) {
	if hook == nil {
		hook = func(string) {}
	}
	config, err := postgresConfig(address)
	if err != nil {
		return nil, err
	}
	s := &postgresStore{config: config, timeout: timeout, hook: hook, conn: make(chan *pgx.Conn, 1)}
	s.name = fmt.Sprintf("database %q on %s", config.Database, config.Host)
	if !strings.HasPrefix(config.Host, "/") {
		s.name += fmt.Sprint(":", config.Port)
	}
	s.conn <- nil
	if err := s.prepare(ctx, mustExist); err != nil {
		_ = s.Close()
		return nil, err
	}
	s.opened = true
	return s, nil
}

// isPostgres reports whether a ledger's address is a PostgreSQL one.
func isPostgres(address string) bool {
	return strings.HasPrefix(address, "postgres://") || strings.HasPrefix(address, "postgresql://")
}

// postgresConfig reads an address. What is wrong with it is not repeated: a
// password may stand in the wrong place.
func postgresConfig(address string) (*pgx.ConnConfig, error) {
	u, err := url.Parse(address)
	if err != nil {
		return nil, fmt.Errorf("%w: the ledger's address is no URL like postgres://USER@HOST/DATABASE; write signs in a password as %%23, %%2F, %%3F, %%40", ErrUsage)
	}
	misplaced := strings.Contains(address, "#") || strings.Contains(u.Path, "@")
	for k := range u.Query() {
		misplaced = misplaced || strings.Contains(k, "@")
	}
	if misplaced {
		return nil, fmt.Errorf("%w: the ledger's address: write #, /, ? and @ in a user name or password as %%23, %%2F, %%3F, %%40", ErrUsage)
	}
	config, err := pgx.ParseConfig(address)
	if err != nil {
		return nil, fmt.Errorf("%w: the ledger's address is no URL like postgres://USER@HOST/DATABASE, or holds an unknown setting or a certificate that does not read", ErrUsage)
	}
	if config.Database == "" {
		config.Database = config.User
	}
	// One round trip a query, and nothing that stays with the connection.
	config.DefaultQueryExecMode = pgx.QueryExecModeExec
	config.StatementCacheCapacity, config.DescriptionCacheCapacity = 0, 0
	if config.RuntimeParams["application_name"] == "" {
		config.RuntimeParams["application_name"] = "privsgld"
	}
	return config, nil
}

// prepare checks that the server is fit and the schema a ledger of this version,
// or makes it one.
func (s *postgresStore) prepare(ctx context.Context, mustExist bool) error {
	waiting, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	conn, err := s.take(waiting)
	if err != nil {
		return err
	}
	defer func() { s.give(conn) }()
	if conn, err = s.connect(waiting, conn); err != nil {
		return s.mapped(ctx, err)
	}
	var version int
	var encoding string
	var schema *string
	err = conn.QueryRow(waiting, "SELECT current_setting('server_version_num')::int, current_setting('server_encoding'), current_schema()::text").Scan(&version, &encoding, &schema)
	switch {
	case err != nil:
		return s.mapped(ctx, err)
	case version < postgresLeast:
		return fmt.Errorf("%w: %s: its server is older than PostgreSQL %d", ErrUnavailable, s.name, postgresLeast/10000)
	case encoding != "UTF8":
		return fmt.Errorf("%w: %s has another encoding than UTF8", ErrUnavailable, s.name)
	case schema == nil:
		return fmt.Errorf("%w: %s has no schema of the name in search_path; make it first", ErrUnavailable, s.name)
	}
	s.schema = pgx.Identifier{*schema}.Sanitize()

	// What is there is looked at twice: under the lock as well, where it is to change.
	for _, locked := range []bool{false, true} {
		if err := s.exec(waiting, conn, s.settings("BEGIN ISOLATION LEVEL READ COMMITTED", waiting)); err != nil {
			return s.mapped(ctx, err)
		}
		if locked {
			if _, err := conn.Exec(waiting, "SELECT pg_advisory_xact_lock($1::bigint)", int64(applicationID)); err != nil {
				return s.mapped(ctx, err)
			}
		}
		have, err := s.versionThere(ctx, conn)
		if err != nil {
			return err
		}
		if have == 0 && mustExist {
			return fmt.Errorf("%w: there is none in %s", ErrUnavailable, s.name)
		}
		if have == len(postgresSteps) {
			return nil
		}
		if !locked {
			s.rollback(conn)
			continue
		}
		steps := strings.Join(postgresSteps[have:], "")
		if have > 0 {
			steps += fmt.Sprintf("UPDATE ledger_head SET version = %d;", len(postgresSteps))
		}
		if err := s.exec(waiting, conn, steps); err != nil {
			return s.mapped(ctx, err)
		}
		if err := s.exec(waiting, conn, "COMMIT"); err != nil {
			return s.mapped(ctx, err) // made or not: the next opening sees
		}
	}
	return nil
}

// versionThere is the ledger's version, 0 where the schema is empty.
func (s *postgresStore) versionThere(ctx context.Context, conn *pgx.Conn) (int, error) {
	var relations, heads int
	err := conn.QueryRow(ctx, `SELECT count(*), count(*) FILTER (WHERE relname = 'ledger_head') FROM pg_class
		WHERE relnamespace = current_schema()::regnamespace AND relkind IN ('r', 'p', 'v', 'm', 'f', 'S')`).Scan(&relations, &heads)
	if err != nil {
		return 0, s.mapped(ctx, err)
	}
	if relations == 0 {
		return 0, nil
	}
	something := fmt.Errorf("%w: %s holds something else, not a ledger; give the ledger a database or a schema of its own", ErrUnavailable, s.name)
	if heads == 0 {
		return 0, something
	}
	var application, version int
	err = conn.QueryRow(ctx, "SELECT application, version FROM ledger_head").Scan(&application, &version)
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		return 0, fmt.Errorf("%w: %s has no version", ErrCorrupt, s.name)
	case err != nil:
		return 0, s.mapped(ctx, err)
	case application != applicationID:
		return 0, something
	case version > len(postgresSteps):
		return 0, s.newer()
	case version < 1:
		return 0, fmt.Errorf("%w: %s has no version", ErrCorrupt, s.name)
	}
	return version, nil
}

func (s *postgresStore) newer() error {
	return fmt.Errorf("%w: %s was written by a newer version of this program; use that one", ErrUnavailable, s.name)
}

// settings is the start of a transaction: what follows begin holds in it alone.
func (s *postgresStore) settings(begin string, waiting context.Context) string {
	left := s.timeout
	if deadline, ok := waiting.Deadline(); ok {
		left = max(time.Until(deadline), time.Millisecond)
	}
	const work = time.Minute // for a query, beside waiting; and for this program between two
	return fmt.Sprintf("%s; SET LOCAL search_path = %s; SET LOCAL synchronous_commit = on; SET LOCAL lock_timeout = %d; SET LOCAL statement_timeout = %d; SET LOCAL idle_in_transaction_session_timeout = %d;",
		begin, s.schema, left.Milliseconds()+1, (left + work).Milliseconds(), work.Milliseconds())
}

// take gives the one connection, nil where it is to be made.
func (s *postgresStore) take(waiting context.Context) (*pgx.Conn, error) {
	select {
	case conn := <-s.conn:
		return conn, nil
	case <-waiting.Done():
		return nil, s.locked()
	}
}

// give takes the connection back, out of any transaction.
func (s *postgresStore) give(conn *pgx.Conn) {
	if conn != nil {
		s.rollback(conn)
		if conn.IsClosed() {
			conn = nil
		}
	}
	s.conn <- conn
}

// rollback ends an open transaction, or the connection.
func (s *postgresStore) rollback(conn *pgx.Conn) {
	if conn.IsClosed() || conn.PgConn().TxStatus() == 'I' {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	if s.exec(ctx, conn, "ROLLBACK") != nil {
		_ = conn.Close(ctx)
	}
}

// exec runs statements without arguments, in one round trip.
func (s *postgresStore) exec(ctx context.Context, conn *pgx.Conn, text string) error {
	results, err := conn.PgConn().Exec(ctx, text).ReadAll()
	if err == nil && text == "COMMIT" && (len(results) != 1 || results[0].CommandTag.String() != "COMMIT") {
		err = errConflict // a transaction that failed before rolls back, and says so in the tag alone
	}
	return err
}

// connect makes the connection where there is none. Once the ledger was open, a
// server that is away is waited for.
func (s *postgresStore) connect(waiting context.Context, conn *pgx.Conn) (*pgx.Conn, error) {
	if conn != nil && !conn.IsClosed() {
		return conn, nil
	}
	for {
		conn, err := pgx.ConnectConfig(waiting, s.config.Copy())
		if err == nil {
			return conn, nil
		}
		if code := sqlState(err); !s.opened && code != "57P03" || code != "" && code[:2] != "57" && code[:2] != "53" {
			return nil, err
		}
		select {
		case <-time.After(time.Duration(20+rand.IntN(60)) * time.Millisecond):
		case <-waiting.Done():
			return nil, err
		}
	}
}

// begin opens a transaction, on a connection made anew where the old one turns
// out to be dead, and checks the server's settings and the version in it.
func (s *postgresStore) begin(waiting context.Context, conn *pgx.Conn, writes bool) (*pgx.Conn, error) {
	begin, lock, update := "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY", "", ""
	if writes {
		// The lock comes before the transaction's snapshot, which the first query takes.
		begin, lock, update = "BEGIN ISOLATION LEVEL SERIALIZABLE", "LOCK TABLE ledger_head IN EXCLUSIVE MODE", " FOR UPDATE"
	}
	fresh := false
	for {
		var err error
		if conn == nil || conn.IsClosed() {
			fresh = true
			if conn, err = s.connect(waiting, conn); err != nil {
				return nil, err
			}
		}
		err = s.exec(waiting, conn, s.settings(begin, waiting)+lock)
		if err == nil {
			break
		}
		if !conn.IsClosed() || fresh || waiting.Err() != nil {
			return conn, err
		}
	}
	var version int
	var durable, commits string
	var standby bool
	err := conn.QueryRow(waiting, "SELECT version, current_setting('fsync'), current_setting('synchronous_commit'), pg_is_in_recovery() FROM ledger_head"+update).Scan(&version, &durable, &commits, &standby)
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		return conn, fmt.Errorf("%w: %s has no version", ErrCorrupt, s.name)
	case err != nil:
		return conn, err
	case version > len(postgresSteps):
		return conn, s.newer()
	case durable != "on" || commits != "on":
		return conn, fmt.Errorf("%w: %s: its server does not keep what it commits: fsync is %s, synchronous_commit %s; both must be on", ErrUnavailable, s.name, durable, commits)
	case standby:
		return conn, fmt.Errorf("%w: %s is a copy that follows another server, which may be ahead of it", ErrUnavailable, s.name)
	}
	return conn, nil
}

func (s *postgresStore) View(ctx context.Context, fn func(tx) error) error {
	return s.run(ctx, false, fn)
}

func (s *postgresStore) Update(ctx context.Context, fn func(tx) error) error {
	return s.run(ctx, true, fn)
}

func (s *postgresStore) Close() error {
	ctx, cancel := context.WithTimeout(context.Background(), s.timeout)
	defer cancel()
	conn, err := s.take(ctx)
	if err != nil {
		return err
	}
	s.conn <- nil
	if conn != nil {
		_ = conn.Close(ctx) // nothing is open on it
	}
	return nil
}

// run is one transaction, tried again where the server finds a conflict or a
// deadlock.
func (s *postgresStore) run(ctx context.Context, writes bool, fn func(tx) error) error {
	waiting, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	for {
		err := s.try(ctx, waiting, writes, fn)
		if !errors.Is(err, errConflict) {
			return err
		}
		select {
		case <-time.After(time.Duration(1+rand.IntN(10)) * time.Millisecond):
		case <-waiting.Done():
			if ctx.Err() != nil {
				return ctx.Err()
			}
			return s.locked()
		}
	}
}

func (s *postgresStore) try(ctx, waiting context.Context, writes bool, fn func(tx) error) error {
	conn, err := s.take(waiting)
	if err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return err
	}
	defer func() { s.give(conn) }()
	if conn, err = s.begin(waiting, conn, writes); err != nil {
		return s.mapped(ctx, err)
	}
	s.hook("begun")
	t := &postgresTx{ctx: ctx, conn: conn, store: s, bodies: map[int64][]byte{}, put: map[string]string{}}
	if err := fn(t); err != nil {
		return err
	}
	s.hook("written")

	// From here on a cancelled context no longer interrupts: it would leave
	// open whether the charge was made.
	committing, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.timeout)
	defer cancel()
	err = s.exec(committing, conn, "COMMIT")
	if code := sqlState(err); err != nil && !errors.Is(err, errConflict) && (code == "" || code[:2] != "40" && code[:2] != "23" || code == "40003") {
		if !writes {
			return s.mapped(ctx, err)
		}
		_ = conn.Close(committing)
		conn, err = s.findOut(context.WithoutCancel(ctx), t)
	}
	if err != nil {
		return s.mapped(ctx, err)
	}
	s.hook("committed")
	return nil
}

// findOut learns what became of a transaction whose commit was not answered: nil
// where it was made. It waits until the lock is free, and so until the server has
// ended that transaction one way or the other.
func (s *postgresStore) findOut(ctx context.Context, t *postgresTx) (*pgx.Conn, error) {
	waiting, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	unknown := fmt.Errorf("%w: the connection to %s broke in the middle of a commit, and the server does not answer since: if the charge was made, it stays", ErrUnavailable, s.name)
	conn, err := s.begin(waiting, nil, true)
	if err != nil {
		return conn, unknown
	}
	there := &postgresTx{ctx: waiting, conn: conn, store: s}
	made := len(t.bodies)+len(t.put) > 0
	for number, body := range t.bodies {
		have, err := there.Entry(number) // its nonce is nobody else's
		if err != nil && !errors.Is(err, ErrCorrupt) {
			return conn, unknown
		}
		made = made && err == nil && string(have) == string(body)
	}
	if len(t.bodies) == 0 {
		for key, value := range t.put {
			have, _, err := there.Get(key)
			if err != nil {
				return conn, unknown
			}
			made = made && have == value
		}
	}
	if !made {
		return conn, fmt.Errorf("%w: the connection to %s broke before a commit was done: nothing was written, try again", ErrUnavailable, s.name)
	}
	return conn, nil
}

func (s *postgresStore) locked() error {
	return fmt.Errorf("%w: %s is locked by another process for more than %v; wait for it, or allow more time", ErrUnavailable, s.name, s.timeout)
}

// sqlState is the server's code of an error, or "".
func sqlState(err error) string {
	var e *pgconn.PgError
	if errors.As(err, &e) && len(e.Code) == 5 {
		return e.Code
	}
	return ""
}

// mapped turns the driver's error into one of this package.
func (s *postgresStore) mapped(ctx context.Context, err error) error {
	if errors.Is(err, errConflict) || errors.Is(err, ErrUnavailable) || errors.Is(err, ErrCorrupt) {
		return err
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	code := sqlState(err)
	if code == "" {
		return s.unreached(err)
	}
	says := func(kind error, what string) error {
		return fmt.Errorf("%w: %s: %s (SQLSTATE %s)", kind, s.name, what, code)
	}
	switch code {
	case "40001", "40P01":
		return errConflict
	case "55P03":
		return s.locked()
	case "57014":
		return says(ErrUnavailable, "a query took too long")
	case "57P01", "57P02", "57P03", "57P05", "25P03":
		return says(ErrUnavailable, "its server is being shut down or started, or has ended the connection; nothing was written")
	case "53100":
		return fmt.Errorf("%w: no room on the disk of %s", ErrUnavailable, s.name)
	case "53300", "53200":
		return says(ErrUnavailable, "its server has no connection or no memory left")
	case "25006":
		return says(ErrUnavailable, "it cannot be written")
	case "42501":
		return says(ErrUnavailable, "the user may not read, write or make its tables")
	case "28000", "28P01":
		return says(ErrUnavailable, "its server does not let this user in; see the password (PGPASSWORD, or a .pgpass file) and the server's rules")
	case "42704", "22023":
		return says(ErrUnavailable, "its server does not know a setting of the address")
	case "3D000":
		return says(ErrUnavailable, "there is no such database; make it first")
	case "42P01", "42703", "42804", "42883":
		return fmt.Errorf("%w: %s lacks a table, or has one of another shape", ErrCorrupt, s.name)
	case "XX001", "XX002":
		return fmt.Errorf("%w: %s fails the server's own check", ErrCorrupt, s.name)
	}
	switch code[:2] {
	case "58":
		return says(ErrUnavailable, "its server's disk fails to read or write")
	case "23":
		return says(ErrCorrupt, "a table does not take what belongs there")
	}
	return says(ErrUnavailable, "the server refuses")
}

// unreached says why a server does not answer, as far as that is public.
func (s *postgresStore) unreached(err error) error {
	why := "the connection broke; nothing was written"
	var connecting *pgconn.ConnectError
	var dns *net.DNSError
	var errno syscall.Errno
	var authority x509.UnknownAuthorityError
	var host x509.HostnameError
	switch {
	case errors.As(err, &authority), errors.As(err, &host):
		why = "its server's certificate is not to be trusted"
	case errors.As(err, &dns):
		why = "there is no such host"
	case errors.As(err, &connecting) && errors.As(err, &errno):
		why = "its server is not to be reached: " + errno.Error()
	case errors.As(err, &connecting):
		why = "its server is not to be reached, or speaks otherwise than asked (sslmode)"
	case errors.Is(err, context.DeadlineExceeded):
		return s.locked()
	}
	return fmt.Errorf("%w: %s: %s", ErrUnavailable, s.name, why)
}

// A postgresTx is one open transaction, and remembers what it wrote.
type postgresTx struct {
	ctx    context.Context
	conn   *pgx.Conn
	store  *postgresStore
	bodies map[int64][]byte
	put    map[string]string
}

// row reads one row into to; errNoRow where there is none.
func (t *postgresTx) row(query string, args []any, to ...any) error {
	err := t.conn.QueryRow(t.ctx, query, args...).Scan(to...)
	if errors.Is(err, pgx.ErrNoRows) {
		return errNoRow
	}
	if err != nil {
		return t.store.mapped(t.ctx, err)
	}
	return nil
}

func (t *postgresTx) exec(query string, args ...any) error {
	if _, err := t.conn.Exec(t.ctx, query, args...); err != nil {
		return t.store.mapped(t.ctx, err)
	}
	return nil
}

// all calls fn for every row; it scans into to first.
func (t *postgresTx) all(query string, args []any, to []any, fn func() error) error {
	rows, err := t.conn.Query(t.ctx, query, args...)
	if err != nil {
		return t.store.mapped(t.ctx, err)
	}
	defer rows.Close()
	for rows.Next() {
		if err := rows.Scan(to...); err != nil {
			return t.store.mapped(t.ctx, err)
		}
		if err := fn(); err != nil {
			return err
		}
	}
	if err := rows.Err(); err != nil {
		return t.store.mapped(t.ctx, err)
	}
	return nil
}

func (t *postgresTx) Size() (n int64, err error) {
	err = t.row("SELECT coalesce(max(number) + 1, 0) FROM entries", nil, &n)
	return n, err
}

func (t *postgresTx) Entry(number int64) (body []byte, err error) {
	if err = t.row("SELECT body FROM entries WHERE number = $1", []any{number}, &body); errors.Is(err, errNoRow) {
		err = contradiction("an entry is missing")
	}
	return body, err
}

func (t *postgresTx) Entries(fn func(body []byte) error) error {
	var number, next int64
	var body []byte
	return t.all("SELECT number, body FROM entries ORDER BY number", nil, []any{&number, &body}, func() error {
		if number != next {
			return contradiction("an entry is missing")
		}
		next++
		return fn(body)
	})
}

func (t *postgresTx) Hashes(fn func(tlog.Hash) error) error {
	var number, next int64
	var b []byte
	return t.all("SELECT number, hash FROM hashes ORDER BY number", nil, []any{&number, &b}, func() error {
		if number != next || len(b) != tlog.HashSize {
			return contradiction("a hash of the tree is missing")
		}
		next++
		return fn(tlog.Hash(b))
	})
}

func (t *postgresTx) ReadHashes(indexes []int64) ([]tlog.Hash, error) {
	found := map[int64]tlog.Hash{}
	var number int64
	var b []byte
	err := t.all("SELECT number, hash FROM hashes WHERE number = ANY($1::bigint[])", []any{indexes}, []any{&number, &b}, func() error {
		if len(b) == tlog.HashSize {
			found[number] = tlog.Hash(b)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	out := make([]tlog.Hash, len(indexes))
	for i, index := range indexes {
		h, ok := found[index]
		if !ok {
			return nil, contradiction("a hash of the tree is missing")
		}
		out[i] = h
	}
	return out, nil
}

func (t *postgresTx) Append(number int64, body []byte, hashes []tlog.Hash) error {
	first := tlog.StoredHashIndex(0, number)
	indexes, values := make([]int64, len(hashes)), make([][]byte, len(hashes))
	for i := range hashes {
		indexes[i], values[i] = first+int64(i), hashes[i][:]
	}
	err := t.exec(`WITH entry AS (INSERT INTO entries (number, body) VALUES ($1, $2))
		INSERT INTO hashes (number, hash) SELECT * FROM unnest($3::bigint[], $4::bytea[])`, number, body, indexes, values)
	if err != nil {
		return err
	}
	t.bodies[number] = body
	t.store.hook("appended")
	return nil
}

func (t *postgresTx) Get(key string) (value string, ok bool, err error) {
	if err = t.row("SELECT value FROM state WHERE key = $1", []any{key}, &value); errors.Is(err, errNoRow) {
		return "", false, nil
	}
	return value, err == nil, err
}

func (t *postgresTx) Put(key, value string) error {
	t.put[key] = value
	if value == "" {
		return t.exec("DELETE FROM state WHERE key = $1", key)
	}
	return t.exec("INSERT INTO state (key, value) VALUES ($1, $2) ON CONFLICT (key) DO UPDATE SET value = excluded.value", key, value)
}

func (t *postgresTx) List(prefix string, fn func(key, value string) error) error {
	query, args := "SELECT key, value FROM state ORDER BY key", []any(nil)
	if prefix != "" {
		query, args = "SELECT key, value FROM state WHERE key >= $1 AND key < $2 ORDER BY key", []any{prefix, prefixEnd(prefix)}
	}
	type row struct{ key, value string }
	var all []row
	var r row
	err := t.all(query, args, []any{&r.key, &r.value}, func() error { all = append(all, r); return nil })
	if err != nil {
		return err
	}
	for _, r := range all {
		if err := fn(r.key, r.value); err != nil {
			return err
		}
	}
	return nil
}
