"""MELD: 1,433 dialogues of a television series, several speakers each.

Poria et al., "MELD: A Multimodal Multi-Party Dataset for Emotion Recognition
in Conversations", ACL 2019. The release has video; the audio is extracted
beside it, as `SOURCE` says.
"""

import functools
import io
import pathlib
import re
from collections.abc import Iterable, Iterator

from emojax import spelling
from emojax.corpora import delimited, recordings, records
from emojax.corpora.labels import canonical
from emojax.corpora.records import Once, Utterance
from emojax.errors import UserError
from emojax.runtime import walk

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
LICENCE = "annotations GPL 3.0; the videos belong to the makers of Friends"

# The official parts, and the folders of their clips.
_PARTS = {
  "train": "train_splits",
  "dev": "dev_splits_complete",
  "test": "output_repeated_splits_test",
}
_COLUMNS = delimited.Columns(
  ("Utterance", "Speaker", "Emotion", "Dialogue_ID", "Utterance_ID"),
  names=("Dialogue_ID", "Utterance_ID"),
  words=("Utterance",),
  optional=("Season", "Episode", "StartTime", "EndTime"),
  known=(
    *("Sr No.", "Sentiment"),
    *("Old_Dialogue_ID", "Old_Utterance_ID", "DiaID_UttID"),
  ),
  expected="copy the file from the release again",
)
# The test part has some clips again under this name.
_AGAIN = "final_videos_test"
# Who is meant where the release has another name. An actor of two roles is one
# voice; whoever speaks with others is in no part without them.
_SPEAKERS = {
  "Dr. Drake Remoray": "Joey",
  "Dr. Stryker Ramoray": "Joey",
  "Dr. Leedbetter": "Dr. Ledbetter",
  "Phoebe Sr": "Phoebe Sr.",
  "Ursula": records.together(("Phoebe", "Ursula")),
}
# Some or all of these; nobody has written down which.
_CAST = "Chandler", "Joey", "Monica", "Phoebe", "Rachel", "Ross"
_CROWD = "All", "Both", "The Guys"
_NUMBER = re.compile(r"[0-9]{1,9}")
_TIME = re.compile(r"([0-9]+):([0-9]+):([0-9]+)[,.]([0-9]+)")
_C1_CONTROLS = re.compile("[\x80-\x9f]")


def read(path: str, needs_audio: bool = True) -> Iterator[Utterance]:
  """Yields all utterances, part by part, in the order of the release.

  The session is the official part: `train`, `dev` or `test`. "Ross and Joey"
  speak at once, as `records.people`, and so does the main cast where all speak.
  Clips are known by the seconds of the episode, too. A few clips of
  the release are missing or damaged; they are yielded too, and whoever reads
  the audio names them and counts them among the unreadable ones. `read_text`
  takes the annotation files alone; paths are those of clips that are there.

  Raises:
    UserError: an annotation file is missing or not in its format, an unknown
      label, or a part without any audio.
  """
  root = pathlib.Path(path)
  found = [one for files in walk.find(root, {".csv"}) for one in files]
  below = {folder for one in found for folder in one.parents}
  folders = [one for one in below if one.is_relative_to(root)]
  for part, folder in _PARTS.items():
    # The archives of the release unpack into train/, dev/ and test/.
    annotations = _nearest(found, f"{part}_sent_emo.csv")
    clips = _nearest(folders, folder)
    if not annotations or (needs_audio and not clips):
      missing = folder if annotations else f"{part}_sent_emo.csv"
      raise UserError(f"{root}: no {missing}; expected {LAYOUT}; {SOURCE}")
    # The best copy of a clip comes first, and keeps the name.
    ours = recordings.find(clips) if clips else []
    audio = {clip.stem: clip for clip in reversed(ours)}
    if needs_audio and not audio:
      raise UserError(
        f"{clips}: no audio; MELD has video, of which the audio is extracted "
        f"once, in this folder, with {_CONVERT}"
      )
    used = set()
    once = Once(annotations)
    for where, row in _read_rows(annotations):
      label = canonical(row["Emotion"], where)
      place = row["Dialogue_ID"], row["Utterance_ID"]
      name = "dia{}_utt{}".format(*place)
      facts = {name: row[name] for name in _COLUMNS.required}
      if not once.is_new(place, facts | {"Emotion": label}, where):
        continue
      clip = audio.get(name) or audio.get(_AGAIN + name)
      if needs_audio and not clip:
        clip = clips / f"{name}.wav"
      names = _speaker(row["Speaker"]), place[0], int(place[1]), part
      used |= {name, _AGAIN + name}
      yield Utterance(
        str(clip or ""), label, *names, row["Utterance"], cut=_cut(row)
      )
    once.warn()
    rest = [clip for clip in ours if clip.stem not in used]
    walk.warn_unread(clips or root, rest, f"without a line in {annotations}")


read_text = functools.partial(read, needs_audio=False)


def _nearest(paths: Iterable[pathlib.Path], name: str) -> pathlib.Path | None:
  key = spelling.key(name)
  named = (path for path in paths if spelling.key(path.name) == key)
  return min(named, key=lambda path: (len(path.parts), path), default=None)


def _read_rows(path: pathlib.Path) -> Iterator[tuple[str, dict[str, str]]]:
  """Yields the rows of an annotation file, and where each one is."""
  lines = io.StringIO(_decode(path), newline="")
  for where, row in delimited.parse(lines, path, _COLUMNS):
    ids = row["Dialogue_ID"], row["Utterance_ID"]
    if not all(_NUMBER.fullmatch(name) for name in ids) or not row["Speaker"]:
      speaker, dialogue, turn = (value[:60] for value in (row["Speaker"], *ids))
      raise UserError(
        f"{where}: speaker {speaker!r}, dialogue {dialogue!r}, utterance "
        f"{turn!r}; expected a name and two numbers; {_COLUMNS.expected}"
      )
    # The names of clips have no zeros before their numbers.
    numbers = {name: str(int(row[name])) for name in _COLUMNS.names}
    yield where, row | numbers


def _speaker(name: str) -> str:
  if name in _CROWD:
    return records.together(_CAST)
  # Joey/Drake is Joey, who plays a doctor.
  people = (who.partition("/")[0].strip() for who in name.split(" and "))
  return records.together(_SPEAKERS.get(who, who) for who in people)


def _cut(row: dict[str, str]) -> tuple[str, float, float] | None:
  """The seconds of the episode; some copies of the release do not have them."""
  times = [_TIME.fullmatch(row.get(n, "")) for n in ("StartTime", "EndTime")]
  episode = [row.get(name, "") for name in ("Season", "Episode")]
  if not all((*times, *episode)):
    return None
  seconds = [
    60 * (60 * int(h) + int(m)) + float(f"{s}.{rest}")
    for h, m, s, rest in (time.groups() for time in times)
  ]
  return f"MELD S{episode[0]}E{episode[1]}", *seconds


def _decode(path: pathlib.Path) -> str:
  """Reads UTF-8 or Windows-1252, or one taken for the other.

  The copies of the release differ, and in some the apostrophes of Windows-1252
  became control characters of Unicode.
  """
  return _C1_CONTROLS.sub(
    lambda match: match[0].encode("latin-1").decode("cp1252", "replace"),
    delimited.decode(path),
  )
