"""What each run of an RLPS study leaves in its folder, and how it is read."""

import dataclasses
import json
import pathlib

import numpy as np

from emojax import loop
from emojax.metrics import confusion_figures
from emojax.models.selector import Selection
from emojax.runtime import environment, files, tensors
from emojax.trainers.rlps.fitting import Fitting, confusion
from emojax.trainers.rlps.material import Material
from emojax.trainers.rlps.training import State

_HISTORY, _OUTPUTS = "history.npz", "outputs.npz"
_WEIGHTS = "pretrained.safetensors"


@dataclasses.dataclass(frozen=True)
class Member:
  """One initialisation of one system with one kind of noise.

  Attributes:
    setting: the noise.
    system: its name in tables; "pretraining" is what all of them start from.
    seed: of the initialisation.
    root: the folder of all of them.
  """

  setting: str
  system: str
  seed: int
  root: pathlib.Path

  @property
  def folder(self) -> pathlib.Path:
    parts = (self.setting, f"seed-{self.seed}", self.system)
    return self.root.joinpath(*map(files.plain_name, parts))


@dataclasses.dataclass(frozen=True)
class Outcome:
  """What a finished run has left.

  Attributes:
    member: which one.
    history: of its epochs.
    confusion_KxK: of the test part.
    retained_N, probability_N: of the final selection; see `Selection`.
    summary: of its folder.
  """

  member: Member
  history: dict[str, np.ndarray]
  confusion_KxK: np.ndarray
  retained_N: np.ndarray
  probability_N: np.ndarray
  summary: dict

  @property
  def counts(self) -> list[int]:
    """How many it retained in each epoch, and in the end."""
    return [*self.history["retained"].tolist(), int(self.retained_N.sum())]


def pretraining_results(
  member: Member, variables, history: loop.History
) -> loop.Results:
  """The weights, and how good they are on the validation part."""
  recall = float(history["validation_macro_recall"][-1])
  return loop.Results(
    {**_name(member), "validation_macro_recall": recall},
    {
      _HISTORY: lambda path: np.savez_compressed(path, **history),
      _WEIGHTS: lambda path: tensors.save(path, variables),
    },
  )


def pretrained(member: Member):
  """The weights that `pretraining_results` has written."""
  return tensors.load(member.folder / _WEIGHTS)


def results(
  member: Member,
  fitting: Fitting,
  state: State,
  selection: Selection,
  history: loop.History,
) -> loop.Results:
  """The final selection; and the test part, once.

  Args:
    member: the run.
    fitting: the classifier and its data.
    state: after the last epoch.
    selection: the final one.
    history: of the epochs.
  """
  confusion_KxK = confusion(
    fitting.logits(state.best_variables, "test"),
    fitting.material.parts["test"].label_N,
  )
  retained_N = np.asarray(selection.retained_N)
  summary = {
    **_name(member),
    "best_epoch": int(state.best_epoch),
    "validation_macro_recall": float(state.best_score),
    "test": confusion_figures(confusion_KxK),
    "retained": int(retained_N.sum()),
    "epochs_without_any": int((history["retained"] == 0).sum()),
    "epochs_with_all": int((history["retained"] == len(retained_N)).sum()),
    "epochs_without_a_class": int(_lacks_a_class(fitting.material, history)),
    **environment.describe(),
  }
  outputs = {
    "confusion": confusion_KxK,
    "retained": retained_N,
    "probability": np.asarray(selection.probability_N),
  }
  return loop.Results(
    summary,
    {
      _HISTORY: lambda path: np.savez_compressed(path, **history),
      _OUTPUTS: lambda path: np.savez_compressed(path, **outputs),
    },
  )


def read(member: Member) -> Outcome:
  """What a finished run has left."""
  outputs = np.load(member.folder / _OUTPUTS)
  return Outcome(
    member,
    dict(np.load(member.folder / _HISTORY)),
    outputs["confusion"],
    outputs["retained"],
    outputs["probability"],
    json.loads((member.folder / "summary.json").read_text()),
  )


def _name(member: Member) -> dict:
  return {
    "setting": member.setting,
    "system": member.system,
    "seed": member.seed,
  }


def _lacks_a_class(material: Material, history: loop.History) -> int:
  """Epochs in which a class was gone, though not all of them were."""
  present_K = np.bincount(
    material.parts["train"].label_N, minlength=len(material.classes)
  )
  gone_TxK = (history["retained_of_classes"] == 0) & (present_K > 0)
  return int((gone_TxK.any(1) & (history["retained"] > 0)).sum())
