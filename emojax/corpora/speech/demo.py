"""The demo corpus (synthetic): acted dialogues of voices that nobody has.

Five sessions of two speakers, as in IEMOCAP, rendered once into a cache. The
shift between speakers is built in by the means that part real speakers and
recordings: habitual pitch, vocal tract, loudness, microphone and room. In the
first four sessions each speaker also leans to one emotion, so that who speaks
says something about what is felt; in the last session nobody leans.
"""

import dataclasses
import hashlib
import os
import pathlib
from collections.abc import Iterator
from concurrent import futures

import numpy as np
import soundfile

from emojax.corpora.records import Utterance
from emojax.runtime import files
from emojax.runtime.progress import progress
from emojax.synthetic import phones, source_filter
from emojax.synthetic import voices as demo

LICENCE = "synthetic, made by emojax: Apache 2.0"

_SEED = 0
_SESSIONS = 5
_DIALOGUES = 12  # A session.
_TURNS = 10  # A dialogue.
_PERSISTENCE = 0.6  # Of the emotion, from one turn to the next.
_REPLY = 0.85  # Probability that the other speaker has the next turn.
_LEANING = 0.6  # Share of the emotions that follow a speaker's inclination.
_INTENSITY = (0.3, 1.2)  # From hardly to strongly expressed.
_LOADED = 0.35  # Share of the utterances with an emotional word;
_FAITHFUL = 0.7  # share of these words that fit the emotion.

_EMOTIONS = tuple(demo.EXPRESSIONS)
_WORDS = (
  *("bottle", "evening", "garden", "letter", "market", "monday"),
  *("morning", "number", "paper", "station", "table", "window"),
)
_LOADED_WORDS = {
  "angry": ("enough", "hate", "never"),
  "happy": ("great", "love", "wonderful"),
  "neutral": ("maybe", "often", "usual"),
  "sad": ("alone", "lost", "sorry"),
}


@dataclasses.dataclass(frozen=True)
class Line:
  """One utterance of the script; numbers are from 0."""

  session: int
  dialogue: int  # Within the session.
  turn: int  # Within the dialogue.
  speaker: int  # Index into `voices()`.
  emotion: str  # A name in `demo.EXPRESSIONS`.
  intensity: float  # See `demo.Expression.at`.
  text: str


def read(path: str) -> Iterator[Utterance]:
  """Yields the corpus, after rendering what is not there yet.

  The folder `path` keeps it; '' is one in the user's cache. Every WAV file
  (16 kHz, 16 bits) is either whole or missing: an interrupted rendering goes
  on where it stopped.

  Raises:
    UserError: the folder cannot be written, or the disk is full.
  """
  home = files.cache_folder() / "demo"
  folder = pathlib.Path(path).expanduser() if path else home
  folder /= _version()
  lines = script()
  paths = [
    folder / f"session{line.session + 1}" / f"dialogue{line.dialogue + 1:02d}"
    f"_turn{line.turn + 1:02d}.wav"
    for line in lines
  ]
  _render_missing(lines, paths)
  for line, wav in zip(lines, paths, strict=True):
    speaker, dialogue = f"s{line.speaker + 1:02d}", f"d{line.dialogue + 1:02d}"
    place = speaker, dialogue, line.turn, str(line.session + 1)
    yield Utterance(str(wav), line.emotion, *place, line.text)


def voices() -> list[demo.Voice]:
  """The speakers, a woman and a man for each session.

  Each property is spread evenly over its range (a Latin hypercube, within
  women and men), so that a low voice may as well be loud as quiet.
  """
  rng = np.random.default_rng([_SEED, 0])

  def spread(low: float, high: float) -> np.ndarray:
    ranks = np.stack([rng.permutation(_SESSIONS) for _ in range(2)], axis=1)
    return low + (high - low) * (ranks.ravel() + 0.5) / _SESSIONS

  women = np.arange(2 * _SESSIONS) % 2 == 0
  properties = {
    "pitch": np.where(women, spread(170, 235), spread(90, 140)),
    "tract": np.where(women, spread(0.82, 0.92), spread(0.95, 1.07)),
    "rate": spread(0.9, 1.1),
    "loudness": spread(-10, 10),
    "breathiness": spread(0.02, 0.08),
    "tilt": spread(-5, 5),
    "reverberation": spread(0.05, 0.3),
    "noise": spread(-75, -65),
  }
  return [
    demo.Voice(**{k: float(v[i]) for k, v in properties.items()}, room=i)
    for i in range(2 * _SESSIONS)
  ]


def script() -> list[Line]:
  """Who says what, and in which emotion: a Markov chain over the turns."""
  rng = np.random.default_rng([_SEED, 1])
  lines = []
  for session, dialogue in np.ndindex(_SESSIONS, _DIALOGUES):
    emotion, partner = "", int(rng.integers(2))
    for turn in range(_TURNS):
      speaker = 2 * session + partner
      if not emotion or rng.random() > _PERSISTENCE:
        emotion = _feel(speaker, rng)
      said = float(rng.uniform(*_INTENSITY)), _say(emotion, rng)
      lines.append(Line(session, dialogue, turn, speaker, emotion, *said))
      if rng.random() < _REPLY:
        partner = 1 - partner
  return lines


def _feel(speaker: int, rng: np.random.Generator) -> str:
  if speaker < 2 * (_SESSIONS - 1) and rng.random() < _LEANING:
    # Partners differ, and women as a whole are no angrier than men.
    return _EMOTIONS[(speaker + speaker // 4) % len(_EMOTIONS)]
  return str(rng.choice(_EMOTIONS))


def _say(emotion: str, rng: np.random.Generator) -> str:
  words = [str(word) for word in rng.choice(_WORDS, 2, replace=False)]
  if rng.random() < _LOADED:
    meant = emotion if rng.random() < _FAITHFUL else rng.choice(_EMOTIONS)
    words.insert(int(rng.integers(3)), str(rng.choice(_LOADED_WORDS[meant])))
  return " ".join(words)


def _version() -> str:
  """Names the corpus after the code that makes it: no edit meets old files."""
  sources = [m.__file__ for m in (demo, phones, source_filter)] + [__file__]
  code = b"".join(pathlib.Path(source).read_bytes() for source in sources)
  return hashlib.sha256(code).hexdigest()[:12]


def _render_missing(lines: list[Line], paths: list[pathlib.Path]) -> None:
  speakers, rate = voices(), source_filter.SAMPLE_RATE

  def render(index: int) -> None:
    line, rng = lines[index], np.random.default_rng([_SEED, 2, index])
    expression = demo.EXPRESSIONS[line.emotion].at(line.intensity)
    samples = demo.render(line.text, speakers[line.speaker], expression, rng)
    with files.whole(paths[index]) as temporary:
      soundfile.write(temporary, samples, rate, subtype="PCM_16")

  missing = [i for i, wav in enumerate(paths) if not wav.exists()]
  if not missing:
    return
  # NumPy's transforms run outside the interpreter's lock: threads suffice.
  with futures.ThreadPoolExecutor(os.cpu_count()) as pool:
    done = pool.map(render, missing)
    for _ in progress(done, len(missing), "demo corpus (synthetic)"):
      pass
