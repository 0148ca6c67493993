"""Batches of few fixed shapes from sequences on disk, through Grain.

Which pieces are in batch k depends on the seed and on k alone. So a run that
stopped after k batches goes on with batch k, in the middle of an epoch too,
and nothing but k has to be kept. (Grain's own position, `get_state`, is the
same number.)

P pieces (windows of clips), B pieces of a batch, L positions of a sequence
(samples, or frames of features).
"""

import contextlib
import dataclasses
import errno
import functools
import logging
import math
import pathlib
import re
import shutil
import signal
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, Protocol, Self

import jax
import numpy as np
from absl import flags

from emojax.data import windows
from emojax.errors import UserError
from emojax.runtime import imports, process, sharding

_LOG = logging.getLogger(__name__)
_ORDER, _NOISE = range(2)  # Each has randomness of its own.
_AHEAD = 4  # Batches that wait on the host, and again on the device.
_SHARED = pathlib.Path("/dev/shm")  # Of 64 MiB in Docker.
_MEBIBYTE = 1 << 20


class Pieces(NamedTuple):
  """Windows of clips: the rows of the clips, and from where to where, [P]."""

  row_P: np.ndarray
  start_P: np.ndarray
  stop_P: np.ndarray

  @property
  def lengths_P(self) -> np.ndarray:
    return self.stop_P - self.start_P


def cut(lengths_U: np.ndarray, rows: np.ndarray, size: int) -> Pieces:
  """Cuts these rows of clips into pieces of at most `size`; see `windows`."""
  bounds = [windows.cover(int(lengths_U[row]), size) for row in rows]
  row_P = np.repeat(rows, [len(b) for b in bounds])
  start_P, stop_P = np.concatenate(bounds).T
  return Pieces(row_P, start_P, stop_P)


def whole(lengths_P: np.ndarray) -> Pieces:
  """Pieces that are whole sequences."""
  return Pieces(
    np.arange(len(lengths_P)), np.zeros(len(lengths_P), int), lengths_P
  )


class Source(Protocol):
  """Sequences that are read by index: [L, ...] of any length."""

  def __getitem__(self, index: int) -> np.ndarray: ...


class Noise(Protocol):
  """Background recordings, of which excerpts are drawn."""

  def excerpt(self, rng: np.random.Generator, num_samples: int) -> np.ndarray:
    """Draws [num_samples] in the type of the source."""


class Spec(NamedTuple):
  """A batch before it is read, or some rows of it.

  Attributes:
    number: of the batch.
    row_B: the rows.
    piece_B: their pieces.
    weight_B: 1 where they count.
    size: what they are filled up to.
  """

  number: int
  row_B: np.ndarray
  piece_B: np.ndarray
  weight_B: np.ndarray
  size: int

  def rows(self, row_b: np.ndarray) -> Self:
    """These rows of a whole batch."""
    of_rows = (values[row_b] for values in self[1:4])
    return Spec(self.number, *of_rows, self.size)


@dataclasses.dataclass(frozen=True, eq=False)
class Plan(Sequence):
  """The batches of a training, or of an evaluation.

  A piece goes with others of its length into one of a few sizes; what does not
  fill a batch moves up to the next size. So an epoch has ceil(P / B) batches,
  and one of them at most is not full: it repeats pieces, with weight 0.
  """

  lengths_P: np.ndarray
  sizes: tuple[int, ...]  # What lengths are filled up to, ascending.
  batch_size: int
  num_epochs: int = 1
  seed: tuple[int, ...] | None = None  # Of the order; None: longest first.

  @property
  def steps_per_epoch(self) -> int:
    return -(-len(self.lengths_P) // self.batch_size)

  def __len__(self) -> int:
    return self.num_epochs * self.steps_per_epoch

  def __getitem__(self, number: int) -> Spec:
    epoch, step = divmod(number, self.steps_per_epoch)
    piece_B, size = _epoch(self, epoch)[step]
    weight_B = np.ones(self.batch_size, np.float32)
    weight_B[len(piece_B) :] = 0
    row_B = np.arange(self.batch_size)
    return Spec(number, row_B, np.resize(piece_B, row_B.shape), weight_B, size)

  def __repr__(self) -> str:
    return f"Plan({len(self)})"


@functools.lru_cache(maxsize=4)
def _epoch(plan: Plan, epoch: int) -> list[tuple[np.ndarray, int]]:
  """The pieces and the size of each batch."""
  order = np.argsort(-plan.lengths_P, kind="stable")
  rng = None
  if plan.seed is not None:
    rng = np.random.default_rng([*plan.seed, _ORDER, epoch])
    order = rng.permutation(order)
  bucket_P = np.searchsorted(plan.sizes, plan.lengths_P[order])
  batches, waiting = [], order[:0]
  for bucket, size in enumerate(plan.sizes):
    waiting = np.concatenate([waiting, order[bucket_P == bucket]])
    full = len(waiting) // plan.batch_size * plan.batch_size
    groups = waiting[:full].reshape(-1, plan.batch_size)
    batches += [(group, size) for group in groups]
    waiting = waiting[full:]
  if len(waiting):
    needed = np.searchsorted(plan.sizes, plan.lengths_P[waiting].max())
    batches.append((waiting, plan.sizes[needed]))
  if rng is None:
    return batches[::-1]  # What is too large for the memory fails at once.
  return [batches[i] for i in rng.permutation(len(batches))]


@dataclasses.dataclass(frozen=True, eq=False)
class Reader:
  """Reads a batch."""

  source: Source
  pieces: Pieces
  fields: Mapping[str, np.ndarray]  # Further values of each piece, [P] by name.
  noise: Noise | None = None
  seed: tuple[int, ...] = ()  # Of the excerpts of noise.

  def __call__(self, spec: Spec) -> dict[str, np.ndarray]:
    """Gives `inputs` [B, L, …] with zeros after the end of each piece, their
    `length`s, `weight`s, the `piece`s, the fields, and `noise` [B, L]."""
    lengths_P = self.pieces.lengths_P
    inputs = None
    for place, piece in enumerate(spec.piece_B):
      row, start, stop = (values[piece] for values in self.pieces)
      values = self.source[int(row)][start:stop]
      if inputs is None:
        shape = (len(spec.piece_B), spec.size, *values.shape[1:])
        inputs = np.zeros(shape, values.dtype)
      inputs[place, : len(values)] = values
    batch = {
      "inputs": inputs,
      "length": lengths_P[spec.piece_B].astype(np.int32),
      "weight": spec.weight_B,
      "piece": spec.piece_B.astype(np.int32),
      **{name: values[spec.piece_B] for name, values in self.fields.items()},
    }
    if self.noise is not None:
      batch["noise"] = np.stack(
        [
          self.noise.excerpt(
            np.random.default_rng([*self.seed, _NOISE, spec.number, row]),
            spec.size,
          )
          for row in spec.row_B.tolist()
        ]
      )
    return batch


def batches(
  plan: Plan,
  reader: Reader,
  by_row: jax.sharding.NamedSharding,
  start: int = 0,
  num_workers: int = 0,
) -> Iterator[dict[str, Any]]:
  """Reads batches ahead of who takes them, and puts them on the devices.

  The first is `start`; `num_workers` processes read, 0: threads of this one. Of
  several hosts each reads the rows that its devices take.
  Signals that ask the job to stop are for this process alone.

  Raises:
    UserError: a worker was killed.
  """
  grain = _grain()
  row_b = sharding.local_rows(plan.batch_size, by_row)
  dataset = grain.MapDataset.source(plan)[start:]
  dataset = dataset.map(functools.partial(_read_rows, reader, row_b))
  dataset = dataset.to_iter_dataset(
    grain.ReadOptions(num_threads=4, prefetch_buffer_size=_AHEAD)
  )
  if num_workers:
    dataset = _in_workers(dataset, plan, reader, num_workers)
  ahead = functools.partial(
    grain.experimental.ThreadPrefetchIterDataset, prefetch_buffer_size=_AHEAD
  )
  dataset = ahead(dataset).map(
    lambda rows: sharding.place_rows(rows, row_b, plan.batch_size, by_row)
  )
  dataset = ahead(dataset)
  with contextlib.closing(iter(dataset)) as iterator, _explained():
    with process.deaf():  # Threads and workers are started by the first.
      batch = _next(iterator)
    while batch is not None:
      yield batch
      batch = _next(iterator)


def _next(iterator: Iterator) -> dict[str, Any] | None:
  """The next batch; None at the end, of which nothing stays.

  Grain hands StopIteration from thread to thread. Its traceback has their
  frames, these the last batch, and all of them one another: it would stay until
  Python looks for such circles, for which it counts objects, not bytes.
  """
  try:
    return next(iterator)
  except StopIteration as end:
    error = end
    while error is not None:
      traceback.clear_frames(error.__traceback__)
      error.__traceback__ = None
      error = error.__context__
    return None


def _read_rows(reader: Reader, row_b: np.ndarray, spec: Spec):
  return reader(spec.rows(row_b))


def _grain():
  """Grain, without the Orbax that its own checkpoints would take."""
  with imports.without("orbax"):
    import grain

  return grain


def _in_workers(dataset, plan: Plan, reader: Reader, num_workers: int):
  """Lets worker processes read, and gives their batches in order.

  They come through shared memory where that holds all that may wait there, and
  otherwise through pipes, in which they are copied.
  """
  grain = _grain()
  # Grain has flags for its workers, which nobody parses in a notebook.
  if not flags.FLAGS.is_parsed():
    flags.FLAGS.mark_as_parsed()
  # In a worker's buffer, in that of its reader and in its hands; after that, on
  # their way to the devices, which may lend the memory that the host has.
  waiting = num_workers * (2 * _AHEAD + 1) + 2 * _AHEAD + 2
  needed = waiting * _num_bytes(plan, reader)
  if _SHARED.is_dir() and needed > (free := shutil.disk_usage(_SHARED).free):
    _LOG.warning(
      "%s has room for %.0f MiB, the batches of %d workers need %.0f MiB: they "
      "are sent through pipes, which is slower; with docker run --shm-size=%dm "
      "they are not",
      *(_SHARED, free / _MEBIBYTE, num_workers, needed / _MEBIBYTE),
      64 + needed // _MEBIBYTE,
    )
    options = grain.experimental.DatasetOptions(min_shm_size=sys.maxsize)
    dataset = grain.experimental.WithOptionsIterDataset(dataset, options)
  return dataset.mp_prefetch(
    grain.MultiprocessingOptions(num_workers, per_worker_buffer_size=_AHEAD),
    worker_init_fn=_begin_worker,
  )


def _num_bytes(plan: Plan, reader: Reader) -> int:
  """The size of the largest batch, but for its small fields."""
  values = reader.source[int(reader.pieces.row_P[0])]
  position = values.dtype.itemsize * math.prod(values.shape[1:])
  if reader.noise is not None:
    position += values.dtype.itemsize
  return plan.batch_size * plan.sizes[-1] * position


def _begin_worker(index: int, count: int) -> None:
  del index, count
  process.begin_worker(hears=False)


@contextlib.contextmanager
def _explained() -> Iterator[None]:
  """Turns the death of a worker into one line; Grain tells of it in pages."""
  try:
    yield
  except (RuntimeError, OSError) as error:
    reason = re.search(
      r"terminated unexpectedly with exit code (-?\d+)", str(error)
    )
    no_room = isinstance(error, OSError) and error.errno == errno.ENOSPC
    if reason is None and not no_room:
      raise
    number = -int(reason[1]) if reason else signal.SIGBUS
    if number == signal.SIGBUS:
      size = shutil.disk_usage(_SHARED).total / _MEBIBYTE
      why = f"{_SHARED}, {size:.0f} MiB, is full (docker run --shm-size=1g)"
    elif number == signal.SIGKILL:
      why = "it was killed, perhaps for want of memory"
    else:
      why = f"exit code {-number}"
    raise UserError(
      f"a worker that reads batches has ended: {why}; lower "
      "config.data.num_workers (0: no processes) and run the same command again"
    ) from error


class InOrder:
  """Batches by number, read ahead as long as each follows the last one."""

  def __init__(self, open_at: Callable[[int], Iterator[Any]]):
    """Takes what reads batches from a number on; see `batches`."""
    self._open_at = open_at
    self._iterator, self._next = None, -1

  def __getitem__(self, number: int) -> Any:
    if number != self._next:
      self._iterator = self._open_at(number)
    self._next = number + 1
    return next(self._iterator)
