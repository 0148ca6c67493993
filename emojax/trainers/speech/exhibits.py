"""Figures and pages of a finished speech study."""

import dataclasses
import functools
import os
import pathlib
from collections.abc import Callable, Iterator

import jax
import numpy as np
from scipy import special

from emojax.audio import io
from emojax.data import builders, windows
from emojax.data.clips import Material
from emojax.reports import (
  animation,
  attention,
  calibration_figure,
  figures,
  misclassified,
)
from emojax.reports import tables as report_tables
from emojax.systems import speech
from emojax.systems.speech import SpeechSystem
from emojax.trainers.speech import step

_CURVE = "validation_unweighted_accuracy"
_CONFUSION = "validation_confusion_matrix"
_ATTENDED = 6  # Clips in the figure of attention.
_LISTENED = 60  # Misclassified clips on the page, the surest mistakes.


@dataclasses.dataclass(frozen=True)
class Exhibit:
  """A file of the run; with a caption it is shown in the report."""

  file: str
  write: Callable[[pathlib.Path], None]
  caption: str = ""


def of_study(summary: dict, outcomes, classes) -> Iterator[Exhibit]:
  """Figures over all initialisations.

  Args:
    summary: of the study.
    outcomes: an `Outcome` of each initialisation.
    classes: names of the emotions.
  """
  title = _title(summary)
  curves, confusions = {}, {}
  for outcome in outcomes:
    setting = outcome.member.setting
    system = outcome.member.blueprint.name
    panel = curves.setdefault(setting, {})
    panel.setdefault(system, []).append(100 * outcome.history[_CURVE])
    panel = confusions.setdefault(setting, {})
    panel[system] = panel.get(system, 0) + outcome.confusion_CxC
  stacked = {
    setting: {system: np.stack(runs) for system, runs in panel.items()}
    for setting, panel in curves.items()
  }
  yield Exhibit(
    "learning_curves.png",
    lambda path: figures.learning_curves(
      path, stacked, "unweighted accuracy (%)", title
    ),
    "Unweighted accuracy on the validation part while training: mean and 95 % "
    "band over initialisations",
  )
  yield Exhibit(
    "comparison.png",
    lambda path: figures.comparison(
      path, summary, "unweighted_accuracy", 1 / len(classes)
    ),
    "Unweighted accuracy on the test part: mean and 95 % interval",
  )
  for number, (setting, matrices) in enumerate(confusions.items(), start=1):
    yield Exhibit(
      f"confusions_{number}.png",
      functools.partial(
        figures.confusion_matrices,
        matrices=matrices,
        classes=classes,
        title=f"{title}: {setting}",
      ),
      f"Confusions on the test part, {setting}, all initialisations",
    )


def of_best(
  summary: dict,
  round_name: str,
  material: Material,
  system: SpeechSystem,
  params,
  best,
) -> Iterator[Exhibit]:
  """What the best initialisation does with single clips.

  Args:
    summary: of the study.
    round_name: what a round of training is called.
    material: the clips.
    system: the classifier, with its temperature.
    params: all of its parameters.
    best: its `Outcome`.
  """
  title = _title(summary)
  confusion_ExCxC = best.history[_CONFUSION]
  frames = [f"{round_name} {i}" for i in range(1, len(confusion_ExCxC) + 1)]
  yield Exhibit(
    "confusions.gif",
    lambda path: animation.confusion_animation(
      path, confusion_ExCxC, frames, material.classes, f"{title}: validation"
    ),
    "Confusions on the validation part while training, best initialisation",
  )
  before = special.softmax(best.logits_UxC, axis=1)
  after = special.softmax(best.logits_UxC / system.temperature, axis=1)
  scaled = f"temperature {system.temperature:.2f}"
  yield Exhibit(
    "reliability.png",
    lambda path: calibration_figure.reliability_diagram(
      path, {"as trained": before, scaled: after}, best.labels_U, title
    ),
    "Reliability on the test part, best initialisation; the temperature was "
    "fitted on the validation part",
  )
  listen = functools.partial(_listen, system, params)
  yield Exhibit(
    "attention.png",
    lambda path: attention.attention_over_spectrogram(
      path, _attended(material, best, after, listen, system), title
    ),
    "Attention weights over the log-mel spectrogram of some test clips, best "
    "initialisation",
  )
  yield from _mistakes(material, best, after, f"{title}: misclassified clips")


def _title(summary: dict) -> str:
  demo = f", {report_tables.DEMO}" if summary["demo"] else ""
  return summary["title"] + demo


def _mistakes(
  material: Material, best, probabilities_UxC, title: str
) -> Iterator[Exhibit]:
  """The page of misclassified clips, and their audio."""
  predicted_U = probabilities_UxC.argmax(1)
  wrong = np.flatnonzero(predicted_U != best.labels_U)
  surest = wrong[np.argsort(-probabilities_UxC[wrong].max(1), kind="stable")]
  shown = []
  for number, clip in enumerate(surest[:_LISTENED].tolist(), start=1):
    row = int(best.rows_U[clip])
    name = f"{number:02d}.wav"
    shown.append(
      misclassified.Clip(
        audio=name,
        true=material.classes[best.labels_U[clip]],
        predicted=material.classes[predicted_U[clip]],
        probabilities_C=probabilities_UxC[clip].tolist(),
        speaker=str(material.speaker_U[row]),
        corpus=str(material.corpus_U[row]),
        name=os.path.basename(material.path_U[row]),
      )
    )
    yield Exhibit(
      f"misclassified/{name}",
      functools.partial(_write_clip, material, row),
    )
  page = misclassified.page(title, material.classes, shown)
  yield Exhibit(
    "misclassified/index.html", lambda path: path.write_text(page, "utf-8")
  )


def _write_clip(material: Material, row: int, path: pathlib.Path) -> None:
  samples = material.audio[row] / np.float32(io.FULL_SCALE)
  misclassified.write_audio(path, samples, builders.SAMPLE_RATE)


def _attended(
  material: Material, best, probabilities_UxC, listen, system
) -> list[attention.Clip]:
  """Clips spread evenly over the test part, with their attention."""
  count = min(_ATTENDED, len(best.rows_U))
  chosen = np.linspace(0, len(best.rows_U) - 1, count).astype(int)
  clips = []
  for clip in chosen.tolist():
    samples = material.audio[int(best.rows_U[clip])]
    # A long recording is seen in windows; the first one is shown.
    size = round(system.window_seconds * system.sample_rate)
    start, stop = windows.cover(len(samples), size)[0]
    samples = samples[start:stop]
    predicted = probabilities_UxC[clip].argmax()
    weights_T = listen(samples)
    seconds = system.samples_per_frame / system.sample_rate
    centres_T = (np.arange(len(weights_T)) + 0.5) * seconds
    true = material.classes[best.labels_U[clip]]
    clips.append(
      attention.Clip(
        samples / np.float32(io.FULL_SCALE),
        centres_T,
        weights_T,
        f"true {true}, predicted {material.classes[predicted]} "
        f"({100 * probabilities_UxC[clip, predicted]:.0f} %)",
      )
    )
  return clips


def _listen(system: SpeechSystem, params, samples: np.ndarray):
  """The attention weights [T] on one clip, int16 [S]."""
  model = system.model()
  audio_BxS = speech.to_float(np.asarray(samples)[None])
  lengths_B = np.array([len(samples)])
  _, out = jax.jit(
    functools.partial(step.forward, model, should_normalise=system.normalise)
  )(params, audio_BxS, lengths_B)
  return np.asarray(out["attention"])[0, : system.num_frames(len(samples))]
