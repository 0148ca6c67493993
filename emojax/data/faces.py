"""A corpus of faces: decoded once, mapped from the disk, cut in its parts."""

import collections
import dataclasses
import hashlib
import itertools
import logging
import os
import pathlib
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from concurrent import futures

import ml_collections
import numpy as np

from emojax.corpora import faces, images, labels
from emojax.corpora.images import UnreadableImage
from emojax.corpora.labels import UNLABELLED
from emojax.corpora.records import PARTS, Face
from emojax.data import noise
from emojax.data.noise import NoisyDataset, Part
from emojax.errors import UserError
from emojax.runtime import files
from emojax.runtime.compilation import cache_folder
from emojax.runtime.progress import progress

_LOG = logging.getLogger(__name__)
# Part of the name: raise it with any change of what is written.
_VERSION = 2
_CHUNK = 512  # Images decoded before they are written.
# Where annotators have voted, an image of which fewer agree is contested.
_AGREED = 0.8


@dataclasses.dataclass(frozen=True)
class FaceTable:
  """The usable faces of a corpus, in the order of its reader.

  Attributes:
    images: uint8 [N, H, W, C], mapped from the disk and read-only.
    label: str [N], of `labels.LABELS`; '' where unlabelled.
    part: int8 [N], index into `records.PARTS`.
    votes: int32 [N, V]; V is 0 where the corpus has none.
    name: str [N], unique.
    digest: str [N], the SHA-256 of the pixels.
  """

  images: np.ndarray
  label: np.ndarray
  part: np.ndarray
  votes: np.ndarray
  name: np.ndarray
  digest: np.ndarray

  def __len__(self) -> int:
    return len(self.label)


def read(config: ml_collections.ConfigDict) -> list[NoisyDataset]:
  """Reads a corpus, and what its annotators' votes say of its noise.

  Args:
    config: a whole config of RLPS.

  Returns:
    One data set: corpora of faces come in parts.

  Raises:
    UserError: whatever is wrong with the corpus or its labels.
  """
  data = config.data
  classes, index = labels.parse_classes(data.labels)
  table = prepare(
    data.corpus,
    data.path,
    cache_folder() / "faces",
    tuple(data.image_size),
    data.channels,
    data.max_skipped,
  )
  class_N = labels.class_index(table.label.tolist(), index)
  rows = split(table, class_N)
  train = rows["train"]
  clean = noise.as_it_is(
    classes=classes,
    parts={
      part: Part(table.images, rows[part], class_N[rows[part]])
      for part in PARTS
    },
    name_N=table.name[train],
    demo=data.corpus == "demo",
    has_pictures=True,
  )
  if not table.votes.shape[1]:
    return [clean]
  votes_NxV = table.votes[train]
  share_N = votes_NxV.max(1) / votes_NxV.sum(1)
  contested = dataclasses.replace(
    clean,
    kinds=("agreed", "contested"),
    kind_N=(share_N < _AGREED).astype(np.int8),
    noise=("contested",),
  )
  return [contested]


def prepare(
  corpus: str,
  path: str,
  data_dir: str | os.PathLike,
  size: tuple[int, int],
  channels: int,
  max_skipped: int,
) -> FaceTable:
  """Decodes a corpus into `data_dir`, or finds it decoded there.

  What is there is known by the records, the size and the times of the files:
  whatever changes is decoded anew. An image that cannot be used is named in a
  warning and skipped, each time; images that are in several parts are counted
  in one more. An interruption leaves nothing that is taken for a corpus.

  Args:
    corpus: the name of a reader in `corpora.faces`.
    path: the corpus's folder; see the reader.
    data_dir: where decoded corpora are kept; made if it is missing.
    size: height and width of the images.
    channels: 1 for grey, 3 for RGB.
    max_skipped: how many images may be skipped.

  Raises:
    UserError: whatever the reader finds wrong, more unusable images than
      `max_skipped` or nothing else, a full disk, damaged files in `data_dir`.
  """
  if path:
    path = os.path.abspath(os.path.expanduser(path))
  records = faces.read(corpus, path)
  name = f"{corpus}-{_fingerprint(records, size, channels)}"
  pixels = pathlib.Path(data_dir).expanduser() / f"{name}.pixels"
  # Written last: it says that the pixels are whole.
  index = pixels.with_suffix(".npz")
  if not index.exists():
    _write(records, size, channels, max_skipped, pixels, index)
  table, skipped = _open(pixels, index, (*size, channels))
  for error in skipped:
    _LOG.warning("skipped %s", error)
  _check_skipped(skipped, len(records), max_skipped)
  _warn_of_duplicates(corpus, table)
  return table


def split(table: FaceTable, class_N: np.ndarray) -> dict[str, np.ndarray]:
  """Gives the rows of each part that belong to a class of the study.

  How many do not, for want of a label (of a majority of votes, in FERPlus) or
  because the study leaves it out, is logged.

  Args:
    table: the faces.
    class_N: from `labels.class_index`, below 0 where there is no class.

  Returns:
    int64 [n] rows, by `records.PARTS`.

  Raises:
    UserError: a part has none, or the training part lacks a class.
  """
  parts = {}
  for index, part in enumerate(PARTS):
    of_part = table.part == index
    parts[part] = np.flatnonzero(of_part & (class_N >= 0))
    without = np.sum(of_part & (class_N == UNLABELLED))
    out = np.sum(of_part & (class_N < 0)) - without
    if without or out:
      _LOG.info(
        "%s: %d of %d faces without a label and %d of labels that the study "
        "does not name are left out",
        *(part, without, np.sum(of_part), out),
      )
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
  """Finds images that are, pixel for pixel, in more than one part.

  Returns:
    For each such image its rows, int64 [at least 2], in order; the groups in
    the order of their first rows.
  """
  groups = collections.defaultdict(list)
  for row, digest in enumerate(table.digest.tolist()):
    groups[digest].append(row)
  return [
    np.array(rows)
    for rows in groups.values()
    if len(set(table.part[rows].tolist())) > 1
  ]


def _warn_of_duplicates(corpus: str, table: FaceTable) -> None:
  groups = duplicates(table)
  if not groups:
    return
  places = [
    f"{table.name[row]} ({PARTS[table.part[row]]})" for row in groups[0]
  ]
  _LOG.warning(
    "%s: %d images are in more than one part, pixel for pixel; first: %s",
    *(corpus, len(groups), ", ".join(places)),
  )


def _fingerprint(
  records: Sequence[Face], size: tuple[int, int], channels: int
) -> str:
  """A short name for records and for the state of the files they are in."""
  digest = hashlib.sha256(repr((_VERSION, *size, channels)).encode())
  stamps: dict[str, str] = {}
  for face in records:
    if face.path not in stamps:
      stamps[face.path] = _stamp(face.path)
    digest.update(f"{face!r}{stamps[face.path]}".encode())
  return digest.hexdigest()[:16]


def _stamp(path: str) -> str:
  try:
    state = os.stat(path)
  except OSError:  # `images.load` says why.
    return "missing"
  return f"{state.st_size} {state.st_mtime_ns}"


def _write(
  records: Sequence[Face],
  size: tuple[int, int],
  channels: int,
  max_skipped: int,
  pixels: pathlib.Path,
  index: pathlib.Path,
) -> None:
  kept: list[int] = []
  digests: list[str] = []
  skipped: list[UnreadableImage] = []
  with files.whole(pixels) as temporary, open(temporary, "wb") as file:
    decoded = _decode(records, size, channels)
    decoded = progress(decoded, len(records), "decode faces", "image")
    for row, image in enumerate(decoded):
      if isinstance(image, UnreadableImage):
        skipped.append(image)
        _check_skipped(skipped, len(records), max_skipped)
      else:
        kept.append(row)
        digests.append(hashlib.sha256(image.tobytes()).hexdigest())
        file.write(image.tobytes())
    if not kept:
      raise UserError(f"no image is usable; first: {skipped[0]}")
  usable = [records[row] for row in kept]
  arrays = {
    "part": np.array([PARTS.index(face.part) for face in usable], np.int8),
    "votes": np.array([face.votes for face in usable], np.int32),
    "label": np.array([face.label for face in usable], str),
    "name": np.array([face.name for face in usable], str),
    "digest": np.array(digests, str),
    "skipped": np.array([(e.path, e.why) for e in skipped], str).reshape(-1, 2),
  }
  with files.whole(index) as temporary, open(temporary, "wb") as file:
    np.savez(file, **arrays)


def _decode(
  records: Sequence[Face], size: tuple[int, int], channels: int
) -> Iterator[np.ndarray | UnreadableImage]:
  def load(face: Face) -> np.ndarray | UnreadableImage:
    try:
      return images.load(face, size, channels)
    except UnreadableImage as error:
      return error

  # Pillow decodes outside the interpreter's lock: threads suffice.
  with futures.ThreadPoolExecutor(os.cpu_count()) as pool:
    rest = iter(records)
    while chunk := list(itertools.islice(rest, _CHUNK)):
      yield from pool.map(load, chunk)


def _open(
  pixels: pathlib.Path, index: pathlib.Path, shape: tuple[int, int, int]
) -> tuple[FaceTable, list[UnreadableImage]]:
  try:
    with open(index, "rb") as file:
      arrays = dict(np.load(file, allow_pickle=False))
  except (ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
    raise UserError(
      f"{index}: damaged ({error}); remove it and run the same command again"
    ) from error
  skipped = arrays.pop("skipped").tolist()
  count = len(arrays["label"])
  if not pixels.exists() or pixels.stat().st_size != count * np.prod(shape):
    raise UserError(
      f"{pixels}: damaged, it does not hold {count} images; remove {index} and "
      "run the same command again"
    )
  mapped = np.memmap(pixels, np.uint8, mode="r", shape=(count, *shape))
  return (
    FaceTable(images=mapped, **arrays),
    [UnreadableImage(*error) for error in skipped],
  )


def _check_skipped(
  skipped: Sequence[UnreadableImage], total: int, limit: int
) -> None:
  if len(skipped) > limit:
    first = "; ".join(map(str, skipped[:3]))
    raise UserError(
      f"{len(skipped)} of {total} images can not be used, more than "
      f"config.data.max_skipped = {limit}; the first: {first}"
    )
