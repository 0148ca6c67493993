"""SAVEE: four Englishmen, seven emotions, isolated clips.

Haq and Jackson, "Multimodal Emotion Recognition", in: Machine Audition, 2010.
The sentences differ between emotions; their text is not in the release's
names and is left empty.
"""

import pathlib
import re

from emojax.corpora import recordings
from emojax.corpora.records import Utterance

LAYOUT = "AudioData with the folders DC, JE, JK, KL of a01.wav and so on"
SOURCE = "SAVEE is given on request: http://kahlan.eps.surrey.ac.uk/savee"
LICENCE = "for research, by agreement with its authors"

_SPEAKERS = ("DC", "JE", "JK", "KL")
# Copies that gather all clips in one folder put the speaker before the name.
# `sa` and `su` are no `s`: there is no emotion of one letter s.
_NAME = re.compile(rf"(?:({'|'.join(_SPEAKERS)})_)?(sa|su|[adfhn])(\d\d)")
_EMOTIONS = {
  "a": "angry",
  "d": "disgust",
  "f": "fearful",
  "h": "happy",
  "n": "neutral",
  "sa": "sad",
  "su": "surprised",
}


def read(path: str) -> list[Utterance]:
  """Gives the clips under `path`, by speaker and name, each once."""
  return recordings.each_once(path, recordings.find(path), _parse)


def speaker_of(clip: pathlib.PurePath) -> str | None:
  """The actor, by file and folder; None where they have other names."""
  match = _NAME.fullmatch(clip.stem)
  speaker = match and (match[1] or clip.parent.name)
  return speaker if speaker in _SPEAKERS else None


def _parse(clip: pathlib.Path) -> Utterance | str:
  match, speaker = _NAME.fullmatch(clip.stem), speaker_of(clip)
  if not match or not speaker:
    return "not named as clips of SAVEE (DC/sa01.wav, DC_sa01.wav)"
  name = f"{speaker}_{match[2]}{match[3]}"
  return Utterance(str(clip), _EMOTIONS[match[2]], speaker, name)
