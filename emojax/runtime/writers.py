"""TensorBoard events of clu values, without TensorFlow and without PyTorch.

The writers of `clu.metric_writers` import TensorFlow. This one writes through
tensorboardX's `EventsWriter`, on the calling thread: the queue of
`tensorboardX.SummaryWriter` is not drained by its `flush`, so what a killed
process had flushed might still be missing.
"""

import contextlib
import os
import time
from collections.abc import Mapping

import jax
import numpy as np
from clu import values as clu_values

from emojax.errors import UserError
from emojax.runtime import imports

# tensorboardX imports PyTorch where it is installed, for tensors that are never
# handed to it here: that would be 1.2 to 2.7 s of every start.
with imports.without("torch"):
  from tensorboardX import summary as summaries
  from tensorboardX.event_file_writer import EventsWriter
  from tensorboardX.proto.event_pb2 import Event, SessionLog
  from tensorboardX.record_writer import directory_check

Value = clu_values.Value | int | float | np.number | np.ndarray | jax.Array


class TensorBoardWriter:
  """Writes clu values as TensorBoard events; on process 0 only.

  All methods raise `UserError` when the disk refuses the events. Values are
  fetched from the device as they are written: hand them over one step late.
  """

  def __init__(self, folder: str | os.PathLike, first_step: int = 0):
    """Opens a new event file; the folder is made if missing.

    `first_step` is the next to be written: k + 1 for a run restored from step
    k. TensorBoard drops what earlier processes wrote from it on, so that steps
    done again after a kill appear once. Flush before a checkpoint is saved, or
    the events just before it may be missing.
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

  def write(self, step: int, values: Mapping[str, Value]) -> None:
    """Writes each value by its clu type; a bare number is a scalar.

    Images are [H, W, C] or [N, H, W, C] with C = 1 or 3, either uint8 or
    floating point in 0..1 (clipped); several become `name/0`, `name/1`... Texts
    are Markdown. Raises a TypeError for what is neither, and a ValueError for a
    scalar of several elements, or an image of another rank.
    """
    for name, value in values.items():
      match value:
        case clu_values.Image():
          found = _images(name, np.asarray(value.value))
        case clu_values.Text():
          found = [summaries.text(name, value.value)]
        case clu_values.Value() if not isinstance(value, clu_values.Scalar):
          raise TypeError(f"{name}: no way to write a {type(value).__name__}")
        case _:
          found = [_scalar(name, np.asarray(getattr(value, "value", value)))]
      if self._events is not None:
        with self._disk_errors():
          for summary in found:
            self._write(Event(step=step, summary=summary))

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


def _scalar(name: str, number: np.ndarray) -> summaries.Summary:
  if number.size != 1:
    raise ValueError(f"{name} is no scalar: its shape is {number.shape}")
  return summaries.scalar(name, number.item())


def _images(name: str, pixels: np.ndarray) -> list[summaries.Summary]:
  if pixels.dtype != np.uint8:
    pixels = np.round(255 * np.clip(pixels, 0, 1)).astype(np.uint8)
  if pixels.ndim == 3:
    return [summaries.image(name, pixels, dataformats="HWC")]
  if pixels.ndim == 4:
    return [
      summaries.image(f"{name}/{index}", image, dataformats="HWC")
      for index, image in enumerate(pixels)
    ]
  raise ValueError(f"{name} is no image: its shape is {pixels.shape}")
