package main

import (
	"fmt"
	"io"

	"github.com/urfave/cli/v2"

	"github.com/privsgld/privsgld/accountant/ledger"
	"github.com/privsgld/privsgld/accountant/ledger/signed"
	"github.com/privsgld/privsgld/cmd/job"
	"github.com/privsgld/privsgld/policies"
)

// signCommands are those of approvers and owners.
func signCommands() []*cli.Command {
	return []*cli.Command{
		{
			Name: "keygen", Usage: "make a key to sign with, and print its public half for the policy", ArgsUsage: "NAME",
			Description: `The private key goes into a new file that nobody but its owner may read. Make it under
an account of the approver's own, never that which runs jobs. NAME stands in policies and
reports; letters, digits and . _ - @.

EXAMPLE:
   privsgld policy keygen ann --to ann.key`,
			Flags:  append([]cli.Flag{text("to", "", "`FILE` to make for the private key")}, shared()...),
			Action: keygen,
		},
		{
			Name: "sign", Usage: "approve a policy, a request or an amendment: add a signature", ArgsUsage: "FILE",
			Description: `For a policy the signature goes to FILE.sig. It is over the policy and the base files that it extends, as they are now:
whoever changes one of them needs all signatures again. FILE.sig keeps the signatures of
others; one over another version is never overwritten: move it away first. With --request it is over the one job that the
request names, and is added to the request itself: read what is printed. So it is with
--amendment, for the owner of a data set.

EXAMPLE:
   privsgld policy sign policy.yaml --key ann.key
   privsgld policy sign --request job.request --key ann.key`,
			Flags: append([]cli.Flag{
				text("request", "", "request in `FILE`, from \"plan --request-to\", in place of a policy"),
				text("amendment", "", "amendment in `FILE`, from \"ledger amend --to\", in place of a policy"),
				text("key", "", "`FILE` of the private key, from \"policy keygen\""),
			}, shared()...),
			Action: signPolicy,
		},
	}
}

func keygen(c *cli.Context) error {
	name, path := c.Args().First(), c.String("to")
	if name == "" {
		return usagef("name the key, as it shall stand in policies")
	}
	if path == "" {
		return usagef("--to is missing: name a new file for the private key")
	}
	key, err := signed.CreateKey(path, name)
	if err != nil {
		return usagef("%v", err)
	}
	return render(c, map[string]any{"name": name, "key": key.String(), "file": path}, func(w io.Writer) { fmt.Fprintln(w, key) })
}

// privateKey reads the key that --key names.
func privateKey(c *cli.Context) (signed.Private, error) {
	path := c.String("key")
	if path == "" {
		return signed.Private{}, usagef("--key is missing: name the file of a private key, from \"policy keygen\"")
	}
	return signed.LoadKey(path)
}

func signPolicy(c *cli.Context) error {
	path := c.Args().First()
	request, amendment := c.String("request"), c.String("amendment")
	switch {
	case path != "" && request != "", path != "" && amendment != "", request != "" && amendment != "":
		return usagef("name one of a policy file, a request and an amendment, not both")
	case request != "":
		return signRequest(c, request)
	case amendment != "":
		return signAmendment(c, amendment)
	}
	if path == "" {
		return usagef("name a policy file")
	}
	p, err := job.LoadPolicy(path)
	if err != nil {
		return err
	}
	key, err := privateKey(c)
	if err != nil {
		return err
	}
	body, err := p.ApprovalText()
	if err != nil {
		return err
	}
	file := policies.SignatureFile(path)
	already, err := key.Sign(file, body)
	if err != nil {
		return err
	}
	data, err := signed.ReadFile(file)
	if err != nil {
		return err
	}
	return signedResult(c, file, key.Key, already, body, data, p.Approvals.Policy)
}

// signedResult says who has signed so far, and how many it takes.
func signedResult(c *cli.Context, file string, key signed.Key, already bool, body string, data []byte, rule signed.Rule) error {
	have := rule.Signers(body, data)
	result := map[string]any{"file": file, "key": key.String(), "already": already, "at_least": rule.AtLeast, "signed": len(have), "approved": len(have) >= rule.AtLeast}
	return render(c, result, func(w io.Writer) {
		signedLine(w, key, already, file)
		switch {
		case rule.AtLeast == 0:
			fmt.Fprintln(w, "the policy asks for no such signature; see approvals in the policy file")
		case len(have) >= rule.AtLeast:
			fmt.Fprintf(w, "approved: it takes %s, and it has %s\n", rule, signed.Names(have))
		default:
			fmt.Fprintf(w, "not approved yet: it takes %s, and it has %s\n", rule, signed.Names(have))
		}
	})
}

// signBody signs the body of a file with --key, once it reads as what it should be;
// command is the one that writes such files.
func signBody[T any](c *cli.Context, path string, read func(body string) (T, error), what, command string) (v T, key signed.Private, already bool, err error) {
	if key, err = privateKey(c); err != nil {
		return v, key, false, err
	}
	data, err := signed.ReadFile(path)
	if err != nil {
		return v, key, false, err
	}
	body := signed.TextOf(data)
	if v, err = read(body); err != nil {
		return v, key, false, usagef("%s is no %s, or was changed: write one with %s", path, what, command)
	}
	already, err = key.Sign(path, body)
	return v, key, already, err
}

// signRequest signs what the file says, having shown it.
func signRequest(c *cli.Context, path string) error {
	r, key, already, err := signBody(c, path, ledger.ReadRequest, "request", "plan --request-to")
	if err != nil {
		return err
	}
	return render(c, map[string]any{"file": path, "key": key.String(), "already": already, "request": r}, func(w io.Writer) {
		signedLine(w, key.Key, already, path)
		showFields(w, []shownField{
			{"data set", r.Dataset}, {"policy", r.PolicyName}, {"sha256", r.PolicySHA256}, {"analyst", r.Analyst}, {"purpose", r.Purpose},
			{"ε", r.Epsilon}, {"δ", r.Delta}, {"kind", r.Kind}, {"settings", string(r.Settings)}, {"from", r.NotBefore}, {"to", r.NotAfter}, {"ledger", r.Ledger},
		})
	})
}

func signedLine(w io.Writer, key signed.Key, already bool, path string) {
	verb := "signed"
	if already {
		verb = "had signed before"
	}
	fmt.Fprintf(w, "%s %s: %s\n", key.Name(), verb, path)
}

// A shownField is a part of what is signed.
type shownField struct{ name, value string }

// showFields prints values in quotes and ASCII: a name may look like another one.
func showFields(w io.Writer, fields []shownField) {
	for _, f := range fields {
		fmt.Fprintf(w, "%-10s %+q\n", f.name, f.value)
	}
}
