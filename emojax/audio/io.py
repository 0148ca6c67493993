"""Reading recordings of any type into one form: mono float32 at one rate."""

import hashlib
import os

import numpy as np
import soundfile
import soxr

from emojax.errors import Unreadable
from emojax.runtime.files import lfs_pointer

FULL_SCALE = 32_768  # The int16 sample value that stands for 1.

# -80 dB of full scale: three steps of 16-bit samples, less than any microphone.
_SILENCE = 1e-4
_BLOCK = 1 << 16  # Samples of each channel, read at once.
# `RAW` has no header, so nothing says how to read it.
SUFFIXES = frozenset(
  f".{kind.lower()}" for kind in soundfile.available_formats() if kind != "RAW"
) | {".aif", ".aifc", ".oga", ".opus"}


class UnreadableAudio(Unreadable):
  """A recording that cannot be used."""


def read(path: str | os.PathLike, sample_rate: int) -> np.ndarray:
  """Reads a recording as float32 [S], full scale at 1, its channels averaged.

  Raises:
    UnreadableAudio: the file is missing, empty or damaged, or it holds no
      sample, a sample that is no number, or silence.
  """
  if not os.path.isfile(path):
    raise UnreadableAudio(path, "no such file")
  if not os.path.getsize(path):
    raise UnreadableAudio(path, "an empty file")
  try:
    samples, low, high = _resampled(path, sample_rate)
  except (soundfile.SoundFileError, OSError, TypeError) as error:
    # TypeError: a type without a header, of which soundfile asks the rate.
    why = getattr(error, "error_string", str(error)).replace("\n", " ")
    why = lfs_pointer(path) or f"not readable as audio ({why})"
    raise UnreadableAudio(path, why) from error
  if low > high:
    raise UnreadableAudio(path, "a recording of zero length")
  if not np.isfinite([low, high]).all():
    raise UnreadableAudio(path, "samples that are NaN or infinite")
  if high - low < 2 * _SILENCE:
    raise UnreadableAudio(path, "silent from beginning to end")
  return samples


def _resampled(
  path: str | os.PathLike, sample_rate: int
) -> tuple[np.ndarray, np.float32, np.float32]:
  """Resampled mono [S]; the least and the largest sample before that.

  In blocks: an hour in stereo at 44.1 kHz takes 1.3 GB at once, and a damaged
  header may promise more than any machine holds.
  """
  parts, low, high = [], np.float32(np.inf), np.float32(-np.inf)
  # As bytes, in which any name can be written.
  with soundfile.SoundFile(os.fsencode(path)) as file:
    resampler = soxr.ResampleStream(file.samplerate, sample_rate, 1)
    while len(block_SxC := file.read(_BLOCK, "float32", always_2d=True)):
      block = block_SxC.mean(axis=1)
      # NaN stays NaN here.
      low, high = np.minimum(low, block.min()), np.maximum(high, block.max())
      parts.append(resampler.resample_chunk(block))
  parts.append(resampler.resample_chunk(np.zeros(0, np.float32), last=True))
  return np.concatenate(parts), low, high


def to_int16(samples: np.ndarray) -> np.ndarray:
  """Rounds float32 [S], full scale at 1, to int16 [S]; clips what is louder.

  Exact for what was 16-bit audio. In place: a recording may be hours long.
  """
  samples *= FULL_SCALE
  np.rint(samples, out=samples)
  np.clip(samples, -FULL_SCALE, FULL_SCALE - 1, out=samples)
  return samples.astype(np.int16)


def content_hash(path: str | os.PathLike) -> str:
  """SHA-256 of a file's bytes, in hexadecimal; may raise UnreadableAudio."""
  try:
    with open(path, "rb") as file:
      return hashlib.file_digest(file, "sha256").hexdigest()
  except OSError as error:
    is_missing = isinstance(error, FileNotFoundError)
    why = "no such file" if is_missing else error.strerror
    raise UnreadableAudio(path, why) from error
