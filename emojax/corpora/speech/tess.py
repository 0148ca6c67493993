"""TESS: two women, 200 words in one carrier phrase, seven emotions.

Pichora-Fuller and Dupuis, "Toronto emotional speech set (TESS)", 2020,
https://doi.org/10.5683/SP2/E8H2MF.
"""

import pathlib
import re
from collections.abc import Iterator

from emojax.corpora import recordings
from emojax.corpora.labels import ALIASES, LABELS, canonical
from emojax.corpora.records import Utterance
from emojax.errors import UserError

LAYOUT = "OAF_angry/OAF_back_angry.wav and so on"
SOURCE = "TESS is free: https://doi.org/10.5683/SP2/E8H2MF"

# Speaker, word, emotion. The release has one OA_bite_neutral for OAF_….
_NAME = re.compile(
  r"(OAF?|YAF)_([a-z]+)_(angry|disgust|fear|happy|neutral|ps|sad)",
  re.IGNORECASE,
)
_SPEAKERS = {"oa": "OAF", "oaf": "OAF", "yaf": "YAF"}
_FOLDER = re.compile(r"(OAF|YAF)_(\w+)", re.IGNORECASE)


def read(path: str) -> Iterator[Utterance]:
  """Yields the clips under `path`, by name, each once.

  The file names say everything; folders, whose spelling varies from copy to
  copy (`OAF_Pleasant_surprise`, `YAF_pleasant_surprised`), may not contradict.

  Raises:
    UserError: the name of a recording is not one of TESS, or its folder is
      that of another speaker or emotion.
  """
  clips: dict[tuple[str, str, str], pathlib.Path] = {}
  for clip in recordings.find(path):
    match = _NAME.fullmatch(clip.stem)
    if not match:
      raise UserError(
        f"{clip}: not a name of TESS; expected OAF or YAF, word and emotion "
        "(angry disgust fear happy neutral ps sad), as in OAF_back_angry.wav; "
        "rename or remove the file"
      )
    speaker, word, emotion = match[0].lower().split("_")
    key = _SPEAKERS[speaker], word, canonical(emotion, str(clip))
    _check_folder(clip, speaker=key[0], label=key[2])
    clips.setdefault(key, clip)
  for (speaker, word, label), clip in sorted(clips.items()):
    yield Utterance(
      path=str(clip),
      label=label,
      speaker=speaker,
      dialogue=f"{speaker}_{word}_{label}",
      text=f"Say the word {word}",
    )


def _check_folder(clip: pathlib.Path, speaker: str, label: str) -> None:
  match = _FOLDER.fullmatch(clip.parent.name)
  if not match:
    return
  emotion = match[2].lower()
  is_known = emotion in ALIASES or emotion in LABELS
  if match[1].upper() != speaker or (
    is_known and canonical(emotion, str(clip)) != label
  ):
    raise UserError(
      f"{clip}: the file is of {speaker}, {label}, the folder of another "
      "speaker or emotion; move or rename the file"
    )
