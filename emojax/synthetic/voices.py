"""Source-filter voices: synthetic emotional speech without any recording.

A speaker sets pitch, tract length, loudness, microphone and room; an emotion
moves pitch, range, contour, rate, energy and voice quality in the directions
that the reviews of Scherer (2003, "Vocal communication of emotion") and
Juslin & Laukka (2003, "Communication of emotions in vocal expression and
music performance") report.

Everything is a pure function of its arguments and of the NumPy generator
given: no file is read or written here.
"""

import dataclasses

import numpy as np

from emojax.synthetic import phones, source_filter
from emojax.synthetic.source_filter import FRAME, SAMPLE_RATE


@dataclasses.dataclass(frozen=True)
class Voice:
  """What stays the same of a speaker, whatever is said or felt."""

  pitch: float = 120.0  # Habitual fundamental frequency, in Hz.
  # Length relative to the adult male of the vowel table; divides all formants.
  tract: float = 1.0
  rate: float = 1.0  # Of speaking, relative to the average.
  loudness: float = 0.0  # In dB relative to the average.
  breathiness: float = 0.05  # Aspiration relative to voicing, amplitude ratio.
  tilt: float = 0.0  # Of the microphone, in dB an octave around 1 kHz.
  reverberation: float = 0.1  # The room's decay by 60 dB, in seconds.
  noise: float = -75.0  # The background, in dB relative to full scale.
  room: int = 0  # The same number is the same room, in every recording.


@dataclasses.dataclass(frozen=True)
class Expression:
  """What an emotion changes in any voice; the defaults are neutral speech.

  See `source_filter.Glottis` for the fields of the same name.
  """

  pitch: float = 0.0  # Shift of the fundamental frequency, in semitones.
  range: float = 1.0  # Factor on all movements of the fundamental frequency.
  rise: float = -2.0  # Of the last quarter of the contour, in semitones.
  rate: float = 1.0  # Factor on the speaking rate.
  energy: float = 0.0  # Change of the level, in dB.
  damping: float = 9.0
  open_quotient: float = 0.6
  breathiness: float = 0.0  # Added to the voice's own.
  jitter: float = 0.006
  shimmer: float = 0.04
  opening: float = 1.0  # Factor on the first formant: a wider mouth raises it.
  pause: float = 0.15  # Probability of a pause between two words.

  def at(self, intensity: float) -> "Expression":
    """Goes from neutral (0) to this expression (1), or beyond it."""
    neutral, full = dataclasses.astuple(Expression()), dataclasses.astuple(self)
    values = zip(neutral, full, strict=True)
    return Expression(*(a + intensity * (b - a) for a, b in values))


EXPRESSIONS = {
  # Melody and tempo (pitch to energy), the glottis (damping to shimmer),
  # opening and pause.
  "angry": Expression(
    *(3.0, 1.5, -4.0, 1.2, 6.0), *(4.0, 0.45, 0.0, 0.015, 0.09), 1.12, 0.05
  ),
  "happy": Expression(
    *(3.5, 1.8, 4.0, 1.1, 3.0), *(7.0, 0.55, 0.0, 0.006, 0.04), 1.06, 0.1
  ),
  "neutral": Expression(),
  "sad": Expression(
    *(-2.0, 0.45, -2.5, 0.8, -5.0), *(15.0, 0.75, 0.12, 0.01, 0.06), 0.94, 0.45
  ),
}


def _smooth(track: np.ndarray, frames: int) -> np.ndarray:
  """Moves from segment to segment as the articulators do: gradually."""
  from scipy import signal  # A second, for what is rendered once.

  window = signal.windows.hann(frames + 2)[1:-1]
  pad = frames // 2
  padded = np.pad(track, (pad, frames - 1 - pad), mode="edge")
  return np.convolve(padded, window / window.sum(), mode="valid")


def _formant_targets(segments: list[phones.Segment]) -> np.ndarray:
  """Formants [S, 3] in Hz; obstruents take those of what comes next."""
  targets = np.zeros((len(segments), 3))
  following = (500.0, 1500.0, 2500.0)  # a uniform tube
  for i in reversed(range(len(segments))):
    targets[i] = following = segments[i].formants or following
  return targets


def articulate(
  text: str, voice: Voice, expression: Expression, rng: np.random.Generator
) -> source_filter.Articulation:
  """Plans how a voice says words in an expression; see `render`."""
  edge = phones.Segment(0.04)
  segments = [edge]
  accents = []  # of each word, the segment that carries the pitch accent
  words = text.split()
  for i, word in enumerate(words):
    spelled = phones.spell(word)
    nuclei = [j for j, s in enumerate(spelled) if s.nucleus] or [0]
    accents.append(len(segments) + nuclei[0])
    segments += spelled
    if i + 1 < len(words) and rng.random() < expression.pause:
      segments.append(phones.Segment(rng.uniform(0.08, 0.18)))
  segments.append(edge)

  tempo = voice.rate * expression.rate
  seconds = np.array([s.seconds for s in segments])
  seconds *= np.exp(0.12 * rng.standard_normal(len(segments))) / tempo
  counts = np.maximum(1, np.round(seconds * SAMPLE_RATE / FRAME).astype(int))
  ends = np.cumsum(counts)
  total = ends[-1]

  def track(values, frames):
    return _smooth(np.repeat(np.asarray(values, float), counts), frames)

  time = np.linspace(0.0, 1.0, total)
  movement = 2.0 - 4.0 * time  # declination
  for accent in accents:
    peak = (ends[accent] - counts[accent] / 2) / total
    width = 0.09 / (total * FRAME / SAMPLE_RATE)
    height = rng.uniform(1.5, 3.5)
    movement += height * np.exp(-0.5 * ((time - peak) / width) ** 2)
  movement += _smooth(rng.standard_normal(total), 21)  # no two are alike
  last = np.clip((time - 0.75) / 0.25, 0.0, 1.0)
  semitones = (
    expression.pitch + expression.range * movement + expression.rise * last
  )

  formants = _formant_targets(segments)
  formants[:, 0] *= expression.opening
  upper = np.tile([3500.0, 4500.0], (total, 1))
  lower = np.stack([track(f, 9) for f in formants.T], axis=1)
  return source_filter.Articulation(
    pitch_T=voice.pitch * 2.0 ** (semitones / 12),
    voicing_T=track([s.voicing for s in segments], 5),
    friction_T=track([s.friction for s in segments], 3),
    centre_T=track([s.centre for s in segments], 5) / voice.tract,
    formants_TxF=np.concatenate([lower, upper], axis=1) / voice.tract,
  )


def _impulse_response(voice: Voice) -> np.ndarray:
  """Microphone (a slope over frequency) and room (a decaying tail)."""
  from scipy import signal

  frequency = np.linspace(0.0, SAMPLE_RATE / 2, 129)
  octaves = np.log2(np.clip(frequency, 125.0, None) / 1000.0)
  gain = 10.0 ** (voice.tilt * octaves / 20)
  microphone = signal.firwin2(255, frequency, gain, fs=SAMPLE_RATE)
  length = int(voice.reverberation * SAMPLE_RATE)
  seconds = np.arange(length) / SAMPLE_RATE
  tail = np.random.default_rng(voice.room).standard_normal(length)
  tail *= 10.0 ** (-3.0 * seconds / voice.reverberation)
  tail *= 0.3 / np.sqrt(np.sum(tail**2))
  tail[0] = 1.0
  return signal.fftconvolve(microphone, tail)


def render(
  text: str, voice: Voice, expression: Expression, rng: np.random.Generator
) -> np.ndarray:
  """Says words in a voice and an expression, as a microphone records it.

  The words are of the letters a to z, separated by blanks. `rng` is the source
  of all that varies from one rendition to the next.

  Returns:
    Samples float64 [N] at `SAMPLE_RATE`, within -1 and 1.
  """
  from scipy import signal

  articulation = articulate(text, voice, expression, rng)
  glottis = source_filter.Glottis(
    expression.damping,
    expression.open_quotient,
    voice.breathiness + expression.breathiness,
    expression.jitter,
    expression.shimmer,
  )
  speech = source_filter.synthesize(articulation, glottis, rng)
  recorded = signal.fftconvolve(speech, _impulse_response(voice))[: len(speech)]
  recorded *= 0.03 * 10.0 ** ((voice.loudness + expression.energy) / 20)
  floor = 10.0 ** (voice.noise / 20)
  recorded += floor * rng.standard_normal(len(recorded))
  return np.clip(recorded, -1.0, 1.0)
