"""Letters to segments of speech, for the synthetic voices of the demo.

Vowels are those of Peterson & Barney (1952, "Control methods used in a study
of the vowels"); the other phones follow Klatt (1980, "Software for a
cascade/parallel formant synthesizer").
"""

import dataclasses
import re


@dataclasses.dataclass(frozen=True)
class Segment:
  """A stretch of constant articulation: a phone or half of a stop."""

  seconds: float
  voicing: float = 0.0
  friction: float = 0.0
  centre: float = 4000.0  # of the friction noise, in Hz
  formants: tuple[float, float, float] | None = None  # None: as the neighbours
  nucleus: bool = False


# First three formants of American men, in Hz.
_VOWELS = {
  "a": (730, 1090, 2440),
  "e": (530, 1840, 2480),
  "i": (390, 1990, 2550),
  "ee": (270, 2290, 3010),
  "o": (570, 840, 2410),
  "oo": (300, 870, 2240),
  "u": (640, 1190, 2390),
}
# Level, then formants in Hz.
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
_TWO = {"ch": ("t", "sh"), "j": ("d", "sh"), "ou": ("a", "oo"), "x": ("k", "s")}
_RESPELLED = {"c": ("k",), "q": ("k",), **_TWO}


def _segments(phone: str) -> list[Segment]:
  if phone in _VOWELS:
    return [Segment(0.1, 1.0, formants=_VOWELS[phone], nucleus=True)]
  if phone in _SONORANTS:
    level, formants = _SONORANTS[phone]
    return [Segment(0.055, level, formants=formants)]
  if phone in _FRICATIVES:
    return [Segment(0.075, *_FRICATIVES[phone])]
  if phone in _STOPS:
    voicing, centre = _STOPS[phone]
    return [Segment(0.05, voicing), Segment(0.02, 0.0, 0.3, centre)]
  if phone == "h":
    return [Segment(0.05, 0.05, 0.12, 1500)]
  return [s for p in _RESPELLED[phone] for s in _segments(p)]


def spell(word: str) -> list[Segment]:
  """Reads a word letter by letter: consistent, not English pronunciation.

  Raises:
    ValueError: the word has something else than the letters a to z.
  """
  phones = re.findall("ch|ee|oo|ou|sh|th|[a-z]", word)
  if "".join(phones) != word:
    raise ValueError(f"only the letters a to z can be said: {word!r}")
  return [segment for phone in phones for segment in _segments(phone)]
