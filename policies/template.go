package policies

import "strings"

// Template returns a commented policy to begin with. It parses as it stands, if
// name is a name that a policy may carry, and describes a small imagined table:
// its owner replaces the columns and decides the budget.
func Template(name string) []byte {
	return []byte(strings.ReplaceAll(template, "NAME", yamlText(name)))
}

const template = `# A privsgld policy: which columns may be used, and how much privacy may be spent
# on them in all. Check it with: privsgld policy validate FILE
apiVersion: privsgld/v1
kind: Policy
metadata:
  name: NAME
  owner: data-office@example.org       # whoever answers for this policy

dataset:
  name: NAME                           # the budget belongs to this name in the ledger
  privacyUnit: row                     # what is protected; or {entity: person_id, maxRows: 20}
  adjacency: add-remove                # neighbours differ by one unit's presence; or replace-one
  # rows: 10000                        # only if the number of rows is public knowledge
  # growth: append-only                # fixed (what holds otherwise), append-only or replaced
  target: {column: insured, positive: "yes"}
  # Bounds and levels are public: take them from a code book, never from the data.
  # Columns that are not listed here are never read.
  columns:
    - {name: insured, type: category, levels: ["no", "yes"]}
    - {name: age, type: number, bounds: [18, 65]}
    - {name: children, type: integer, bounds: [0, 10], default: 0}
    - {name: region, type: category, levels: [north, south, west], reference: south}
    - {name: employed, type: boolean}
  # csv: {header: true, separator: ",", null: [""], trim: true}

budget:
  epsilon: 3                           # all jobs together
  delta: 1e-6                          # well below 1 / number of rows
  accountant: rdp                      # rdp or gdp: the filter that decides, for ever
  perJob: {epsilon: 1}                 # the most that one job may cost
  # analysts: {"*": {epsilon: 2}}      # "*": each analyst separately
  # purposes: {"*": {epsilon: 2}}      # "*": each purpose separately; every job must name one
  # periods: {monthly: {epsilon: 1}}   # of any month; monthly, quarterly or yearly
  # approximateDelta: 1e-7             # a share of delta for approximate events
  # pureEpsilon: 0.5                   # a share of epsilon for pure events, added up plainly
  renews: never                        # never, monthly, quarterly or yearly

allow:                                 # a list that is left out allows anything
  models: [logistic]                   # logistic, linear, poisson, softmax, mlp
  queries: [count, mean, quantiles]    # count, sum, mean, variance, quantiles, histogram
  analysts: ["*"]
  # purposes: ["labour research"]      # then every job must name one of them
  # targets: [insured]                 # columns that a model may predict

# Under approvals (owner, policy, requests) stand the public keys of those who may
# amend what is registered, and who must sign this file or each job; make them with
# "privsgld policy keygen".
# expires: 2027-12-31                  # the last day, UTC
# ledger: {id: "privsgld-ledger+…"}    # charge this ledger only
`
