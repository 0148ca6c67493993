"""TensorBoard events of clu metrics, without TensorFlow.

`TensorBoardWriter` has the interface of `clu.metric_writers.MetricWriter`, as
far as it is used here. (That package itself imports TensorFlow.) It writes
through tensorboardX's `EventsWriter`, on the calling thread: the queue of
`tensorboardX.SummaryWriter` is not drained by its `flush`, so what a killed
process had flushed might still be missing.
"""

import contextlib
import os
import time
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
from clu import values as clu_values
from tensorboardX import summary as summaries
from tensorboardX.event_file_writer import EventsWriter
from tensorboardX.proto.event_pb2 import Event, SessionLog
from tensorboardX.record_writer import directory_check

from emojax.errors import UserError

Array = np.ndarray | jax.Array
Scalar = int | float | np.number | np.ndarray | jax.Array


class TensorBoardWriter:
  """Writes metrics as TensorBoard events; on process 0 only.

  All methods raise `UserError` when the disk refuses the events. Values are
  fetched from the device as they are written: hand them over one step late.
  """

  def __init__(self, folder: str | os.PathLike, first_step: int = 0):
    """Opens a new event file.

    Args:
      folder: of the event files; made if missing.
      first_step: the first step that this process is going to write.
        TensorBoard drops what earlier processes wrote in `folder` from this
        step on, so that steps done again after a kill appear once. A run
        restored from step k passes k + 1; flush before a checkpoint is saved,
        or the events just before it may be missing.

    Raises:
      UserError: the folder cannot be made or written.
    """
    self._folder = os.fspath(folder)
    self._events = None
    if jax.process_index() != 0:
      return
    with self._disk_errors():
      directory_check(self._folder)
      # tensorboardX names files by the second, and would overwrite the file of
      # a process killed in this very second. TensorBoard reads files in the
      # order of their names, so the suffix has to grow.
      self._events = EventsWriter(
        f"{self._folder}/events", f".{time.time_ns():020d}"
      )
      start = SessionLog(status=SessionLog.START)
      self._write(Event(step=first_step, session_log=start))

  def write_scalars(self, step: int, scalars: Mapping[str, Scalar]) -> None:
    """Writes `{name: value}`; a value has one element.

    Raises:
      ValueError: a value has several elements.
    """
    for name, value in scalars.items():
      number = np.asarray(value)
      if number.size != 1:
        raise ValueError(f"{name} is no scalar: its shape is {number.shape}")
      self._add(step, summaries.scalar(name, number.item()))

  def write_images(self, step: int, images: Mapping[str, Array]) -> None:
    """Writes `{name: image}`.

    An image is [H, W, C] or [N, H, W, C] with C = 1 or 3, either uint8 or
    floating point in 0..1 (clipped). Several images become `name/0`, `name/1`…

    Raises:
      ValueError: an image has another rank.
    """
    for name, image in images.items():
      pixels = np.asarray(image)
      if pixels.dtype != np.uint8:
        pixels = np.round(255 * np.clip(pixels, 0, 1)).astype(np.uint8)
      if pixels.ndim == 3:
        named = {name: pixels}
      elif pixels.ndim == 4:
        named = {f"{name}/{index}": one for index, one in enumerate(pixels)}
      else:
        raise ValueError(f"{name} is no image: its shape is {pixels.shape}")
      for tag, pixels_HxWxC in named.items():
        self._add(step, summaries.image(tag, pixels_HxWxC, dataformats="HWC"))

  def write_texts(self, step: int, texts: Mapping[str, str]) -> None:
    """Writes `{name: Markdown}`."""
    for name, text in texts.items():
      self._add(step, summaries.text(name, text))

  def write_hparams(self, hparams: Mapping[str, Any]) -> None:
    """Writes the flat mapping of hyperparameters; once in the life of a run."""
    plain = {name: _plain(value) for name, value in hparams.items()}
    experiment, start, _ = summaries.hparams(plain, {})
    self._add(0, experiment)
    self._add(0, start)

  def flush(self) -> None:
    """Returns when all that was written is on the disk."""
    if self._events is not None:
      with self._disk_errors():
        self._events.flush()

  def close(self) -> None:
    """Flushes and closes the file; nothing may be written after it."""
    if self._events is not None:
      with self._disk_errors():
        self._events.close()

  def _add(self, step: int, summary: summaries.Summary) -> None:
    if self._events is not None:
      with self._disk_errors():
        self._write(Event(step=step, summary=summary))

  def _write(self, event: Event) -> None:
    event.wall_time = time.time()
    self._events.write_event(event)

  @contextlib.contextmanager
  def _disk_errors(self):
    try:
      yield
    except OSError as error:
      raise UserError(
        f"cannot write TensorBoard events to {self._folder} "
        f"({error.strerror}): free some space or choose another --workdir, "
        "then run the same command again"
      ) from error


def write_values(
  writer: TensorBoardWriter,
  step: int,
  values: Mapping[str, clu_values.Value | Scalar],
) -> None:
  """Writes each value by its clu type; a bare number or array is a scalar.

  Args:
    writer: where to.
    step: of all values.
    values: `clu.metrics.Collection.compute_values()`, for example.

  Raises:
    TypeError: a value is neither scalar, image nor text.
  """
  for name, value in values.items():
    match value:
      case clu_values.Scalar():
        writer.write_scalars(step, {name: value.value})
      case clu_values.Image():
        writer.write_images(step, {name: value.value})
      case clu_values.Text():
        writer.write_texts(step, {name: value.value})
      case clu_values.Value():
        raise TypeError(f"{name}: no way to write a {type(value).__name__}")
      case _:
        writer.write_scalars(step, {name: value})


def _plain(value: Any) -> bool | int | float | str:
  """What TensorBoard's hparams can show of `value`."""
  if isinstance(value, np.generic):
    value = value.item()
  return value if isinstance(value, bool | int | float | str) else str(value)
