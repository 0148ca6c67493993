"""Source-filter voices: synthetic emotional speech without any recording.

A voice is a train of glottal pulses with aspiration (Klatt & Klatt 1990, "
Analysis, synthesis, and perception of voice quality variations") that runs
through the moving resonances of a vocal tract (Klatt 1980, "Software for a
cascade/parallel formant synthesizer"), a microphone and a room. A speaker
sets pitch, tract length, loudness, microphone and room; an emotion moves
pitch, range, contour, rate, energy and voice quality in the directions that
Scherer (2003, "Vocal communication of emotion", Table 2) and Juslin & Laukka
(2003, "Communication of emotions in vocal expression", Table 7) report.

Everything is a pure function of its arguments and of the NumPy generator
given: no file is read or written here.
"""

import dataclasses
import re

import numpy as np
from scipy import signal

SAMPLE_RATE = 16_000
FRAME = 80  # samples for each step of the articulation: 5 ms
_FFT = 1024  # two frames and 54 ms, by when the narrowest formant has rung out


@dataclasses.dataclass(frozen=True)
class Voice:
  """What stays the same of a speaker, whatever is said or felt.

  Attributes:
    pitch: habitual fundamental frequency, in Hz.
    tract: vocal tract length relative to the adult male of the vowel table;
      all formants are divided by it.
    rate: speaking rate relative to the average.
    loudness: habitual level, in dB relative to the average.
    breathiness: aspiration relative to voicing, amplitude ratio.
    tilt: slope of the microphone's response, in dB an octave around 1 kHz.
    reverberation: decay time of the room by 60 dB, in seconds.
    noise: level of the background, in dB relative to full scale.
  """

  pitch: float = 120.0
  tract: float = 1.0
  rate: float = 1.0
  loudness: float = 0.0
  breathiness: float = 0.05
  tilt: float = 0.0
  reverberation: float = 0.1
  noise: float = -75.0


@dataclasses.dataclass(frozen=True)
class Expression:
  """What an emotion changes in any voice, relative to neutral speech.

  Attributes:
    pitch: shift of the fundamental frequency, in semitones.
    range: factor on all movements of the fundamental frequency.
    rise: movement of the last quarter of the contour, in semitones.
    rate: factor on the speaking rate.
    energy: change of the level, in dB.
    damping: loss of the glottal source at 3 kHz, in dB.
    open_quotient: share of the glottal cycle during which air flows.
    breathiness: added aspiration relative to voicing, amplitude ratio.
    jitter: relative deviation of the cycles' lengths.
    shimmer: relative deviation of the cycles' amplitudes.
    opening: factor on the first formant (a wider mouth raises it).
    pause: probability of a pause between two words.
  """

  pitch: float = 0.0
  range: float = 1.0
  rise: float = -2.0
  rate: float = 1.0
  energy: float = 0.0
  damping: float = 9.0
  open_quotient: float = 0.6
  breathiness: float = 0.0
  jitter: float = 0.006
  shimmer: float = 0.04
  opening: float = 1.0
  pause: float = 0.15

  def at(self, intensity: float) -> "Expression":
    """Goes from neutral (0) to this expression (1), or beyond it."""
    neutral = Expression()
    return Expression(
      **{
        field.name: getattr(neutral, field.name)
        + intensity * (getattr(self, field.name) - getattr(neutral, field.name))
        for field in dataclasses.fields(self)
      }
    )


EXPRESSIONS = {
  "angry": Expression(
    pitch=3.0,
    range=1.5,
    rise=-4.0,
    rate=1.2,
    energy=6.0,
    damping=4.0,
    open_quotient=0.45,
    jitter=0.015,
    shimmer=0.09,
    opening=1.12,
    pause=0.05,
  ),
  "happy": Expression(
    pitch=3.5,
    range=1.8,
    rise=4.0,
    rate=1.1,
    energy=3.0,
    damping=7.0,
    open_quotient=0.55,
    opening=1.06,
    pause=0.1,
  ),
  "neutral": Expression(),
  "sad": Expression(
    pitch=-2.0,
    range=0.45,
    rise=-2.5,
    rate=0.8,
    energy=-5.0,
    damping=15.0,
    open_quotient=0.75,
    breathiness=0.12,
    jitter=0.01,
    shimmer=0.06,
    opening=0.94,
    pause=0.45,
  ),
}


@dataclasses.dataclass(frozen=True)
class Segment:
  """A stretch of constant articulation: a phone or half of a stop."""

  seconds: float
  voicing: float = 0.0
  friction: float = 0.0
  centre: float = 4000.0  # of the friction noise, in Hz
  formants: tuple[float, float, float] | None = None  # None: as the neighbours
  nucleus: bool = False


# First three formants of American men, in Hz (Peterson & Barney 1952).
_VOWELS = {
  "a": (730, 1090, 2440),
  "e": (530, 1840, 2480),
  "i": (390, 1990, 2550),
  "ee": (270, 2290, 3010),
  "o": (570, 840, 2410),
  "oo": (300, 870, 2240),
  "u": (640, 1190, 2390),
}
# Level, then formants in Hz (Klatt 1980, Table III).
_SONORANTS = {
  "l": (0.5, (310, 1050, 2880)),
  "m": (0.35, (250, 1270, 2130)),
  "n": (0.35, (250, 1340, 2470)),
  "r": (0.5, (310, 1060, 1380)),
  "w": (0.5, (290, 610, 2150)),
  "y": (0.5, (260, 2070, 3020)),
}
# Voicing, level and centre of the friction noise, in Hz.
_FRICATIVES = {
  "f": (0.0, 0.12, 5500),
  "s": (0.0, 0.4, 6000),
  "sh": (0.0, 0.45, 3000),
  "th": (0.0, 0.1, 5000),
  "v": (0.35, 0.06, 5500),
  "z": (0.35, 0.2, 6000),
}
# Voicing of the closure, centre of the burst, in Hz.
_STOPS = {
  "b": (0.12, 1200),
  "d": (0.12, 3500),
  "g": (0.12, 2000),
  "p": (0.0, 1200),
  "t": (0.0, 4000),
  "k": (0.0, 2200),
}
_RESPELLED = {
  "c": ("k",),
  "ch": ("t", "sh"),
  "j": ("d", "sh"),
  "ou": ("a", "oo"),
  "q": ("k",),
  "x": ("k", "s"),
}


def _segments(phone: str) -> tuple[Segment, ...]:
  if phone in _VOWELS:
    return (Segment(0.1, 1.0, formants=_VOWELS[phone], nucleus=True),)
  if phone in _SONORANTS:
    level, formants = _SONORANTS[phone]
    return (Segment(0.055, level, formants=formants),)
  if phone in _FRICATIVES:
    voicing, friction, centre = _FRICATIVES[phone]
    return (Segment(0.075, voicing, friction, centre),)
  if phone in _STOPS:
    voicing, centre = _STOPS[phone]
    return Segment(0.05, voicing), Segment(0.02, 0.0, 0.3, centre)
  if phone == "h":
    return (Segment(0.05, 0.05, 0.12, 1500),)
  return tuple(s for p in _RESPELLED[phone] for s in _segments(p))


def spell(word: str) -> list[Segment]:
  """Reads a word letter by letter: consistent, not English pronunciation.

  Raises:
    ValueError: the word has something else than the letters a to z.
  """
  phones = re.findall("ch|ee|oo|ou|sh|th|[a-z]", word)
  if "".join(phones) != word:
    raise ValueError(f"only the letters a to z can be said: {word!r}")
  return [segment for phone in phones for segment in _segments(phone)]


@dataclasses.dataclass(frozen=True)
class Articulation:
  """What the synthesizer follows, in frames of 5 ms.

  Attributes:
    pitch_T: fundamental frequency, in Hz.
    voicing_T: amplitude of the glottal source.
    friction_T: amplitude of the friction noise.
    centre_T: centre of the friction noise, in Hz.
    formants_TxF: resonances of the vocal tract, in Hz.
  """

  pitch_T: np.ndarray
  voicing_T: np.ndarray
  friction_T: np.ndarray
  centre_T: np.ndarray
  formants_TxF: np.ndarray


def _smooth(track: np.ndarray, frames: int) -> np.ndarray:
  """Moves from segment to segment as the articulators do: gradually."""
  window = signal.windows.hann(frames + 2)[1:-1]
  pad = frames // 2
  padded = np.pad(track, (pad, frames - 1 - pad), mode="edge")
  return np.convolve(padded, window / window.sum(), mode="valid")


def _formant_targets(segments: list[Segment]) -> np.ndarray:
  """Formants [S, 3] in Hz; obstruents take those of what comes next."""
  targets = np.full((len(segments), 3), np.nan)
  following = (500.0, 1500.0, 2500.0)  # a uniform tube
  for i, segment in reversed(list(enumerate(segments))):
    following = segment.formants or following
    targets[i] = following
  return targets


def articulate(
  text: str,
  voice: Voice,
  expression: Expression,
  rng: np.random.Generator,
) -> Articulation:
  """Plans how a voice says words in an expression.

  Args:
    text: words of the letters a to z, separated by blanks.
    voice: the speaker.
    expression: the emotion's means.
    rng: source of all that varies from one rendition to the next.
  """
  edge = Segment(0.04)
  segments = [edge]
  accents = []  # of each word, the segment that carries the pitch accent
  words = text.split()
  for i, word in enumerate(words):
    spelled = spell(word)
    nuclei = [j for j, s in enumerate(spelled) if s.nucleus] or [0]
    accents.append(len(segments) + nuclei[0])
    segments += spelled
    if i + 1 < len(words) and rng.random() < expression.pause:
      segments.append(Segment(rng.uniform(0.08, 0.18)))
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
  return Articulation(
    pitch_T=voice.pitch * 2.0 ** (semitones / 12),
    voicing_T=track([s.voicing for s in segments], 5),
    friction_T=track([s.friction for s in segments], 3),
    centre_T=track([s.centre for s in segments], 5) / voice.tract,
    formants_TxF=np.concatenate([lower, upper], axis=1) / voice.tract,
  )


def _resonate(
  sound: np.ndarray, centres_TxF: np.ndarray, widths: tuple[float, ...]
) -> np.ndarray:
  """Runs a sound through a cascade of moving resonators (Klatt 1980, Eq. 2).

  Each frame passes its own fixed filter and fades into the next (overlap-add
  of Hann windows before the filter), so that no state can ever run away.

  Args:
    sound: [T * FRAME] samples.
    centres_TxF: centre frequencies, in Hz.
    widths: bandwidth of each of the F resonators, in Hz.
  """
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


def synthesize(
  articulation: Articulation,
  voice: Voice,
  expression: Expression,
  rng: np.random.Generator,
) -> np.ndarray:
  """Renders an articulation at the speaker's mouth, at RMS 1.

  Returns:
    Samples [T * FRAME] at `SAMPLE_RATE`.
  """
  samples = len(articulation.pitch_T) * FRAME
  grid = np.arange(samples) / FRAME - 0.5

  def per_sample(track):
    return np.interp(grid, np.arange(len(track)), track)

  pitch = per_sample(articulation.pitch_T)
  voicing = per_sample(articulation.voicing_T)
  cycle = np.floor(np.cumsum(pitch) / SAMPLE_RATE).astype(int)
  deviations = rng.standard_normal((2, cycle[-1] + 2))
  pitch = pitch * (1.0 + expression.jitter * deviations[0, cycle])
  voicing = voicing * (1.0 + expression.shimmer * deviations[1, cycle])

  phase = np.cumsum(pitch) / SAMPLE_RATE
  flow = _glottal_flow(phase, expression.open_quotient)
  # A difference of the continuous flow is its derivative averaged over a
  # sample: the lips' radiation, with little aliasing from the closure's edge.
  pulses = np.diff(flow, prepend=0.0) * (SAMPLE_RATE / pitch)
  decay = _one_pole(expression.damping)
  pulses = signal.lfilter([1.0 - decay], [1.0, -decay], pulses)
  noise = rng.standard_normal((2, samples))
  breath = (voice.breathiness + expression.breathiness) * noise[0]
  source = voicing * (pulses + breath * (0.3 + 4.0 * flow))

  speech = _resonate(
    source, articulation.formants_TxF, (70.0, 100.0, 150.0, 250.0, 350.0)
  )
  hiss = _resonate(noise[1], articulation.centre_T[:, np.newaxis], (1500.0,))
  hiss *= per_sample(articulation.friction_T) / np.std(hiss)
  vowel_level = np.sqrt(np.sum(speech**2) / np.sum(voicing**2))
  speech = speech + vowel_level * hiss
  return speech / np.sqrt(np.mean(speech**2))


def _one_pole(loss: float) -> float:
  """Coefficient of a one-pole low-pass that loses `loss` dB at 3 kHz."""
  power = 10.0 ** (-loss / 10)
  cosine = np.cos(2 * np.pi * 3000 / SAMPLE_RATE)
  # |H|^2 = (1-a)^2 / (1 - 2 a cos + a^2) = power, solved for 0 <= a < 1.
  half = (1 - power * cosine) / (1 - power)
  return half - np.sqrt(half**2 - 1.0)


def _impulse_response(voice: Voice, rng: np.random.Generator) -> np.ndarray:
  """Microphone (a slope over frequency) and room (a decaying tail)."""
  frequency = np.linspace(0.0, SAMPLE_RATE / 2, 129)
  octaves = np.log2(np.clip(frequency, 125.0, None) / 1000.0)
  gain = 10.0 ** (voice.tilt * octaves / 20)
  microphone = signal.firwin2(255, frequency, gain, fs=SAMPLE_RATE)
  length = int(voice.reverberation * SAMPLE_RATE)
  seconds = np.arange(length) / SAMPLE_RATE
  tail = rng.standard_normal(length)
  tail *= 10.0 ** (-3.0 * seconds / voice.reverberation)
  tail *= 0.3 / np.sqrt(np.sum(tail**2))
  tail[0] = 1.0
  return signal.fftconvolve(microphone, tail)


def render(
  text: str,
  voice: Voice,
  expression: Expression,
  rng: np.random.Generator,
) -> np.ndarray:
  """Says words in a voice and an expression, as a microphone records it.

  Args:
    text: words of the letters a to z, separated by blanks.
    voice: the speaker.
    expression: the emotion's means.
    rng: source of all that varies from one rendition to the next.

  Returns:
    Samples float64 [N] at `SAMPLE_RATE`, within -1 and 1.
  """
  articulation = articulate(text, voice, expression, rng)
  speech = synthesize(articulation, voice, expression, rng)
  # A speaker's room is the same room in every recording.
  room = np.random.default_rng(int(1000 * voice.pitch))
  recorded = signal.fftconvolve(speech, _impulse_response(voice, room))
  recorded = recorded[: len(speech)]
  recorded *= 0.03 * 10.0 ** ((voice.loudness + expression.energy) / 20)
  floor = 10.0 ** (voice.noise / 20)
  recorded += floor * rng.standard_normal(len(recorded))
  return np.clip(recorded, -1.0, 1.0)
