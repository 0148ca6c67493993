"""FERPlus: the images of FER2013 with ten annotators' votes for each.

Barsoum et al., "Training Deep Networks for Facial Expression Recognition with
Crowd-Sourced Label Distribution", ICMI 2016. The label is their majority vote,
as in the code they published (`_process_data` in its `src/ferplus.py`).
"""

import csv
import pathlib
from collections.abc import Iterator, Mapping, Sequence

from emojax.corpora import shipped
from emojax.corpora.faces import fer2013
from emojax.corpora.labels import canonical
from emojax.corpora.records import PARTS, Face
from emojax.errors import UserError

_TABLE = "fer2013new.csv"
_FOLDERS = dict(
  zip(PARTS, ("FER2013Train", "FER2013Valid", "FER2013Test"), strict=True)
)
LAYOUT = f"{_TABLE} beside the images in {', '.join(_FOLDERS.values())}"
SOURCE = (
  "the votes of FERPlus are free, and so is the tool that makes its images "
  "from FER2013: https://github.com/microsoft/FERPlus"
)

# The order of `Face.votes`: eight emotions, then doubt and "not a face".
VOTES = (
  *("neutral", "happiness", "surprise", "sadness", "anger", "disgust", "fear"),
  *("contempt", "unknown", "NF"),
)
_EMOTIONS = VOTES[:8]
_SIZE = (48, 48)


def read(path: str) -> Iterator[Face]:
  """Yields the faces in the order of the table, with their votes.

  A row without an image name is an image that the authors dropped: it is not
  there. One without a majority for an emotion has the label ''.

  Raises:
    UserError: a missing table, folder or column, or a line that is not one of
      FERPlus.
  """
  # The repository keeps the table beside its folder `data`.
  tables = sorted(pathlib.Path(path).rglob(_TABLE), key=lambda t: len(t.parts))
  root = shipped.find_root(
    *(path, [table.parent for table in tables], _TABLE, _FOLDERS.values()),
    f"expected {LAYOUT}; {SOURCE}",
  )
  table = root / _TABLE
  with open(table, encoding="utf-8-sig", newline="") as file:
    rows = csv.DictReader(file)
    columns = ("Usage", "Image name", *VOTES)
    missing = [name for name in columns if name not in (rows.fieldnames or ())]
    if missing:
      raise UserError(
        f"{table}, line 1: no column {', '.join(missing)}; copy the file from "
        f"the release again; {SOURCE}"
      )
    for row in rows:
      if row["Image name"]:
        yield _read_row(row, root, f"{table}, line {rows.line_num}")


def majority(votes: Sequence[int]) -> str:
  """The emotion that most annotators saw, of the common labels.

  A single vote for one of `VOTES` counts as a slip and is left out. The first
  of the others must then have more than half of them; '' where none has: they
  disagree, they do not know, or it is not a face.
  """
  counted = [count if count > 1 else 0 for count in votes]
  most = max(counted)
  winner = VOTES[counted.index(most)]
  if 2 * most <= sum(counted) or winner not in _EMOTIONS:
    return ""
  return canonical(winner, "FERPlus")


def _read_row(row: Mapping[str, str], root: pathlib.Path, where: str) -> Face:
  usage, name = row["Usage"], row["Image name"].strip()
  if usage not in fer2013.USAGES:
    raise UserError(
      f"{where}: unknown Usage {usage!r}; FERPlus has "
      f"{', '.join(fer2013.USAGES)}"
    )
  counts = [(row[column] or "").strip() for column in VOTES]
  if not all(count.isdecimal() for count in counts):
    raise UserError(
      f"{where}: votes {' '.join(counts)!r} are not {len(VOTES)} numbers; copy "
      "the file from the release again"
    )
  votes = tuple(map(int, counts))
  part = fer2013.USAGES[usage]
  return Face(
    path=str(root / _FOLDERS[part] / name),
    label=majority(votes),
    part=part,
    name=pathlib.PurePath(name).stem,
    votes=votes,
    size=_SIZE,
  )
