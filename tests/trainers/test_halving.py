"""Successive halving over candidates whose scores are known."""

import pytest

from emojax.trainers import halving


def run(contests, num_epochs, score=lambda contest, candidate: candidate):
  rungs = []

  def train(rung):
    rungs.append(rung)
    return score

  return *halving.search(contests, num_epochs, train), rungs


def test_half_way_the_best_quarter_goes_on():
  candidates = [3, 8, 1, 6, 2, 7, 5, 4, 9, 12, 11, 10]
  winners, trials, rungs = run({"a": candidates}, 200)
  assert winners == {"a": 12}
  assert [(r.number, r.first, r.last) for r in rungs] == [
    (1, 0, 100),
    (2, 100, 200),
  ]
  assert [r.contests["a"] for r in rungs] == [candidates, [12, 11, 10]]
  assert len(trials) == 12 + 3
  assert {(t.candidate, t.epoch) for t in trials} >= {(12, 200), (3, 100)}


def test_contests_are_apart():
  """C1-S keeps its candidates however much worse than DANN-S they are."""
  contests = {"c1_s": [0.1, 0.2], "dann_s": [0.5, 0.6, 0.7, 0.8]}
  winners, _, rungs = run(contests, 8)
  assert winners == {"c1_s": 0.2, "dann_s": 0.8}
  assert [r.last for r in rungs] == [4, 8]
  assert rungs[1].contests == {"c1_s": [0.1, 0.2], "dann_s": [0.7, 0.8]}


@pytest.mark.parametrize("candidates", [["x"], ["x", "y"]])
def test_two_candidates_are_trained_to_the_end(candidates):
  """In one piece, as if nothing were dropped; of equals the first wins."""
  winners, _, rungs = run({"a": candidates}, 200, lambda *_: 0.5)
  assert winners == {"a": "x"}
  assert [(r.first, r.last) for r in rungs] == [(0, 200)]


@pytest.mark.parametrize(
  ("num_epochs", "ends"),
  [(1, [1]), (2, [1, 2]), (3, [2, 3])],
)
def test_few_epochs(num_epochs, ends):
  _, _, rungs = run({"a": range(16)}, num_epochs)
  assert [r.last for r in rungs] == ends
  assert [r.first for r in rungs] == [0, *ends[:-1]]
