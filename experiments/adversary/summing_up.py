"""The summary of the finished studies, its table and its figure.

A setting is a corpus: the mean over its folds, initialisation by
initialisation, and every speaker who was tested.
"""

import dataclasses
import itertools
import json
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np

from emojax import markdown, statistics
from emojax import summary as summaries
from emojax.reports import folds, style
from emojax.runtime import environment, files
from emojax.summary import Comparison, Estimate, Row, Summary

_TITLE = "When an adversary helps"
_METRICS = ("weighted_accuracy", "unweighted_accuracy")
_PAIRS = [
  (f"{a}{end}", f"{b}{end}")
  for end in ("", "_speaker_norm")
  for a, b in (("dann_s", "c1_s"), ("c1_s", "c1"))
] + [("c1_speaker_norm", "c1_s"), ("c1_s_speaker_norm", "c1_s")]
_METHODS = {"train": "", "speaker": ", z-scored by speaker"}


def write(folder: pathlib.Path, labels: Mapping[str, str]) -> None:
  """Writes `summary.json`, `table.md` and `adversary.png` into the folder.

  What the folder lacks of `labels` stays as the summary beside this file has
  it, with its own date and versions: so that one corpus can be trained anew
  without the others.

  Args:
    folder: has the studies in `runs`, as far as they are.
    labels: of all studies, by the names of their folders.
  """
  before = summaries.read(pathlib.Path(__file__).parent)
  studies = {label: folder / "runs" / name for name, label in labels.items()}
  found = {
    label: summaries.read(study)
    for label, study in studies.items()
    if (study / summaries.FILE).is_file()
  }
  rows, systems = [], {s.id: s for s in before.systems}
  for label in studies:
    if label in found:
      rows += _pooled(label, found[label])
      systems |= {s.id: s for s in found[label].systems}
    else:
      rows += [row for row in before.rows if row.setting == label]
  rows = [_over_speakers(row) for row in rows]
  # The search comes first: it may have ended where the study has not.
  searches = {
    label: json.loads(path.read_text(encoding="utf-8"))
    for label, study in studies.items()
    if (path := study / "search" / "choice.json").is_file()
  }
  now = {
    "adversary": {k: one["adversary"] for k, one in searches.items()},
    "trials": {k: _trials(one["trials"]) for k, one in searches.items()},
    "chosen": {label: one.details["chosen"] for label, one in found.items()},
    "folds": {label: _folds(one) for label, one in found.items()},
    "dates": {label: one.date for label, one in found.items()},
    "versions": {label: one.versions for label, one in found.items()},
  }
  details = {
    name: {
      label: both[label]
      for both in [before.details.get(name, {}) | of_label]
      for label in studies
      if label in both
    }
    for name, of_label in now.items()
  }
  summary = Summary(
    study="dann",
    title=_TITLE,
    demo=False,
    classes=(),
    selection=summaries.LAST_EPOCH,
    metrics=_METRICS,
    systems=tuple(systems.values()),
    rows=tuple(rows),
    comparisons=_compare(rows),
    details=details,
    **environment.describe(),
  )
  with files.whole(folder / summaries.FILE) as path:
    summaries.write(path, summary)
  with files.whole(folder / "table.md") as path:
    path.write_text(_table(summary), encoding="utf-8")
  with files.whole(folder / "adversary.png") as path:
    _draw(path, details["adversary"])


def _pooled(label: str, summary: Summary) -> list[Row]:
  """A row for each system: all folds of a corpus as one setting."""
  pooled = []
  for system in summary.systems:
    rows = [
      row
      for row in summary.rows
      if row.system == system.id and row.setting != folds.ALL
    ]
    metrics = {
      name: Estimate.of(np.mean([r.metrics[name].runs for r in rows], axis=0))
      for name in _METRICS
    }
    by_speaker: dict[str, list[Estimate]] = {}
    for row in rows:
      # A fold of one speaker has no group.
      of_row = row.groups.get(summaries.SPEAKERS) or {
        row.setting: row.metrics["unweighted_accuracy"]
      }
      for speaker, estimate in of_row.items():
        by_speaker.setdefault(speaker, []).append(estimate)
    groups = {name: one for name, (one,) in by_speaker.items()}
    pooled.append(
      Row(label, system.id, metrics, groups={summaries.SPEAKERS: groups})
    )
  return pooled


def _over_speakers(row: Row) -> Row:
  """With an interval of the unweighted accuracy over all who were tested.

  Speakers are resampled with their own accuracies: that of RAVDESS is their
  mean, since each says the same clips, and that of MELD, where each is a fold.
  """
  name, of = "unweighted_accuracy", row.groups[summaries.SPEAKERS]
  if len(of) < summaries.FEWEST_SPEAKERS:
    return row
  interval = statistics.cluster_bootstrap(
    np.divide, list(of), [one.mean for one in of.values()], np.ones(len(of))
  )
  found = dataclasses.replace(row.metrics[name], ci95_speakers=interval)
  return dataclasses.replace(row, metrics={**row.metrics, name: found})


def same_runs(a: Row, b: Row) -> bool:
  """Whether two systems are one: DANN-S with lambda = 0 is C1-S."""
  return all(a.metrics[name].runs == b.metrics[name].runs for name in _METRICS)


def _compare(rows: Sequence[Row]) -> tuple[Comparison, ...]:
  """All pairs but those of the same runs, of which there is nothing to test."""
  of = {(row.setting, row.system): row for row in rows}
  return tuple(
    one
    for one in summaries.compare(rows, _PAIRS, _METRICS)
    if not same_runs(of[one.setting, one.a], of[one.setting, one.b])
  )


def _trials(trials: Sequence[Mapping[str, Any]]) -> dict[str, float]:
  """Weighted accuracy on held-out speakers, by what was tried."""
  return {
    "{}, {}, lambda {:g}, epoch {}".format(
      *(one["setting"], one["normalisation"]),
      *(one["recipe"]["reversal"], one["epoch"]),
    ): one["weighted_accuracy"]
    for one in trials
  }


def _folds(summary: Summary) -> dict[str, dict[str, tuple[float, ...]]]:
  """Unweighted accuracy of each run, by setting and system."""
  found: dict[str, dict[str, tuple[float, ...]]] = {}
  for row in summary.rows:
    if row.setting == folds.ALL:
      continue
    of_setting = found.setdefault(row.setting, {})
    of_setting[row.system] = row.metrics["unweighted_accuracy"].runs
  return found


def _table(summary: Summary) -> str:
  """What a probe and held-out speakers say, and what the test says."""
  lines = [
    [
      *(
        "corpus",
        "probe (chance)",
        "gain on held-out speakers, weighted",
        "lambda",
      ),
      *("C1-S", "DANN-S", "gain", "95 %, initialisations", "p"),
      *("95 %, speakers", "p"),
    ]
  ]
  for label, seen in summary.details["adversary"].items():
    for method, of_method in itertools.groupby(
      sorted(seen, key=lambda one: one["normalisation"], reverse=True),
      key=lambda one: one["normalisation"],
    ):
      lines.append(_line(summary, label, method, list(of_method)))
  return markdown.table(lines) + "\n"


def _line(summary, label, method, seen: Sequence[Mapping[str, Any]]) -> list:
  end = {"train": "", "speaker": "_speaker_norm"}[method]
  rows = [summary.row(label, f"{name}{end}") for name in ("c1_s", "dann_s")]
  figures = ["not run"] * 3
  if all(rows):
    base, other = (row.metrics["unweighted_accuracy"].mean for row in rows)
    gain = f"{100 * (other - base):+.1f}"
    gain = "the same runs" if same_runs(*rows) else gain
    figures = [markdown.percent(base), markdown.percent(other), gain]
  tests = {
    one.test: one
    for one in summary.comparisons
    if (one.setting, one.a, one.b, one.metric)
    == (label, f"dann_s{end}", f"c1_s{end}", "unweighted_accuracy")
  }
  cells = []
  for test in (summaries.SIGN_FLIPS, summaries.OVER_SPEAKERS):
    one = tests.get(test)
    cells += [markdown.interval(one.ci95, "+.1f") if one else ""]
    cells += [markdown.p_value(one.p_value) if one else ""]
  probed = [one for one in seen if one["probe"] is not None]
  probe, chance = (
    100 * np.mean([one[name] for one in probed]) if probed else np.nan
    for name in ("probe", "chance")
  )
  lambdas = [one["reversal"] if one["helps"] else 0 for one in seen]
  return [
    label + _METHODS[method],
    f"{probe:.1f} ({chance:.1f})" if probed else markdown.NOTHING,
    f"{100 * np.mean([one['gain'] for one in seen]):+.1f}",
    ", ".join(f"{value:g}" for value in lambdas),
    *figures,
    *cells,
  ]


@matplotlib.rc_context(style.STYLE)
def _draw(path, seen: Mapping[str, Sequence[Mapping[str, Any]]]) -> None:
  """The gain of the best lambda > 0 over what a probe finds of the speaker.

  Filled where the rule takes lambda > 0; a point is a fold.
  """
  figure = style.new_figure(6.0, 3.6)
  ax = figure.subplots()
  ax.axhline(0, **style.REFERENCE)
  looks = {}
  for number, (label, of_corpus) in enumerate(seen.items()):
    colour = style.line_style(number)["color"]
    looks[label] = {"color": colour, "marker": "o", "linestyle": ""}
    for one in of_corpus:
      if one["probe"] is None:
        continue  # Speakers of one dialogue each.
      ax.errorbar(
        _above_chance(one),
        100 * one["gain"],
        100 * one["standard_error"],
        color=colour,
        marker="o" if one["normalisation"] == "train" else "s",
        markerfacecolor=colour if one["helps"] else "white",
        elinewidth=0.8,
      )
  ax.set_xlabel("speaker in C1-S's representation: probe above chance (%)")
  ax.set_ylabel("gain on held-out speakers (points)")
  style.add_legend(figure, style.handles(looks))
  style.save(figure, path, _TITLE)


def _above_chance(one: Mapping[str, Any]) -> float:
  """0 where a probe guesses, 100 where it knows everyone."""
  return 100 * (one["probe"] - one["chance"]) / (1 - one["chance"])
