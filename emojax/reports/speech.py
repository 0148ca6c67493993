"""The report of a speech study: its figures and its page of mistakes.

R runs, E evaluations, U test clips, C emotions, S samples.
"""

import dataclasses
import functools
import pathlib
from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np
from scipy import special

from emojax.audio import io
from emojax.audio.settings import SAMPLE_RATE
from emojax.reports import (
  animation,
  attention,
  calibration_figure,
  figures,
  misclassified,
  tables,
)
from emojax.summary import Summary

_ATTENDED = 6  # Clips in the figure of attention.
_LISTENED = 60  # Misclassified clips on the page, the surest mistakes.

Files = Mapping[str, Callable[[pathlib.Path], None]]


@dataclasses.dataclass(frozen=True)
class BestRun:
  """The run whose weights the study keeps, and what it says of test clips.

  Attributes:
    name: for people.
    score: its unweighted accuracy on the validation part.
    epoch: of that.
    temperature: fitted on the validation part.
    rounds_E: what each of its rounds is called.
    confusion_ExCxC: counts of the validation part.
    logits_UxC: of the test clips.
    labels_U: their emotions.
    speaker_U, corpus_U, path_U: their speakers, corpora and files.
    read: gives the samples of a test clip, int16 [S].
    attend: of samples, see `SpeechSystem.attend`.
  """

  name: str
  score: float
  epoch: float
  temperature: float
  rounds_E: Sequence[str]
  confusion_ExCxC: np.ndarray
  logits_UxC: np.ndarray
  labels_U: np.ndarray
  speaker_U: np.ndarray
  corpus_U: np.ndarray
  path_U: np.ndarray
  read: Callable[[int], np.ndarray]
  attend: Callable[[np.ndarray], tuple[np.ndarray, np.ndarray, np.ndarray]]

  @functools.cached_property
  def probabilities_UxC(self) -> np.ndarray:
    """Calibrated."""
    return special.softmax(self.logits_UxC / self.temperature, axis=1)


@dataclasses.dataclass(frozen=True)
class _Shown:
  """A file of the run; with a caption it is shown in the report."""

  file: str
  write: Callable[[pathlib.Path], None]
  caption: str = ""


def files(
  summary: Summary,
  history: Mapping[str, np.ndarray],
  confusions: Mapping[str, Mapping[str, np.ndarray]],
  best: BestRun,
  published: tables.Published,
) -> Files:
  """All that a person looks at, as functions of a path.

  Args:
    summary: of the study.
    history: see `Summary.curve`.
    confusions: `{setting: {label of a system: [C, C]}}`, counts on the test
      part over all runs.
    best: of all runs.
    published: the paper's numbers.
  """
  title = f"{summary.title}, {tables.DEMO}" if summary.demo else summary.title
  shown = [
    *_of_study(summary, history, confusions, title),
    *_of_best(summary.classes, best, title),
  ]
  text = tables.report(
    summary,
    {one.caption: one.file for one in shown if one.caption},
    published,
    _notes(best),
  )
  return {
    **{one.file: one.write for one in shown},
    "report.md": lambda path: path.write_text(text, encoding="utf-8"),
  }


def _notes(best: BestRun) -> list[str]:
  """What a reader of the report has to know beside the tables."""
  return [
    "Weights are those of the epoch with the best unweighted accuracy on the "
    "validation part; the test part was looked at once, after that.",
    f"`model/` is {best.name}: the best on its validation part, "
    f"{100 * best.score:.1f} % at epoch {best.epoch:g}. Figures of single "
    "clips are of it. [misclassified/index.html](misclassified/index.html) "
    "plays what it got wrong.",
  ]


def _of_study(summary, history, confusions, title) -> Iterator[_Shown]:
  """Figures over all runs."""
  curves = figures.curves(summary, history)
  yield _Shown(
    "learning_curves.png",
    lambda path: figures.learning_curves(
      path, curves, "unweighted accuracy (%)", title
    ),
    "Unweighted accuracy on the validation part while training: mean and 95 % "
    "band over initialisations",
  )
  yield _Shown(
    "comparison.png",
    lambda path: figures.comparison(
      path, {"": summary}, "unweighted_accuracy", title
    ),
    "Unweighted accuracy on the test part: mean and 95 % interval",
  )
  for number, (setting, matrices) in enumerate(confusions.items(), start=1):
    yield _Shown(
      f"confusions_{number}.png",
      functools.partial(
        figures.confusion_matrices,
        matrices=matrices,
        classes=summary.classes,
        title=f"{title}: {setting}",
      ),
      f"Confusions on the test part, {setting}, all initialisations",
    )


def _of_best(
  classes: Sequence[str], best: BestRun, title: str
) -> Iterator[_Shown]:
  """What the best run does with single clips."""
  yield _Shown(
    "confusions.gif",
    lambda path: animation.confusion_animation(
      path,
      best.confusion_ExCxC,
      best.rounds_E,
      classes,
      f"{title}: validation",
    ),
    "Confusions on the validation part while training, best initialisation",
  )
  by_temperature = {
    "as trained": special.softmax(best.logits_UxC, axis=1),
    f"temperature {best.temperature:.2f}": best.probabilities_UxC,
  }
  yield _Shown(
    "reliability.png",
    lambda path: calibration_figure.reliability_diagram(
      path, by_temperature, best.labels_U, title
    ),
    "Reliability on the test part, best initialisation; the temperature was "
    "fitted on the validation part",
  )
  yield _Shown(
    "attention.png",
    lambda path: attention.attention_over_spectrogram(
      path, _attended(classes, best), title
    ),
    "Attention weights over the log-mel spectrogram of some test clips, best "
    "initialisation",
  )
  yield from _mistakes(classes, best, f"{title}: misclassified clips")


def _mistakes(
  classes: Sequence[str], best: BestRun, title: str
) -> Iterator[_Shown]:
  """The page of misclassified clips, and their audio."""
  predicted_U = best.probabilities_UxC.argmax(1)
  wrong = np.flatnonzero(predicted_U != best.labels_U)
  surest = np.argsort(-best.probabilities_UxC[wrong].max(1), kind="stable")
  listed = []
  for number, clip in enumerate(wrong[surest][:_LISTENED].tolist(), start=1):
    name = f"{number:02d}.wav"
    listed.append(
      misclassified.Clip(
        audio=name,
        true=classes[best.labels_U[clip]],
        predicted=classes[predicted_U[clip]],
        probabilities_C=best.probabilities_UxC[clip].tolist(),
        speaker=str(best.speaker_U[clip]),
        corpus=str(best.corpus_U[clip]),
        name=pathlib.PurePath(best.path_U[clip]).name,
      )
    )
    yield _Shown(
      f"misclassified/{name}", functools.partial(_write_clip, best, clip)
    )
  page = misclassified.page(title, classes, listed)
  yield _Shown(
    "misclassified/index.html", lambda path: path.write_text(page, "utf-8")
  )


def _write_clip(best: BestRun, clip: int, path: pathlib.Path) -> None:
  samples = best.read(clip) / np.float32(io.FULL_SCALE)
  misclassified.write_audio(path, samples, SAMPLE_RATE)


def _attended(classes: Sequence[str], best: BestRun) -> list[attention.Clip]:
  """Clips spread evenly over the test part, with their attention."""
  count = min(_ATTENDED, len(best.labels_U))
  chosen = np.linspace(0, len(best.labels_U) - 1, count).astype(int)
  clips = []
  for clip in chosen.tolist():
    samples, centres_T, weights_T = best.attend(best.read(clip))
    probability_C = best.probabilities_UxC[clip]
    true, predicted = best.labels_U[clip], probability_C.argmax()
    clips.append(
      attention.Clip(
        samples / np.float32(io.FULL_SCALE),
        centres_T,
        weights_T,
        f"true {classes[true]}, predicted {classes[predicted]} "
        f"({100 * probability_C[predicted]:.0f} %)",
      )
    )
  return clips
