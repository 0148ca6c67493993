"""MELD: 1,433 dialogues of a television series, several speakers each.

Poria et al., "MELD: A Multimodal Multi-Party Dataset for Emotion Recognition
in Conversations", ACL 2019. The release has video; the audio is extracted
beside it, as `SOURCE` says.
"""

import csv
import io as memory
import pathlib
import re
from collections.abc import Iterator, Mapping

from emojax.corpora import recordings
from emojax.corpora.labels import canonical
from emojax.corpora.records import Utterance
from emojax.errors import UserError

_CONVERT = (
  'find . -name "*.mp4" -exec sh -c \'ffmpeg -v error -i "$1" -ac 1 -ar 16000 '
  '"${1%.mp4}.wav"\' _ {} \\;'
)
LAYOUT = (
  "train_sent_emo.csv, dev_sent_emo.csv, test_sent_emo.csv and the clips "
  "(dia0_utt0.wav beside dia0_utt0.mp4 and so on) in train_splits, "
  "dev_splits_complete, output_repeated_splits_test"
)
SOURCE = (
  "MELD is free: https://github.com/declare-lab/MELD; extract the audio of "
  f"its video once, in the folder, with {_CONVERT}"
)

# The official parts, and the folders of their clips.
_PARTS = {
  "train": "train_splits",
  "dev": "dev_splits_complete",
  "test": "output_repeated_splits_test",
}
_COLUMNS = ("Utterance", "Speaker", "Emotion", "Dialogue_ID", "Utterance_ID")
# The test part has some clips again under this name.
_AGAIN = "final_videos_test"
_C1_CONTROLS = re.compile("[\x80-\x9f]")


def read(path: str) -> Iterator[Utterance]:
  """Yields all utterances, part by part, in the order of the release.

  The session is the official part: `train`, `dev` or `test`. A few clips of
  the release are missing or damaged; they are yielded too, and whoever reads
  the audio names them and counts them among the unreadable ones.

  Raises:
    UserError: an annotation file is missing or not in its format, an unknown
      label, or a part without any audio.
  """
  return _read(pathlib.Path(path), needs_audio=True)


def read_text(path: str) -> Iterator[Utterance]:
  """The same from the annotation files alone; paths of clips where they are."""
  return _read(pathlib.Path(path), needs_audio=False)


def _read(root: pathlib.Path, needs_audio: bool) -> Iterator[Utterance]:
  for part, folder in _PARTS.items():
    # The archives of the release unpack into train/, dev/ and test/.
    annotations = _nearest(root, f"{part}_sent_emo.csv")
    clips = _nearest(root, folder)
    if not annotations or (needs_audio and not clips):
      missing = folder if annotations else f"{part}_sent_emo.csv"
      raise UserError(f"{root}: no {missing}; expected {LAYOUT}; {SOURCE}")
    audio = _find_audio(clips)
    if needs_audio and not audio:
      raise UserError(
        f"{clips}: no audio; MELD has video, of which the audio is extracted "
        f"once, in this folder, with {_CONVERT}"
      )
    yield from _read_part(
      part, annotations, audio, clips if needs_audio else None
    )


def _nearest(root: pathlib.Path, name: str) -> pathlib.Path | None:
  found = sorted(root.rglob(name), key=lambda path: (len(path.parts), path))
  return found[0] if found else None


def _find_audio(folder: pathlib.Path | None) -> dict[str, pathlib.Path]:
  """The best copy of each clip, by name."""
  audio: dict[str, pathlib.Path] = {}
  for clip in recordings.find(folder) if folder else ():
    audio.setdefault(clip.stem, clip)
  return audio


def _read_part(
  part: str,
  annotations: pathlib.Path,
  audio: Mapping[str, pathlib.Path],
  folder: pathlib.Path | None,
) -> Iterator[Utterance]:
  """Yields a part; a missing clip is said to be in `folder`, or nowhere."""
  reader = csv.DictReader(memory.StringIO(_decode(annotations), newline=""))
  missing = set(_COLUMNS) - set(reader.fieldnames or [])
  if missing:
    raise UserError(
      f"{annotations}, line 1: no column {', '.join(sorted(missing))}; copy "
      "the file from the release again"
    )
  for row in reader:
    where = f"{annotations}, line {reader.line_num}"
    yield _read_row(row, part, where, audio, folder)


def _decode(path: pathlib.Path) -> str:
  """Reads UTF-8 or Windows-1252, or one taken for the other.

  The copies of the release differ, and in some the apostrophes of Windows-1252
  became control characters of Unicode.
  """
  content = path.read_bytes()
  try:
    text = content.decode("utf-8-sig")
  except UnicodeDecodeError:
    text = content.decode("latin-1")
  return _C1_CONTROLS.sub(
    lambda match: match[0].encode("latin-1").decode("cp1252", "replace"), text
  )


def _read_row(
  row: Mapping[str, str],
  part: str,
  where: str,
  audio: Mapping[str, pathlib.Path],
  folder: pathlib.Path | None,
) -> Utterance:
  if any(row[column] is None for column in _COLUMNS):
    raise UserError(
      f"{where}: fewer fields than columns; copy the file from the release "
      "again"
    )
  dialogue, turn = row["Dialogue_ID"], row["Utterance_ID"]
  speaker = row["Speaker"].strip()
  if not (dialogue.isdecimal() and turn.isdecimal() and speaker):
    raise UserError(
      f"{where}: speaker {speaker!r}, dialogue {dialogue!r}, utterance "
      f"{turn!r}; expected a name and two numbers; copy the file from the "
      "release again"
    )
  name = f"dia{dialogue}_utt{turn}"
  clip = audio.get(name) or audio.get(_AGAIN + name)
  if not clip and folder:
    clip = folder / f"{name}.wav"
  return Utterance(
    path=str(clip or ""),
    label=canonical(row["Emotion"], where),
    speaker=speaker,
    dialogue=dialogue,
    turn=int(turn),
    session=part,
    text=row["Utterance"].strip(),
  )
