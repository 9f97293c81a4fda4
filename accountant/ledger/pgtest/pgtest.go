// Package pgtest starts PostgreSQL servers for tests: in a temporary folder, on a
// Unix socket alone, with everything on that makes a commit durable.
//
// The server's programs are those on PATH or in /usr/lib/postgresql/*/bin; they
// refuse to run as root, so that a test that does runs them as "postgres" or
// "nobody". The server goes away with the test's process, however that ends.
package pgtest

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"sort"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// ErrNone says that this machine has no PostgreSQL server of version 15 or later.
var ErrNone = errors.New("SKIPPED: no PostgreSQL server (15 or later) on PATH or in /usr/lib/postgresql: nothing here is tested against PostgreSQL")

// A Server is a running server, or one that was stopped.
type Server struct {
	programs string // folder
	folder   string // holds data and socket
	account  *syscall.Credential
	keeper   *exec.Cmd
	leash    io.WriteCloser // closed: the keeper ends the server
	pid      int            // of the server
}

// programs returns the folder of the server's programs.
func programs() (string, error) {
	found, _ := filepath.Glob("/usr/lib/postgresql/*/bin")
	sort.Slice(found, func(i, j int) bool {
		return len(found[i]) > len(found[j]) || len(found[i]) == len(found[j]) && found[i] > found[j]
	})
	if path, err := exec.LookPath("initdb"); err == nil {
		found = append([]string{filepath.Dir(path)}, found...)
	}
	for _, folder := range found {
		out, err := exec.Command(filepath.Join(folder, "postgres"), "--version").Output()
		if err != nil {
			continue
		}
		if _, err := os.Stat(filepath.Join(folder, "initdb")); err != nil {
			continue
		}
		fields := strings.FieldsFunc(string(out), func(r rune) bool { return r < '0' || r > '9' })
		if len(fields) == 0 {
			continue
		}
		if major, err := strconv.Atoi(fields[0]); err == nil && major >= 15 {
			return folder, nil
		}
	}
	return "", ErrNone
}

// New makes a cluster with the superuser "ledger" and starts its server. The user
// "guarded", of that password, has to show it; nobody else has to. The error is
// ErrNone where there is no server to start.
func New() (*Server, error) {
	programs, err := programs()
	if err != nil {
		return nil, err
	}
	s := &Server{programs: programs}
	if s.folder, err = os.MkdirTemp("", "pg"); err != nil {
		return nil, err
	}
	if err := s.init(); err != nil {
		_ = os.RemoveAll(s.folder)
		return nil, err
	}
	if err := s.Start(); err != nil {
		_ = os.RemoveAll(s.folder)
		return nil, err
	}
	return s, nil
}

func (s *Server) init() error {
	if os.Getuid() == 0 {
		for _, name := range []string{"postgres", "nobody"} {
			if u, err := user.Lookup(name); err == nil {
				uid, _ := strconv.Atoi(u.Uid)
				gid, _ := strconv.Atoi(u.Gid)
				s.account = &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
				if err := os.Chown(s.folder, uid, gid); err != nil {
					return err
				}
				break
			}
		}
	}
	if out, err := s.command("initdb", "-D", s.data(), "-U", "ledger", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-instructions", "--no-sync").CombinedOutput(); err != nil {
		return fmt.Errorf("initdb: %w: %s", err, out)
	}
	rules := "local all guarded scram-sha-256\nlocal all all trust\n"
	return os.WriteFile(filepath.Join(s.data(), "pg_hba.conf"), []byte(rules), 0o600)
}

func (s *Server) data() string { return filepath.Join(s.folder, "data") }

func (s *Server) command(name string, args ...string) *exec.Cmd {
	cmd := exec.Command(filepath.Join(s.programs, name), args...)
	cmd.Dir = s.folder
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: s.account}
	return cmd
}

// Start starts the server and waits until it answers. A server that was killed
// recovers first.
func (s *Server) Start() error {
	deadline := time.Now().Add(time.Minute)
	for {
		err := s.start(deadline)
		if err == nil || time.Now().After(deadline) {
			return err
		}
		time.Sleep(50 * time.Millisecond) // the killed one's memory is still in use
	}
}

// start starts it under a shell that ends it when this process is gone.
func (s *Server) start(deadline time.Time) error {
	const keep = `"$@" >>log 2>&1 & pid=$!; echo $pid; read -r line; kill -QUIT $pid; wait $pid`
	shell := exec.Command("/bin/sh", "-c", keep, "sh", filepath.Join(s.programs, "postgres"), "-D", s.data(), "-k", s.folder,
		"-c", "listen_addresses=", "-c", "max_connections=200", "-c", "max_wal_size=256MB")
	shell.Dir = s.folder
	shell.SysProcAttr = &syscall.SysProcAttr{Credential: s.account}
	leash, err := shell.StdinPipe()
	if err != nil {
		return err
	}
	out, err := shell.StdoutPipe()
	if err != nil {
		return err
	}
	if err := shell.Start(); err != nil {
		return err
	}
	s.keeper, s.leash = shell, leash
	line, err := bufio.NewReader(out).ReadString('\n')
	if err == nil {
		s.pid, err = strconv.Atoi(strings.TrimSpace(line))
	}
	for err == nil {
		if ready, _ := os.ReadFile(filepath.Join(s.data(), "postmaster.pid")); bytes.HasPrefix(ready, []byte(fmt.Sprintln(s.pid))) && bytes.Contains(ready, []byte("ready")) {
			return nil
		}
		if !alive(s.pid) || time.Now().After(deadline) {
			log, _ := os.ReadFile(filepath.Join(s.folder, "log"))
			err = fmt.Errorf("the server did not start: %s", log[max(0, len(log)-2000):])
		}
		time.Sleep(5 * time.Millisecond)
	}
	s.end()
	return err
}

func (s *Server) end() {
	if s.keeper != nil {
		_ = s.leash.Close()
		_ = s.keeper.Wait()
		s.keeper = nil
	}
}

// Stop ends the server as its administrator would: open transactions are rolled
// back and connections closed.
func (s *Server) Stop() error {
	if err := syscall.Kill(s.pid, syscall.SIGINT); err != nil {
		return err
	}
	for deadline := time.Now().Add(time.Minute); alive(s.pid) && time.Now().Before(deadline); {
		time.Sleep(2 * time.Millisecond)
	}
	s.end()
	return nil
}

// Kill ends every process of the server at once, with SIGKILL.
func (s *Server) Kill() {
	processes := append(s.children(), s.pid)
	for _, pid := range processes {
		_ = syscall.Kill(pid, syscall.SIGKILL) // one that was just gone is as good
	}
	s.end()
}

// alive reports whether a process runs: one that has ended and is not waited for
// yet does not.
func alive(pid int) bool {
	if text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid)); err == nil {
		_, after, _ := strings.Cut(string(text), ") ")
		return !strings.HasPrefix(after, "Z")
	}
	return syscall.Kill(pid, 0) == nil
}

// children are the server's other processes.
func (s *Server) children() (pids []int) {
	stats, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, path := range stats {
		text, _ := os.ReadFile(path)
		_, after, _ := strings.Cut(string(text), ") ")
		if fields := strings.Fields(after); len(fields) > 1 && fields[1] == strconv.Itoa(s.pid) {
			if pid, err := strconv.Atoi(filepath.Base(filepath.Dir(path))); err == nil {
				pids = append(pids, pid)
			}
		}
	}
	return pids
}

// Close ends the server and removes all that it had.
func (s *Server) Close() {
	s.end()
	_ = os.RemoveAll(s.folder)
}

// URL is the address of a database, as the user "ledger"; settings follow in pairs
// of name and value.
func (s *Server) URL(database string, settings ...string) string {
	q := url.Values{"host": {s.folder}, "user": {"ledger"}}
	for i := 0; i+1 < len(settings); i += 2 {
		q.Set(settings[i], settings[i+1])
	}
	return (&url.URL{Scheme: "postgres", Path: "/" + database, RawQuery: q.Encode()}).String()
}
