"""Reading recordings of any type into one form: mono float32 at one rate."""

import contextlib
import hashlib
import logging
import mimetypes
import os
import pathlib
import stat
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import soundfile
import soxr

from emojax.audio import headers
from emojax.audio.levels import Levels
from emojax.errors import Unreadable, one_line
from emojax.runtime import files

FULL_SCALE = 32_768  # The int16 sample value that stands for 1.

_LOG = logging.getLogger(__name__)

_BLOCK = 1 << 16  # Samples of each channel, read at once.
# What headers of recordings can say; a damaged one asks for all memory.
_RATES = 1_000, 768_000
_MOST_CHANNELS = 64
_LONGEST = 12  # Hours.
_TOLERANCE = 0.1  # Seconds: times in tables are rounded.
# `RAW` has no header, so nothing says how to read it.
SUFFIXES = frozenset(
  f".{kind.lower()}" for kind in soundfile.available_formats() if kind != "RAW"
) | {".aif", ".aifc", ".oga", ".opus"}
# Recordings and films that libsndfile does not read, beyond `mimetypes`.
_MEDIA = (
  ".3g2 .3ga .3gp .aac .ac3 .adts .alac .amr .ape .awb .caf .dff .dsf .dss "
  ".dts .eac3 .f4a .f4v .flv .gsm .m2ts .m4a .m4b .m4p .m4r .m4v .mka .mkv "
  ".mod .mov .mp2 .mp4 .mpc .mpeg .mpg .mpga .mts .mxf .oga .ogv .opus .qcp "
  ".qta .ra .ram .rm .rmvb .shn .sph .spx .tak .tta .vob .vox .webm .weba "
  ".wma .wmv .wv"
)
# Notes and lists of recordings, of which there is no sound to be made.
_NO_SOUND = frozenset(
  [".kar", ".m3u", ".m3u8", ".mid", ".midi", ".pls", ".rmi", ".ts", ".xspf"]
)
_CONVERT = "convert it, for example with ffmpeg -i FILE FILE.wav"
# How the files begin that are most often found under another name.
_MAGIC = (
  (4, b"ftyp", "an MP4 or M4A file"),
  (0, b"\x1aE\xdf\xa3", "a WebM or Matroska file"),
  (0, b"0&\xb2u", "a WMA file"),
  (0, b"#!AMR", "an AMR file"),
  (0, b"FLV", "an FLV file"),
  (0, b"\xff\xf1", "an AAC file"),
  (0, b"\xff\xf9", "an AAC file"),
)


class UnreadableAudio(Unreadable):
  """A recording that cannot be used."""


class Recording(NamedTuple):
  """The samples of a recording, and what is odd about it."""

  samples: np.ndarray  # Mono float32 [S], full scale at 1.
  notes: list[str]


def read(
  path: str | os.PathLike,
  sample_rate: int,
  start: float = 0.0,
  end: float | None = None,
) -> np.ndarray:
  """Gives the samples of `decode`, float32 [S]; warns of what is odd."""
  samples, notes = decode(path, sample_rate, start, end)
  for note in notes:
    _LOG.warning("%s: %s", one_line(str(path)), note)
  return samples


def decode(
  path: str | os.PathLike,
  sample_rate: int,
  start: float = 0.0,
  end: float | None = None,
) -> Recording:
  """Reads a recording, or a segment in seconds, its channels averaged.

  What is there is used of one that is cut short, or whose header does not know
  how long it is; the first channel of one whose channels cancel out. Each is
  noted.

  Raises:
    UnreadableAudio: the file is missing, empty or damaged; it holds no sample,
      one that is no number or far beyond full scale, or silence; its header is
      none that a recording has; or the segment is not in it.
  """
  with opened(path) as (file, size):
    wanted = _seek(path, file, start, end)
    samples, levels = _resampled(path, file, wanted, sample_rate)
    why = levels.implausible() or levels.silent(file.subtype)
    if not why and not len(samples):  # Of a few samples at a high rate.
      why = "a recording of zero length"
    if why:
      raise UnreadableAudio(path, why)
    missing = _shortfall(path, file, size, start, levels.frames)
    is_cut = wanted - levels.frames > _TOLERANCE * file.samplerate
    if end is not None and is_cut:
      raise UnreadableAudio(path, f"breaks off in the segment; {missing}")
    odd = [missing if end is None else "", *levels.odd()]
    channel = levels.cancelled()
    if channel is not None:
      _seek(path, file, start, end)
      samples, _ = _resampled(path, file, wanted, sample_rate, channel)
  return Recording(samples, [what for what in odd if what])


def blocks(path: str | os.PathLike) -> Iterator[np.ndarray]:
  """The samples of a recording, piece by piece: float32 [S] at its own rate.

  For what is too long to be decoded at once. As `decode`, but that silence is
  no error, and that notes are warnings.

  Raises:
    UnreadableAudio: as `decode`, when it comes to that place.
  """
  with opened(path) as (file, size):
    levels, is_over = Levels(), False
    block_SxC = np.empty((_BLOCK, file.channels), np.float32)
    while not is_over:
      count, is_over = _read_block(file, block_SxC)
      if not count:
        break
      read_SxC = block_SxC[:count]
      with np.errstate(invalid="ignore", over="ignore"):
        mono_S = read_SxC.mean(axis=1)
        levels.add(read_SxC, mono_S)
      if why := levels.implausible():
        raise UnreadableAudio(path, why)
      channel = levels.cancelled()
      yield mono_S if channel is None else read_SxC[:, channel].copy()
    missing = _shortfall(path, file, size, 0.0, levels.frames)
  if not levels.frames:
    raise UnreadableAudio(path, levels.implausible())
  for note in filter(None, [missing, *levels.odd()]):
    _LOG.warning("%s: %s", one_line(str(path)), note)


def sample_rate(path: str | os.PathLike) -> int:
  """Of a recording, samples a second, by its header."""
  with opened(path) as (file, _):
    return file.samplerate


def seconds(path: str | os.PathLike) -> float:
  """How long a recording is by its header; 0 where that does not say it."""
  with opened(path) as (file, _):
    return file.frames / file.samplerate if is_known(file.frames) else 0.0


@contextlib.contextmanager
def opened(
  path: str | os.PathLike,
) -> Iterator[tuple[soundfile.SoundFile, headers.Sizes | None]]:
  """Opens a recording to read it from front to back.

  What is wrong with the file while it is open, or with its header, is raised as
  an UnreadableAudio.
  """
  try:
    size = _sizes(path)
    with contextlib.ExitStack() as stack:
      # As bytes, in which any name can be written.
      name = os.fsencode(path)
      if size is not None and size.unfinished:
        name = stack.enter_context(headers.Repaired(path, size))
      file = stack.enter_context(_Forward(name))
      _check_header(path, file)
      yield file, size
  except MemoryError as error:
    raise UnreadableAudio(path, "too long for this machine's memory") from error
  except (soundfile.SoundFileError, OSError, TypeError) as error:
    # TypeError: a type without a header, of which soundfile asks the rate.
    raise UnreadableAudio(path, _explain(path, error)) from error


class _Forward(soundfile.SoundFile):
  """soundfile goes back after each block, which some files do not allow."""

  def seekable(self) -> bool:
    return False


def _sizes(path: str | os.PathLike) -> headers.Sizes | None:
  """Checks that it is a file with something in it, before it is opened."""
  try:
    status = os.stat(path)
    if stat.S_ISDIR(status.st_mode):
      raise UnreadableAudio(path, "a folder")
    # To open a pipe would wait for a writer.
    if not stat.S_ISREG(status.st_mode):
      raise UnreadableAudio(path, "a pipe, socket or device, not a file")
    if not status.st_size:
      raise UnreadableAudio(path, "an empty file")
    with open(path, "rb") as file:
      return headers.sizes(file)
  except OSError as error:
    raise UnreadableAudio(path, _strerror(error)) from error
  except ValueError as error:  # A zero in a name.
    raise UnreadableAudio(path, "no such file") from error


def _check_header(path: str | os.PathLike, file: soundfile.SoundFile) -> None:
  lowest, highest = _RATES
  if not lowest <= file.samplerate <= highest:
    raise UnreadableAudio(
      path,
      f"its header says {file.samplerate} samples a second: damaged? "
      f"recordings have {lowest} to {highest}",
    )
  if file.channels > _MOST_CHANNELS:
    raise UnreadableAudio(
      path,
      f"its header says {file.channels} channels: damaged? recordings have at "
      f"most {_MOST_CHANNELS}",
    )
  hours = file.frames / file.samplerate / 3600
  if is_known(file.frames) and hours > _LONGEST:
    raise UnreadableAudio(path, _too_long(f"its header says {hours:.0f} hours"))


def _too_long(what: str) -> str:
  return f"{what}: at most {_LONGEST} hours are read; cut it"


def is_known(frames: int) -> bool:
  """Whether a header says the length: else libsndfile's is the largest."""
  return frames < 1 << 62


def _seek(
  path: str | os.PathLike,
  file: soundfile.SoundFile,
  start: float,
  end: float | None,
) -> int:
  """Goes to the beginning of a segment; gives how many samples are wanted.

  Raises UnreadableAudio where the segment is not in the recording.
  """
  rate = file.samplerate
  most = _LONGEST * 3600 * rate + 1  # One too many is seen as such.
  seconds = min(file.frames / rate, _LONGEST * 3600)
  is_inside = 0 <= start < seconds
  if end is not None:
    is_inside &= start < end <= seconds + _TOLERANCE
  if not is_inside and (start, end) != (0, None):
    last = "its end" if end is None else f"{end:g} s"
    raise UnreadableAudio(
      path,
      f"no segment from {start:g} s to {last} in a recording of "
      f"{seconds:.2f} s",
    )
  first = round(start * rate)
  if first or file.tell() > 0:
    file.seek(first)
  return most if end is None else min(round(end * rate) - first, most)


def _resampled(
  path: str | os.PathLike,
  file: soundfile.SoundFile,
  wanted: int,
  sample_rate: int,
  channel: int | None = None,
) -> tuple[np.ndarray, Levels]:
  """Resampled mono [S] from here on, or one channel; the levels before that.

  In blocks: an hour in stereo at 44.1 kHz takes 1.3 GB at once, and a damaged
  header may promise more than any machine holds.
  """
  parts, levels, is_over = [], Levels(), False
  most = _LONGEST * 3600 * file.samplerate
  resampler = soxr.ResampleStream(file.samplerate, sample_rate, 1)
  block_SxC = np.empty((min(_BLOCK, wanted), file.channels), np.float32)
  while levels.frames < wanted and not is_over:
    count, is_over = _read_block(file, block_SxC[: wanted - levels.frames])
    if not count:
      break
    read_SxC = block_SxC[:count]
    with np.errstate(invalid="ignore", over="ignore"):
      mono = read_SxC.mean(axis=1) if channel is None else read_SxC[:, channel]
      levels.add(read_SxC, mono)
    parts.append(resampler.resample_chunk(np.ascontiguousarray(mono)))
    if levels.frames > most:
      raise UnreadableAudio(path, _too_long("a longer recording"))
  parts.append(resampler.resample_chunk(np.zeros(0, np.float32), last=True))
  return np.concatenate(parts), levels


def _read_block(
  file: soundfile.SoundFile, block_SxC: np.ndarray
) -> tuple[int, bool]:
  """Fills a block; gives how much of it, and whether the file breaks off.

  Raises SoundFileError where it breaks off before the first sample.
  """
  before = file.tell()
  try:
    return len(file.read(out=block_SxC)), False
  except soundfile.SoundFileError:
    after = file.tell()
    if after <= 0:
      raise
    return max(0, min(after - before, len(block_SxC))), True


def _shortfall(
  path: str | os.PathLike,
  file: soundfile.SoundFile,
  size: headers.Sizes | None,
  start: float,
  frames: int,
) -> str:
  """What the header promises where that is not what is there, or ''."""
  seconds = start + frames / file.samplerate
  promised = file.frames / file.samplerate if is_known(file.frames) else 0
  if size is not None and size.promised is not None and size.there:
    promised = seconds * size.promised / size.there
  if abs(promised - seconds) <= _TOLERANCE or not is_known(file.frames):
    with open(path, "rb") as content:
      why = headers.cut_ogg(content)
    return why and f"{why}; the {seconds:.2f} s that are there are used"
  if size is not None and size.unfinished:
    return (
      f"its header promises {promised:.2f} s, was it never finished? all "
      f"{seconds:.2f} s to the end of the file are used"
    )
  with open(path, "rb") as content:
    is_said = file.format != "MP3" or headers.says_frames(content)
  if promised < seconds or not is_said:
    return ""
  return (
    f"cut short: its header promises {promised:.2f} s, of which the "
    f"{seconds:.2f} s that are there are used"
  )


def _explain(path: str | os.PathLike, error: Exception) -> str:
  """Why libsndfile does not read a file, in the words that end the trouble."""
  if why := files.stand_in(path):
    return why
  with contextlib.suppress(OSError), open(path, "rb") as file:
    head = file.read(16)
    kinds = [what for at, magic, what in _MAGIC if head[at:].startswith(magic)]
    if kinds:
      return f"not readable as audio; {kinds[0]}: {_CONVERT}"
  suffix = pathlib.Path(os.fsdecode(path)).suffix.lower()
  if suffix not in SUFFIXES and is_media(path):
    return f"not readable as audio; of type {suffix}: {_CONVERT}"
  why = getattr(error, "error_string", str(error)).replace("\n", " ")
  if "format" in why and is_media(path):
    return f"not readable as audio ({why}); {_CONVERT}"
  return f"not readable as audio ({why})"


def is_media(path: str | os.PathLike) -> bool:
  """Whether a name is that of a recording or a film, of any type."""
  path = pathlib.PurePath(os.fsdecode(path))
  kind, _ = mimetypes.guess_type(f"x{path.suffix.lower()}", strict=False)
  is_known = kind is not None and kind.startswith(("audio/", "video/"))
  suffix = path.suffix.lower()
  if suffix in _NO_SOUND:
    return False
  return is_known or suffix in _MEDIA.split() or suffix in SUFFIXES


def to_int16(samples: np.ndarray) -> np.ndarray:
  """Rounds float32 [S], full scale at 1, to int16 [S]; clips what is louder.

  Exact for what was 16-bit audio. In place: a recording may be hours long.
  """
  samples *= FULL_SCALE
  np.rint(samples, out=samples)
  np.clip(samples, -FULL_SCALE, FULL_SCALE - 1, out=samples)
  return samples.astype(np.int16)


def fingerprint(samples: np.ndarray) -> str:
  """SHA-256 of int16 [S]: equal for the same sound in two types of file."""
  return hashlib.sha256(np.ascontiguousarray(samples).data).hexdigest()


def content_hash(path: str | os.PathLike) -> str:
  """SHA-256 of a file's bytes, in hexadecimal; may raise UnreadableAudio."""
  try:
    with open(path, "rb") as file:
      return hashlib.file_digest(file, "sha256").hexdigest()
  except OSError as error:
    raise UnreadableAudio(path, _strerror(error)) from error


def _strerror(error: OSError) -> str:
  is_missing = isinstance(error, FileNotFoundError)
  return "no such file" if is_missing else error.strerror or str(error)
