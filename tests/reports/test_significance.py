"""Tests between runs, against SciPy."""

import numpy as np
import pytest
from scipy import stats

from emojax.reports import significance
from emojax.reports.finished_run import FinishedRun

METRICS = ["weighted_accuracy", "unweighted_accuracy", "macro_f1"]


def row(setting: str, system: str, *runs: float) -> dict:
  value = {"mean": float(np.mean(runs)), "runs": list(runs)}
  return {"setting": setting, "system": system} | dict.fromkeys(METRICS, value)


def run(name: str, rows: list[dict], **more) -> FinishedRun:
  return FinishedRun(name, {"metrics": METRICS, "rows": rows} | more, {})


FIVE = (0.60, 0.62, 0.61, 0.65, 0.60)
OTHER_FIVE = (0.55, 0.60, 0.58, 0.60, 0.57)


def test_welch_agrees_with_scipy():
  rng = np.random.default_rng(0)
  for sizes in ((5, 5), (2, 9), (20, 3)):
    a, b = (rng.normal(0, 1 + size, size) for size in sizes)
    expected = stats.ttest_ind(a, b, equal_var=False)
    difference, interval, p_value = significance.welch(a, b)
    assert difference == pytest.approx(a.mean() - b.mean())
    assert interval == pytest.approx(expected.confidence_interval())
    assert p_value == pytest.approx(expected.pvalue)


def test_welch_where_one_sample_or_both_never_vary():
  difference, interval, p_value = significance.welch([0.7, 0.7], [0.6, 0.62])
  assert difference == pytest.approx(0.09)
  assert interval is not None and 0 < p_value < 1
  assert significance.welch([0.7] * 3, [0.6] * 3)[1:] == (None, None)


@pytest.mark.parametrize(
  ("digests", "num_of_b", "test"),
  [
    (("x", "x"), 5, significance.PAIRED),
    (("x", "y"), 5, significance.WELCH),
    (("x", "x"), 4, significance.WELCH),
    ((None, None), 5, significance.WELCH),
    (("x", None), 5, significance.WELCH),
  ],
)
def test_which_test(digests, num_of_b, test):
  a, b = (
    run(name, [row("s", "C1", *values)])
    if digest is None
    else run(name, [row("s", "C1", *values)], test_digest=digest)
    for name, values, digest in zip(
      "ab", (FIVE, OTHER_FIVE[:num_of_b]), digests, strict=True
    )
  )
  found = significance.between(a, b)
  assert [one.metric for one in found] == METRICS
  assert {one.test for one in found} == {test}
  first = found[0]
  assert (first.a, first.b, first.setting) == ("C1 (a)", "C1 (b)", "s")
  if test == significance.PAIRED:
    expected = stats.permutation_test(
      (FIVE, OTHER_FIVE),
      lambda x, y, axis: np.mean(x - y, axis=axis),
      permutation_type="samples",
      vectorized=True,
    )
  else:
    expected = stats.ttest_ind(FIVE, OTHER_FIVE[:num_of_b], equal_var=False)
  assert first.p_value == pytest.approx(expected.pvalue)


def names(a: list[dict], b: list[dict]) -> list[tuple[str, str, str]]:
  found = significance.between(run("a", a), run("b", b))
  return [
    (one.setting, one.a, one.b) for one in found if one.metric == "macro_f1"
  ]


def test_namesakes_are_compared():
  a = [row(s, system, *FIVE) for s in "st" for system in ("C1", "DANN")]
  b = [row("s", system, *FIVE) for system in ("DANN", "C1", "CMN")]
  assert names(a, b) == [
    ("s", "C1 (a)", "C1 (b)"),
    ("s", "DANN (a)", "DANN (b)"),
  ]


def test_all_are_compared_where_no_name_is_shared():
  a = [row("s", "frozen", *FIVE), row("s", "SVM", 0.5)]
  b = [row("s", "last 2", *FIVE), row("s", "last 4", *FIVE)]
  b += [row("s", "SVM", 0.5)]
  assert names(a, b) == [
    ("s", "frozen (a)", "last 2 (b)"),
    ("s", "frozen (a)", "last 4 (b)"),
  ]


def test_nothing_is_compared_across_settings_or_of_one_training():
  assert not names([row("s", "C1", *FIVE)], [row("t", "C1", *FIVE)])
  assert not names([row("s", "SVM", 0.5)], [row("s", "SVM", 0.6)])


def test_table_names_the_tests_that_were_used():
  a, b = run("a", [row("s", "C1", *FIVE)]), run("b", [row("s", "C1", 0.5, 0.5)])
  text = significance.table(significance.between(a, b))
  assert "| s | C1 (a) − C1 (b) | Macro F1 | Welch's t | +11.6 | " in text
  assert f"{significance.WELCH}: " in text
  assert f"{significance.PAIRED}: " not in text


def test_table_without_any_spread():
  a, b = (run(n, [row("s", "C1", v, v)]) for n, v in (("a", 0.5), ("b", 0.6)))
  text = significance.table(significance.between(a, b))
  assert "| -10.0 | – | – |" in text
