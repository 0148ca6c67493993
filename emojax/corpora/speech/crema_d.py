"""CREMA-D: 91 actors, twelve sentences, six emotions, isolated clips.

Cao et al., "CREMA-D: Crowd-sourced Emotional Multimodal Actors Dataset", IEEE
Transactions on Affective Computing 5(4), 2014. Labels are the emotions that
were acted.
"""

import pathlib
import re

from emojax.corpora import recordings
from emojax.corpora.labels import canonical
from emojax.corpora.records import Utterance

LAYOUT = "AudioWAV/1001_DFA_ANG_XX.wav and so on"
SOURCE = "CREMA-D is free: https://github.com/CheyneyComputerScience/CREMA-D"
LICENCE = "Open Database License 1.0"

_EMOTIONS = ("ANG", "DIS", "FEA", "HAP", "NEU", "SAD")
_SENTENCES = {
  "IEO": "It's eleven o'clock",
  "TIE": "That is exactly what happened",
  "IOM": "I'm on my way to the meeting",
  "IWW": "I wonder what this is about",
  "TAI": "The airplane is almost full",
  "MTI": "Maybe tomorrow it will be cold",
  "IWL": "I would like a new alarm clock",
  "ITH": "I think I have a doctor's appointment",
  "DFA": "Don't forget a jacket",
  "ITS": "I think I've seen this before",
  "TSI": "The surface is slick",
  "WSI": "We'll stop in a couple of minutes",
}
# Actor, sentence, emotion, level. One level, of 1040_ITH_SAD_X, lost a letter.
_NAME = re.compile(
  rf"(10\d\d)_({'|'.join(_SENTENCES)})_({'|'.join(_EMOTIONS)})_(?:LO|MD|HI|XX?)"
)
_WITHOUT_SPEECH = "1076_MTI_SAD_XX"


def read(path: str) -> list[Utterance]:
  """Gives the clips under `path`, by name, each once.

  Where a clip is there as WAV and as MP3, the WAV counts. The one clip that
  holds no speech (`1076_MTI_SAD_XX`) is left out.
  """
  return recordings.each_once(path, recordings.find(path), _parse)


def speaker_of(clip: pathlib.PurePath) -> str | None:
  """The actor, by the name of the file; None where it is another name."""
  match = _NAME.fullmatch(clip.stem)
  return match and match[1]


def _parse(clip: pathlib.Path) -> Utterance | str:
  match = _NAME.fullmatch(clip.stem)
  if not match:
    return "not named as clips of CREMA-D (1001_DFA_ANG_XX.wav)"
  if clip.stem == _WITHOUT_SPEECH:
    return "without speech"
  actor, sentence, emotion = match.groups()
  label, text = canonical(emotion, str(clip)), _SENTENCES[sentence]
  return Utterance(str(clip), label, actor, clip.stem, text=text)
