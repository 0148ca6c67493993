"""What a finished run has left in its folder."""

import dataclasses
import json
import pathlib
import zipfile
from collections.abc import Mapping
from typing import Any

import numpy as np

from emojax.errors import UserError

# What runs are compared by, above all.
METRIC = "unweighted_accuracy"
_KEYS = {"title", "demo", "metrics", "rows"}


@dataclasses.dataclass(frozen=True)
class FinishedRun:
  """A run as it is compared.

  Attributes:
    name: to tell it from others.
    summary: its `summary.json`, see the README.
    history: arrays by name, `[rounds, ...]`.
  """

  name: str
  summary: Mapping[str, Any]
  history: Mapping[str, np.ndarray]


def read(folder: pathlib.Path) -> FinishedRun:
  """Reads a run; its name is that of the folder.

  `history.npz` may be missing: there is no history then.

  Raises:
    UserError: the folder holds no run, or one that is not finished or damaged.
  """
  summary = _read_summary(folder)
  history = _read_history(folder / "history.npz")
  return FinishedRun(folder.resolve().name, summary, history)


def _read_summary(folder: pathlib.Path) -> dict:
  path = folder / "summary.json"
  if not path.is_file():
    if (folder / "config.json").is_file():
      raise UserError(
        f"{folder} holds a run that has not finished: the command that began "
        "it goes on with it"
      )
    raise UserError(f"{folder} is no folder of a run: it has no summary.json")
  try:
    summary = json.loads(path.read_text())
  except ValueError as error:
    raise UserError(
      f"{path} is damaged ({error}): remove it and run the training again"
    ) from error
  if not isinstance(summary, dict) or not summary.keys() >= _KEYS:
    raise UserError(f"{path} is no summary of a whole run: name a --workdir")
  if METRIC not in summary["metrics"]:
    raise UserError(
      f"{folder} is a run of another study, whose report.md has all its "
      "comparisons: name runs of configs/dann.py or configs/speech.py"
    )
  return summary


def _read_history(path: pathlib.Path) -> dict[str, np.ndarray]:
  if not path.is_file():
    return {}
  try:
    # Opened here: NumPy leaves the file of a damaged archive open.
    with path.open("rb") as file, np.load(file) as history:
      return dict(history)
  except (OSError, ValueError, zipfile.BadZipFile) as error:
    raise UserError(f"{path} is damaged ({error}): remove it") from error
