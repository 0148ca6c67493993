"""Recordings on disk: found, told apart by content, skipped where unusable."""

import collections
import logging
import os
import pathlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent import futures
from typing import TypeVar

from emojax.audio import io
from emojax.corpora.records import Utterance
from emojax.errors import UserError
from emojax.runtime import walk

T = TypeVar("T")
R = TypeVar("R")

_LOG = logging.getLogger(__name__)


def find(folder: str | os.PathLike) -> list[pathlib.Path]:
  """Finds all audio files below a folder, see `walk`; warns of other files.

  The best copy of a recording is first: lossless files before MP3, those near
  to `folder` before those that copies of a corpus nest deeper, then by name.
  """
  found = walk.find(folder, io.SUFFIXES)
  walk.warn_unread(folder, found.others)
  return sorted(
    found.paths,
    key=lambda path: (path.suffix.lower() == ".mp3", len(path.parts), path),
  )


def each_once(clips: Iterable[Utterance]) -> list[Utterance]:
  """Isolated clips, sorted by name; of several copies the first."""
  first: dict[str, Utterance] = {}
  for clip in clips:
    first.setdefault(clip.dialogue, clip)
  return [first[name] for name in sorted(first)]


def digests(paths: Sequence[str]) -> list[str | io.UnreadableAudio]:
  """Gives each file's content hash, or why it has none."""

  def digest(path: str) -> str | io.UnreadableAudio:
    try:
      return io.content_hash(path)
    except io.UnreadableAudio as error:
      return error

  with futures.ThreadPoolExecutor() as pool:
    return list(pool.map(digest, paths))


def ahead(
  function: Callable[[T], R], items: Iterable[T], depth: int
) -> Iterator[R]:
  """Maps in threads and in order, `depth` results ahead of who takes them."""
  pending: collections.deque[futures.Future] = collections.deque()
  with futures.ThreadPoolExecutor() as pool:
    try:
      for item in items:
        pending.append(pool.submit(function, item))
        if len(pending) > depth:
          yield pending.popleft().result()
      while pending:
        yield pending.popleft().result()
    finally:
      for future in pending:
        future.cancel()


def too_short(
  path: str, num_samples: int, min_samples: int, sample_rate: int
) -> io.UnreadableAudio:
  """Why a recording is not used that has fewer samples than one frame."""
  length, shortest = (
    f"{1000 * count / sample_rate:.0f} ms"
    for count in (num_samples, min_samples)
  )
  why = f"{length} long, less than the {shortest} of one frame"
  return io.UnreadableAudio(path, why)


class Skips:
  """Names the recordings or images that cannot be used, up to a limit."""

  def __init__(self, limit: int, total: int, what: str = "recordings"):
    """Starts with none: at most `limit` of `total` `what` may be skipped."""
    self.found: list[Exception] = []
    self._limit = limit
    self._of_all = f"of {total} {what}"

  def add(self, error: Exception) -> None:
    """Warns of one more; a `UserError` says that it is one too many."""
    self.found.append(error)
    _LOG.warning("skipped %s", error)
    if len(self.found) > self._limit:
      first = "; ".join(map(str, self.found[:3]))
      raise UserError(
        f"{len(self.found)} {self._of_all} can not be used, more than "
        f"config.data.max_skipped = {self._limit}; the first: {first}"
      )
