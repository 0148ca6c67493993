"""The one outer loop of every study.

A study is four functions over one state. The loop owns what every study needs
and what has to be right once: restoring, running a round, evaluating, writing,
checkpoints, and stopping cleanly when the job is preempted or a number is no
longer finite. It never knows which study it runs, nor of how many (`runs`).
"""

import contextlib
import dataclasses
import logging
import pathlib
import signal
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import jax
import numpy as np
from clu import values as clu_values

from emojax.errors import UserError
from emojax.runtime import hosts, process
from emojax.runtime.checkpoints import Checkpoints
from emojax.runtime.progress import progress
from emojax.runtime.writers import TensorBoardWriter

_LOG = logging.getLogger(__name__)

State = Any
Record = Mapping[str, jax.Array | clu_values.Value]
History = dict[str, np.ndarray]


@dataclasses.dataclass(frozen=True)
class Study:
  """What a trainer gives the loop.

  Attributes:
    init: `() -> state`; called again where no checkpoint is sound.
    round: `(state, round) -> (state, record)`: an epoch, or a fixed number of
      steps. The state is donated: the old one is gone.
    evaluate: `state -> record`.
    summarize: `(state, history) -> results`: what the study makes of it.
    pictures: `arrays of a record -> {name: clu value}`: what TensorBoard shows
      besides.
    adapt: `state -> state`, if what is saved depends on the number of devices:
      it takes a state of another number, and gives it for these.

  A record holds, by name, arrays and clu values: what
  `Collection.compute_values()` gives may be a part of it. They may still be on
  their way: the loop reads them one round late, so that the devices never wait
  for the host. Arrays and clu's scalars are the history, stacked over rounds.
  TensorBoard gets scalars, and all other clu values as what they are.
  """

  init: Callable[[], State]
  round: Callable[[State, int], tuple[State, Record]]
  evaluate: Callable[[State], Record]
  summarize: Callable[[State, History], Any]
  pictures: Callable[[History], Mapping[str, clu_values.Value]] = (
    lambda arrays: {}
  )
  adapt: Callable[[State], State] | None = None


class Writer(Protocol):
  """Takes records, one round late."""

  def write(self, step: int, values: Mapping[str, Any]) -> None:
    """Scalars and other clu values of a round, from 1; on the host."""


def run(
  study: Study,
  folder: pathlib.Path,
  num_rounds: int,
  checkpoint_every: int,
  description: str,
  unit: str = "epoch",
  others: Sequence[Writer] = (),
) -> tuple[State, History]:
  """Runs all rounds of a study, from wherever its folder stands.

  The folder receives TensorBoard events and `checkpoints/`, one in so many
  rounds; `description` and `unit` are of the progress bar. The `others` get
  what TensorBoard gets.

  Returns:
    The last state, and every record, stacked over rounds.

  Raises:
    UserError: the folder can not be written, or a recorded number is not
      finite.
    SystemExit: the job was asked to stop (`process.ENDING`, in any of its
      processes, or by what JAX hears of a preemption); the state is saved.
  """
  with contextlib.closing(Checkpoints(folder / "checkpoints")) as checkpoints:
    start, state, history = checkpoints.restore(study.init, study.adapt)
    if start:
      _LOG.info("%s goes on after round %d of %d", folder, start, num_rounds)
    writer = TensorBoardWriter(folder, first_step=start + 1)
    records = _Records(history, (writer, *others), folder, study.pictures)
    rounds = progress(
      range(start, num_rounds), description=description, unit=unit
    )
    requests: list[int] = []
    done, stop = start, 0
    with (
      contextlib.closing(writer),
      contextlib.closing(rounds),
      process.on_stop(requests.append),
    ):
      for round_ in rounds:
        state, trained = study.round(state, round_)
        done = round_ + 1
        records.add(done, {**trained, **study.evaluate(state)})
        stop = _stop(requests, checkpoints, done)
        if stop or done % checkpoint_every == 0 or done == num_rounds:
          records.fetch()
          writer.flush()
          checkpoints.save(done, state, records.history)
        if stop:
          break
    if stop:
      checkpoints.close()
      _LOG.warning(
        "stopped after round %d of %d; the same command goes on from there",
        done,
        num_rounds,
      )
      raise SystemExit(128 + stop)
    return state, records.history


def _stop(requests: list[int], checkpoints: Checkpoints, done: int) -> int:
  """The signal that asks all processes of the job to stop; 0: none does."""
  # It may have reached one process alone, or each in another round.
  asked = hosts.largest(requests[0] if requests else 0)
  is_preempted = checkpoints.is_preempted(done)
  return asked or (signal.SIGTERM if is_preempted else 0)


class _Records:
  """The history so far, and the one record that is still on its way."""

  def __init__(self, history: History, writers, folder, pictures):
    self._rounds = {name: list(values) for name, values in history.items()}
    self._pending: tuple[int, Record] | None = None
    self._writers, self._folder, self._pictures = writers, folder, pictures

  def add(self, round_: int, record: Record) -> None:
    self.fetch()
    self._pending = (round_, record)

  @property
  def history(self) -> History:
    return {name: np.stack(values) for name, values in self._rounds.items()}

  def fetch(self) -> None:
    if self._pending is None:
      return
    round_, record = self._pending
    self._pending = None
    arrays, shown = {}, {}
    for name, value in record.items():
      if isinstance(value, clu_values.Scalar):
        value = value.value
      kind = shown if isinstance(value, clu_values.Value) else arrays
      kind[name] = value
    arrays = jax.device_get(arrays)
    for name, value in arrays.items():
      if not np.isfinite(value).all():
        raise UserError(
          f"{name} is not finite after round {round_} in {self._folder}: "
          "lower config.optimizer.learning_rate and choose another --workdir"
        )
      self._rounds.setdefault(name, []).append(np.asarray(value))
    shown |= {k: v for k, v in arrays.items() if np.ndim(v) == 0}
    if not hosts.is_first():
      return
    shown |= self._pictures(arrays)
    for writer in self._writers:
      writer.write(round_, shown)
