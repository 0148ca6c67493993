"""How far a figure can be trusted: intervals, paired tests, a bootstrap."""

import warnings
from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike

_EXACT_RUNS = 20
_FEWEST_RUNS = 3  # Of an interval.
_RANDOM_SIGNS = 100_000
Interval = tuple[float, float]


def t_interval(values: ArrayLike) -> tuple[float, float, Interval | None]:
  """Mean, standard deviation and Student's 95 % t interval of the mean.

  Of values `[R]`, one for each run, with R - 1. One run has the deviation 0;
  below three there is no interval: that of two is 13 times as wide as they are
  apart, and says nothing.

  Raises ValueError where there is no run, or a value is not finite.
  """
  values_R = np.asarray(values, np.float64)
  if values_R.ndim != 1 or not values_R.size:
    raise ValueError(f"expected values [R], got shape {values_R.shape}")
  if not np.isfinite(values_R).all():
    raise ValueError(f"expected finite values, got {values_R}")
  mean = float(values_R.mean())
  std = float(values_R.std(ddof=1)) if values_R.size > 1 else 0.0
  if values_R.size < _FEWEST_RUNS:
    return mean, std, None
  half = float(t_half_width(values_R))
  return mean, std, (mean - half, mean + half)


def t_half_width(values: ArrayLike) -> np.ndarray:
  """Half the 95 % t interval of the mean of R >= 2 runs, `[R, …] -> […]`."""
  from scipy import special  # It takes a while, and most runs have an end.

  values = np.asarray(values, np.float64)
  quantile = special.stdtrit(len(values) - 1, 0.975)
  return quantile * values.std(axis=0, ddof=1) / np.sqrt(len(values))


def paired_permutation_test(a: ArrayLike, b: ArrayLike) -> float:
  """Two-sided sign-flip test of the mean difference between paired runs.

  Under the null hypothesis each difference a - b might as well have had the
  other sign. Up to 20 runs all sign patterns are counted; beyond, 100,000 are
  drawn (always the same ones) and the observed one is counted among them:
  (1 + extreme) / (1 + drawn), after Phipson & Smyth, "Permutation p-values
  should never be zero" (2010). Run r of a, `[R]`, and of b share their seed and
  data; an exact p-value is 2 / 2**R at least.

  Raises ValueError where the shapes differ, there is no run, or a difference is
  not finite.
  """
  differences_R = _differences(a, b)
  # Ties among the sums are ties, whatever the last bits of float32
  # accuracies say.
  slack = 1e-6 * np.abs(differences_R).sum()
  observed = abs(differences_R.sum()) - slack
  if differences_R.size <= _EXACT_RUNS:
    # |sum| is the same when all signs flip, so that the first may stay.
    sums = differences_R[:1]
    for difference in differences_R[1:]:
      sums = np.concatenate([sums + difference, sums - difference])
    return float(np.mean(np.abs(sums) >= observed))
  rng = np.random.default_rng(0)
  sums = np.zeros(_RANDOM_SIGNS)
  for difference in differences_R:
    sums += rng.choice([-difference, difference], _RANDOM_SIGNS)
  extreme = np.count_nonzero(np.abs(sums) >= observed)
  return (1 + extreme) / (1 + _RANDOM_SIGNS)


def paired_difference(
  a: ArrayLike, b: ArrayLike
) -> tuple[float, Interval | None, float | None]:
  """Mean of a - b over paired runs, its 95 % t interval, and a p-value.

  The interval is that of `t_interval`. One pair has no p-value: both signs of
  it are equally far from 0. All else, as `paired_permutation_test`.
  """
  differences_R = _differences(a, b)
  mean, _, interval = t_interval(differences_R)
  if differences_R.size == 1:
    return mean, interval, None
  return mean, interval, paired_permutation_test(a, b)


def welch(
  a: ArrayLike, b: ArrayLike
) -> tuple[float, Interval | None, float | None]:
  """mean(a) - mean(b), its 95 % interval and the p-value of Welch's t-test.

  Of two samples `[R]` and `[S]`, of two values or more each; there is neither
  interval nor p-value where no value differs from its sample's mean.
  """
  from scipy import stats

  a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
  difference = float(a.mean() - b.mean())
  # Equal values may differ from their mean in the last bit.
  if np.ptp(a) == 0 and np.ptp(b) == 0:
    return difference, None, None
  with warnings.catch_warnings():
    # Of the variance of a sample that does not vary, which is right.
    warnings.simplefilter("ignore", RuntimeWarning)
    found = stats.ttest_ind(a, b, equal_var=False)
  low, high = found.confidence_interval()
  return difference, (float(low), float(high)), float(found.pvalue)


def cluster_bootstrap(
  statistic: Callable[..., ArrayLike],
  clusters: ArrayLike,
  *data: ArrayLike,
  num_resamples: int = 2000,
  seed: int = 0,
) -> Interval:
  """95 % percentile interval of a ratio of sums, whole clusters resampled.

  Utterances of one speaker are alike, so that an interval over utterances
  would be too narrow for a speaker who was not there. Here as many speakers
  as there are get drawn with replacement, with all their utterances; see
  Davison & Hinkley, "Bootstrap methods and their application" (1997), 3.8.
  It is known to be too narrow with few clusters (below about ten).

  Args:
    statistic: of the sums `[B, ...]` of all `data` over the items of each of B
      resamples, its values `[B]`; an accuracy is a sum of hits by one of items.
    clusters: `[N]`, the cluster of each item (its speaker).
    *data: arrays `[N, ...]`, resampled together.

  Raises:
    ValueError: fewer than two clusters, or arrays of other lengths.
  """
  clusters_N, *arrays = map(np.asarray, (clusters, *data))
  if any(len(array) != len(clusters_N) for array in arrays):
    lengths = [len(clusters_N), *map(len, arrays)]
    raise ValueError(f"clusters and data differ in length: {lengths}")
  names, index_N = np.unique(clusters_N, return_inverse=True)
  if len(names) < 2:
    raise ValueError("a cluster bootstrap needs two clusters or more")
  rng = np.random.default_rng(seed)
  size = num_resamples, len(names)
  drawn_BxS = rng.integers(len(names), size=size)
  drawn_BxS += len(names) * np.arange(num_resamples)[:, None]
  times_BxS = np.bincount(drawn_BxS.ravel(), minlength=drawn_BxS.size)
  times_BxS = times_BxS.reshape(size)
  sums = []
  for array in arrays:
    sums_SxD = np.zeros((len(names), *array.shape[1:]))
    np.add.at(sums_SxD, index_N, array)
    sums.append(np.tensordot(times_BxS, sums_SxD, 1))
  statistics = statistic(*sums)
  tail = (1 - 0.95) / 2
  low, high = np.quantile(statistics, [tail, 1 - tail])
  return float(low), float(high)


def _differences(a: ArrayLike, b: ArrayLike) -> np.ndarray:
  a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
  if a.shape != b.shape or a.ndim != 1 or not a.size:
    raise ValueError(f"expected paired runs [R], got {a.shape} and {b.shape}")
  if not np.isfinite(a - b).all():
    raise ValueError(f"expected finite differences, got {a - b}")
  return a - b
