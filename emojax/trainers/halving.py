"""A search that does not train to the end what is clearly worse.

Successive halving (Jamieson & Talwalkar, "Non-stochastic best arm
identification and hyperparameter optimization", AISTATS 2016) with one cut:
half-way the best quarter of the candidates goes on. An earlier cut has dropped
the later winner: while lambda rises, all candidates are alike.
"""

import dataclasses
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any

# Candidates by the name of what they compete for.
Contests = Mapping[Hashable, Sequence[Any]]

_LEAST = 2  # So many are left to the last epoch.


@dataclasses.dataclass(frozen=True)
class Rung:
  """The epochs from `first` to `last` of all candidates that are left."""

  number: int  # From 1.
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

  Two candidates or one are trained in one rung, without a cut.

  `train` goes on from where the rung before ended, and returns
  `(contest, candidate) -> score`, higher is better.

  Returns:
    The winners, of equals the first, and all trials.
  """
  trials, first = [], 0
  largest = max(len(candidates) for candidates in contests.values())
  half = -(-num_epochs // 2) if largest > _LEAST else num_epochs
  for number, last in enumerate(sorted({half, num_epochs}), start=1):
    score = train(Rung(number, first, last, contests))
    left = {}
    for name, candidates in contests.items():
      of_contest = [Trial(name, c, last, score(name, c)) for c in candidates]
      trials += of_contest
      count = max(_LEAST, -(-len(candidates) // 4)) if last < num_epochs else 1
      best = sorted(of_contest, key=lambda t: t.score, reverse=True)[:count]
      left[name] = [t.candidate for t in of_contest if t in best]
    contests, first = left, last
  return {name: one for name, (one,) in contests.items()}, trials
