"""TESS: two women, 200 words in one carrier phrase, seven emotions.

Pichora-Fuller and Dupuis, "Toronto emotional speech set (TESS)", 2020,
https://doi.org/10.5683/SP2/E8H2MF.
"""

import pathlib
import re

from emojax.corpora import recordings
from emojax.corpora.labels import ALIASES, LABELS, canonical
from emojax.corpora.records import Utterance
from emojax.errors import UserError

LAYOUT = "OAF_angry/OAF_back_angry.wav and so on"
SOURCE = "TESS is free: https://doi.org/10.5683/SP2/E8H2MF"
LICENCE = "CC BY-NC-ND 4.0: not for commercial use"

# Speaker, word, emotion. The release has one OA_bite_neutral for OAF_….
_NAME = re.compile(
  r"(OAF?|YAF)_([a-z]+)_(angry|disgust|fear|happy|neutral|ps|sad)",
  re.IGNORECASE,
)
_SPEAKERS = {"oa": "OAF", "oaf": "OAF", "yaf": "YAF"}
_FOLDER = re.compile(r"(OAF|YAF)_(\w+)", re.IGNORECASE)


def read(path: str) -> list[Utterance]:
  """Gives the clips under `path`, by name, each once.

  The file names say everything; folders, whose spelling varies from copy to
  copy (`OAF_Pleasant_surprise`, `YAF_pleasant_surprised`), may not contradict.

  Raises:
    UserError: the folder of a recording is that of another speaker or emotion.
  """
  return recordings.each_once(path, recordings.find(path), _parse)


def speaker_of(clip: pathlib.PurePath) -> str | None:
  """Who speaks, by the name of the file; None where it is another name."""
  match = _NAME.fullmatch(clip.stem)
  return match and _SPEAKERS[match[1].lower()]


def _parse(clip: pathlib.Path) -> Utterance | str:
  match = _NAME.fullmatch(clip.stem)
  if not match:
    return "not named as clips of TESS (OAF_back_angry.wav)"
  speaker, word, emotion = match[0].lower().split("_")
  speaker, label = _SPEAKERS[speaker], canonical(emotion, str(clip))
  folder = _FOLDER.fullmatch(clip.parent.name)
  if folder and (
    folder[1].upper() != speaker
    # Words that are no label, such as `1`, are not held against it.
    or _label(folder[2]) not in (label, None)
  ):
    raise UserError(
      f"{clip}: the file is of {speaker}, {label}, the folder of another "
      "speaker or emotion; move or rename the file"
    )
  name, text = f"{speaker}_{word}_{label}", f"Say the word {word}"
  return Utterance(str(clip), label, speaker, name, text=text)


def _label(word: str) -> str | None:
  word = word.lower()
  return word if word in LABELS else ALIASES.get(word)
