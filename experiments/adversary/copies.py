"""Copies of recordings in other voices, as files.

By the augmentation of the speech study, in its ranges: pitch and formants move
together, by up to four semitones; and the speed is changed by up to 20 %. What
is drawn for a copy depends on the names of its voice and its clip alone.
"""

import functools
import pathlib
import zlib
from collections.abc import Callable, Mapping, Sequence

import jax
import numpy as np
import soundfile

from emojax.audio import augment, io
from emojax.audio.settings import SAMPLE_RATE, Settings
from emojax.runtime import files

VOICES: Mapping[str, Settings] = {
  "pitch4": Settings(pitch_probability=1.0),
  "pitch4_stretch20": Settings(pitch_probability=1.0, stretch_probability=1.0),
}
LABELS = {
  "pitch4": "at another pitch",
  "pitch4_stretch20": "at another pitch and another speed",
}
_PEAK = 0.99  # That none is clipped.


@functools.cache
def _compiled(settings: Settings) -> Callable:
  return jax.jit(
    functools.partial(
      augment.augment, noise_BxS=None, responses_NxR=None, settings=settings
    )
  )


def _augmented(
  settings: Settings, audio_S: np.ndarray, seeds: tuple[int, int]
) -> np.ndarray:
  """One copy, whose length may be another one."""
  room = int(len(audio_S) / settings.stretch_rate[0])
  size = -(-room // SAMPLE_RATE) * SAMPLE_RATE  # Few shapes to compile.
  audio_1xS = np.pad(audio_S, (0, size - len(audio_S)))[None]
  key = jax.random.fold_in(jax.random.key(seeds[0]), seeds[1])
  copy_1xS, length_1 = _compiled(settings)(
    key, audio_1xS, np.array([len(audio_S)])
  )
  return np.asarray(copy_1xS)[0, : int(length_1[0])]


def write(paths: Sequence[str], voice: str, folder: pathlib.Path) -> None:
  """Writes a copy of each recording that has none yet, under its own name.

  In the same folder as it is in, one level deep: those of RAVDESS' actors.
  """
  for path in map(pathlib.Path, paths):
    copy = folder / path.parent.name / f"{path.stem}.wav"
    if copy.exists():
      continue
    copy.parent.mkdir(parents=True, exist_ok=True)
    seeds = zlib.crc32(voice.encode()), zlib.crc32(path.stem.encode())
    audio_S = io.decode(path, SAMPLE_RATE).samples
    audio_S = _augmented(VOICES[voice], audio_S, seeds)
    audio_S = audio_S * min(1, _PEAK / np.abs(audio_S).max())
    with files.whole(copy) as temporary:
      soundfile.write(
        temporary, audio_S, SAMPLE_RATE, subtype="PCM_16", format="WAV"
      )
