#!/usr/bin/env python3
"""Recomputes exported events with Google's dp_accounting (0.6.0).

Reads a JSON list of {"document": …, "delta": …, "interval": …} from standard
input, where document is what accountant.ExportDPAccounting writes and interval
the value_discretization_interval in nats, and writes a JSON list of
{"pessimistic": ε, "optimistic": ε} in the same order, or {"refused": reason}.
"""

import contextlib
import json
import math
import sys

from dp_accounting import dp_event
from dp_accounting import privacy_accountant
from dp_accounting.pld import pld_privacy_accountant
from dp_accounting.pld import privacy_loss_distribution as pld


def build(node):
  """One node of the tree as the event of that class."""
  if node["module_name"] != "dp_accounting.dp_event":
    raise ValueError("unknown module " + node["module_name"])
  fields = {}
  for key, value in node.items():
    if key in ("module_name", "class_name"):
      continue
    if key == "event":
      value = build(value)
    elif key == "events":
      value = [build(part) for part in value]
    fields[key] = value
  return getattr(dp_event, node["class_name"])(**fields)


@contextlib.contextmanager
def optimistic():
  """Makes the library's accountant round every distribution down."""
  names = ["identity", "from_randomized_response", "from_laplace_mechanism",
           "from_gaussian_mechanism", "from_discrete_laplace_mechanism"]
  usual = {name: getattr(pld, name) for name in names}

  def down(make):
    return lambda *args, **kwargs: make(*args, pessimistic_estimate=False, **kwargs)

  for name, make in usual.items():
    setattr(pld, name, down(make))
  try:
    yield
  finally:
    for name, make in usual.items():
      setattr(pld, name, make)


def epsilon(document, delta, interval):
  relation = privacy_accountant.NeighboringRelation[document["neighboring_relation"]]
  accountant = pld_privacy_accountant.PLDAccountant(relation, interval)
  tree = document["event"]
  failure = document.get("failure_probability", 0.0)
  if failure > 0:  # see the document's notes
    tree = tree["events"][0]
    delta = (delta - failure) / (1 - failure)
    if delta <= 0:
      return math.inf
  accountant.compose(build(tree))
  return accountant.get_epsilon(delta)


def main():
  results = []
  for run in json.load(sys.stdin):
    arguments = run["document"], run["delta"], run["interval"]
    try:
      result = {"pessimistic": float(epsilon(*arguments))}
      with optimistic():
        result["optimistic"] = float(epsilon(*arguments))
    except privacy_accountant.UnsupportedEventError as err:
      result = {"refused": str(err)}
    # JSON has no infinity.
    results.append({k: v if v != math.inf else "inf" for k, v in result.items()})
  json.dump(results, sys.stdout)


if __name__ == "__main__":
  main()
