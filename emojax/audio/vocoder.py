"""Time stretching and pitch shifting in one pass of a phase vocoder."""

import jax
import jax.numpy as jnp
import numpy as np

from emojax import spectral
from emojax.audio import waveforms
from emojax.kernels import target

_FFT, _HOP = 2048, 512
_BINS = _FFT // 2 + 1
_TINY = 1e-30  # Added to powers: below every power that float32 audio has.
_BLOCK = 1024  # Of the positions that are computed exactly, see `_positions`.
# Half of the taps of the filter that doubles the sample rate: flat to 90 % of
# the old band, images 55 dB down.
_PAIRS = 16
_KAISER = 5.0
_WIDTH = 32  # Samples that one row of the product doubles.


def stretch_and_shift(
  audio_BxS: jax.Array,
  lengths_B: jax.Array,
  rate_B: jax.Array,
  semitones_B: jax.Array | None = None,
  max_semitones: float = 12.0,
) -> tuple[jax.Array, jax.Array]:
  """Changes speed and pitch independently; the formants move with the pitch.

  The phase vocoder of Flanagan & Golden 1966 as in librosa's
  `effects.time_stretch` and `effects.pitch_shift` (2048 samples a frame, hop
  512): a shift is a stretch by its inverse, then read at another speed. One
  transform serves both.

  librosa adds up wrapped angles. Their sum is the angle of a product of unit
  phasors, z' / |z'| * conj(z / |z|) for each step from frame z to z' (the
  expected advance cancels modulo 2 pi), so no angle is ever formed here.

  Args:
    audio_BxS, lengths_B: float32 and int32; zero from the end on.
    rate_B: speed, above 0; 2 is twice as fast.
    semitones_B: shift of the pitch; None: no shift of any clip.
    max_semitones: the largest shift up there can be; it bounds the memory.

  Returns the audio [B, S], cut at S, and its lengths, `round(lengths / rate)`.
  """
  num_samples = audio_BxS.shape[1]
  ratio_B, needed = jnp.ones_like(rate_B), num_samples
  if semitones_B is not None:
    ratio_B = jnp.exp2(semitones_B / 12)
    needed = int(np.ceil(num_samples * 2 ** (max_semitones / 12))) + _PAIRS + 3
  # Later frames begin behind the last sample that is needed.
  num_spectra = -(-(needed + _FFT // 2) // _HOP)
  spectrum_BxTxF = spectral.stft(audio_BxS, _FFT, _HOP)
  frames_B = spectral.num_frames(lengths_B, _HOP)
  spectrum_BxKxF, made_B = _follow_phase(
    spectrum_BxTxF, frames_B, rate_B / ratio_B, _gains(ratio_B), num_spectra
  )
  audio = spectral.istft(spectrum_BxKxF, _HOP, needed, made_B)
  lengths_B = jnp.round(lengths_B / rate_B).astype(jnp.int32)
  lengths_B = jnp.minimum(lengths_B, num_samples)
  if semitones_B is not None and target.platform() != "cpu":
    audio = _read_at_speed(audio, ratio_B, num_samples)
  elif semitones_B is not None:
    audio = jax.lax.cond(
      (semitones_B != 0).any(),
      lambda: _read_at_speed(audio, ratio_B, num_samples),
      lambda: audio[:, :num_samples],
    )
  return waveforms.cut(audio, lengths_B), lengths_B


def _follow_phase(spectrum_BxTxF, frames_B, rate_B, gains_BxF, num_spectra):
  """Spectra at multiples of `rate_B` frames, the phase carried along.

  They are complex64 [B, num_spectra, F]; with them comes how many a clip has.
  Real and imaginary parts are apart, since XLA does not vectorise complex
  products on CPUs; and phasors are formed before the scan, since each of its
  results would form them anew.
  """
  last = spectrum_BxTxF.shape[1] - 1
  steps_KxB = jnp.arange(num_spectra)[:, None] * rate_B[None]
  index_KxB = jnp.minimum(steps_KxB.astype(jnp.int32), last)
  weight_KxB = steps_KxB - jnp.floor(steps_KxB)
  real, imag = spectrum_BxTxF.real, spectrum_BxTxF.imag
  power = real * real + imag * imag
  inverse = jax.lax.rsqrt(power + _TINY)
  magnitude = power * inverse * gains_BxF[:, None]
  # The angle of zero is zero.
  unit_real = jnp.where(power > _TINY, real * inverse, 1)
  unit_imag = jnp.where(power > _TINY, imag * inverse, 0)

  def at(index_B):
    return (
      jax.vmap(lambda x_TxF, index: x_TxF[index])(x, index_B)
      for x in (magnitude, unit_real, unit_imag)
    )

  def look(index_B, weight_B):
    """The magnitude at a position, and the turn from there to the next one."""
    here, here_real, here_imag = at(index_B)
    next_, next_real, next_imag = at(jnp.minimum(index_B + 1, last))
    # What a frame behind the end still sees of the clip counts as silence, so
    # that the result does not depend on the padding.
    exists = (index_B + 1 < frames_B)[:, None]
    next_ = jnp.where(exists, next_, 0)
    next_real = jnp.where(exists, next_real, 1)
    next_imag = jnp.where(exists, next_imag, 0)
    level = here + weight_B[:, None] * (next_ - here)
    turn_real = next_real * here_real + next_imag * here_imag
    turn_imag = next_imag * here_real - next_real * here_imag
    return level, turn_real, turn_imag

  start = unit_real[:, 0], unit_imag[:, 0]
  turn = _turn_in_order if target.platform() == "cpu" else _turn_at_once
  made_KxBxF = turn(look, start, (index_KxB, weight_KxB))
  made_B = jnp.ceil(frames_B / rate_B).astype(jnp.int32)
  return made_KxBxF.swapaxes(0, 1), made_B


def _turn_in_order(look, start, positions):
  """A phasor that turns on from position to position, complex64 [K, B, F]."""

  def step(phasor, position):
    phasor_real, phasor_imag = phasor
    level, turn_real, turn_imag = look(*position)
    made = phasor_real * level, phasor_imag * level
    new_real = phasor_real * turn_real - phasor_imag * turn_imag
    new_imag = phasor_real * turn_imag + phasor_imag * turn_real
    # One step of Newton's method towards 1 / |phasor|, which is close to 1.
    scale = 1.5 - 0.5 * (new_real * new_real + new_imag * new_imag)
    return (new_real * scale, new_imag * scale), made

  return jax.lax.complex(*jax.lax.scan(step, start, positions)[1])


def _turn_at_once(look, start, positions):
  """The same with the logarithm of the positions for its depth."""
  level, *turn = jax.vmap(look)(*positions)
  turn, start = jax.lax.complex(*turn), jax.lax.complex(*start)
  turn = jnp.concatenate([start[None], turn[:-1]])
  phasor = jax.lax.associative_scan(jnp.multiply, turn)
  return phasor * (level / jnp.abs(phasor))


def _gains(ratio_B):
  """Gain of each frequency before the signal is read at another speed.

  What would end above the band is removed; and cubic B-splines pass through
  their samples if these were filtered by the inverse of (1, 4, 1) / 6 before
  (Unser 1999, "Splines: a perfect fit for signal and image processing").
  """
  share_F = np.arange(_BINS, dtype=np.float32) / (_BINS - 1)
  spline_F = 6 / (4 + 2 * np.cos(np.pi / 2 * share_F))
  fits = share_F[None] * ratio_B[:, None] <= 1
  gains = jnp.where(fits, spline_F[None], 0)
  return jnp.where((ratio_B == 1)[:, None], 1, gains)


def _read_at_speed(audio_BxL, ratio_B, num_samples):
  """Samples at multiples of `ratio_B`, by cubic B-splines at twice the rate."""
  double = _double(audio_BxL)
  index, t = _positions(2 * ratio_B, num_samples)
  weights = (
    (1 - t) ** 3 / 6,
    (3 * t**3 - 6 * t**2 + 4) / 6,
    (-3 * t**3 + 3 * t**2 + 3 * t + 1) / 6,
    t**3 / 6,
  )
  # One zero is in front of the first sample.
  double = jnp.pad(double, ((0, 0), (1, 0)))
  taps = [
    weight * jnp.take_along_axis(double, index + k, 1, mode="clip")
    for k, weight in enumerate(weights)
  ]
  read = sum(taps[1:], taps[0])
  return jnp.where((ratio_B == 1)[:, None], audio_BxL[:, :num_samples], read)


def _double(audio_BxL):
  """The signal at twice its sample rate: a windowed sinc between samples.

  As a product with a banded matrix, block by block: several times faster on
  CPUs than the sum of shifted signals.
  """
  size, num_samples = audio_BxL.shape
  num_blocks = -(-num_samples // _WIDTH)
  overlap = -(-2 * _PAIRS // _WIDTH)
  after = (num_blocks + overlap) * _WIDTH - num_samples - (_PAIRS - 1)
  padded = jnp.pad(audio_BxL, ((0, 0), (_PAIRS - 1, after)))
  blocks = padded.reshape(size, -1, _WIDTH)
  inputs_BxNxI = jnp.concatenate(
    [blocks[:, k : k + num_blocks] for k in range(overlap + 1)], axis=-1
  )
  matrix_IxJ = _doubling_matrix(inputs_BxNxI.shape[-1])
  doubled = jnp.matmul(
    inputs_BxNxI, matrix_IxJ, precision=jax.lax.Precision.HIGHEST
  )
  return doubled.reshape(size, -1)[:, : 2 * num_samples]


def _doubling_matrix(num_inputs):
  """From inputs, `_PAIRS - 1` of them before the first, to 2 `_WIDTH`."""
  place = np.arange(num_inputs)[:, None] - (_PAIRS - 1)
  distance = np.abs(place - np.arange(2 * _WIDTH)[None] / 2)
  window = np.i0(_KAISER * np.sqrt(np.maximum(1 - (distance / _PAIRS) ** 2, 0)))
  taps = np.sinc(distance) * window / np.i0(_KAISER)
  # At whole distances the sinc is zero but for rounding.
  return np.where(distance < _PAIRS, taps, 0).astype(np.float32)


def _positions(step_B, num_samples):
  """Whole part and fraction of 0, step, 2 step, ...: int32, float32 [B, S].

  A float32 product would have no accurate fraction after some seconds. So the
  step is split into a coarse part, whose multiples of `_BLOCK` are integers,
  and a rest, and products stay small.
  """
  coarse_B = jnp.round(step_B * (_BLOCK // 2)) / (_BLOCK // 2)
  whole_B = (coarse_B * _BLOCK).astype(jnp.int32)
  rest_B = (step_B - coarse_B) * _BLOCK
  sample = jnp.arange(num_samples, dtype=jnp.int32)[None]
  block, within = sample // _BLOCK, sample % _BLOCK
  place = within * step_B[:, None] + block * rest_B[:, None]
  floor = jnp.floor(place)
  return block * whole_B[:, None] + floor.astype(jnp.int32), place - floor
