"""Transcripts in parts, and where in a recording the next window begins.

Radford et al. 2023, section 4.5, and the published code.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from emojax.audio.settings import SAMPLE_RATE
from emojax.encoders.whisper_config import HOP, SAMPLES_PER_FRAME
from emojax.encoders.whisper_tokens import Vocabulary
from emojax.encoders.words import Word

_SPECTRUM_SECONDS = HOP / SAMPLE_RATE
# Of the encoder; a timestamp is a number of its frames.
_SPECTRA_PER_FRAME = SAMPLES_PER_FRAME // HOP
_STAMP_SECONDS = _SPECTRA_PER_FRAME * _SPECTRUM_SECONDS


class Segment(NamedTuple):
  """A part of a transcript, in seconds of its recording."""

  start: float
  end: float
  text: str


class Transcript(NamedTuple):
  """What is said in a recording: '' where nobody speaks."""

  text: str
  language: str  # '' of a checkpoint for English only.
  segments: tuple[Segment, ...]
  words: tuple[Word, ...] = ()  # Where they are asked for.


class Recording:
  """A recording of so many spectra, and its transcript so far.

  Attributes:
    seek: the spectrum with which the next window begins.
    timestamps: whether it is asked for with timestamps.
    language: as in `Transcript`; also '' while it is not known.
  """

  def __init__(self, num_spectra: int, timestamps: bool, language: str):
    self.num_spectra, self.timestamps = num_spectra, timestamps
    self.language = language
    self.seek = 0
    # Start and end in seconds, and tokens.
    self._parts: list[tuple[float, float, np.ndarray]] = []
    self._words: list[Word] = []
    self._parts_with_words = 0

  def skip(self, size: int) -> None:
    """Goes on behind a window of so many spectra."""
    self.seek += min(size, self.num_spectra - self.seek)

  def add(self, tokens_N: np.ndarray, size: int, first_timestamp: int) -> None:
    """Cuts a window's tokens where two timestamps meet, and goes on.

    What follows the last pair is heard again in the next window, unless it
    ends with a timestamp: then nobody speaks any more in this one.
    """
    is_timestamp_N = tokens_N >= first_timestamp
    cuts = (
      np.flatnonzero(is_timestamp_N[:-1] & is_timestamp_N[1:]) + 1
    ).tolist()
    if not self.timestamps or not cuts:
      self._add_whole(tokens_N, size, first_timestamp)
      self.skip(size)
      return
    ends_alone = is_timestamp_N[-2:].tolist() == [False, True]
    if ends_alone:
      cuts.append(len(tokens_N))
    for start, stop in zip([0, *cuts], cuts, strict=False):
      part = tokens_N[start:stop]
      self._append(part, *(part[[0, -1]] - first_timestamp))
    if ends_alone:
      self.skip(size)
    else:
      last = int(tokens_N[cuts[-1] - 1]) - first_timestamp
      self.seek += last * _SPECTRA_PER_FRAME

  def frames_since(self, spectrum: int) -> int:
    """The encoder's frames from a spectrum to where the next window begins."""
    end = min(self.seek, self.num_spectra)
    return max(1, -(-(end - spectrum) // _SPECTRA_PER_FRAME))

  def without_words(self, end: int) -> list[int]:
    """Tokens of text, which are below `end`, whose words were not added."""
    parts = self._parts[self._parts_with_words :]
    return [int(token) for *_, part in parts for token in part if token < end]

  def add_words(self, spectrum: int, words: Sequence[Word]) -> None:
    """Adds the words of those, in seconds from a spectrum on."""
    offset = spectrum * _SPECTRUM_SECONDS
    self._words += [
      Word(text, offset + start, offset + end) for text, start, end in words
    ]
    self._parts_with_words = len(self._parts)

  def transcript(self, vocabulary: Vocabulary) -> Transcript:
    """What was added, as text."""
    segments = tuple(
      Segment(float(start), float(end), vocabulary.decode(tokens))
      for start, end, tokens in self._parts
    )
    everything = [token for *_, tokens in self._parts for token in tokens]
    text = vocabulary.decode(everything)
    return Transcript(text, self.language, segments, tuple(self._words))

  def _add_whole(self, tokens_N, size, first_timestamp):
    """A window as one segment, up to its last timestamp if it has one."""
    timestamps = tokens_N[tokens_N >= first_timestamp] - first_timestamp
    last = min(size, self.num_spectra - self.seek) / _SPECTRA_PER_FRAME
    if len(timestamps) and timestamps[-1]:
      last = timestamps[-1]
    self._append(tokens_N, 0, last)

  def _append(self, tokens_N, first, last):
    offset = self.seek * _SPECTRUM_SECONDS
    start, end = offset + first * _STAMP_SECONDS, offset + last * _STAMP_SECONDS
    self._parts.append((start, end, tokens_N))
