"""SAVEE: four Englishmen, seven emotions, isolated clips.

Haq and Jackson, "Multimodal Emotion Recognition", in: Machine Audition, 2010.
The sentences differ between emotions; their text is not in the release's
names and is left empty.
"""

import re

from emojax.corpora import recordings
from emojax.corpora.records import Utterance
from emojax.errors import UserError

LAYOUT = "AudioData with the folders DC, JE, JK, KL of a01.wav and so on"
SOURCE = "SAVEE is given on request: http://kahlan.eps.surrey.ac.uk/savee"

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
  """Gives the clips under `path`, by speaker and name, each once.

  Raises:
    UserError: the name of a recording is not one of SAVEE, or neither the
      name nor a folder says who speaks.
  """
  clips = []
  for clip in recordings.find(path):
    match = _NAME.fullmatch(clip.stem)
    speaker = match and (match[1] or clip.parent.name)
    if speaker not in _SPEAKERS:
      raise UserError(
        f"{clip}: not a name of SAVEE; expected a folder of the speaker "
        f"({' '.join(_SPEAKERS)}) and emotion ({' '.join(_EMOTIONS)}) and "
        "number, as in DC/sa01.wav; rename or remove the file"
      )
    name = f"{speaker}_{match[2]}{match[3]}"
    clips.append(Utterance(str(clip), _EMOTIONS[match[2]], speaker, name))
  return recordings.each_once(clips)
