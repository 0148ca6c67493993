"""CREMA-D: 91 actors, twelve sentences, six emotions, isolated clips.

Cao et al., "CREMA-D: Crowd-sourced Emotional Multimodal Actors Dataset", IEEE
Transactions on Affective Computing 5(4), 2014. Labels are the emotions that
were acted.
"""

import re
from collections.abc import Iterator

from emojax.corpora import recordings
from emojax.corpora.labels import canonical
from emojax.corpora.records import Utterance
from emojax.errors import UserError

LAYOUT = "AudioWAV/1001_DFA_ANG_XX.wav and so on"
SOURCE = "CREMA-D is free: https://github.com/CheyneyComputerScience/CREMA-D"

# Actor, sentence, emotion, level. One level, of 1040_ITH_SAD_X, lost a letter.
_NAME = re.compile(r"(10\d\d)_([A-Z]{3})_([A-Z]{3})_(?:LO|MD|HI|XX?)")
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
_WITHOUT_SPEECH = "1076_MTI_SAD_XX"


def read(path: str) -> Iterator[Utterance]:
  """Yields the clips under `path`, by name, each once.

  Where a clip is there as WAV and as MP3, the WAV counts. The one clip that
  holds no speech (`1076_MTI_SAD_XX`) is left out.

  Raises:
    UserError: the name of a recording is not one of CREMA-D.
  """
  clips = {}
  for clip in recordings.find(path):
    clips.setdefault(clip.stem, clip)
  for name, clip in sorted(clips.items()):
    match = _NAME.fullmatch(name)
    if not match or match[2] not in _SENTENCES or match[3] not in _EMOTIONS:
      raise UserError(
        f"{clip}: not a name of CREMA-D; expected actor, sentence, emotion "
        f"({' '.join(_EMOTIONS)}) and level (LO MD HI XX), as in "
        "1001_DFA_ANG_XX.wav; rename or remove the file"
      )
    if name == _WITHOUT_SPEECH:
      continue
    actor, sentence, emotion = match.groups()
    yield Utterance(
      path=str(clip),
      label=canonical(emotion, str(clip)),
      speaker=actor,
      dialogue=name,
      text=_SENTENCES[sentence],
    )
