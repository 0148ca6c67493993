"""Successive halving over candidates whose scores are known."""

import pytest

from emojax.trainers import halving


def run(contests, num_epochs, score=lambda contest, candidate: candidate):
  rungs = []

  def train(rung):
    rungs.append(rung)
    return score

  return *halving.search(contests, num_epochs, train), rungs


def test_the_worse_half_is_dropped_twice():
  winners, trials, rungs = run({"a": [3, 8, 1, 6, 2, 7, 5, 4]}, 200)
  assert winners == {"a": 8}
  assert [(r.number, r.first, r.last) for r in rungs] == [
    (1, 0, 50),
    (2, 50, 100),
    (3, 100, 200),
  ]
  left = [r.contests["a"] for r in rungs]
  assert left == [[3, 8, 1, 6, 2, 7, 5, 4], [8, 6, 7, 5], [8, 7]]
  assert len(trials) == 8 + 4 + 2
  assert {(t.candidate, t.epoch) for t in trials} >= {(8, 200), (3, 50)}


def test_contests_are_apart():
  """C1-S keeps a candidate however much worse than DANN-S it is."""
  contests = {"c1_s": [0.1, 0.2], "dann_s": [0.5, 0.6, 0.7, 0.8]}
  winners, _, rungs = run(contests, 8)
  assert winners == {"c1_s": 0.2, "dann_s": 0.8}
  assert [r.last for r in rungs] == [2, 8]
  assert rungs[1].contests == {"c1_s": [0.1, 0.2], "dann_s": [0.7, 0.8]}


@pytest.mark.parametrize("candidates", [["x"], ["x", "y"]])
def test_two_candidates_are_trained_to_the_end(candidates):
  """In one piece, as if nothing were dropped; of equals the first wins."""
  winners, _, rungs = run({"a": candidates}, 200, lambda *_: 0.5)
  assert winners == {"a": "x"}
  assert [(r.first, r.last) for r in rungs] == [(0, 200)]


@pytest.mark.parametrize(
  ("num_epochs", "ends"),
  [(1, [1]), (2, [1, 2]), (3, [1, 2, 3]), (5, [2, 3, 5])],
)
def test_few_epochs(num_epochs, ends):
  _, _, rungs = run({"a": range(16)}, num_epochs)
  assert [r.last for r in rungs] == ends
  assert [r.first for r in rungs] == [0, *ends[:-1]]
