"""Experiment trackers beside TensorBoard: Weights & Biases, MLflow, Trackio.

A run folder is one run of a tracker, which goes on where the folder does: the
folder keeps its id. A tracker that fails does not stop what it watches.

Rounds that are done again after a kill are sent again. Their numbers are the
same to the last bit, so no curve shows it.
"""

import importlib.util
import json
import logging
import os
import pathlib
import re
import secrets
import sqlite3
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import flax
import jax
import numpy as np

from emojax.errors import UserError, one_line
from emojax.runtime import files, process

_LOG = logging.getLogger(__name__)
_FILE = "trackers.json"  # Ids by tracker.
_PROJECT = "emojax"


class _Tracker(Protocol):
  """One run of a tracker, open.

  It is made from the id of the run to go on with ('' begins one), its name,
  the run folder, and what it was configured with, a tree.
  """

  id: str

  @staticmethod
  def errors() -> tuple[type[Exception], ...]:
    """What the tracker raises in trouble; its package is imported for it."""

  def log(self, step: int, values: dict[str, float]) -> None:
    """Sends figures of a round."""

  def summarize(self, values: dict[str, float]) -> None:
    """Sends final figures."""

  def close(self, is_finished: bool) -> None:
    """Sends what is waiting, and ends the run or its part of it."""


class _WandB:
  """Weights & Biases; WANDB_MODE, WANDB_PROJECT and so on are respected."""

  @staticmethod
  def errors():
    import wandb

    return wandb.Error, OSError, ValueError

  def __init__(self, id_: str, name: str, folder: pathlib.Path, config):
    import wandb

    self._run = wandb.init(
      project=os.environ.get("WANDB_PROJECT") or _PROJECT,
      id=id_ or secrets.token_hex(4),
      name=name,
      dir=folder,
      config=config,
      resume="allow",
      # What is printed stays ours.
      settings=wandb.Settings(console="off"),
    )
    self.id = self._run.id
    # Its own steps may not begin again, and each training's rounds do.
    self._run.define_metric("*", step_metric="round")

  def log(self, step, values):
    self._run.log({"round": step, **values})

  def summarize(self, values):
    self._run.summary.update(values)

  def close(self, is_finished):
    self._run.finish(exit_code=0 if is_finished else 1)


class _MLflow:
  """MLflow; MLFLOW_TRACKING_URI and MLFLOW_EXPERIMENT_NAME are respected."""

  @staticmethod
  def errors():
    from mlflow.exceptions import MlflowException

    return MlflowException, OSError

  def __init__(self, id_: str, name: str, folder: pathlib.Path, config):
    from mlflow import MlflowClient, entities

    del folder
    self._client, self._metric = MlflowClient(), entities.Metric
    self.id = id_
    if id_:
      self._client.update_run(id_, "RUNNING")
      return
    project = os.environ.get("MLFLOW_EXPERIMENT_NAME") or _PROJECT
    found = self._client.get_experiment_by_name(project)
    experiment = (
      found.experiment_id if found else self._client.create_experiment(project)
    )
    self.id = self._client.create_run(experiment, run_name=name).info.run_id
    # It takes a hundred at once.
    flat = flax.traverse_util.flatten_dict(config, sep=".")
    params = [entities.Param(k, str(v)) for k, v in flat.items()]
    for start in range(0, len(params), 100):
      self._client.log_batch(self.id, params=params[start : start + 100])

  def log(self, step, values):
    now = int(1000 * time.time())
    metrics = [self._metric(k, v, now, step) for k, v in values.items()]
    for start in range(0, len(metrics), 1000):  # So many at once.
      self._client.log_batch(self.id, metrics[start : start + 1000])

  def summarize(self, values):
    self.log(0, values)

  def close(self, is_finished):
    self._client.set_terminated(
      self.id, "FINISHED" if is_finished else "KILLED"
    )


class _Trackio:
  """Trackio; TRACKIO_DIR, TRACKIO_SPACE_ID and so on are respected."""

  @staticmethod
  def errors():
    return OSError, RuntimeError, ValueError, sqlite3.Error

  def __init__(self, id_: str, name: str, folder: pathlib.Path, config):
    import trackio

    del folder
    # Runs are known by their names.
    self.id = id_ or f"{name}-{secrets.token_hex(4)}"
    self._run = trackio.init(
      _PROJECT, self.id, config=config, resume="allow", embed=False
    )

  def log(self, step, values):
    self._run.log(values, step=step)

  def summarize(self, values):
    self._run.log(values)

  def close(self, is_finished):
    del is_finished
    self._run.finish()


_KINDS: Mapping[str, type[_Tracker]] = {
  "mlflow": _MLflow,
  "trackio": _Trackio,
  "wandb": _WandB,
}
NAMES = tuple(_KINDS)


def require(names: Sequence[str]) -> None:
  """Raises a UserError where the package of a tracker is missing."""
  for name in names:
    # A folder of this name, in which trackers keep things, is no package.
    found = importlib.util.find_spec(name)
    if found is None or found.origin is None:
      raise UserError(
        f"config.trackers: {name} is not installed: pip install {name}, or "
        "leave it out"
      )


class Trackers:
  """What tracks a study; on process 0 only.

  They are opened as the first training begins.
  """

  def __init__(
    self,
    names: Sequence[str],
    workdir: pathlib.Path,
    config: dict[str, Any],
  ):
    """`names` are of `NAMES`; `config` is what JSON can hold."""
    self._names = names if jax.process_index() == 0 else ()
    self._workdir, self._config = workdir, config
    self._open: dict[str, _Tracker] | None = None
    self._is_finished = False

  def writer(self, folder: pathlib.Path) -> "_Writer":
    """What takes the records of one training of the study.

    Raises:
      UserError: a tracker does not start.
    """
    self._opened()
    parts = folder.relative_to(self._workdir).parts
    # Where all is one program, its figures have their own names.
    return _Writer(self, [part for part in parts if part != "runs"])

  def log(self, step: int, values: Mapping[str, float]) -> None:
    """Sends figures of a round, 1 for the first one."""
    values = _plainly_named(values)
    self._each(lambda tracker: tracker.log(step, values))

  def summarize(self, values: Mapping[str, float]) -> None:
    """Sends the final figures of the study, which has come to its end."""
    values = _plainly_named(values)
    self._opened()
    self._each(lambda tracker: tracker.summarize(values))
    self._is_finished = True

  def close(self) -> None:
    """Sends what is waiting."""
    self._each(lambda tracker: tracker.close(self._is_finished))
    self._open = None

  def _opened(self) -> None:
    if self._open is not None or not self._names:
      return
    self._open = {}
    path = self._workdir / _FILE
    ids = _read(path)
    for name in self._names:
      self._open[name] = self._start(name, ids.get(name, ""))
      ids[name] = self._open[name].id
      with files.whole(path) as temporary:
        text = json.dumps(ids, indent=2) + "\n"
        temporary.write_text(text, encoding="utf-8")

  def _start(self, name: str, id_: str) -> _Tracker:
    kind = _KINDS[name]
    title = self._workdir.resolve().name
    errors: tuple[type[Exception], ...] = (ImportError,)
    try:
      errors += kind.errors()
      with process.deaf():  # Some start processes.
        return kind(id_, title, self._workdir, self._config)
    except errors as error:
      raise UserError(
        f"config.trackers: {name} does not start ({_line(error)}); mend it, "
        "or leave it out"
      ) from error

  def _each(self, action: Callable[[_Tracker], None]) -> None:
    for name, tracker in list((self._open or {}).items()):
      try:
        action(tracker)
      except tracker.errors() as error:
        del self._open[name]
        _LOG.warning(
          "%s has failed (%s): it gets nothing more of this training, which "
          "goes on",
          *(name, _line(error)),
        )


class _Writer:
  """Of one training: its scalars, under its name. See `loop`."""

  def __init__(self, trackers: Trackers, parts: Sequence[str]):
    self._trackers, self._parts = trackers, parts

  def write(self, step: int, values: Mapping[str, Any]) -> None:
    """Sends the scalars among values."""
    self._trackers.log(
      step,
      {
        "/".join((*self._parts, name)): float(value)
        for name, value in values.items()
        if isinstance(value, int | float | np.number | np.ndarray)
      },
    )


def _read(path: pathlib.Path) -> dict[str, str]:
  if not path.exists():
    return {}
  try:
    ids = json.loads(path.read_text(encoding="utf-8"))
    return {str(name): str(id_) for name, id_ in ids.items()}
  except (OSError, ValueError, AttributeError) as error:
    raise UserError(
      f"{path} is damaged ({_line(error)}): remove it, and trackers begin anew"
    ) from error


def _plainly_named(values: Mapping[str, float]) -> dict[str, float]:
  """With names that all trackers take; those of settings hold anything."""
  return {re.sub(r"[^\w./ -]+", "", k): float(v) for k, v in values.items()}


def _line(error: Exception) -> str:
  return one_line(str(error))[:300] or type(error).__name__
