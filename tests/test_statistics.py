"""Intervals and tests against SciPy, closed forms and simulation."""

import itertools

import numpy as np
import pytest
from scipy import stats
from sklearn import metrics as sklearn_metrics

from emojax import metrics
from emojax.statistics import (
  cluster_bootstrap,
  paired_difference,
  paired_permutation_test,
  t_half_width,
  t_interval,
  welch,
)


def paired_runs(num_runs: int, effect: float, seed: int = 0):
  rng = np.random.default_rng(seed)
  b = rng.normal(0.7, 0.02, num_runs)
  return b + rng.normal(effect, 0.01, num_runs), b


def test_t_interval_is_scipys():
  values = np.random.default_rng(0).normal(0.7, 0.05, 7)
  expected = stats.ttest_1samp(values, 0.0).confidence_interval()
  mean, std, interval = t_interval(values)
  np.testing.assert_allclose(interval, expected)
  np.testing.assert_allclose(mean, values.mean())
  np.testing.assert_allclose(std, np.std(values, ddof=1))


def test_t_interval_of_three_runs_in_closed_form():
  """t at p with two degrees of freedom is (2p - 1) / sqrt(2p(1 - p))."""
  mean, std, (low, high) = t_interval([0.5, 0.6, 0.7])
  half = 0.95 / np.sqrt(2 * 0.975 * 0.025) * 0.1 / np.sqrt(3)
  np.testing.assert_allclose((low, high), (0.6 - half, 0.6 + half))
  np.testing.assert_allclose((mean, std), (0.6, 0.1))


def test_below_three_runs_there_is_no_interval():
  assert t_interval([0.7]) == (0.7, 0.0, None)
  mean, std, interval = t_interval([0.5, 0.7])
  np.testing.assert_allclose((mean, std), (0.6, 0.1 * np.sqrt(2)))
  assert interval is None


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_what_is_not_finite_is_refused(value):
  """Its comparisons with any sum are false: p = 0 without this."""
  values, others = [0.5, value, 0.6], [0.4, 0.5, 0.6]
  with pytest.raises(ValueError, match="finite values"):
    t_interval(values)
  for test in (paired_permutation_test, paired_difference):
    with pytest.raises(ValueError, match="finite differences"):
      test(values, others)


@pytest.mark.parametrize("values", [[], [[0.1, 0.2]]])
def test_t_interval_refuses_other_shapes(values):
  with pytest.raises(ValueError, match=r"expected values \[R\], got shape"):
    t_interval(values)


def test_half_width_is_columnwise():
  values = np.random.default_rng(0).normal(size=(5, 3))
  low_high = np.asarray([t_interval(column)[2] for column in values.T])
  np.testing.assert_allclose(2 * t_half_width(values), np.ptp(low_high, axis=1))


def test_t_interval_covers():
  rng = np.random.default_rng(0)
  samples = rng.normal(1.0, 2.0, size=(4000, 5))
  error = np.abs(samples.mean(axis=1) - 1.0)
  assert abs(np.mean(error <= t_half_width(samples.T)) - 0.95) < 0.01


@pytest.mark.parametrize("num_runs", [1, 2, 5, 9])
@pytest.mark.parametrize("effect", [0.0, 0.01])
def test_exact_permutation_is_scipys(num_runs, effect):
  a, b = paired_runs(num_runs, effect)
  if num_runs == 1:
    expected = 1.0
  else:
    expected = stats.permutation_test(
      (a, b),
      lambda a, b, axis: (a - b).mean(axis=axis),
      permutation_type="samples",
      n_resamples=np.inf,
      vectorized=True,
    ).pvalue
  np.testing.assert_allclose(paired_permutation_test(a, b), expected)


def test_exact_permutation_counts_ties():
  """Accuracies are multiples of 1 / N, and come in float32."""
  a = np.asarray([0.7, 0.8, 0.9, 0.6], np.float32)
  b = np.asarray([0.6, 0.7, 0.8, 0.7], np.float32)
  signs = np.asarray(list(itertools.product([-1, 1], repeat=4)))
  expected = np.mean(np.abs(signs @ [1, 1, 1, -1]) >= 2)
  assert paired_permutation_test(a, b) == expected == 10 / 16


def test_twenty_runs_of_one_sign_in_closed_form():
  b = np.linspace(0.6, 0.7, 20)
  assert paired_permutation_test(b + 0.01, b) == 2 / 2**20
  assert paired_permutation_test(b, b + 0.01) == 2 / 2**20


def test_no_difference_at_all():
  same = np.linspace(0.6, 0.7, 5)
  assert paired_permutation_test(same, same) == 1.0


def test_more_runs_are_sampled():
  a, b = paired_runs(30, 0.004)
  a -= 0.002
  p_value = paired_permutation_test(a, b)
  expected = stats.permutation_test(
    (a, b),
    lambda a, b, axis: (a - b).mean(axis=axis),
    permutation_type="samples",
    n_resamples=50_000,
    vectorized=True,
    batch=5000,
    rng=1,
  ).pvalue
  # Both are sampled: three standard deviations of a proportion.
  error = 3 * np.sqrt(expected * (1 - expected) * (1 / 50_000 + 1 / 100_000))
  assert abs(p_value - expected) < error
  assert p_value == paired_permutation_test(a, b)
  assert paired_permutation_test(b + 0.1, b) == 1 / 100_001


def test_permutation_p_values_are_uniform_without_effect():
  p_values = [
    paired_permutation_test(*paired_runs(8, 0.0, seed)) for seed in range(400)
  ]
  assert stats.kstest(p_values, "uniform").pvalue > 0.01


def test_paired_difference():
  a, b = paired_runs(12, 0.01)
  expected = stats.ttest_rel(a, b).confidence_interval(0.95)
  difference, ci95, p_value = paired_difference(a, b)
  np.testing.assert_allclose(ci95, expected)
  np.testing.assert_allclose(difference, np.mean(a - b))
  assert p_value == paired_permutation_test(a, b)
  assert paired_difference([0.5], [0.25]) == (0.25, None, None)
  assert paired_difference([0.5, 0.6], [0.4, 0.3])[1:] == (None, 0.5)


@pytest.mark.parametrize("test", [paired_permutation_test, paired_difference])
@pytest.mark.parametrize("b", [[0.1], [], [[0.1, 0.2]]])
def test_unpaired_runs_are_refused(test, b):
  with pytest.raises(ValueError, match=r"expected paired runs \[R\]"):
    test([0.1, 0.2], b)


@pytest.mark.parametrize("sizes", [(5, 5), (2, 9), (20, 3)])
def test_welch_in_closed_form(sizes):
  """Welch 1947: the degrees of freedom are Satterthwaite's."""
  rng = np.random.default_rng(0)
  a, b = (rng.normal(0, 1 + size, size) for size in sizes)
  squares = np.array([np.var(x, ddof=1) / len(x) for x in (a, b)])
  error = np.sqrt(squares.sum())
  degrees = error**4 / (squares**2 / [len(a) - 1, len(b) - 1]).sum()
  half = stats.t.ppf(0.975, degrees) * error
  difference, interval, p_value = welch(a, b)
  assert difference == pytest.approx(a.mean() - b.mean())
  assert interval == pytest.approx((difference - half, difference + half))
  expected = 2 * stats.t.sf(abs(difference) / error, degrees)
  assert p_value == pytest.approx(expected)


def test_welch_where_one_sample_or_both_never_vary():
  difference, interval, p_value = welch([0.7, 0.7], [0.6, 0.62])
  assert difference == pytest.approx(0.09)
  assert interval is not None and 0 < p_value < 1
  assert welch([0.7] * 3, [0.6] * 3)[1:] == (None, None)


def bootstrap_of_mean(clusters, values, **options):
  """Of the mean of values, as a ratio of sums."""
  return cluster_bootstrap(
    np.divide, clusters, values, np.ones(len(values)), **options
  )


def test_bootstrap_of_two_clusters_in_closed_form():
  """Means 0 and 1 with equal sizes: draws give 0, 1/2, 1 by 1 : 2 : 1."""
  clusters = np.repeat(["a", "b"], 4)
  hits = np.repeat([0.0, 1.0], 4)
  assert bootstrap_of_mean(clusters, hits) == (0.0, 1.0)


def test_bootstrap_of_singletons_is_scipys():
  values = np.random.default_rng(0).normal(size=60)
  low, high = bootstrap_of_mean(np.arange(60), values, num_resamples=5000)
  expected = stats.bootstrap(
    (values,), np.mean, method="percentile", n_resamples=5000, rng=1
  ).confidence_interval
  np.testing.assert_allclose((low, high), expected, atol=0.02)


def test_bootstrap_is_wider_when_speakers_differ():
  rng = np.random.default_rng(0)
  speakers = np.repeat(np.arange(20), 50)
  hits = rng.random(1000) < rng.uniform(0.4, 0.9, 20)[speakers]
  by_speaker = np.ptp(bootstrap_of_mean(speakers, hits))
  by_utterance = np.ptp(bootstrap_of_mean(np.arange(1000), hits))
  assert by_speaker > 1.5 * by_utterance


def test_bootstrap_covers():
  rng = np.random.default_rng(0)
  speakers = np.repeat(np.arange(25), 4)
  covered = 0
  for seed in range(200):
    values = rng.normal(size=25)[speakers] + rng.normal(size=100)
    low, high = bootstrap_of_mean(
      speakers, values, num_resamples=200, seed=seed
    )
    covered += low <= 0 <= high
  assert 0.88 <= covered / 200 <= 0.98


def test_bootstrap_of_unweighted_accuracy():
  """It is scikit-learn's of the items that are drawn, one draw at a time."""
  rng = np.random.default_rng(0)
  speakers = rng.choice(list("abcdef"), 90)
  truth = rng.integers(3, size=90)
  prediction = np.where(rng.random(90) < 0.6, truth, rng.integers(3, size=90))
  confusion = np.eye(9)[3 * truth + prediction].reshape(90, 3, 3)
  interval = cluster_bootstrap(
    metrics.unweighted_accuracy, speakers, confusion, num_resamples=100, seed=3
  )
  expected = []
  for row in np.random.default_rng(3).integers(6, size=(100, 6)):
    items = [np.flatnonzero(speakers == "abcdef"[index]) for index in row]
    of_draw = np.concatenate(items)
    expected.append(
      sklearn_metrics.balanced_accuracy_score(
        truth[of_draw], prediction[of_draw]
      )
    )
  np.testing.assert_allclose(interval, np.quantile(expected, [0.025, 0.975]))


def test_bootstrap_refuses_what_it_cannot_resample():
  with pytest.raises(ValueError, match="two clusters or more"):
    bootstrap_of_mean(["a", "a"], [0, 1])
  with pytest.raises(ValueError, match=r"differ in length: \[2, 3\]"):
    cluster_bootstrap(np.divide, ["a", "b"], [0, 1, 1])
