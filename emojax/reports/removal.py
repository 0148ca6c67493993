"""How well a selector finds the noise, where it is known what is noise.

N training images. A selector gives each the probability of being retained,
and retains or removes it.
"""

from collections.abc import Sequence

import numpy as np
from scipy import stats


def ranking(
  probability_N: np.ndarray, retained_N: np.ndarray, noisy_N: np.ndarray
) -> dict[str, float | None]:
  """The removal of noise as a detection of noise.

  Args:
    probability_N: of being retained. Only the order counts: of a selection by
      small loss it may be the negative loss.
    retained_N: bool, what the selector retains.
    noisy_N: bool, what is noise.

  Returns:
    Fractions, None where they are undefined.
    `auc`: how often a noisy image has a lower probability than another one, a
      tie counting half; the area under the curve of hits over false alarms.
    `precision`: share of noise among the removed.
    `recall`: share of the removed among the noise.
    `removed`: share of the removed among all.
  """
  noisy_N = np.asarray(noisy_N, bool)
  removed_N = ~np.asarray(retained_N, bool)
  num_found = np.count_nonzero(noisy_N & removed_N)
  return {
    "auc": _area_under_curve(np.asarray(probability_N), noisy_N),
    "precision": _share(num_found, np.count_nonzero(removed_N)),
    "recall": _share(num_found, np.count_nonzero(noisy_N)),
    "removed": _share(np.count_nonzero(removed_N), len(removed_N)),
  }


def retention(
  retained_N: np.ndarray, groups_N: np.ndarray, names: Sequence[str]
) -> dict[str, float]:
  """Share that is retained of each group: of a kind of noise, of a class.

  Args:
    retained_N: bool, what the selector retains.
    groups_N: int, the index of each image's group.
    names: of the groups.

  Returns:
    Fractions, in the order of `names`; a group without an image is left out.
  """
  retained_N, groups_N = np.asarray(retained_N, bool), np.asarray(groups_N)
  return {
    name: float(retained_N[groups_N == group].mean())
    for group, name in enumerate(names)
    if (groups_N == group).any()
  }


def _area_under_curve(
  probability_N: np.ndarray, noisy_N: np.ndarray
) -> float | None:
  """Mann & Whitney's U as a share of all pairs of a noisy and a clean image."""
  num_noisy = np.count_nonzero(noisy_N)
  num_clean = len(noisy_N) - num_noisy
  if not num_noisy or not num_clean:
    return None
  rank_sum = stats.rankdata(probability_N)[~noisy_N].sum()
  num_lower = rank_sum - num_clean * (num_clean + 1) / 2
  return float(num_lower / (num_noisy * num_clean))


def _share(count: int, total: int) -> float | None:
  return count / total if total else None
