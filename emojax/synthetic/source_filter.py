"""Source-filter synthesis of speech: glottal pulses through a vocal tract.

The source is a train of glottal pulses with aspiration (Klatt & Klatt 1990,
"Analysis, synthesis, and perception of voice quality variations among female
and male talkers"); the filter is a cascade of moving resonances (Klatt 1980,
"Software for a cascade/parallel formant synthesizer").
"""

import dataclasses

import numpy as np

SAMPLE_RATE = 16_000
FRAME = 80  # Samples for each step of the articulation: 5 ms.
_FFT = 1024  # Two frames and 54 ms, by when the narrowest formant has rung out.
_FORMANT_WIDTHS = (70.0, 100.0, 150.0, 250.0, 350.0)  # In Hz.
_FRICTION_WIDTH = 1500.0


@dataclasses.dataclass(frozen=True)
class Articulation:
  """What the synthesizer follows, in frames of 5 ms."""

  pitch_T: np.ndarray  # Fundamental frequency, in Hz.
  voicing_T: np.ndarray  # Amplitude of the glottal source.
  friction_T: np.ndarray  # Amplitude of the friction noise.
  centre_T: np.ndarray  # Centre of the friction noise, in Hz.
  formants_TxF: np.ndarray  # Resonances of the vocal tract, in Hz.


@dataclasses.dataclass(frozen=True)
class Glottis:
  """The quality of a voice."""

  damping: float  # Loss of the source at 3 kHz, in dB, above 0.
  open_quotient: float  # Share of the cycle during which air flows.
  breathiness: float  # Aspiration relative to voicing, amplitude ratio.
  jitter: float  # Relative deviation of the cycles' lengths.
  shimmer: float  # Relative deviation of the cycles' amplitudes.


def synthesize(
  articulation: Articulation, glottis: Glottis, rng: np.random.Generator
) -> np.ndarray:
  """Renders an articulation of T frames at the speaker's mouth, at RMS 1.

  `rng` is the source of the noises and of what varies from cycle to cycle.

  Returns:
    Samples [T * FRAME] at `SAMPLE_RATE`.
  """
  samples = len(articulation.pitch_T) * FRAME
  grid = np.arange(samples) / FRAME - 0.5

  def per_sample(track):
    return np.interp(grid, np.arange(len(track)), track)

  pitch = per_sample(articulation.pitch_T)
  from scipy import signal  # A second, for what is rendered once.

  voicing = per_sample(articulation.voicing_T)
  cycle = np.floor(np.cumsum(pitch) / SAMPLE_RATE).astype(int)
  deviations = rng.standard_normal((2, cycle[-1] + 2))
  pitch = pitch * (1.0 + glottis.jitter * deviations[0, cycle])
  voicing = voicing * (1.0 + glottis.shimmer * deviations[1, cycle])

  phase = np.cumsum(pitch) / SAMPLE_RATE
  flow = _glottal_flow(phase, glottis.open_quotient)
  # A difference of the continuous flow is its derivative averaged over a
  # sample: the lips' radiation, with little aliasing from the closure's edge.
  pulses = np.diff(flow, prepend=0.0) * (SAMPLE_RATE / pitch)
  decay = _one_pole(glottis.damping)
  pulses = signal.lfilter([1.0 - decay], [1.0, -decay], pulses)
  noise = rng.standard_normal((2, samples))
  breath = glottis.breathiness * noise[0]
  source = voicing * (pulses + breath * (0.3 + 4.0 * flow))

  speech = _resonate(source, articulation.formants_TxF, _FORMANT_WIDTHS)
  hiss = _resonate(
    noise[1], articulation.centre_T[:, np.newaxis], (_FRICTION_WIDTH,)
  )
  hiss *= per_sample(articulation.friction_T) / np.std(hiss)
  vowel_level = np.sqrt(np.sum(speech**2) / np.sum(voicing**2))
  speech = speech + vowel_level * hiss
  return speech / np.sqrt(np.mean(speech**2))


def _resonate(
  sound: np.ndarray, centres_TxF: np.ndarray, widths: tuple[float, ...]
) -> np.ndarray:
  """Runs a sound through a cascade of moving resonators (Klatt 1980, Eq. 1).

  Each frame passes its own fixed filter and fades into the next (overlap-add
  of Hann windows before the filter), so that no state can ever run away. The
  sound is [T * FRAME] samples, centres and bandwidths `widths` [F] are in Hz.
  """
  from scipy import signal

  frames = len(centres_TxF)
  padded = np.pad(sound, (FRAME // 2, 2 * FRAME))
  starts = FRAME * np.arange(frames + 1)
  windows = padded[starts[:, np.newaxis] + np.arange(2 * FRAME)]
  windows *= signal.windows.hann(2 * FRAME, sym=False)
  spectrum = np.fft.rfft(windows.astype(np.float32), _FFT)
  delay = np.exp(-2j * np.pi * np.arange(_FFT // 2 + 1) / _FFT)
  delay = delay.astype(np.complex64)
  last = np.minimum(np.arange(frames + 1), frames - 1)
  poles = np.ones_like(spectrum)
  for centres, width in zip(centres_TxF[last].T, widths, strict=True):
    radius = np.float32(np.exp(-np.pi * width / SAMPLE_RATE))
    b = 2 * radius * np.cos(2 * np.pi * centres / SAMPLE_RATE)
    b = b.astype(np.float32)[:, np.newaxis]
    c = -(radius**2)
    spectrum *= 1 - b - c
    poles *= 1 - b * delay - c * delay**2
  filtered = np.fft.irfft(spectrum / poles, _FFT)
  out = np.zeros(FRAME * frames + _FFT)
  for start, frame in zip(starts, filtered, strict=True):
    out[start : start + _FFT] += frame
  return out[FRAME // 2 : FRAME // 2 + len(sound)]


def _glottal_flow(phase: np.ndarray, open_quotient: float) -> np.ndarray:
  """Air flow over the phase in cycles: t^2 - t^3 while open (Klatt 1990)."""
  opened = np.minimum(np.mod(phase, 1.0) / open_quotient, 1.0)
  return opened**2 * (1.0 - opened)


def _one_pole(loss: float) -> float:
  """Coefficient of a one-pole low-pass that loses `loss` dB at 3 kHz."""
  power = 10.0 ** (-loss / 10)
  cosine = np.cos(2 * np.pi * 3000 / SAMPLE_RATE)
  # |H|^2 = (1-a)^2 / (1 - 2 a cos + a^2) = power, solved for 0 <= a < 1.
  half = (1 - power * cosine) / (1 - power)
  return half - np.sqrt(half**2 - 1.0)
