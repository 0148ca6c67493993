"""Recordings that augmentation adds: backgrounds, and responses of rooms."""

import os
import pathlib

import numpy as np
import soundfile
import soxr

from emojax.audio import io
from emojax.errors import UserError

_SAMPLE_RATE = 16_000
_KINDS = ("music", "noise", "speech")  # MUSAN's: Snyder et al. 2015.
_SOURCE = (
  "MUSAN is at https://www.openslr.org/17 (archive "
  "https://www.openslr.org/resources/17/musan.tar.gz)"
)


class Backgrounds:
  """A folder of recordings, of which excerpts are read when needed.

  Where the folder has MUSAN's sub-folders `music`, `noise` or `speech`, each of
  these with audio is as likely; else all recordings are of one kind. Hidden
  files are left out. Plain data: worker processes can be given it.
  """

  def __init__(self, folder: str | os.PathLike):
    """Finds the recordings.

    Raises:
      UserError: the folder is missing, or has no audio.
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

  def excerpt(self, rng: np.random.Generator, num_samples: int) -> np.ndarray:
    """Reads a random part of a random recording, and no more of it.

    Args:
      rng: source of the choice.
      num_samples: how many to return; a shorter recording is repeated.

    Returns:
      float32 [num_samples] at 16 kHz, channels averaged.

    Raises:
      io.UnreadableAudio: the recording that was chosen is damaged or empty.
    """
    paths = self._kinds[rng.integers(len(self._kinds))]
    path = paths[rng.integers(len(paths))]
    try:
      with soundfile.SoundFile(path) as file:
        rate = file.samplerate
        wanted = -(-num_samples * rate // _SAMPLE_RATE)
        file.seek(rng.integers(max(file.frames - wanted, 0) + 1))
        samples_SxC = file.read(wanted, dtype="float32", always_2d=True)
    except (soundfile.SoundFileError, OSError, TypeError) as error:
      # TypeError: a type without a header, of which soundfile asks the rate.
      raise io.UnreadableAudio(path, f"not readable ({error})") from error
    if not samples_SxC.size or not np.isfinite(samples_SxC).all():
      raise io.UnreadableAudio(path, "empty, or samples that are no numbers")
    samples = soxr.resample(samples_SxC.mean(axis=1), rate, _SAMPLE_RATE)
    return np.resize(samples, num_samples)


def load_responses(
  folder: str | os.PathLike, sample_rate: int, num_samples: int
) -> np.ndarray:
  """Reads the room impulse responses of a folder.

  The largest sample is taken for the direct sound: what comes before it is
  cut, so that clips do not move. Each response is scaled to energy 1.

  Args:
    folder: of audio files, one response each; channels are averaged.
    sample_rate: samples a second to return.
    num_samples: samples to return of each, R; longer ones are cut.

  Returns:
    float32 [N, R].

  Raises:
    UserError: the folder is missing, has no audio, or a file of it can not be
      used.
  """
  folder = pathlib.Path(folder).expanduser()
  paths = _find(folder)
  if not paths:
    raise UserError(
      f"{folder}: no room impulse responses there; give a folder of audio "
      "files such as those of https://www.openslr.org/28, or none: rooms are "
      "then synthesised"
    )
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
  return sorted(
    str(path)
    for path in folder.rglob("*")
    if path.suffix.lower() in io.SUFFIXES and not path.name.startswith(".")
  )
