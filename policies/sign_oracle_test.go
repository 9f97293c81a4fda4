package policies

import (
	"fmt"
	"math/bits"
	"slices"
	"strings"

	"github.com/privsgld/privsgld/accountant/ledger/signed"
)

// testKeys are the public keys of seeds that are all zeros but for the first byte, 1 to 4.
var testKeys = []string{
	"a+3b4be9e2+Ac7MFQfcHd1ylZUcKQiI8JWtuQRNG3PWlubfBl1oO9T8",
	"b+f75e9d64+AWt5xX5qCVI5KCwEgY6WES8/A6QAG6l6VkwjhSo/HqX8",
	"c+ac324694+Adrb0YSi1Sbx691cBv2tk1myKHWbTX951maJ+iVKrYVG",
	"d+1e838c63+AZvjKHeVkHgJQH4UQ5/xmNW/x9zm+bx0PLNpFG9hC0gB",
}

func init() {
	of := func(atLeast int, keys ...int) string {
		var texts []string
		for _, k := range keys {
			texts = append(texts, testKeys[k])
		}
		return fmt.Sprintf("{atLeast: %d, keys: %s}", atLeast, yamlTexts(texts))
	}
	clauseValues["approvals"] = []string{"", ""}
	for _, text := range []string{
		"", "policy: " + of(1, 0, 1, 2), "policy: " + of(2, 0, 1, 2), "policy: " + of(3, 0, 1, 2, 3), "policy: " + of(2, 0, 1), "policy: " + of(2, 3, 2, 1),
		"owner: \"" + testKeys[0] + "\"", "owner: \"" + testKeys[1] + "\", requests: " + of(1, 0), "requests: " + of(1, 0, 1), "requests: " + of(2, 0, 1) + ", policy: " + of(1, 2),
	} {
		clauseValues["approvals"] = append(clauseValues["approvals"], strings.TrimSuffix("approvals: {"+text+"}", "approvals: {}"))
	}
}

// approvalQuestions ask whether a policy is content with the signatures of each set
// of people, and whose amendments it takes.
func approvalQuestions() (all []question) {
	for set := range 1 << len(testKeys) {
		satisfied := func(r signed.Rule) bool {
			n := 0
			for i, k := range testKeys {
				if set>>i&1 == 1 && slices.Contains(r.Texts(), k) {
					n++
				}
			}
			return n >= r.AtLeast
		}
		about := fmt.Sprintf(" signed by %d people, %04b", bits.OnesCount(uint(set)), set)
		all = append(all,
			question{"a policy" + about, func(p *Policy) bool { return satisfied(p.Approvals.Policy) }},
			question{"a request" + about, func(p *Policy) bool { return satisfied(p.Approvals.Requests) }})
	}
	for _, k := range testKeys {
		all = append(all, question{"an amendment by " + k, func(p *Policy) bool { return p.Approvals.Owner != nil && p.Approvals.Owner.String() == k }})
	}
	return all
}
