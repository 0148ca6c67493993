"""Recordings that a user names: found, decoded ahead, told apart if unusable.

S samples of a recording.
"""

import functools
import math
import os
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from emojax.audio import io
from emojax.audio.io import UnreadableAudio
from emojax.corpora import recordings
from emojax.runtime import walk
from emojax.systems.speech import SpeechSystem

_TABLES = (".csv", ".npz")
_AHEAD = min(3, os.cpu_count() or 1)  # Recordings; each may be hours long.


class Found(NamedTuple):
  """Recordings to read, and those of types that have to be converted first."""

  paths: list[str]
  unread: list[UnreadableAudio]


def find(
  paths: Sequence[str],
  search: Callable[[str], tuple[list[str], list[str]]] | None = None,
) -> Found:
  """Replaces folders by the recordings in them, and names each file once.

  A folder is searched recursively, see `walk`; one without any recording stays,
  for `decoded` to name. Paths begin as they were given, in that order, a
  folder's by name. What is not read is counted in a warning.

  `search` gives what is in a folder, and what has to be converted first, where
  something else than recordings is looked for.
  """
  search = search or _recordings
  read: dict[str, str] = {}
  unread: dict[str, str] = {}
  for path in paths:
    if not os.path.isdir(path):
      read.setdefault(_identity(path), path)
      continue
    names, media = search(path)
    if not names and not media:
      names = [path]
    for name in names:
      read.setdefault(_identity(name), name)
    for name in media:
      unread.setdefault(_identity(name), name)
  why = "a type that has to be converted first"
  return Found(
    list(read.values()),
    [UnreadableAudio(p, why) for name, p in unread.items() if name not in read],
  )


def _recordings(folder: str) -> tuple[list[str], list[str]]:
  """Recordings below a folder, and those that have to be converted first."""
  found = walk.find(folder, io.SUFFIXES)
  media = [p for p in found.others if p.is_file() and io.is_media(p)]
  rest = sorted(set(found.others) - set(media))
  walk.warn_unread(folder, rest)
  walk.warn_unread(
    folder,
    media,
    "of types to be converted first (for example with ffmpeg -i FILE FILE.wav)",
  )
  return tuple(
    [os.path.join(folder, path.relative_to(folder)) for path in paths]
    for paths in (found.paths, media)
  )


def _identity(path: str) -> str:
  """A link beside its target is another recording: it has its own row."""
  folder, name = os.path.split(path)
  return os.path.join(os.path.realpath(folder), name)


def decoded(
  paths: Sequence[str], system: SpeechSystem
) -> Iterator[np.ndarray | UnreadableAudio]:
  """Reads recordings in order, a few ahead of who takes them.

  Yields for each path int16 [S], full scale at `io.FULL_SCALE`, as training
  reads clips; or why it can not be used.
  """
  decode = functools.partial(_decode, system=system)
  return recordings.ahead(decode, paths, _AHEAD)


def num_windows(path: str, window_seconds: float) -> int:
  """How many windows a recording has, by its header; 1 where that fails."""
  try:
    seconds = io.seconds(path)
  except UnreadableAudio:
    return 1
  return max(1, math.ceil(seconds / window_seconds))


def _decode(path: str, system: SpeechSystem) -> np.ndarray | UnreadableAudio:
  if os.path.isdir(path):
    return UnreadableAudio(path, "a folder without audio files")
  if path.lower().endswith(_TABLES):
    why = (
      "a table, which a system of conversations takes; this one is of speech"
    )
    return UnreadableAudio(path, why)
  try:
    samples = io.read(path, system.sample_rate)
  except UnreadableAudio as error:
    return error
  shortest = system.encoder.min_samples
  if len(samples) < shortest:
    rate = system.sample_rate
    return recordings.too_short(path, len(samples), shortest, rate)
  return io.to_int16(samples)
