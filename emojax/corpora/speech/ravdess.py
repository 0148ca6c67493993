"""RAVDESS: 24 actors, two statements, eight emotions, isolated clips.

Livingstone and Russo, "The Ryerson Audio-Visual Database of Emotional Speech
and Song (RAVDESS)", PLoS ONE 13(5), 2018.
"""

import re

from emojax.corpora import recordings
from emojax.corpora.records import Utterance
from emojax.errors import UserError

LAYOUT = "Actor_01/03-01-06-01-02-01-01.wav and so on"
SOURCE = "RAVDESS is free: https://zenodo.org/records/1188976"

# Modality, channel (01: speech), emotion, intensity, statement, repetition,
# actor.
_NAME = re.compile(r"\d\d-01-(\d\d)-\d\d-(\d\d)-\d\d-(\d\d)")
_EMOTIONS = {
  "01": "neutral",
  "02": "calm",
  "03": "happy",
  "04": "sad",
  "05": "angry",
  "06": "fearful",
  "07": "disgust",
  "08": "surprised",
}
_STATEMENTS = {
  "01": "Kids are talking by the door",
  "02": "Dogs are sitting by the door",
}


def read(path: str) -> list[Utterance]:
  """Gives the spoken clips under `path`, by name, each once.

  Copies of the corpus nest the same actors a second time, one level deeper:
  the clip nearest to `path` counts. Songs are left out.

  Raises:
    UserError: a clip's name has a code that RAVDESS does not have.
  """
  clips = []
  for clip in recordings.find(path):
    match = _NAME.fullmatch(clip.stem)
    if not match:
      continue
    emotion, statement, actor = match.groups()
    if emotion not in _EMOTIONS or statement not in _STATEMENTS:
      raise UserError(
        f"{clip}: emotion {emotion} or statement {statement} is unknown to "
        "RAVDESS (01-08 and 01-02); rename or remove the file"
      )
    label, text = _EMOTIONS[emotion], _STATEMENTS[statement]
    clips.append(Utterance(str(clip), label, actor, clip.stem, text=text))
  return recordings.each_once(clips)
