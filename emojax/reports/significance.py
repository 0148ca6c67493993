"""Tests between systems of different runs."""

import dataclasses
import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from scipy import stats

from emojax import statistics
from emojax.reports import markdown
from emojax.reports.finished_run import FinishedRun

PAIRED = "paired sign flips"
WELCH = "Welch's t"
_MEANINGS = {
  PAIRED: f"{PAIRED}: both runs were tested on the same clips, and their "
  "trainings are paired in order; p is 2 / 2^n at least for n pairs.",
  WELCH: f"{WELCH}: the trainings are two samples of unequal variance. The "
  "test clips are not known to be the same, or the runs have not as many "
  "trainings; of other clips the difficulty may differ, too.",
}

Row = Mapping[str, Any]


@dataclasses.dataclass(frozen=True)
class Difference:
  """One metric of a system of run a, minus that of a system of run b.

  Attributes:
    setting: of both.
    a: name of the first.
    b: name of the second.
    metric: which.
    difference: of the means, a fraction.
    ci95: its 95 % interval; None where neither has any spread.
    p_value: two-sided; None likewise.
    test: `PAIRED` or `WELCH`.
  """

  setting: str
  a: str
  b: str
  metric: str
  difference: float
  ci95: tuple[float, float] | None
  p_value: float | None
  test: str


def between(run_a: FinishedRun, run_b: FinishedRun) -> list[Difference]:
  """Every test between two runs, of every metric that both have.

  Within a setting of both, systems of one name are compared, or all systems
  where no name is in both. A system of one training has no spread and is left
  out. `statistics.paired_difference` is used where the test clips are known
  to be the same (`test_digest` in the summaries) and both systems have as many
  trainings, else Welch's t-test.
  """
  summary_a, summary_b = run_a.summary, run_b.summary
  digest = summary_a.get("test_digest")
  same_clips = digest is not None and digest == summary_b.get("test_digest")
  shared = [m for m in summary_a["metrics"] if m in summary_b["metrics"]]
  pairs = _pairs(summary_a["rows"], summary_b["rows"])
  return [
    Difference(
      a["setting"],
      f"{a['system']} ({run_a.name})",
      f"{b['system']} ({run_b.name})",
      metric,
      *_test(a[metric]["runs"], b[metric]["runs"], same_clips),
    )
    for a, b in pairs
    for metric in shared
  ]


def table(differences: Sequence[Difference]) -> str:
  """Differences in points, with intervals and p-values, and how to read it."""
  header = ["Setting", "Comparison", "Metric", "Test", "Difference"]
  body = [
    [
      one.setting,
      f"{one.a} − {one.b}",
      markdown.title(one.metric),
      one.test,
      f"{100 * one.difference:+.1f}",
      markdown.interval(one.ci95, "+.1f"),
      markdown.p_value(one.p_value),
    ]
    for one in differences
  ]
  rows = markdown.table([[*header, "95 % CI", "p"], *body], num_names=4)
  tests = {one.test for one in differences}
  meanings = [meaning for test, meaning in _MEANINGS.items() if test in tests]
  return "\n\n".join(
    [
      rows,
      "Differences in percentage points, the first minus the second; p is not "
      "corrected for the number of comparisons.",
      *meanings,
    ]
  )


def welch(
  a: Sequence[float], b: Sequence[float]
) -> tuple[float, tuple[float, float] | None, float | None]:
  """Welch's t-test of two samples, of two values or more each.

  Returns:
    mean(a) - mean(b), its 95 % interval and the two-sided p-value; neither
    where no value differs from its sample's mean.
  """
  difference = float(np.mean(a) - np.mean(b))
  squares = np.array([np.var(x, ddof=1) / len(x) for x in (a, b)])
  # Equal values may differ from their mean in the last bit.
  if np.ptp(a) == 0 and np.ptp(b) == 0:
    return difference, None, None
  error = np.sqrt(squares.sum())
  degrees = error**4 / (squares**2 / [len(a) - 1, len(b) - 1]).sum()
  half = stats.t.ppf(0.975, degrees) * error
  p_value = 2 * stats.t.sf(abs(difference) / error, degrees)
  interval = float(difference - half), float(difference + half)
  return difference, interval, float(p_value)


def _pairs(rows_a: list[Row], rows_b: list[Row]) -> Iterator[tuple[Row, Row]]:
  rows_a, rows_b = (
    [row for row in rows if len(row["unweighted_accuracy"]["runs"]) > 1]
    for rows in (rows_a, rows_b)
  )
  for setting in dict.fromkeys(row["setting"] for row in rows_a):
    pairs = [
      (a, b)
      for a, b in itertools.product(rows_a, rows_b)
      if a["setting"] == b["setting"] == setting
    ]
    namesakes = [(a, b) for a, b in pairs if a["system"] == b["system"]]
    yield from namesakes or pairs


def _test(
  a: Sequence[float], b: Sequence[float], same_clips: bool
) -> tuple[float, tuple[float, float] | None, float | None, str]:
  """Difference, its interval, p-value and the name of the test."""
  if same_clips and len(a) == len(b):
    return (*statistics.paired_difference(a, b), PAIRED)
  return (*welch(a, b), WELCH)
