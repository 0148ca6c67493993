"""Rows and comparisons of `summary.json` from confusion matrices.

E evaluations (epochs), R runs, C classes.
"""

import itertools
from collections.abc import Callable, Mapping

import numpy as np

from emojax import metrics, statistics

METRICS: Mapping[str, Callable[[np.ndarray], np.ndarray]] = {
  "weighted_accuracy": metrics.weighted_accuracy,
  "unweighted_accuracy": metrics.unweighted_accuracy,
  "macro_f1": metrics.macro_f1,
}


def estimate(values_R) -> dict:
  """`{"mean", "std", "ci95", "runs"}` of one figure over runs."""
  mean, std, interval = statistics.t_interval(values_R)
  return {
    "mean": mean,
    "std": std,
    "ci95": interval and list(interval),
    "runs": [float(value) for value in values_R],
  }


def row(setting: str, system: str, confusion_ExRxCxC: np.ndarray) -> dict:
  """A row of the summary: the last evaluation, and the best one as `oracle`.

  The oracle picks for each run and metric the epoch that was best on the test
  set: a bound, never a result.
  """
  figures = {name: f(confusion_ExRxCxC) for name, f in METRICS.items()}
  return {
    "setting": setting,
    "system": system,
    **{name: estimate(values[-1]) for name, values in figures.items()},
    "oracle": {
      name: estimate(values.max(0)) for name, values in figures.items()
    },
  }


def comparisons(rows: list[dict], pairs: list[tuple[str, str]]) -> list[dict]:
  """Paired comparisons of systems within each setting, run by run.

  Args:
    rows: of the summary.
    pairs: (a, b) of systems: the difference is a minus b. A pair is left out
      where a setting lacks one of them.
  """
  found = {(row["setting"], row["system"]): row for row in rows}
  settings = dict.fromkeys(row["setting"] for row in rows)
  results = []
  for setting, (a, b) in itertools.product(settings, pairs):
    if (setting, a) not in found or (setting, b) not in found:
      continue
    of_a, of_b = found[setting, a], found[setting, b]
    for metric in (*METRICS, "speaker_probe"):
      if metric in of_a and metric in of_b:
        difference = statistics.paired_difference(
          of_a[metric]["runs"], of_b[metric]["runs"]
        )
        results.append(
          {
            "setting": setting,
            "a": a,
            "b": b,
            "metric": metric,
            "difference": difference.difference,
            "ci95": difference.ci95 and list(difference.ci95),
            "p_value": difference.p_value,
            "test": "paired sign-flip permutation over initialisations",
          }
        )
  return results
