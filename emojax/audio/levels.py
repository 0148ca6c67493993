"""How loud the samples of a recording are, and what of it can not be right."""

import numpy as np

_FRAME_SECONDS = 0.032
_PAUSE_DB = 20.0  # Below the loudest frame.
# -80 dB of full scale: three steps of 16-bit samples, less than any microphone.
_SILENCE = 1e-4
# Two steps of 8-bit samples: what dither makes of silence.
_STEPS = dict.fromkeys(("PCM_U8", "PCM_S8"), 2 / 128)
# Beyond this it is no loud recording but one in other units. A float file may
# be louder than full scale by a little, and MP3 and Vorbis are.
_LOUDEST = 4.0
_LOUD = 1.5
_FULL = 0.999
_MOST_AT_FULL = 0.1  # Of all samples.
_MOST_OFFSET = 0.25  # Of full scale.
_CANCELLED = 0.05  # Of what the channels have, -26 dB.
_FEWEST_BITS = 1 << 8  # Below that nobody can say which integers were meant.
# By the largest number of an integer type.
_INTEGERS = {"int16": 1 << 15, "24 bits": 1 << 23, "int32": 1 << 31}


def speech_db(samples_S: np.ndarray, sample_rate: int) -> float:
  """The level of a clip where it is not paused: RMS, dB of full scale at 1.

  Over all frames of 32 ms that are within 20 dB of the loudest one, much as
  the active speech level of ITU-T P.56 leaves out pauses; a full-scale sine has
  -3 dB. What is left behind the last whole frame is not heard. Minus infinity
  where all is 0.
  """
  power_T, active_T, _ = _frames(samples_S, sample_rate)
  with np.errstate(divide="ignore"):
    return float(10 * np.log10(power_T[active_T].mean()))


def active_span(samples_S: np.ndarray, sample_rate: int) -> tuple[int, int]:
  """The first sample of the first frame that is active, and the last's end.

  Active is what `speech_db` hears.
  """
  _, active_T, size = _frames(samples_S, sample_rate)
  frames = np.flatnonzero(active_T)
  return int(frames[0]) * size, (int(frames[-1]) + 1) * size


def _frames(
  samples_S: np.ndarray, sample_rate: int
) -> tuple[np.ndarray, np.ndarray, int]:
  """Power of each frame, whether it is active, and the samples of one."""
  size = min(len(samples_S), round(_FRAME_SECONDS * sample_rate))
  frames_TxS = samples_S[: len(samples_S) // size * size].reshape(-1, size)
  power_T = np.square(frames_TxS, dtype=np.float64).mean(axis=1)
  return power_T, power_T >= power_T.max() / 10 ** (_PAUSE_DB / 10), size


class Levels:
  """What is seen of the samples of a recording as its blocks pass."""

  def __init__(self):
    """Nothing has passed."""
    self.frames = 0
    self._low = self._high = None  # Of each channel.
    self._mono_low, self._mono_high = np.float32(np.inf), np.float32(-np.inf)
    self._sum, self._at_full = 0.0, 0

  def add(self, block_SxC: np.ndarray, mono_S: np.ndarray) -> None:
    """Takes a block that is not empty, and the mean of its channels."""
    # NaN stays NaN here.
    low, high = block_SxC.min(axis=0), block_SxC.max(axis=0)
    if self._low is not None:
      low, high = np.minimum(low, self._low), np.maximum(high, self._high)
    self._low, self._high = low, high
    self._mono_low = np.minimum(self._mono_low, mono_S.min())
    self._mono_high = np.maximum(self._mono_high, mono_S.max())
    self.frames += len(mono_S)
    self._sum += float(mono_S.sum(dtype=np.float64))
    if max(-self._mono_low, self._mono_high) >= _FULL:
      self._at_full += int(np.count_nonzero(np.abs(mono_S) >= _FULL))

  @property
  def _peak(self) -> float:
    return float(max(-self._low.min(), self._high.max()))

  def implausible(self) -> str:
    """Why this can not be the sound of anything, or ''."""
    if not self.frames:
      return "a recording of zero length"
    if not (np.isfinite(self._low).all() and np.isfinite(self._high).all()):
      return "samples that are NaN or infinite"
    peak = self._peak
    if peak > _LOUDEST:
      units = [name for name, most in _INTEGERS.items() if peak <= most]
      hint = "damaged, or not in -1 to 1? scale them"
      if units and peak > _FEWEST_BITS:
        hint = (
          f"a float file in the range of {units[0]}? divide its samples by "
          f"{_INTEGERS[units[0]]}"
        )
      return f"samples up to {peak:.6g} times full scale: {hint}"
    return ""

  def silent(self, subtype: str) -> str:
    """That nothing is heard, or ''; `subtype` is that of the file's samples."""
    loudest = (self._high - self._low).max()
    if loudest < 2 * _SILENCE or loudest <= _STEPS.get(subtype, 0):
      quiet = f" (its samples are at most {self._peak:.1g} of full scale)"
      constant = (self._high == self._low).all()
      return f"silent from beginning to end{'' if constant else quiet}"
    return ""

  def cancelled(self) -> int | None:
    """The first channel with sound, if the mean of the channels has none."""
    ranges = self._high - self._low
    mono = self._mono_high - self._mono_low
    loud = ranges >= 2 * _SILENCE
    if len(ranges) < 2 or mono >= _CANCELLED * ranges.max() or not loud.any():
      return None
    return int(loud.argmax())

  def odd(self) -> list[str]:
    """What a recording that is used is warned of."""
    found, channel = [], self.cancelled()
    if channel is not None:
      found.append(
        "its channels cancel out (opposite phase): channel "
        f"{channel + 1} is read"
      )
    if self._peak > _LOUD:
      found.append(
        f"samples up to {self._peak:.1f} times full scale: what is beyond full "
        "scale is cut"
      )
    at_full = self._at_full / self.frames
    if at_full > _MOST_AT_FULL:
      found.append(f"{at_full:.0%} of its samples are at full scale: clipped")
    offset = self._sum / self.frames
    if abs(offset) > _MOST_OFFSET:
      found.append(
        f"its samples have a constant offset of {offset:.2f} of full scale"
      )
    return found
