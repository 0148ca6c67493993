"""The emotion of recordings, by a trained system of speech.

As the study evaluates: a recording is the mean of the logits of its windows,
and its probabilities are softmax(logits / temperature).

U recordings, C emotions, B windows of a batch, S samples.
"""

import bisect
import collections
import logging
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import flax
import jax
import numpy as np

from emojax import calibration
from emojax.audio.io import UnreadableAudio
from emojax.data import windows
from emojax.errors import UserError
from emojax.inference import sources
from emojax.inference.results import Predictions
from emojax.runtime import memory
from emojax.runtime.progress import progress
from emojax.systems.speech import SpeechSystem

_LOG = logging.getLogger(__name__)

_ROWS = 16  # Windows of a batch,
_SECONDS = 100.0  # or fewer, where they are long: it bounds the memory.
_SIZES = 4  # Windows are filled up to one of so many lengths.


class Window(NamedTuple):
  """A piece of a recording: which one, and int16 [S]."""

  recording: int
  samples: np.ndarray


class Batch(NamedTuple):
  """Windows, and the shape [rows, size] to which they are filled up."""

  windows: list[Window]
  rows: int
  size: int


def predict(
  system: SpeechSystem, params: Any, paths: Sequence[str]
) -> Predictions:
  """Classifies recordings of any length, type, sample rate and channels.

  Predictions are in the order of `sources.find`. What can not be used is named
  in a warning and skipped.

  Raises:
    UserError: no recording can be used; the device has too little memory.
  """
  found, unread = sources.find(paths)
  logits_UxC = np.zeros((len(found), len(system.classes)))
  windows_U, samples_U = np.zeros((2, len(found)), int)
  skipped = list(unread)

  def pieces() -> Iterator[Window | None]:
    """All windows of all recordings; None in the place of an unusable one."""
    decoded = sources.decoded(found, system)
    for index, samples in enumerate(decoded):
      if isinstance(samples, UnreadableAudio):
        _LOG.warning("skipped %s", samples)
        skipped.append(samples)
        yield None
        continue
      bounds = windows.cover(len(samples), system.window_samples)
      windows_U[index], samples_U[index] = len(bounds), len(samples)
      for start, stop in bounds:
        # A view would keep a long recording until its last window is done.
        yield Window(index, samples[start:stop].copy())

  total = sum(sources.num_windows(p, system.window_seconds) for p in found)
  shown = progress(pieces(), total, "predict", "window")
  for recording, logits_C in classify(system, params, filter(None, shown)):
    logits_UxC[recording] += logits_C
  if not windows_U.any():
    raise UserError(
      f"none of {len(skipped)} recordings can be used; the first: {skipped[0]}"
    )
  if not np.isfinite(logits_UxC).all():
    raise UserError("the system is damaged (it gives NaN); train it again")
  used = np.flatnonzero(windows_U)
  logits_UxC = logits_UxC[used] / windows_U[used, None]
  return Predictions(
    system.classes,
    {"path": [found[index] for index in used]},
    calibration.probabilities(logits_UxC, system.temperature),
    {"seconds": (samples_U[used] / system.sample_rate).tolist()},
    skipped,
  )


def classify(
  system: SpeechSystem, params: Any, pieces: Iterable[Window]
) -> Iterator[tuple[int, np.ndarray]]:
  """Runs windows through the classifier in batches of few shapes.

  None of `pieces` is longer than `system.window_seconds`.

  Yields:
    For each window its recording and its logits, [C]; in another order.

  Raises:
    UserError: the parameters are of another classifier; too little memory.
  """
  params, size = jax.device_put(params), system.window_samples
  sizes = [-(-size * part // _SIZES) for part in range(1, _SIZES + 1)]
  rows = max(1, min(_ROWS, int(_SECONDS // system.window_seconds)))
  running: collections.deque = collections.deque()
  try:
    with memory.explained(
      "the load that other programs put on it, or set JAX_PLATFORMS=cpu"
    ):
      for batch in in_batches(pieces, sizes, rows):
        logits_BxC, _ = system.forward(params, *_filled(batch))
        running.append((batch, logits_BxC))
        # One batch late, so that the host reads while the device computes.
        if len(running) > 1:
          yield from _results(*running.popleft())
      for batch, logits_BxC in running:
        yield from _results(batch, logits_BxC)
  except flax.errors.FlaxError as error:
    reason = str(error).splitlines()[0]
    raise UserError(
      f"weights and description of the model do not match ({reason}); train it "
      "again"
    ) from error


def in_batches(
  pieces: Iterable[Window], sizes: Sequence[int], rows: int
) -> Iterator[Batch]:
  """Deals windows as they come into batches of similar lengths.

  What does not fill a batch moves up to the next size, so that one batch at
  most is not full; its rows are a power of two. Sizes ascend; no piece is
  longer than the last one. A full batch has `rows` windows.
  """
  waiting: dict[int, list[Window]] = {size: [] for size in sizes}
  for piece in pieces:
    size = sizes[bisect.bisect_left(sizes, len(piece.samples))]
    waiting[size].append(piece)
    if len(waiting[size]) == rows:
      yield Batch(waiting[size], rows, size)
      waiting[size] = []
  rest: list[Window] = []
  for size in sizes:
    rest += waiting[size]
    if len(rest) >= rows:
      yield Batch(rest[:rows], rows, size)
      rest = rest[rows:]
  if rest:
    longest = max(len(piece.samples) for piece in rest)
    size = sizes[bisect.bisect_left(sizes, longest)]
    yield Batch(rest, min(rows, 1 << (len(rest) - 1).bit_length()), size)


def _filled(batch: Batch) -> tuple[np.ndarray, np.ndarray]:
  """int16 [B, S] and lengths [B]; rows too many repeat the first window."""
  audio_BxS = np.zeros((batch.rows, batch.size), np.int16)
  lengths_B = np.zeros(batch.rows, np.int32)
  spare = batch.rows - len(batch.windows)
  for row, (_, samples) in enumerate(batch.windows + batch.windows[:1] * spare):
    audio_BxS[row, : len(samples)] = samples
    lengths_B[row] = len(samples)
  return audio_BxS, lengths_B


def _results(batch: Batch, logits_BxC: jax.Array) -> Iterator[tuple]:
  recordings = [piece.recording for piece in batch.windows]
  return zip(recordings, np.asarray(logits_BxC), strict=False)
