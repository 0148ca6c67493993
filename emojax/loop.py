"""The one outer loop of every study.

A study is four functions over one state. The loop owns what every study needs
and what has to be right once: the work folder, restoring, running a round,
evaluating, writing, checkpoints, and stopping cleanly when the job is
preempted or a number is no longer finite. It never knows which study it runs.
"""

import contextlib
import dataclasses
import json
import logging
import os
import pathlib
import signal
from collections.abc import Callable, Iterator
from typing import Any

import jax
import ml_collections
import numpy as np

from emojax.errors import UserError
from emojax.runtime import files
from emojax.runtime.checkpoints import Checkpoints
from emojax.runtime.progress import progress
from emojax.runtime.writers import TensorBoardWriter

_LOG = logging.getLogger(__name__)
_CONFIG = "config.json"
_SUMMARY = "summary.json"

State = Any
Record = dict[str, jax.Array]
History = dict[str, np.ndarray]


@dataclasses.dataclass(frozen=True)
class Results:
  """What a study leaves behind.

  Attributes:
    summary: every final figure, for `summary.json`.
    files: further files by name (`report.md`, figures), each as a function
      that writes it to a path.
  """

  summary: dict
  files: dict[str, Callable[[pathlib.Path], None]]


@dataclasses.dataclass(frozen=True)
class Study:
  """What a trainer gives the loop.

  Attributes:
    init: `() -> state`, deterministic.
    round: `(state, round) -> (state, record)`: an epoch, or a fixed number of
      steps. The state is donated: the old one is gone.
    evaluate: `state -> record`.
    summarize: `(state, history) -> Results`.
    pictures: `record -> {name: uint8 [H, W, 3]}`, what TensorBoard shows
      beside the scalars.

  A record maps names to arrays that may still be on their way: the loop reads
  them one round late, so that the devices never wait for the host. Its scalars
  go to TensorBoard; all of it, stacked over rounds, is the history.
  """

  init: Callable[[], State]
  round: Callable[[State, int], tuple[State, Record]]
  evaluate: Callable[[State], Record]
  summarize: Callable[[State, History], Results]
  pictures: Callable[[dict[str, np.ndarray]], dict[str, np.ndarray]] = (
    lambda record: {}
  )


def run(
  study: Study,
  config: ml_collections.ConfigDict,
  workdir: str | os.PathLike,
  num_rounds: int,
  description: str,
  unit: str = "epoch",
) -> dict:
  """Runs a study to its end, from wherever its work folder stands.

  Args:
    study: the four functions.
    config: the whole config; `config.checkpoint_every` is in rounds.
    workdir: receives `config.json`, `summary.json`, the files of the results,
      TensorBoard events and `checkpoints/`.
    num_rounds: rounds to run.
    description: stands before the progress bar.
    unit: what a round is called there.

  Returns:
    The summary. A finished folder's is read, not computed again.

  Raises:
    UserError: the folder holds a run of another config, can not be written, or
      a recorded number is not finite.
    SystemExit: the job was asked to stop (SIGTERM, SIGINT); the state is saved.
  """
  workdir = pathlib.Path(workdir)
  summary = finished(workdir, config)
  if summary is not None:
    return summary
  claim(workdir, config)
  with contextlib.closing(Checkpoints(workdir / "checkpoints")) as checkpoints:
    state, history = _run_rounds(
      study, config, workdir, num_rounds, (description, unit), checkpoints
    )
  return finish(workdir, study.summarize(state, history))


def finish(workdir: pathlib.Path, results: Results) -> dict:
  """Writes what a study leaves behind, and returns its summary.

  Raises:
    UserError: the disk is full.
  """
  for name, write in results.files.items():
    with files.whole(workdir / name) as path:
      write(path)
  # The summary comes last: its presence says that the folder is finished.
  with files.whole(workdir / _SUMMARY) as path:
    text = json.dumps(results.summary, indent=2, allow_nan=False)
    path.write_text(text + "\n")
  return results.summary


def _run_rounds(
  study: Study,
  config: ml_collections.ConfigDict,
  workdir: pathlib.Path,
  num_rounds: int,
  labels: tuple[str, str],
  checkpoints: Checkpoints,
) -> tuple[State, History]:
  """The state and the history after all rounds."""
  start, state, history = checkpoints.restore(study.init())
  if start:
    _LOG.info("%s goes on after round %d of %d", workdir, start, num_rounds)
  writer = TensorBoardWriter(workdir, first_step=start + 1)
  records = _Records(history, writer, workdir, study.pictures)
  description, unit = labels
  rounds = range(start, num_rounds)
  with contextlib.closing(writer), _stop_requests() as requests:
    for round_ in progress(rounds, description=description, unit=unit):
      state, trained = study.round(state, round_)
      done = round_ + 1
      records.add(done, trained | study.evaluate(state))
      is_due = done % config.checkpoint_every == 0 or done == num_rounds
      if requests or is_due:
        records.flush()
        checkpoints.save(done, state, records.history)
      if requests:
        checkpoints.close()
        _LOG.warning(
          "stopped after round %d of %d; the same command goes on from there",
          done,
          num_rounds,
        )
        raise SystemExit(128 + requests[0])
  return state, records.history


class _Records:
  """The history so far, and the one record that is still on its way."""

  def __init__(self, history: History, writer, workdir, pictures):
    self._rounds = {name: list(values) for name, values in history.items()}
    self._pending: tuple[int, Record] | None = None
    self._writer = writer
    self._workdir = workdir
    self._pictures = pictures

  def add(self, round_: int, record: Record) -> None:
    self._fetch()
    self._pending = (round_, record)

  def flush(self) -> None:
    self._fetch()
    self._writer.flush()

  @property
  def history(self) -> History:
    return {name: np.stack(values) for name, values in self._rounds.items()}

  def _fetch(self) -> None:
    if self._pending is None:
      return
    round_, record = self._pending
    self._pending = None
    record = jax.device_get(record)
    for name, value in record.items():
      if not np.isfinite(value).all():
        raise UserError(
          f"{name} is not finite after round {round_} in {self._workdir}: "
          "lower config.optimizer.learning_rate and choose another --workdir"
        )
      self._rounds.setdefault(name, []).append(np.asarray(value))
    scalars = {k: float(v) for k, v in record.items() if np.ndim(v) == 0}
    self._writer.write_scalars(round_, scalars)
    self._writer.write_images(round_, self._pictures(record))


def settle(
  workdir: str | os.PathLike,
  config: ml_collections.ConfigDict,
  field: str,
  find: Callable[[], str],
) -> ml_collections.ConfigDict:
  """Fills in a field that the config leaves open, once for a whole run.

  What changes by itself, such as the newest commit of a repository, is looked
  up when the run begins; the folder's `config.json` keeps it.

  Args:
    workdir: the run's folder; it need not be there yet.
    config: stays as it is.
    field: its dotted name; it is open where it is ''.
    find: gives its value today.

  Returns:
    The config with the field.
  """
  config = config.copy_and_resolve_references()
  *parents, name = field.split(".")
  part = config
  for parent in parents:
    part = part[parent]
  if part[name]:
    return config
  path = pathlib.Path(workdir, _CONFIG)
  if path.exists():
    kept = dict(_flatten(json.loads(path.read_text())))
    part[name] = kept.get(f"config.{field}", "")
  else:
    part[name] = find()
  return config


def finished(
  workdir: pathlib.Path, config: ml_collections.ConfigDict
) -> dict | None:
  """The summary of this config's run in this folder, if it has finished.

  Raises:
    UserError: the folder holds a run of another config, or is none.
  """
  if workdir.exists() and not workdir.is_dir():
    raise UserError(f"{workdir} is no folder: choose another --workdir")
  path = workdir / _CONFIG
  if not path.exists():
    return None
  ours = dict(_flatten(_plain(config)))
  theirs = dict(_flatten(json.loads(path.read_text())))
  for name in sorted(ours.keys() | theirs.keys()):
    here, there = ours.get(name, "nothing"), theirs.get(name, "nothing")
    if here != there:
      raise UserError(
        f"{workdir} holds a run of another config ({name} is {there!r} there "
        f"and {here!r} here): choose another --workdir"
      )
  path = workdir / _SUMMARY
  return json.loads(path.read_text()) if path.exists() else None


def claim(workdir: pathlib.Path, config: ml_collections.ConfigDict) -> None:
  """Makes the folder this config's own.

  Raises:
    UserError: the folder can not be written.
  """
  path = workdir / _CONFIG
  if not path.exists():
    with files.whole(path) as temporary:
      temporary.write_text(json.dumps(_plain(config), indent=2) + "\n")


def _plain(config: ml_collections.ConfigDict) -> dict:
  """The config as JSON gives it back."""
  return json.loads(config.to_json(sort_keys=True))


def _flatten(tree: dict, prefix: str = "config") -> Iterator[tuple[str, Any]]:
  for name, value in tree.items():
    if isinstance(value, dict):
      yield from _flatten(value, f"{prefix}.{name}")
    else:
      yield f"{prefix}.{name}", value


@contextlib.contextmanager
def _stop_requests() -> Iterator[list[int]]:
  """Collects the signals that ask the job to stop.

  A second signal of the same kind ends the process at once.
  """
  requests = []
  previous = {}

  def request(number, frame):
    del frame
    requests.append(number)
    signal.signal(number, previous[number])

  for number in (signal.SIGTERM, signal.SIGINT):
    previous[number] = signal.signal(number, request)
  try:
    yield requests
  finally:
    for number, handler in previous.items():
      signal.signal(number, handler)
