"""Reading recordings of any type into one form: mono float32 at one rate."""

import hashlib
import os

import numpy as np
import soundfile
import soxr

# -80 dB of full scale: three steps of 16-bit samples, less than any microphone.
_SILENCE = 1e-4
# `RAW` has no header, so nothing says how to read it.
SUFFIXES = frozenset(
  f".{kind.lower()}" for kind in soundfile.available_formats() if kind != "RAW"
) | {".aif", ".aifc", ".oga", ".opus"}


class UnreadableAudio(Exception):
  """A recording that cannot be used; a corpus may go on without it.

  Attributes:
    path: the file.
    why: the reason, in a few words.
  """

  def __init__(self, path: str | os.PathLike, why: str):
    super().__init__(os.fspath(path), why)
    self.path, self.why = self.args

  def __str__(self) -> str:
    return f"{self.path}: {self.why}"


def read(path: str | os.PathLike, sample_rate: int) -> np.ndarray:
  """Reads a recording, averages its channels and resamples it.

  Args:
    path: a file of any type that libsndfile reads.
    sample_rate: samples a second to return.

  Returns:
    Samples float32 [S], full scale at 1.

  Raises:
    UnreadableAudio: the file is missing, empty or damaged, or it holds no
      sample, a sample that is no number, or silence.
  """
  if not os.path.isfile(path):
    raise UnreadableAudio(path, "no such file")
  if not os.path.getsize(path):
    raise UnreadableAudio(path, "an empty file")
  try:
    samples_SxC, rate = soundfile.read(path, dtype="float32", always_2d=True)
  except (soundfile.SoundFileError, OSError, TypeError) as error:
    # TypeError: a type without a header, of which soundfile asks the rate.
    why = str(error).replace("\n", " ")
    raise UnreadableAudio(path, f"not readable as audio ({why})") from error
  samples = samples_SxC.mean(axis=1)
  if not samples.size:
    raise UnreadableAudio(path, "a recording of zero length")
  if not np.isfinite(samples).all():
    raise UnreadableAudio(path, "samples that are NaN or infinite")
  if np.ptp(samples) < 2 * _SILENCE:
    raise UnreadableAudio(path, "silent from beginning to end")
  return soxr.resample(samples, rate, sample_rate)


def content_hash(path: str | os.PathLike) -> str:
  """SHA-256 of a file's bytes, in hexadecimal: equal for equal recordings.

  Raises:
    UnreadableAudio: the file is missing or may not be read.
  """
  try:
    with open(path, "rb") as file:
      return hashlib.file_digest(file, "sha256").hexdigest()
  except OSError as error:
    why = (
      "no such file" if isinstance(error, FileNotFoundError) else error.strerror
    )
    raise UnreadableAudio(path, why) from error
