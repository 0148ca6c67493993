"""A corpus of faces: decoded once, mapped from the disk, cut in its parts."""

import collections
import dataclasses
import hashlib
import itertools
import logging
import os
import pathlib
from collections.abc import Callable, Mapping, Sequence

import ml_collections
import numpy as np
import PIL

from emojax.corpora import faces, images, labels, recordings, shipped
from emojax.corpora.images import UnreadableImage
from emojax.corpora.records import PARTS, Face
from emojax.data import store
from emojax.data.noise import NoisyDataset, Part
from emojax.errors import UserError, one_line
from emojax.runtime.files import cache_folder
from emojax.runtime.progress import progress

_LOG = logging.getLogger(__name__)
# Part of the name: raise it with any change of what is written.
_VERSION = 4
_AHEAD = 512  # Images decoded before they are written.
# Where annotators have voted, an image of which fewer agree is contested.
_AGREED = 0.8
# Grey levels between the darkest and the brightest pixel, of 255. Where there
# are fewer, nobody sees a face; FER2013 has a dozen such images.
_CONTRAST = 8
_OWN = "image_folder", "manifest"
_NAMED = 3  # Images that a warning names.
_SKIPPED = "skipped"


@dataclasses.dataclass(frozen=True)
class FaceTable:
  """The usable faces of a study, in the order of their readers."""

  images: np.ndarray  # uint8 [N, H, W, C], mapped from the disk, read-only.
  label: np.ndarray  # str [N], of `labels.LABELS`; '' where unlabelled.
  part: np.ndarray  # int8 [N], index into `records.PARTS`.
  votes: np.ndarray  # int32 [N, V]; V is 0 where there are none.
  name: np.ndarray  # str [N], unique.
  digest: np.ndarray  # str [N], the SHA-256 of the pixels.
  photo: np.ndarray  # str [N], the file that a face is cut from, or ''.

  def __len__(self) -> int:
    return len(self.label)


def read(data: ml_collections.ConfigDict) -> NoisyDataset:
  """Reads corpora in their own parts, and what votes say of their noise.

  Raises:
    UserError: whatever is wrong with a corpus or its labels.
  """
  classes, index = labels.parse_classes(data.labels)
  table = prepare(data, cache_folder() / "faces")
  class_N = labels.class_index(table.label.tolist(), index)
  rows = split(table, index)
  train = rows["train"]
  clean = NoisyDataset(
    classes,
    {
      part: Part(table.images, rows[part], class_N[rows[part]])
      for part in PARTS
    },
    table.name[train],
    demo="demo" in shipped.names_of(data),
    test_digest_N=table.digest[rows["test"]],
    has_pictures=True,
    notes=_in_two(table, rows),
  )
  if not table.votes.shape[1]:
    return clean
  votes_NxV = table.votes[train]
  contested_N = votes_NxV.max(1) / votes_NxV.sum(1) < _AGREED
  return dataclasses.replace(
    clean, kinds=("agreed", "contested"), kind_N=contested_N.astype(np.int8)
  )


def prepare(
  data: ml_collections.ConfigDict, folder: str | os.PathLike
) -> FaceTable:
  """Decodes corpora into a folder, or finds them decoded there.

  What is there is known by the records, the size and the times of the files
  (also when they got their names), and by the decoder: whatever changes is
  decoded anew. An image that cannot be used is skipped, each time, and named in
  a warning if it has a label of the study; it is tried again, each time, and
  all are decoded anew where it can be used by now. Others count images that are
  there several times, that show nothing, and files of which one frame of
  several is used.

  Raises:
    UserError: whatever the reader finds wrong, more unusable images than
      `max_skipped` or nothing else, one image of a user's own with two labels
      or in two parts, a full disk, damaged files in the folder.
  """
  records = _records(data)
  stamps = _stamps(records)
  _, index = labels.parse_classes(data.labels)
  used_N = labels.class_index([face.label for face in records], index) >= 0
  _check_present(records, stamps, used_N, data.max_skipped)
  found = _decoded(data, pathlib.Path(folder), records, stamps, used_N)
  arrays = {k: v for k, v in found.arrays.items() if k != _SKIPPED}
  flat, framed = arrays.pop("flat"), arrays.pop("framed")
  cut = {face.name: face.path for face in records if face.box is not None}
  photo = np.array([cut.get(name, "") for name in arrays["name"].tolist()], str)
  table = FaceTable(images=found.values, photo=photo, **arrays)
  for marked, what in (
    (flat, "are of one colour, show nothing and are used"),
    (framed, "have several frames, of which the first is used"),
  ):
    if names := table.name[marked].tolist():
      _LOG.warning(
        "%s: %d images %s; first: %s",
        *(data.corpus, len(names), what, one_line(", ".join(names[:_NAMED]))),
      )
  _check_doubles(shipped.names_of(data), table, flat)
  return table


def split(table: FaceTable, index: Mapping[str, int]) -> dict[str, np.ndarray]:
  """Gives the rows of each part that belong to a class of the study.

  How many do not, for want of a label (of a majority of votes, in FERPlus) or
  because the study leaves it out, is logged. `index` are the classes of the
  labels that it keeps.

  Returns:
    int64 [n] rows, by `records.PARTS`.

  Raises:
    UserError: a part has none, or the training part lacks a class.
  """
  parts = {}
  class_N = labels.class_index(table.label.tolist(), index)
  for place, part in enumerate(PARTS):
    of_part = table.part == place
    parts[part] = np.flatnonzero(of_part & (class_N >= 0))
    labels.say_left_out(f"{part}: faces", table.label[of_part], index)
    if not len(parts[part]):
      raise UserError(
        f"the {part} part has no face of a class of the study; its labels are "
        f"{', '.join(sorted(set(table.label[of_part].tolist()))) or 'none'}"
      )
  missing = set(class_N[class_N >= 0]) - set(class_N[parts["train"]])
  if missing:
    label = table.label[np.argmax(class_N == min(missing))]
    raise UserError(
      f"the train part has no face that is {label}, which others have; add "
      "some, or leave the class out of config.data.labels"
    )
  return parts


def duplicates(table: FaceTable) -> list[np.ndarray]:
  """The rows, int64, of each image that is there several times.

  It is the same pixel for pixel. Images are in the order of their first rows.
  """
  groups = collections.defaultdict(list)
  for row, digest in enumerate(table.digest.tolist()):
    groups[digest].append(row)
  return [np.array(rows) for rows in groups.values() if len(rows) > 1]


def _in_two(
  table: FaceTable, rows: Mapping[str, np.ndarray]
) -> tuple[str, ...]:
  """How much of a part is in another one, too, as paragraphs."""
  notes = []
  for one, other in itertools.combinations(PARTS, 2):
    total = len(rows[other])
    for values, said in (
      (table.digest, f"images of the {other} part are in the {one} part, too"),
      (
        table.photo,
        f"faces of the {other} part are of a photograph that others of the "
        f"{one} part are of",
      ),
    ):
      known = set(values[rows[one]].tolist()) - {""}
      if count := sum(name in known for name in values[rows[other]].tolist()):
        notes.append(f"{count} of {total} {said}")
  return tuple(notes)


def _check_doubles(
  corpora: Sequence[str], table: FaceTable, flat_N: np.ndarray
) -> None:
  """Says what is in two parts, twice in one, or has two labels.

  Raises:
    UserError: two labels or two parts of an image of a user's own; published
      corpora are used as they are.
  """
  groups = duplicates(table)
  across, within, labelled = [], [], []
  named = [name.partition(":")[0] for name in table.name.tolist()]
  corpus_N = named if len(corpora) > 1 else [corpora[0]] * len(table)
  own_N = np.isin(corpus_N, _OWN) & ~flat_N
  for rows in groups:
    is_across = len(set(table.part[rows].tolist())) > 1
    (across if is_across else within).append(rows)
    names = set(table.label[rows].tolist()) - {""}
    if len(names) > 1 and not flat_N[rows[0]]:
      labelled.append(rows)
  for found, what in (
    (across, "in more than one part"),
    (within, "several times in one part"),
    (labelled, "there with different labels"),
  ):
    if found:
      _LOG.warning(
        "%s: %d images are %s, pixel for pixel; first: %s",
        *(", ".join(corpora), len(found), what, _places(table, found[0])),
      )
  for found, what in (
    (labelled, "have different labels"),
    (across, "are in more than one part"),
  ):
    if own := [rows for rows in found if own_N[rows].any()]:
      raise UserError(
        f"{', '.join(corpora)}: {len(own)} images {what}, pixel for pixel; "
        f"first: {_places(table, own[0])}; remove all but one of each"
      )


def _places(table: FaceTable, rows: np.ndarray) -> str:
  """Such as 'a.png (happy, train), b.png (sad, test)'."""
  places = [
    f"{table.name[row]} ({table.label[row] or 'no label'}, "
    f"{PARTS[table.part[row]]})"
    for row in rows[:_NAMED]
  ]
  return one_line(", ".join(places)) + (", …" if len(rows) > _NAMED else "")


def _check_present(
  records: Sequence[Face],
  stamps: Mapping[str, str],
  used_N: np.ndarray,
  most: int,
) -> None:
  """Says early where more images are missing than may be skipped."""
  paths = [face.path for face in itertools.compress(records, used_N)]
  missing = [path for path in paths if not stamps[path]]
  if len(missing) > most:
    raise UserError(
      f"{len(missing)} of {len(paths)} images are not there, more than "
      f"config.data.max_skipped = {most}; the first: {missing[0]}; unpack or "
      "copy them to this folder"
    )


def _records(data: ml_collections.ConfigDict) -> list[Face]:
  """Of all corpora; names stay unique, votes are those of a single corpus."""
  found = faces.read_all(data)
  if len(found) == 1:
    ((_, records),) = found
    return records
  return [
    dataclasses.replace(face, name=f"{corpus}:{face.name}", votes=())
    for corpus, records in found
    for face in records
  ]


def _decoded(
  data: ml_collections.ConfigDict,
  folder: pathlib.Path,
  records: Sequence[Face],
  stamps: Mapping[str, str],
  used_N: np.ndarray,
) -> store.Store:
  """Finds a store that lacks no usable image, or writes it."""
  size, channels = tuple(data.image_size), data.channels
  skips = recordings.Skips(data.max_skipped, int(used_N.sum()), "images")
  described = [_VERSION, PIL.__version__, *size, channels]

  def load(row: int) -> tuple[np.ndarray, bool] | UnreadableImage:
    face = records[row]
    try:
      return images.load(face, size, channels), images.has_more_frames(face)
    except UnreadableImage as error:
      return error

  def skip(row: int, error: UnreadableImage) -> None:
    if used_N[row]:
      skips.add(error)

  while True:
    name = _fingerprint(records, stamps, described)
    path = folder / f"{'-'.join(shipped.names_of(data))}-{name}"
    if not store.is_there(path):
      return store.open_or_create(
        path, lambda writer: _decode_all(writer, records, load, skip)
      )
    found = store.read(path)
    skipped = found.arrays[_SKIPPED].tolist()
    failed = recordings.retry(load, skipped)
    if len(failed) == len(skipped):
      for row, error in failed.items():
        skip(row, error)
      return found
    # By another name: other processes may read this one.
    described.append([row for row in skipped if row not in failed])


def _fingerprint(
  records: Sequence[Face], stamps: Mapping[str, str], described: list
) -> str:
  """A short name for records and for the state of the files they are in."""
  digest = hashlib.sha256(repr(described).encode())
  for face in records:
    digest.update(f"{face!r}{stamps[face.path]}".encode())
  return digest.hexdigest()[:16]


def _stamps(records: Sequence[Face]) -> dict[str, str]:
  """The state of each file; '' of one that is missing."""
  stamps = {}
  for path in {face.path for face in records}:  # A table holds many faces.
    try:
      state = os.stat(path)
      # Files that swap their names keep their times, but for the last.
      times = f"{state.st_mtime_ns} {state.st_ctime_ns}"
      stamps[path] = f"{state.st_size} {times}"
    except (OSError, ValueError):  # `images.load` says why.
      stamps[path] = ""
  return stamps


def _decode_all(
  writer: store.Writer,
  records: Sequence[Face],
  load: Callable[[int], tuple[np.ndarray, bool] | UnreadableImage],
  skip: Callable[[int, UnreadableImage], None],
) -> dict[str, np.ndarray]:
  """Writes the images that can be used; what is known of them beside that."""
  usable: list[Face] = []
  digests: list[str] = []
  flat: list[bool] = []
  framed: list[bool] = []
  skipped: dict[int, UnreadableImage] = {}
  # Pillow decodes outside the interpreter's lock: threads suffice.
  decoded = recordings.ahead(load, range(len(records)), _AHEAD)
  decoded = progress(decoded, len(records), "decode faces", "image")
  for row, found in enumerate(decoded):
    if isinstance(found, UnreadableImage):
      skip(row, found)
      skipped[row] = found
    else:
      image, has_more = found
      usable.append(records[row])
      digests.append(hashlib.sha256(image.tobytes()).hexdigest())
      flat.append(int(image.max()) - int(image.min()) < _CONTRAST)
      framed.append(has_more)
      writer.append(image[None])
  if not usable:
    raise UserError(f"no image is usable; first: {skipped[0]}")
  return {
    "part": np.array([PARTS.index(face.part) for face in usable], np.int8),
    "votes": np.array([face.votes for face in usable], np.int32),
    "label": np.array([face.label for face in usable], str),
    "name": np.array([face.name for face in usable], str),
    "digest": np.array(digests, str),
    "flat": np.array(flat, bool),
    "framed": np.array(framed, bool),
    _SKIPPED: np.array(list(skipped), np.int64),
  }
