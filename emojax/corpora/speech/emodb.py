"""EMO-DB (Berlin): ten actors, ten German sentences, seven emotions.

Burkhardt et al., "A database of German emotional speech", Interspeech 2005.
Its second edition (816 clips instead of 535) has the same names.
"""

import pathlib
import re

from emojax.corpora import recordings
from emojax.corpora.records import Utterance
from emojax.errors import UserError

LAYOUT = "wav/03a01Fa.wav and so on"
SOURCE = "EMO-DB is free: https://zenodo.org/records/7447302"

_EMOTIONS = {  # By the first letter of the German name.
  "W": "angry",  # Wut
  "L": "boredom",  # Langeweile
  "E": "disgust",  # Ekel
  "A": "fearful",  # Angst
  "F": "happy",  # Freude
  "T": "sad",  # Trauer
  "N": "neutral",
}
_SENTENCES = {
  "a01": "Der Lappen liegt auf dem Eisschrank.",
  "a02": "Das will sie am Mittwoch abgeben.",
  "a04": "Heute abend könnte ich es ihm sagen.",
  "a05": "Das schwarze Stück Papier befindet sich da oben neben dem Holzstück.",
  "a07": "In sieben Stunden wird es soweit sein.",
  "b01": "Was sind denn das für Tüten, die da unter dem Tisch stehen?",
  "b02": "Sie haben es gerade hochgetragen und jetzt gehen sie wieder runter.",
  "b03": "An den Wochenenden bin ich jetzt immer nach Hause gefahren und "
  "habe Agnes besucht.",
  "b09": "Ich will das eben wegbringen und dann mit Karl was trinken gehen.",
  "b10": "Die wird auf dem Platz sein, wo wir sie immer hinlegen.",
}
# Speaker, text, emotion, version.
_NAME = re.compile(
  rf"(\d\d)({'|'.join(_SENTENCES)})([{''.join(_EMOTIONS)}])[a-z]?"
)
_LARYNGOGRAMS = "laryng"


def read(path: str) -> list[Utterance]:
  """Gives the clips under `path`, by name, each once.

  The laryngograms of the second edition (`laryngo/`), which have the names of
  the recordings, are left out.

  Raises:
    UserError: the name of a recording is not one of EMO-DB.
  """
  return recordings.each_once(
    _parse(clip)
    for clip in recordings.find(path)
    if _LARYNGOGRAMS not in clip.parent.name.lower()
  )


def _parse(clip: pathlib.Path) -> Utterance:
  match = _NAME.fullmatch(clip.stem)
  if not match:
    raise UserError(
      f"{clip}: not a name of EMO-DB; expected speaker, text, emotion "
      f"({' '.join(_EMOTIONS)}) and version, as in 03a01Fa.wav; rename or "
      "remove the file"
    )
  speaker, text, emotion = match.groups()
  label, text = _EMOTIONS[emotion], _SENTENCES[text]
  return Utterance(str(clip), label, speaker, clip.stem, text=text)
