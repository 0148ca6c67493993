"""EMO-DB (Berlin): ten actors, ten German sentences, seven emotions.

Burkhardt et al., "A database of German emotional speech", Interspeech 2005.
Its second edition (816 clips instead of 535) has the same names.
"""

import pathlib
import re

from emojax.corpora import recordings
from emojax.corpora.records import Utterance

LAYOUT = "wav/03a01Fa.wav and so on"
SOURCE = "EMO-DB is free: https://zenodo.org/records/7447302"
LICENCE = "free; its authors ask to be cited"

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
  """
  return recordings.each_once(path, recordings.find(path), _parse)


def speaker_of(clip: pathlib.PurePath) -> str | None:
  """The actor, by the name of the file; None where it is another name."""
  match = _NAME.fullmatch(clip.stem)
  return match and match[1]


def _parse(clip: pathlib.Path) -> Utterance | str:
  if _LARYNGOGRAMS in clip.parent.name.lower():
    return "of laryngograms"
  match = _NAME.fullmatch(clip.stem)
  if not match:
    return "not named as clips of EMO-DB (03a01Fa.wav)"
  speaker, text, emotion = match.groups()
  label, text = _EMOTIONS[emotion], _SENTENCES[text]
  return Utterance(str(clip), label, speaker, clip.stem, text=text)
