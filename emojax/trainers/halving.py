"""Successive halving: what is clearly worse is not trained to the end.

Jamieson & Talwalkar, "Non-stochastic best arm identification and hyperparameter
optimization", AISTATS 2016.
"""

import dataclasses
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from typing import Any

# Candidates by the name of what they compete for.
Contests = Mapping[Hashable, Sequence[Any]]

_SHARES = (4, 2)  # After a quarter and a half of the epochs.
_LEAST = 2  # So many are left to the last epoch.


@dataclasses.dataclass(frozen=True)
class Rung:
  """Some epochs in which all candidates that are left are trained.

  Attributes:
    number: from 1.
    first: the epoch before it, 0 for the first rung.
    last: the epoch at its end.
    contests: the candidates that are left.
  """

  number: int
  first: int
  last: int
  contests: Contests


@dataclasses.dataclass(frozen=True)
class Trial:
  """What a candidate had reached when its rung ended."""

  contest: Hashable
  candidate: Any
  epoch: int
  score: float


def search(
  contests: Contests,
  num_epochs: int,
  train: Callable[[Rung], Callable[[Hashable, Any], float]],
) -> tuple[dict[Hashable, Any], list[Trial]]:
  """Finds the best candidate of each contest.

  The worse half of each contest is dropped after a quarter, and again after a
  half of the epochs, but never so that fewer than two are left. With two
  candidates or one there is a single rung: all epochs.

  Args:
    contests: with all candidates.
    num_epochs: of a whole training.
    train: goes on with the candidates of a rung from where the one before
      ended, and returns `(contest, candidate) -> score`, higher is better.

  Returns:
    The winners, of equals the first, and all trials.
  """
  trials = []
  largest = max(len(candidates) for candidates in contests.values())
  first = 0
  for number, last in enumerate(_ends(num_epochs, largest), start=1):
    score = train(Rung(number, first, last, contests))
    least = _LEAST if last < num_epochs else 1
    left = {}
    for name, candidates in contests.items():
      of_contest = [Trial(name, c, last, score(name, c)) for c in candidates]
      trials += of_contest
      count = max(least, _half(len(candidates)) if least > 1 else 1)
      ranked = sorted(of_contest, key=lambda t: t.score, reverse=True)[:count]
      left[name] = [t.candidate for t in of_contest if t in ranked]
    contests, first = left, last
  return {name: one for name, (one,) in contests.items()}, trials


def _ends(num_epochs: int, largest: int) -> Iterator[int]:
  """The last epochs of the rungs."""
  first = 0
  for share in _SHARES:
    last = -(-num_epochs // share)
    if largest > _LEAST and first < last < num_epochs:
      yield last
      first, largest = last, _half(largest)
  yield num_epochs


def _half(count: int) -> int:
  return -(-count // 2)
