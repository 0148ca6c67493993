"""Which runs of a study with a selector become its trained systems.

The classifier is that of the run with the best validation figure, over all
systems and initialisations of the first setting; the selector that of the best
initialisation of `rlps`, or of the first system with a policy. The test part is
not looked at for it.
"""

import dataclasses
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import ml_collections
import numpy as np

from emojax import calibration, runs
from emojax.data import clips
from emojax.data.noise import NoisyDataset, Part
from emojax.metrics import confusion_counts
from emojax.reports import rlps as reports
from emojax.runs import Outcome, Run
from emojax.summary import Summary
from emojax.systems import selectors, stored
from emojax.systems.faces import FaceSystem
from emojax.systems.selectors import Selector
from emojax.systems.speech import SpeechSystem
from emojax.trainers import fit

JUDGED_NOTE = (
  f" `{selectors.JUDGED}` holds what RLPS-S made of the training set as it was "
  "read, of the initialisation that is the best on the validation part: "
  "`emojax clean` writes it as a list."
)

_PREFERRED, _BY_FOLDS = "rlps", "rlps_s"


class Kept:
  """The best runs so far: of the classifier, and of the selector.

  A run leaves weights only if it is one of them as it ends: a study of VGG19
  has dozens of runs, and weights of 80 MB.
  """

  def __init__(
    self, setting: str, systems: Sequence[str], policies: Collection[str]
  ):
    """Takes the first setting, the study's systems, and which have a policy."""
    self._setting = setting
    learned = [name for name in systems if name in policies]
    first = learned[0] if learned else None
    self._selects = _PREFERRED if _PREFERRED in learned else first
    self._best: dict[str, Outcome] = {}

  def bounds(self, run: Run) -> dict[str, float]:
    """Above which validation figure a run's weights are kept, by their part.

    Without a part that is not kept in any case.
    """
    parts = []
    if run.setting == self._setting:
      parts = ["system"] + ["selector"] * (run.system == self._selects)
    lowest = -1.0  # As `fit.init_best` has it.
    return {
      part: self._best[part].figures[reports.CURVE]
      if part in self._best
      else lowest
      for part in parts
    }

  def add(self, outcome: Outcome) -> None:
    """Takes note of a finished run."""
    for part, bound in self.bounds(outcome.run).items():
      if outcome.figures[reports.CURVE] > bound:
        self._best[part] = outcome

  def note(self, summary: Summary) -> str:
    """Which runs they are, for the report."""
    named = {
      part: f"{one.run.setting}, {summary.label(one.run.system)}, seed "
      f"{one.run.seed}"
      for part, one in self._best.items()
    }
    text = f"`model/` holds the classifier of {named['system']}"
    if "selector" in named:
      text += f", and the selector of {named['selector']}"
    return f"{text}: the best on the validation part of the first setting."

  def files(
    self,
    config: ml_collections.ConfigDict,
    described: FaceSystem | SpeechSystem,
    train: Part,
  ) -> runs.Files:
    """Writers of the trained systems.

    `described` is an untrained one, `train` the part that it was trained on.
    """
    one = self._best["system"]
    params, temperature = one.weights["system"], one.figures["temperature"]
    system = dataclasses.replace(described, temperature=temperature)
    if isinstance(system, SpeechSystem):
      params = params["params"]
      system = dataclasses.replace(
        system,
        threshold=one.figures["threshold"],
        level_db=_level_db(train),
      )
    found = stored.writers(system, params)
    if "selector" not in self._best:
      return found
    one = self._best["selector"]
    weights = one.weights["selector"]
    # All but the last one, its output.
    layers = [f"layer_{i}" for i in range(len(weights["policy"]) - 1)]
    selector = Selector(
      classifier=described,
      labels=config.data.labels,
      widths=tuple(len(weights["policy"][name]["bias"]) for name in layers),
      retention_floor=config.retention_floor,
      key=tuple(one.outputs["key"].tolist()),
      batch_size=config.batch_size,
    )
    return found | stored.writers(selector, weights, selectors.FILES)


def judged(
  config: ml_collections.ConfigDict,
  data_sets: Sequence[NoisyDataset],
  outcomes: Mapping[tuple[str, str], Sequence[Outcome]],
) -> runs.Files:
  """Writer of `selectors.JUDGED`, of the first data set as it was read.

  `outcomes` are by setting and system. With noise that a study has added it
  would speak of other images and labels than the user's: then there is none.
  """
  as_it_is = [one for one in data_sets if one.added == NoisyDataset.added]
  if not as_it_is or _BY_FOLDS not in config.systems:
    return {}
  data = as_it_is[0]
  group = outcomes[data.setting, _BY_FOLDS]
  best = max(group, key=lambda one: one.figures[reports.CURVE])
  names = ("retained", "probability", "log_probability")
  arrays = {
    "name": data.name_N.astype(str),
    "label": data.train.label_N,
    "labels": np.array(config.data.labels),
    **{name: best.outputs[name] for name in names},
  }
  return {selectors.JUDGED: lambda path: np.savez_compressed(path, **arrays)}


def judge(
  examples: fit.Examples, parts: Mapping[str, Part], variables: Any
) -> tuple[dict[str, float], dict[str, np.ndarray]]:
  """How sure to be of a classifier, and what it makes of the test part.

  Returns:
    Figures `temperature` and `threshold`, fitted on the validation part; and
    outputs `confusion` [K, K] and `test_logits` [n, K].
  """
  logits, _ = examples.predict(variables, "validation")
  labels = parts["validation"].label_N
  temperature = calibration.temperature(logits, labels)
  sure = calibration.probabilities(logits, temperature)
  figures = {
    "temperature": temperature,
    "threshold": calibration.threshold(sure, labels),
  }
  logits, _ = examples.predict(variables, "test")
  confusion_KxK = confusion_counts(logits, parts["test"].label_N)
  return figures, {"confusion": confusion_KxK, "test_logits": logits}


def _level_db(train: Part) -> float | None:
  """Of the speech of a training part of clips."""
  audio, lengths = train.source["audio"], train.source["length"]
  heard = [samples[:n] for samples, n in zip(audio, lengths, strict=True)]
  return clips.speech_db(heard, train.row_N)
