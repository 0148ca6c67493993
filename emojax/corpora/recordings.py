"""Recordings on disk: found, told apart by content, skipped where unusable."""

import collections
import hashlib
import logging
import os
import pathlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent import futures
from typing import TypeVar

from emojax.audio import io
from emojax.corpora.records import Utterance
from emojax.errors import Unreadable, UserError, one_line
from emojax.runtime import walk

T = TypeVar("T")
R = TypeVar("R")

_LOG = logging.getLogger(__name__)

_NAMED = 10  # Recordings of which something odd is said.


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


def each_once(
  folder: str | os.PathLike,
  paths: Iterable[pathlib.Path],
  parse: Callable[[pathlib.Path], Utterance | str],
) -> list[Utterance]:
  """Isolated clips by what their names say, sorted by name.

  Of several copies the first one counts. `parse` gives a clip, or why a file is
  left out, as it follows "3 files …" in the warning of these.
  """
  first: dict[str, Utterance] = {}
  left_out: dict[str, list[pathlib.Path]] = {}
  for path in paths:
    clip = parse(path)
    if isinstance(clip, Utterance):
      if first.setdefault(clip.dialogue, clip) is clip:
        continue
      clip = "of performances that are there already"
    left_out.setdefault(clip, []).append(path)
  for why, files in left_out.items():
    walk.warn_unread(folder, files, why)
  return [first[name] for name in sorted(first)]


def digests(
  utterances: Sequence[Utterance],
) -> list[str | io.UnreadableAudio]:
  """Names what each is in its file, in hexadecimal, or says why there is none.

  A whole recording has the content hash of its file; a file is read once, of
  however many utterances.
  """

  def digest(path: str) -> str | io.UnreadableAudio:
    try:
      return io.content_hash(path)
    except io.UnreadableAudio as error:
      return error

  paths = list(dict.fromkeys(one.path for one in utterances))
  with futures.ThreadPoolExecutor() as pool:
    of_file = dict(zip(paths, pool.map(digest, paths), strict=True))
  found = []
  for one in utterances:
    name = of_file[one.path]
    if isinstance(name, str) and (one.start, one.end) != (0, None):
      segment = f"{name} {one.start} {one.end}"
      name = hashlib.sha256(segment.encode()).hexdigest()
    found.append(name)
  return found


def decode(
  one: Utterance, sample_rate: int
) -> io.Recording | io.UnreadableAudio:
  """Reads an utterance as int16 [S], or says why it can not be used."""
  try:
    found = io.decode(one.path, sample_rate, one.start, one.end)
  except io.UnreadableAudio as error:
    return error
  return found._replace(samples=io.to_int16(found.samples))


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


def warn(notes: Iterable[tuple[str, str]]) -> None:
  """Says what is odd about recordings that are used: their paths, and what."""
  notes = list(notes)
  for path, note in notes[:_NAMED]:
    _LOG.warning("%s: %s", one_line(str(path)), note)
  if len(notes) > _NAMED:
    more = len(notes) - _NAMED
    _LOG.warning("%d more such warnings of other recordings", more)


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


def retry(
  load: Callable[[int], object], rows: Sequence[int]
) -> dict[int, Unreadable]:
  """Tries again what an earlier run could not use; why not, by row, if still.

  The memory may have been too small, or the disk without an answer: no failure
  is believed to last.
  """
  tried = ahead(load, rows, 2 * (os.cpu_count() or 1))
  return {
    row: found
    for row, found in zip(rows, tried, strict=True)
    if isinstance(found, Unreadable)
  }
