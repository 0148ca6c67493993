"""Recordings that augmentation adds: backgrounds, and responses of rooms."""

import logging
import os
import pathlib
from collections.abc import Callable, Iterable
from typing import TypeVar

import numpy as np
import soxr

from emojax.audio import io
from emojax.audio.levels import Levels
from emojax.errors import UserError
from emojax.runtime import walk

T = TypeVar("T")

_LOG = logging.getLogger(__name__)

_SAMPLE_RATE = 16_000
_BLOCK = 1 << 16  # Samples of each channel, read at once.
_HELD_SECONDS = 1800.0  # 115 MB.
_KINDS = ("music", "noise", "speech")  # MUSAN's: Snyder et al. 2015.
_MOST_RESPONSES = 1_000  # 64 MB; the 60,000 of RIRS_NOISES are 3.8 GB.
_SEED = 0  # Of those that are drawn.
_SOURCE = (
  "MUSAN is at https://www.openslr.org/17 (archive "
  "https://www.openslr.org/resources/17/musan.tar.gz)"
)


class Backgrounds:
  """A folder of recordings, of which excerpts are drawn.

  Where the folder has MUSAN's sub-folders `music`, `noise` or `speech`, each of
  these with audio is as likely; else all recordings are of one kind. Hidden
  files are left out. A small folder is held in memory, of a large one only the
  excerpts are read. Plain data: worker processes can be given it.
  """

  def __init__(self, folder: str | os.PathLike):
    """Reads headers at least; what can not be used is named and skipped.

    Raises a UserError where the folder is missing, or nothing in it is audio.
    """
    folder = pathlib.Path(folder).expanduser()
    parts = [folder / kind for kind in _KINDS if (folder / kind).is_dir()]
    kinds = [_find(part) for part in parts or [folder]]
    self._kinds = [paths for paths in kinds if paths]
    if not folder.is_dir():
      raise UserError(
        f"{folder}: no such folder of backgrounds; give one with audio files, "
        f"or set config.augment.background_probability = 0; {_SOURCE}"
      )
    if not self._kinds:
      raise UserError(
        f"{folder}: no audio in it; backgrounds are files of any type that "
        f"libsndfile reads, in MUSAN's folders or not; {_SOURCE}"
      )
    everything = [path for paths in self._kinds for path in paths]
    seconds, unusable = _each(io.seconds, everything)
    # Not all headers say it, such as those of what came through a pipe.
    unknown = [path for path, length in seconds.items() if not length]
    counted, more = _each(_count, unknown)
    unusable |= more
    self._held = {}
    if sum({**seconds, **counted}.values()) <= _HELD_SECONDS:
      self._held, more = _each(lambda path: _read(path, 0, -1), seconds)
    else:
      why = "its header does not say how long it is: encode it again"
      more = {path: io.UnreadableAudio(path, why) for path in unknown}
    unusable |= more
    for error in unusable.values():
      _LOG.warning("skipped %s", error)
    kinds = ([p for p in paths if p not in unusable] for paths in self._kinds)
    self._kinds = [paths for paths in kinds if paths]
    if not self._kinds:
      first = next(iter(unusable.values()))
      raise UserError(
        f"none of {len(everything)} backgrounds can be used; the first: "
        f"{first}; remove it from the backgrounds"
      )

  def excerpt(self, rng: np.random.Generator, num_samples: int) -> np.ndarray:
    """Draws a random part of a random recording: float32 [num_samples], 16 kHz.

    Channels are averaged; a shorter recording is repeated. Raises a UserError
    if it is damaged.
    """
    paths = self._kinds[rng.integers(len(self._kinds))]
    path = paths[rng.integers(len(paths))]
    share = rng.random()  # One draw, whether or not it is held in memory.
    if path in self._held:
      samples = self._held[path]
      start = int(share * (max(len(samples) - num_samples, 0) + 1))
      samples = samples[start : start + num_samples]
    else:
      try:
        samples = _read(path, share, num_samples)
      except io.UnreadableAudio as error:
        raise UserError(f"{error}; remove it from the backgrounds") from error
    return np.resize(samples, num_samples)


def load_responses(
  folder: str | os.PathLike, sample_rate: int, num_samples: int
) -> np.ndarray:
  """Reads the room impulse responses of a folder: float32 [N, num_samples].

  Of more than 1,000 files so many are drawn, the same each time: each device
  holds what is read. Channels are averaged. The largest sample is taken for the
  direct sound: what comes before it is cut, so that clips do not move. Each is
  scaled to energy 1.

  Raises:
    UserError: the folder is missing, without audio, or a file of no use.
  """
  folder = pathlib.Path(folder).expanduser()
  paths = _find(folder)
  if not paths:
    raise UserError(
      f"{folder}: no room impulse responses there; give a folder of audio "
      "files such as those of https://www.openslr.org/28, or none: rooms are "
      "then synthesised"
    )
  if len(paths) > _MOST_RESPONSES:
    _LOG.info(
      "%s: %d of its %d responses are drawn and used",
      *(folder, _MOST_RESPONSES, len(paths)),
    )
    rng = np.random.default_rng(_SEED)
    drawn = rng.choice(len(paths), _MOST_RESPONSES, replace=False)
    paths = [paths[index] for index in sorted(drawn)]
  responses = np.zeros((len(paths), num_samples), np.float32)
  for row, path in zip(responses, paths, strict=True):
    try:
      samples = io.read(path, sample_rate)
    except io.UnreadableAudio as error:
      raise UserError(f"{error}; remove it from the responses") from error
    samples = samples[np.abs(samples).argmax() :][:num_samples]
    row[: len(samples)] = samples / np.linalg.norm(samples)
  return responses


def _find(folder: pathlib.Path) -> list[str]:
  found = walk.find(folder, io.SUFFIXES)
  walk.warn_unread(folder, found.others)
  return [str(path) for path in found.paths]


def _each(
  function: Callable[[str], T], paths: Iterable[str]
) -> tuple[dict[str, T], dict[str, io.UnreadableAudio]]:
  """What a function gives of each recording, and why not of some."""
  found, unusable = {}, {}
  for path in paths:
    try:
      found[path] = function(path)
    except io.UnreadableAudio as error:
      unusable[path] = error
  return found, unusable


def _count(path: str) -> float:
  """Seconds of a recording, by reading it."""
  with io.opened(path) as (file, _):
    sizes = iter(lambda: len(file.read(_BLOCK, dtype="float32")), 0)
    return sum(sizes) / file.samplerate


def _read(path: str, share: float, num_samples: int) -> np.ndarray:
  """Reads `num_samples` at 16 kHz, from a share of what may be left out on.

  -1 is all of it. May raise UnreadableAudio.
  """
  levels, parts = Levels(), []
  with io.opened(path) as (file, _):
    rate, wanted = file.samplerate, file.frames
    if num_samples >= 0:
      wanted = -(-num_samples * rate // _SAMPLE_RATE)
      if io.is_known(file.frames):
        file.seek(int(share * (max(file.frames - wanted, 0) + 1)))
    # In blocks, as a header may promise more than any machine holds.
    while levels.frames < wanted:
      size = min(wanted - levels.frames, _BLOCK)
      block_SxC = file.read(size, dtype="float32", always_2d=True)
      if not len(block_SxC):
        break
      parts.append(block_SxC.mean(axis=1))
      levels.add(block_SxC, parts[-1])
  why = levels.implausible()
  if why:
    raise io.UnreadableAudio(path, why)
  return soxr.resample(np.concatenate(parts), rate, _SAMPLE_RATE)
