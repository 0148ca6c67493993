"""What a finished DANN study shows: rows, comparisons, probes and figures.

R runs, E epochs, U utterances of the corpus, C emotions, Q runs whose
representations are looked at, H size of a representation.
"""

import dataclasses
import functools
import itertools
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import ml_collections
import numpy as np

from emojax import statistics
from emojax import summary as summaries
from emojax.reports import figures, projection, tables
from emojax.reports.speaker_probe import speaker_probe
from emojax.runtime import environment
from emojax.summary import Estimate, Row, Summary, System, history_name

_CURVE = "weighted_accuracy"
_PROJECTED = 300  # Utterances in the figure of representations.
_PROBE = "speaker_probe"


class Utterances(NamedTuple):
  """Who says what."""

  classes: tuple[str, ...]
  class_U: np.ndarray  # -1 where there is none.
  speaker_U: np.ndarray  # Names.
  dialogue_U: np.ndarray  # Names, unique over the corpus.


@dataclasses.dataclass(frozen=True)
class Trained:
  """All runs of one system in one setting.

  Attributes:
    setting: its name.
    system: which.
    history: [R, E, ...] by name, `confusion_matrix` [R, E, C, C] among them.
    target_U: emotions to test on, -1 elsewhere.
    predictions_RxU: of all utterances; None of a baseline, which is not probed
      and has one epoch.
    representation_QxUxH: of all utterances; None of a baseline.
  """

  setting: str
  system: System
  history: Mapping[str, np.ndarray]
  target_U: np.ndarray
  predictions_RxU: np.ndarray | None = None
  representation_QxUxH: np.ndarray | None = None

  @property
  def confusion_RxExCxC(self) -> np.ndarray:
    """Counts of the test part."""
    return self.history["confusion_matrix"]


def results(
  config: ml_collections.ConfigDict,
  utterances: Utterances,
  trained: Iterable[Trained],
  found: Mapping[str, Any],
) -> tuple[Summary, Mapping[str, Any]]:
  """The summary, and further files as functions of a path.

  Args:
    config: a whole config.
    utterances: of the corpus.
    trained: every system of every setting.
    found: by the search of the stabilised recipe; empty without one.
  """
  rows, history, points = [], {}, {}
  systems: dict[str, System] = {}
  baselines = set()
  for one in trained:
    rows.append(_row(config, utterances, one))
    systems[one.system.id] = one.system
    if one.predictions_RxU is None:
      baselines.add(one.system.id)
      continue
    for name, values in (one.history | _metrics(one)).items():
      history[history_name(one.setting, one.system.id, name)] = values
    if one.setting == rows[0].setting:
      points[one.system.label] = one.representation_QxUxH[0]
  pairs = _pairs([id_ for id_ in systems if id_ not in baselines])
  summary = Summary(
    study="dann",
    title=config.title,
    demo=config.data.corpus == "demo",
    classes=utterances.classes,
    selection=summaries.LAST_EPOCH,
    metrics=tuple(summaries.METRICS),
    systems=tuple(systems.values()),
    rows=tuple(rows),
    comparisons=summaries.compare(rows, pairs, (*summaries.METRICS, _PROBE)),
    details=found,
    curve=_CURVE,
    **environment.describe(),
  )
  drawn = _figures(config, utterances, summary, history, points)
  return summary, {
    **dict(drawn.values()),
    "history.npz": lambda path: np.savez_compressed(path, **history),
    "report.md": functools.partial(_write_report, config, summary, drawn),
  }


def _metrics(one: Trained) -> dict[str, np.ndarray]:
  return {n: f(one.confusion_RxExCxC) for n, f in summaries.METRICS.items()}


def _row(config, utterances: Utterances, one: Trained) -> Row:
  row = summaries.row(one.setting, one.system.id, one.confusion_RxExCxC[:, -1])
  if one.predictions_RxU is None:
    return row
  accuracy = dataclasses.replace(
    row.metrics["weighted_accuracy"],
    ci95_speakers=_over_speakers(utterances.speaker_U, one),
  )
  estimates = {**row.metrics, "weighted_accuracy": accuracy}
  probes = [
    speaker_probe(
      representation_UxH,
      utterances.speaker_U,
      utterances.dialogue_U,
      config.seed,
    )
    for representation_UxH in one.representation_QxUxH
  ]
  if None not in probes:
    estimates[_PROBE] = Estimate.of(probes)
  confusion_ExRxCxC = one.confusion_RxExCxC.swapaxes(0, 1)
  return dataclasses.replace(
    row, metrics=estimates, oracle=summaries.oracle(confusion_ExRxCxC)
  )


def _over_speakers(
  speaker_U: np.ndarray, one: Trained
) -> tuple[float, float] | None:
  """Interval of the accuracy over the test speakers, for the mean run."""
  tested = np.flatnonzero(one.target_U >= 0)
  speakers = speaker_U[tested]
  if len(np.unique(speakers)) < 2:
    return None
  hits_RxM = one.predictions_RxU[:, tested] == one.target_U[tested]
  return statistics.cluster_bootstrap(np.mean, speakers, hits_RxM.mean(0))


def _pairs(ids: list[str]) -> list[tuple[str, str]]:
  """Everything against C1, and DANN-S against the C1 that shares its recipe."""
  pairs = [(one, "c1") for one in ids if one != "c1"]
  for end in ("", "_speaker_norm"):
    pairs.append((f"dann_s{end}", f"c1_s{end}"))
    if end:
      pairs += [(f"{one}{end}", f"c1{end}") for one in ("dann", "dann_s")]
  return [pair for pair in pairs if set(pair) <= set(ids)]


def _figures(config, utterances, summary, history, points):
  """`{caption: (file, function of a path)}`."""
  title = config.title
  if summary.demo:
    title = f"{title}, {tables.DEMO}"
  first, *_ = summary.settings
  drawn = {
    "Weighted accuracy on unseen speakers while training: mean and 95 % band": (
      "learning_curves.png",
      functools.partial(
        figures.learning_curves,
        curves=figures.curves(summary, history),
        ylabel="weighted accuracy (%)",
        title=title,
      ),
    ),
    "Weighted accuracy at the last epoch: mean and 95 % interval": (
      "comparison.png",
      functools.partial(
        figures.comparison,
        summaries={"": summary},
        metric=_CURVE,
        title=title,
      ),
    ),
    f"Representations, first initialisation, {first}": (
      "representations.png",
      functools.partial(
        _draw_representations,
        seed=config.seed,
        utterances=utterances,
        points=points,
        title=f"{title}: representations of the first initialisation",
      ),
    ),
  }
  for number, setting in enumerate(summary.settings, start=1):
    names = {
      system.label: history_name(setting, system.id, "confusion_matrix")
      for system in summary.systems
    }
    drawn[f"Confusions, {setting}: last epoch, all initialisations"] = (
      f"confusions_{number}.png",
      functools.partial(
        figures.confusion_matrices,
        matrices={
          label: history[name][:, -1].sum(0)
          for label, name in names.items()
          if name in history
        },
        classes=utterances.classes,
        title=f"{title}: {setting}",
      ),
    )
  return drawn


def _draw_representations(path, seed, utterances, points, title) -> None:
  rng = np.random.default_rng(seed)
  labelled = np.flatnonzero(utterances.class_U >= 0)
  shown = rng.permutation(labelled)[:_PROJECTED]
  figures.projections(
    path,
    {
      label: projection.project(representation[shown], seed)
      for label, representation in points.items()
    },
    utterances.speaker_U[shown],
    np.array(utterances.classes)[utterances.class_U[shown]],
    title,
  )


def _write_report(config, summary, drawn, path) -> None:
  report = tables.report(
    summary,
    {caption: name for caption, (name, _) in drawn.items()},
    config.published.to_dict(),
    _notes(config, summary),
  )
  path.write_text(report, encoding="utf-8")


def _notes(config, summary: Summary) -> list[str]:
  """How the stabilised recipe was found, and what that took."""
  found = summary.details
  if not found:
    return []
  notes = [
    f"{one['setting']}: {one['label']} chose lambda = "
    f"{one['recipe']['reversal']:g} and learning rate = "
    f"{one['recipe']['learning_rate']:g} on held-out parts of the labelled "
    "speakers."
    for one in found["chosen"]
  ]
  ends = itertools.accumulate(rung["epochs"] for rung in found["rungs"])
  rungs = ", then ".join(
    f"{rung['runs']} runs to epoch {end}"
    for rung, end in zip(found["rungs"], ends, strict=True)
  )
  trained = found["epochs_trained"]
  ours = config.num_epochs * sum(
    len(row.metrics[_CURVE].runs) for row in summary.rows if row.oracle
  )
  return [
    *notes,
    f"The search of the stabilised recipe trained {rungs}: {trained:,} epochs "
    f"of a run, {100 * found['share_of_grid']:.0f} % of what all candidates "
    f"would have taken. The study itself has {ours:,}.",
  ]
