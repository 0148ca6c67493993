"""FERPlus: the images of FER2013 with ten annotators' votes for each.

Barsoum et al., "Training Deep Networks for Facial Expression Recognition with
Crowd-Sourced Label Distribution", ICMI 2016. The label is their majority vote,
as in the code they published (`_process_data` in its `src/ferplus.py`).
"""

import logging
import pathlib
from collections.abc import Iterator, Mapping, Sequence

from emojax import spelling
from emojax.corpora import delimited, layout
from emojax.corpora.faces import fer2013
from emojax.corpora.labels import canonical
from emojax.corpora.records import PARTS, Face
from emojax.errors import UserError

_LOG = logging.getLogger(__name__)

_TABLE = "fer2013new.csv"
_FOLDERS = dict(
  zip(PARTS, ("FER2013Train", "FER2013Valid", "FER2013Test"), strict=True)
)
LAYOUT = f"{_TABLE} beside the images in {', '.join(_FOLDERS.values())}"
SOURCE = (
  "the votes of FERPlus are free, and so is the tool that makes its images "
  "from FER2013: https://github.com/microsoft/FERPlus"
)
LICENCE = "votes MIT; images as FER2013"

# The order of `Face.votes`: eight emotions, then doubt and "not a face".
VOTES = (
  *("neutral", "happiness", "surprise", "sadness", "anger", "disgust", "fear"),
  *("contempt", "unknown", "NF"),
)
_EMOTIONS = VOTES[:8]
_ANNOTATORS = 10
_MOST_VOTES = 1000  # Whoever collects more has other than FERPlus.
_USAGES = {spelling.key(name): part for name, part in fer2013.USAGES.items()}
_COLUMNS = delimited.Columns(
  tuple(map(spelling.key, ("Usage", "Image name", *VOTES))),
  expected=f"copy the file from the release again; {SOURCE}",
)
_SIZE = (48, 48)


def read(path: str) -> Iterator[Face]:
  """Yields the faces in the order of the table, with their votes.

  A row without an image name is an image that the authors dropped: it is not
  there. One without a majority for an emotion has the label ''.

  Raises:
    UserError: a missing table, folder or column, or a line that is not one of
      FERPlus.
  """
  table = layout.table(path, (_TABLE,))
  if table is None:
    raise layout.not_found(path, _TABLE, f"{LAYOUT}; {SOURCE}")
  rows = delimited.read(table, _COLUMNS)
  folders = {
    # The repository keeps them in its folder `data`, below the table.
    part: layout.folder(table, path, (name, f"data/{name}"))
    for part, name in _FOLDERS.items()
  }
  missing = [_FOLDERS[part] for part in PARTS if folders[part] is None]
  if missing:
    raise layout.not_found(
      path, f"folder {', '.join(missing)}", f"{LAYOUT}; {SOURCE}"
    )
  images = {part: layout.Names(folder) for part, folder in folders.items()}
  faces = [
    _read_row(row.values, images, row.where)
    for row in rows
    if row.values["image name"]
  ]
  odd = [face.name for face in faces if sum(face.votes) != _ANNOTATORS]
  if odd:
    _LOG.warning(
      "%s: %d images do not have %d votes; first: %s",
      *(table, len(odd), _ANNOTATORS, odd[0]),
    )
  for part, folder in folders.items():
    layout.warn_unlisted(folder, [face for face in faces if face.part == part])
  yield from layout.each_once(table, faces)


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


def _read_row(
  row: Mapping[str, str], images: Mapping[str, layout.Names], where: str
) -> Face:
  usage, name = spelling.key(row["usage"]), row["image name"]
  if usage not in _USAGES:
    raise UserError(
      f"{where}: unknown Usage {row['usage']!r}; FERPlus has "
      f"{', '.join(fer2013.USAGES)}"
    )
  if not pathlib.PurePath(name).stem:
    raise UserError(f"{where}: {name!r} is no name of an image")
  votes = tuple(
    delimited.whole(row[spelling.key(column)], where, column)
    for column in VOTES
  )
  if not all(0 <= count <= _MOST_VOTES for count in votes):
    raise UserError(
      f"{where}: {min(votes)} to {max(votes)} votes; there are {_ANNOTATORS} "
      "annotators; copy the file from the release again"
    )
  part = _USAGES[usage]
  return Face(
    path=images[part].path(name),
    label=majority(votes),
    part=part,
    name=pathlib.PurePath(name).stem,
    votes=votes,
    size=_SIZE,
  )
