package policies

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
)

// A policy may extend a base file: an organisation's defaults, which may extend
// another. What a policy leaves out it inherits, key by key; lists are inherited
// whole, and analysts' caps one by one. What it writes may only tighten what a
// base says, in the sense of Diff.

// BaseKind is the kind of a base file: clauses of a policy that hold for many
// data sets. It names no data set and no columns.
const BaseKind = "PolicyBase"

// maxBases bounds the base files of one policy.
const maxBases = 3

// readBases reads the files that a policy extends, the nearest first, and
// returns the sum that stands for all of them: SHA-256 of the policy's bytes
// where it extends nothing, otherwise of the lines of hexadecimal SHA-256 sums
// of all files, the policy first, each line with its end. So it is what
//
//	sha256sum policy.yaml base.yaml | cut -c1-64 | sha256sum
//
// prints. A base that nobody changed keeps the sums of its policies, and one
// that somebody did changes all of them.
func readBases(root *node, data []byte, open func(path string) ([]byte, error)) (bases []*node, sum string, bad *fault) {
	lines := hexSum(data) + "\n"
	files := []string{filepath.Clean(root.file)}
	for at := root; at.get("extends") != nil; {
		n := at.get("extends")
		if bad := checkBaseName(n, open != nil, len(bases)); bad != nil {
			return nil, "", bad
		}
		file := filepath.Join(filepath.Dir(at.file), filepath.FromSlash(n.text))
		if slices.Contains(files, file) {
			return nil, "", faultAt(n, "extends: %s extends itself in the end; remove the key in one of the files", quote(file))
		}
		data, err := open(file)
		if err != nil {
			return nil, "", faultAt(n, "extends: the base file %s %s; name one relative to this file", quote(file), unreadable(err))
		}
		base, bad := parseTree(data)
		if bad == nil {
			base.from(file)
			bad = check(base, baseShape, "policy")
		} else {
			bad.file = file
		}
		if bad != nil {
			return nil, "", bad
		}
		files, lines = append(files, file), lines+hexSum(data)+"\n"
		bases = append(bases, base)
		at = base
	}
	if len(bases) == 0 {
		return nil, hexSum(data), nil
	}
	return bases, hexSum([]byte(lines)), nil
}

func hexSum(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}

func unreadable(err error) string {
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "does not exist"
	case errors.Is(err, fs.ErrPermission):
		return "may not be read by this user"
	}
	return "cannot be read"
}

func checkBaseName(n *node, mayExtend bool, bases int) *fault {
	if bad := check(n, wordShape, "extends"); bad != nil {
		return bad
	}
	switch {
	case !mayExtend:
		return faultAt(n, "extends is for a policy that is read from a file; write the clauses out")
	case filepath.IsAbs(n.text) || strings.HasPrefix(n.text, "/"):
		return faultAt(n, "extends: name the base file relative to this file, such as ../base.yaml")
	case bases == maxBases:
		return faultAt(n, "extends: a policy rests on %d base files at most; merge some", maxBases)
	}
	return nil
}

// ownKeys are those that no file inherits.
var ownKeys = []string{"apiVersion", "kind", "extends"}

// over returns the tree with what it leaves out filled in from bases, the
// nearest first. The tree itself does not change.
func (n *node) over(bases ...*node) *node {
	whole := n
	for _, base := range bases {
		inherited := &node{kind: mapping, file: base.file, line: base.line, col: base.col}
		for i, key := range base.keys {
			if !slices.Contains(ownKeys, key.text) {
				inherited.keys, inherited.values = append(inherited.keys, key), append(inherited.values, base.values[i])
			}
		}
		whole = whole.fillFrom(inherited)
	}
	return whole
}

func (n *node) fillFrom(base *node) *node {
	if n.kind != mapping || base.kind != mapping {
		return n
	}
	m := *n
	m.keys, m.values = slices.Clone(n.keys), slices.Clone(n.values)
	for i, key := range n.keys {
		if b := base.get(key.text); b != nil {
			m.values[i] = n.values[i].fillFrom(b)
		}
	}
	for i, key := range base.keys {
		if n.get(key.text) == nil {
			m.keys, m.values = append(m.keys, key), append(m.values, base.values[i])
		}
	}
	return &m
}

// onlyTighten compares each file with those that it extends; whole is all of
// them together. What a base leaves open is taken from the file that extends it,
// so that two whole policies are compared which differ in nothing but what both
// say.
func onlyTighten(root *node, bases []*node, whole *node) *fault {
	files := append([]*node{root}, bases...)
	next := fill(whole)
	for i := range bases {
		base := files[i+1].over(files[i+2:]...)
		whole = base.insisting(whole)
		old := fill(whole)
		for _, c := range Diff(old, next).Clauses {
			if c.Verdict&Looser == 0 {
				continue
			}
			at, said := files[i].clause(c.Clause), base.clause(c.Clause)
			than := fmt.Sprintf("%s in %s:%d", cut(c.Old), said.file, said.line)
			if c.Verdict == Looser {
				return faultAt(at, "%s: %s promises less privacy than %s; tighten it, or remove it to inherit", c.Clause, cut(c.New), than)
			}
			return faultAt(at, "%s: %s cannot be compared with %s; write the same, or remove it to inherit", c.Clause, cut(c.New), than)
		}
		next = old
	}
	return nil
}

// insisting returns a whole policy with the base's values wherever it has any.
func (n *node) insisting(whole *node) *node {
	m := whole.fillFrom(&node{kind: mapping})
	for i, key := range n.keys {
		if slices.Contains(ownKeys, key.text) {
			continue
		}
		for j, k := range m.keys {
			if k.text == key.text {
				m.values[j] = n.values[i].fillFrom(m.values[j])
			}
		}
	}
	// A cap of everybody holds for those whom the policy names, too.
	for _, table := range []string{"analysts", "purposes"} {
		caps := n.get("budget", table)
		if caps == nil {
			continue
		}
		budget := m.get("budget")
		for i, k := range budget.keys {
			if k.text == table {
				budget.values[i] = caps
			}
		}
	}
	return m
}

// clause returns where a clause of Diff is written, or else what stands around it.
func (n *node) clause(name string) *node {
	for _, key := range strings.SplitN(name, ".", 3) {
		next := n.get(key)
		if extends := n.get("extends"); next == nil && extends != nil {
			return extends
		}
		if next == nil {
			return n
		}
		n = next
	}
	return n
}

// cut shortens a value to what a line has room for.
func cut(text string) string {
	const most = 60
	if r := []rune(text); len(r) > most {
		return string(r[:most]) + "…"
	}
	return text
}
