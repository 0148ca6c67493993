"""What augmentation may do to a clip: probabilities, ranges, recordings."""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any, Self

import numpy as np

from emojax.audio import backgrounds
from emojax.errors import UserError

SAMPLE_RATE = 16_000

Range = tuple[float, float]


@dataclasses.dataclass(frozen=True)
class Settings:
  """Probability of each augmentation, and the range that is drawn from.

  As `config.augment`. Ranges are (lowest, highest), drawn from uniformly.
  Gain, pitch, stretch and background have those of `configs/speech.py`. A clip
  of which less than `min_samples` would be left is not stretched, cropped or
  shifted.
  """

  sample_rate: int = SAMPLE_RATE
  min_samples: int = 1
  gain_probability: float = 0.0
  gain_db: Range = (-6.0, 6.0)
  pitch_probability: float = 0.0
  pitch_semitones: Range = (-4.0, 4.0)  # Formants move, too.
  stretch_probability: float = 0.0
  stretch_rate: Range = (0.8, 1.2)  # Speed, at the same pitch.
  crop_probability: float = 0.0
  crop_share: Range = (0.8, 1.0)  # Of the clip's length.
  shift_probability: float = 0.0
  shift_seconds: Range = (-0.2, 0.2)  # Below 0 the beginning is cut off.
  reverberation_probability: float = 0.0
  # In which a synthesised room decays by 60 dB: from a small office to a
  # lecture hall (ACE Challenge, Eaton et al. 2016); direct sound over tail.
  reverberation_seconds: Range = (0.2, 0.8)
  reverberation_direct_db: Range = (0.0, 12.0)
  background_probability: float = 0.0
  background_snr_db: Range = (5.0, 20.0)
  noise_probability: float = 0.0
  noise_snr_db: Range = (15.0, 40.0)
  microphone_probability: float = 0.0
  microphone_db: Range = (-6.0, 6.0)  # At each octave from 125 Hz to 8 kHz.
  band_probability: float = 0.0
  band_low_hertz: Range = (50.0, 300.0)  # A telephone has 300
  band_high_hertz: Range = (3400.0, 7500.0)  # to 3400 Hz.
  # SpecAugment: shares of the clip and of the mel scale.
  time_mask_probability: float = 0.0
  time_masks: int = 2
  time_mask_share: Range = (0.0, 0.1)
  frequency_mask_probability: float = 0.0
  frequency_masks: int = 2
  frequency_mask_share: Range = (0.0, 0.1)

  def __post_init__(self):
    """Raises a UserError that names the first field that makes no sense."""
    for field in dataclasses.fields(self):
      name, value = field.name, getattr(self, field.name)
      if field.type == Range:
        numbers = isinstance(value, tuple) and all(map(_is_number, value))
        if not numbers or len(value) != 2 or value[0] > value[1]:
          _refuse(name, value, "has to be two numbers, the lower first")
      elif field.type is int:
        if type(value) is not int or value < 1:
          _refuse(name, value, "has to be a whole number of at least 1")
      elif not _is_number(value) or not 0 <= value <= 1:
        _refuse(name, value, "has to be a probability, 0 to 1")
    nyquist = self.sample_rate / 2
    for name, low, high, unit in (
      ("pitch_semitones", -24, 24, "semitones"),
      ("stretch_rate", 0.25, 4, "times the speed"),
      ("crop_share", 0.01, 1, "of the clip"),
      ("reverberation_seconds", 0.01, 10, "seconds"),
      ("band_low_hertz", 1, nyquist, "Hz"),
      ("band_high_hertz", self.band_low_hertz[1], nyquist, "Hz"),
      ("time_mask_share", 0, 1, "of the clip"),
      ("frequency_mask_share", 0, 1, "of the mel scale"),
    ):
      value = getattr(self, name)
      if value[0] < low or value[1] > high:
        _refuse(name, value, f"has to be within {low:g} and {high:g} {unit}")


@dataclasses.dataclass(frozen=True)
class Augmentation:
  """What training clips are augmented with."""

  settings: Settings
  noise: backgrounds.Backgrounds | None
  responses: np.ndarray | None  # Of rooms, float32 [N, R].

  @classmethod
  def read(cls, fields: Mapping[str, Any], min_samples: int = 1) -> Self | None:
    """Reads a `config.augment` and its folders; None: nothing is to be done.

    `min_samples` is the least that the encoder makes a frame of. Raises a
    UserError where a value makes no sense, a folder has no audio, or nothing
    would read it.
    """
    names = [field.name for field in dataclasses.fields(Settings)][2:]
    chosen = (fields[name] for name in names)
    settings = Settings(SAMPLE_RATE, min_samples, *chosen)
    _refuse_unread(fields)
    if not any(fields[name] for name in names if "_probability" in name):
      return None
    noise, responses = None, None
    if settings.background_probability:
      if not fields["background_path"]:
        raise UserError(
          "config.augment.background_path is not set: name a folder of "
          "recordings such as MUSAN's, or set "
          "config.augment.background_probability=0"
        )
      noise = backgrounds.Backgrounds(fields["background_path"])
    if settings.reverberation_probability and fields["responses_path"]:
      responses = backgrounds.load_responses(
        fields["responses_path"], SAMPLE_RATE, SAMPLE_RATE
      )
    return cls(settings, noise, responses)

  @property
  def lengthening(self) -> float:
    """How much longer the stretching of time may make a clip, at least 1."""
    stretches = self.settings.stretch_probability
    return max(1.0, 1 / self.settings.stretch_rate[0]) if stretches else 1.0


def _refuse_unread(fields):
  for path, probability in (
    ("background_path", "background_probability"),
    ("responses_path", "reverberation_probability"),
  ):
    if fields[path] and not fields[probability]:
      _refuse(
        path,
        fields[path],
        f"nothing reads it while config.augment.{probability} is 0: set that "
        "above 0, or leave out the path",
      )


def _is_number(value):
  return type(value) in (int, float) and math.isfinite(value)


def _refuse(name, value, why):
  raise UserError(f"config.augment.{name} = {value!r}: {why}")
