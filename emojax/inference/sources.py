"""Recordings that a user names: found, decoded ahead, told apart if unusable.

S samples of a recording.
"""

import functools
import math
import os
from collections.abc import Iterator, Sequence

import numpy as np
import soundfile

from emojax.audio import io
from emojax.audio.io import UnreadableAudio
from emojax.corpora import recordings
from emojax.systems.speech import SpeechSystem

_AHEAD = min(3, os.cpu_count() or 1)  # Recordings; each may be hours long.


def find(paths: Sequence[str]) -> list[str]:
  """Replaces folders by the audio files in them, and names each file once.

  A folder is searched recursively; one without any stays, for `decoded` to
  name. Paths begin as they were given, in that order, a folder's by name.
  """
  found = {}
  for path in paths:
    files = recordings.find(path) if os.path.isdir(path) else ()
    names = sorted(f.relative_to(path) for f in files if not f.is_dir())
    for file in [os.path.join(path, name) for name in names] or [path]:
      folder, name = os.path.split(file)
      # A link beside its target is another recording: it has its own row.
      identity = os.path.join(os.path.realpath(folder), name)
      found.setdefault(identity, file)
  return list(found.values())


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
  if not os.path.isfile(path):  # To open a pipe would wait for a writer.
    return 1
  try:
    seconds = soundfile.info(os.fsencode(path)).duration
  except (soundfile.SoundFileError, OSError, TypeError):
    return 1
  return max(1, math.ceil(seconds / window_seconds))


def _decode(path: str, system: SpeechSystem) -> np.ndarray | UnreadableAudio:
  if os.path.isdir(path):
    return UnreadableAudio(path, "a folder without audio files")
  try:
    samples = io.read(path, system.sample_rate)
  except UnreadableAudio as error:
    return error
  shortest = system.encoder.min_samples
  if len(samples) < shortest:
    rate = system.sample_rate
    return recordings.too_short(path, len(samples), shortest, rate)
  return io.to_int16(samples)
