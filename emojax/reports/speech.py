"""The report of a speech study: its figures and its page of mistakes.

U test clips, C emotions.
"""

import dataclasses
import functools
import pathlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from emojax import calibration, metrics
from emojax import summary as summaries
from emojax.audio import io
from emojax.reports import folds, misclassified, study, tables
from emojax.runtime import environment
from emojax.summary import Estimate, Row, Summary, System

CURVE = "validation_unweighted_accuracy"
# Of each run, beside the metrics of all studies.
_FURTHER = (
  *("calibration_error_before", "calibration_error_after"),
  *("coverage", "kept_accuracy"),
)
_ATTENDED = 6  # Clips in the figure of attention.
_LISTENED = 60  # Misclassified clips on the page, the surest mistakes.


def summary(
  title: str,
  clips: Any,
  systems: Sequence[System],
  by_row: Mapping[tuple[str, str], Sequence[Any]],
) -> Summary:
  """Rows and comparisons, and what is of each run.

  Args:
    title: of the study.
    clips: see `data.clips.Clips`.
    systems: the first is compared with each of the others.
    by_row: runs, see `runs.Outcome`, by (setting, system).
  """
  tested = {key: _tested(clips, group) for key, group in by_row.items()}
  rows = [
    _row(*key, tested[key], [[outcome] for outcome in group])
    for key, group in by_row.items()
  ]
  for system, of_all in folds.together(tested).items():
    groups = [by_row[setting, system] for setting in clips.splits]
    of_runs = list(zip(*groups, strict=True))
    rows.append(_row(folds.ALL, system, of_all, of_runs))
  pairs = [(systems[0].id, other.id) for other in systems[1:]]
  outcomes = [outcome for group in by_row.values() for outcome in group]
  return Summary(
    study="speech",
    title=title,
    demo=clips.demo,
    classes=clips.classes,
    selection=summaries.BEST_EPOCH,
    metrics=tuple(summaries.METRICS),
    systems=tuple(systems),
    rows=tuple(rows),
    comparisons=summaries.compare(rows, pairs, tuple(summaries.METRICS)),
    runs=tuple({**dataclasses.asdict(o.run), **o.figures} for o in outcomes),
    curve=CURVE,
    test_digest=clips.digest_of(
      {o.run.setting: o.outputs["test_rows"] for o in outcomes}
    ),
    **environment.describe(),
  )


def best(summary: Summary) -> Mapping[str, Any]:
  """The one of `Summary.runs` whose weights are kept: of the first system."""
  of_first = [r for r in summary.runs if r["system"] == summary.systems[0].id]
  return max(of_first, key=lambda run: run[CURVE])


def threshold(outputs: Mapping[str, np.ndarray], temperature: float) -> float:
  """That of one initialisation, by its validation part; see `calibration`."""
  logits_UxC = outputs["validation_logits"]
  return calibration.threshold(
    calibration.probabilities(logits_UxC, temperature),
    outputs["validation_labels"],
  )


def _tested(clips: Any, group: Sequence[Any]) -> folds.Tested:
  """Of the runs of a system in a setting."""
  rows_U = group[0].outputs["test_rows"]
  return folds.Tested(
    rows_U,
    group[0].outputs["test_labels"],
    clips.speaker_U[rows_U],
    np.stack([one.outputs["test_logits"] for one in group]),
  )


def _row(
  setting: str,
  system: str,
  tested: folds.Tested,
  of_runs: Sequence[Sequence[Any]],
) -> Row:
  """A row; each run is one initialisation on one or on several settings."""
  row = folds.row(setting, system, tested)
  # What gives no probabilities, or is sure of nothing, lacks some of these.
  further = {
    name: Estimate.of([np.mean([o.figures[name] for o in r]) for r in of_runs])
    for name in _FURTHER
    if all(name in o.figures for run in of_runs for o in run)
  }
  return dataclasses.replace(row, metrics={**row.metrics, **further})


def files(
  summary: Summary,
  history: Mapping[str, np.ndarray],
  outcomes: Sequence[Any],
  best: Any,
  clips: Any,
  attend: Callable[[np.ndarray], tuple[np.ndarray, np.ndarray, np.ndarray]],
  published: tables.Published,
) -> dict[str, study.Write]:
  """All that a person looks at, as functions of a path.

  Args:
    summary: of the study.
    history: see `Summary.curve`.
    outcomes: all of its runs, see `runs.Outcome`.
    best: the one of them whose weights the study keeps.
    clips: see `data.clips.Clips`.
    attend: of its samples, see `SpeechSystem.attend`.
    published: the paper's numbers.
  """
  confusions: dict[str, dict[str, np.ndarray]] = {}
  for one in outcomes:
    panel = confusions.setdefault(one.run.setting, {})
    label = summary.label(one.run.system)
    panel[label] = panel.get(label, 0) + metrics.confusion_counts(
      one.outputs["test_logits"], one.outputs["test_labels"]
    )
  accuracy, part = "unweighted_accuracy", "the validation part"
  shown = [
    *study.over_runs(summary, history, confusions, accuracy, part),
    *_of_best(best, clips, attend, summary.unit, study.title(summary)),
  ]
  return study.files(summary, shown, published, _notes(summary))


def of_model(summary: Summary) -> str:
  """Which run's weights are kept, in a sentence."""
  run = best(summary)
  return (
    f"`model/` is {summary.label(run['system'])}, {run['setting']}, seed "
    f"{run['seed']}: the best on its validation part, {100 * run[CURVE]:.1f} % "
    f"at epoch {run['best_epoch']:g}."
  )


def _notes(summary: Summary) -> list[str]:
  """What a reader of the report has to know beside the tables."""
  return [
    "Weights are those of the epoch with the best unweighted accuracy on the "
    "validation part; the test part was looked at once, after that.",
    f"{summary.model} Figures of single clips are of it. "
    "[misclassified/index.html](misclassified/index.html) plays what it got "
    "wrong.",
  ]


def _of_best(best, clips, attend, unit, title) -> Iterator[study.Shown]:
  """What the best run does with single clips."""
  from emojax.reports import animation, attention, figures

  counts_ExCxC = best.history["validation_confusion_matrix"]
  rounds = [f"{unit} {i}" for i in range(1, len(counts_ExCxC) + 1)]
  yield study.Shown(
    "confusions.gif",
    lambda path: animation.confusion_animation(
      path, counts_ExCxC, rounds, clips.classes, f"{title}: validation"
    ),
    "Confusions on the validation part while training, best initialisation",
  )
  logits_UxC = best.outputs["test_logits"]
  temperature = best.figures["temperature"]
  calibrated_UxC = calibration.probabilities(logits_UxC, temperature)
  by_temperature = {
    "as trained": calibration.probabilities(logits_UxC),
    f"temperature {temperature:.2f}": calibrated_UxC,
  }
  labels_U, rows_U = best.outputs["test_labels"], best.outputs["test_rows"]
  yield study.Shown(
    "reliability.png",
    lambda path: figures.reliability_diagram(
      path, by_temperature, labels_U, title
    ),
    "Reliability on the test part, best initialisation; the temperature was "
    "fitted on the validation part",
  )
  at = threshold(best.outputs, temperature)
  yield study.Shown(
    "coverage.png",
    lambda path: figures.coverage(path, calibrated_UxC, labels_U, at, title),
    "Accuracy on the test part of the clips that the best initialisation is "
    "surest of; the threshold was chosen on the validation part",
  )
  yield study.Shown(
    "attention.png",
    lambda path: attention.attention_over_spectrogram(
      path, _attended(clips, attend, rows_U, calibrated_UxC), title
    ),
    "Attention weights over the log-mel spectrogram of some test clips, best "
    "initialisation",
  )
  wrong = np.flatnonzero(calibrated_UxC.argmax(1) != labels_U)
  surest = np.argsort(-calibrated_UxC[wrong].max(1), kind="stable")
  wrong = wrong[surest][:_LISTENED]
  yield from _mistakes(clips, rows_U[wrong], calibrated_UxC[wrong], title)


def _mistakes(clips, rows_N, probabilities_NxC, title) -> Iterator[study.Shown]:
  """The page of misclassified clips, and their audio."""
  listed = []
  for row, probability_C in zip(
    rows_N.tolist(), probabilities_NxC, strict=True
  ):
    name = f"{len(listed) + 1:02d}.wav"
    listed.append(
      misclassified.Clip(
        audio=name,
        true=clips.classes[clips.class_U[row]],
        predicted=clips.classes[probability_C.argmax()],
        probabilities_C=probability_C.tolist(),
        speaker=str(clips.speaker_U[row]),
        corpus=str(clips.corpus_U[row]),
        name=pathlib.PurePath(clips.path_U[row]).name,
      )
    )
    yield study.Shown(
      f"misclassified/{name}", functools.partial(_write_clip, clips, row)
    )
  title = f"{title}: misclassified clips"
  page = misclassified.page(title, clips.classes, listed)
  yield study.Shown(
    "misclassified/index.html",
    lambda path: path.write_text(page, encoding="utf-8"),
  )


def _write_clip(clips, row: int, path: pathlib.Path) -> None:
  samples = clips.audio[row] / np.float32(io.FULL_SCALE)
  misclassified.write_audio(path, samples)


def _attended(clips, attend, rows_U, probabilities_UxC) -> list[Any]:
  """Clips spread evenly over the test part, with their attention."""
  from emojax.reports import attention

  count = min(_ATTENDED, len(rows_U))
  shown = []
  for clip in np.linspace(0, len(rows_U) - 1, count).astype(int).tolist():
    row, probability_C = int(rows_U[clip]), probabilities_UxC[clip]
    samples, centres_T, weights_T = attend(clips.audio[row])
    true = clips.classes[clips.class_U[row]]
    predicted = clips.classes[probability_C.argmax()]
    percent = f"{100 * probability_C.max():.0f} %"
    title = f"true {true}, predicted {predicted} ({percent})"
    samples_S = samples / np.float32(io.FULL_SCALE)
    shown.append(attention.Clip(samples_S, centres_T, weights_T, title))
  return shown
