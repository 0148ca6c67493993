"""RAVDESS: 24 actors, two statements, eight emotions, isolated clips.

Livingstone and Russo, "The Ryerson Audio-Visual Database of Emotional Speech
and Song (RAVDESS)", PLoS ONE 13(5), 2018.
"""

import pathlib
import re

from emojax.corpora import recordings
from emojax.corpora.records import Utterance

LAYOUT = "Actor_01/03-01-06-01-02-01-01.wav and so on"
SOURCE = "RAVDESS is free: https://zenodo.org/records/1188976"
LICENCE = "CC BY-NC-SA 4.0: not for commercial use"

# Modality (03: audio), channel (01: speech), emotion, intensity, statement,
# repetition, actor.
_NAME = re.compile(
  r"(0[1-3])-(0[12])-(0[1-8])-0[12]-(0[12])-0[12]-(0[1-9]|1\d|2[0-4])"
)
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

  A performance is there as audio (03) and as video with the same sound (01):
  the audio counts. Copies of the corpus nest the same actors a second time, one
  level deeper: the clip nearest to `path` counts. Songs, and videos without
  sound (02), are left out.
  """
  clips = sorted(recordings.find(path), key=lambda clip: clip.stem[:2] != "03")
  return recordings.each_once(path, clips, _parse)


def speaker_of(clip: pathlib.PurePath) -> str | None:
  """The actor, by the name of the file; None where it is another name."""
  match = _NAME.fullmatch(clip.stem)
  return match and match[5]


def _parse(clip: pathlib.Path) -> Utterance | str:
  match = _NAME.fullmatch(clip.stem)
  if not match:
    return "not named as clips of RAVDESS (03-01-06-01-02-01-01.wav)"
  modality, channel, emotion, statement, actor = match.groups()
  if channel == "02":
    return "of songs"
  if modality == "02":
    return "of videos without sound"
  name, text = f"03{clip.stem[2:]}", _STATEMENTS[statement]
  return Utterance(str(clip), _EMOTIONS[emotion], actor, name, text=text)
