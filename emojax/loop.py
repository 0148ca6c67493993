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
import threading
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

  A record maps names to arrays that may still be on their way: the loop reads
  them one round late, so that the devices never wait for the host. Its scalars
  go to TensorBoard; all of it, stacked over rounds, is the history.
  """

  init: Callable[[], State]
  round: Callable[[State, int], tuple[State, Record]]
  evaluate: Callable[[State], Record]
  summarize: Callable[[State, History], Results]


def run(
  study: Study,
  config: ml_collections.ConfigDict,
  workdir: str | os.PathLike,
  num_rounds: int,
  description: str,
) -> dict:
  """Runs a study to its end, from wherever its work folder stands.

  Args:
    study: the four functions.
    config: the whole config; `config.checkpoint_every` is in rounds.
    workdir: receives `config.json`, `summary.json`, the files of the results,
      TensorBoard events and `checkpoints/`.
    num_rounds: rounds to run.
    description: stands before the progress bar.

  Returns:
    The summary. A finished folder's is read, not computed again.

  Raises:
    UserError: the folder holds a run of another config, can not be written, or
      a recorded number is not finite.
    SystemExit: the job was asked to stop (SIGTERM, SIGINT); the state is saved.
  """
  workdir = pathlib.Path(workdir)
  summary = claim(workdir, config)
  if summary is not None:
    return summary
  checkpoints = Checkpoints(workdir / "checkpoints")
  start, state, history = checkpoints.restore(study.init())
  if start:
    _LOG.info("%s goes on after round %d of %d", workdir, start, num_rounds)
  writer = TensorBoardWriter(workdir, first_step=start + 1)
  records = _Records(history, writer, workdir)
  with _stop_requests() as stop:
    rounds = range(start, num_rounds)
    for round_ in progress(rounds, description=description, unit="epoch"):
      state, trained = study.round(state, round_)
      records.add(round_ + 1, trained | study.evaluate(state))
      done = round_ + 1
      if stop.is_set() or done % config.checkpoint_every == 0:
        records.flush()
        checkpoints.save(done, state, records.history)
      if stop.is_set():
        checkpoints.close()
        _LOG.warning(
          "stopped after round %d of %d; the same command goes on from there",
          done,
          num_rounds,
        )
        raise SystemExit(128 + signal.SIGTERM)
  records.flush()
  checkpoints.close()
  results = study.summarize(state, records.history)
  for name, write in results.files.items():
    with files.whole(workdir / name) as path:
      write(path)
  # The summary comes last: its presence says that the folder is finished.
  with files.whole(workdir / _SUMMARY) as path:
    text = json.dumps(results.summary, indent=2, allow_nan=False)
    path.write_text(text + "\n")
  return results.summary


class _Records:
  """The history so far, and the one record that is still on its way."""

  def __init__(self, history: History, writer, workdir: pathlib.Path):
    self._rounds = {name: list(values) for name, values in history.items()}
    self._pending: tuple[int, Record] | None = None
    self._writer = writer
    self._workdir = workdir

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


def claim(
  workdir: pathlib.Path, config: ml_collections.ConfigDict
) -> dict | None:
  """Makes the folder this config's own.

  Returns:
    The summary, if the run in this folder has finished.

  Raises:
    UserError: the folder holds a run of another config, or can not be written.
  """
  ours = json.loads(config.to_json(sort_keys=True))
  path = workdir / "config.json"
  if not path.exists():
    with files.whole(path) as temporary:
      temporary.write_text(json.dumps(ours, indent=2) + "\n")
    return None
  theirs = json.loads(path.read_text())
  ours, theirs = dict(_flatten(ours)), dict(_flatten(theirs))
  for name in sorted(ours.keys() | theirs.keys()):
    here, there = ours.get(name, "nothing"), theirs.get(name, "nothing")
    if here != there:
      raise UserError(
        f"{workdir} holds a run of another config ({name} is {there!r} there "
        f"and {here!r} here): choose another --workdir"
      )
  finished = workdir / _SUMMARY
  return json.loads(finished.read_text()) if finished.exists() else None


def _flatten(tree: dict, prefix: str = "config") -> Iterator[tuple[str, Any]]:
  for name, value in tree.items():
    if isinstance(value, dict):
      yield from _flatten(value, f"{prefix}.{name}")
    else:
      yield f"{prefix}.{name}", value


@contextlib.contextmanager
def _stop_requests() -> Iterator[threading.Event]:
  """An event that is set when the job is asked to stop.

  A second signal of the same kind ends the process at once.
  """
  stop = threading.Event()
  previous = {}

  def request(number, frame):
    del frame
    stop.set()
    signal.signal(number, previous[number])

  for number in (signal.SIGTERM, signal.SIGINT):
    previous[number] = signal.signal(number, request)
  try:
    yield stop
  finally:
    for number, handler in previous.items():
      signal.signal(number, handler)
