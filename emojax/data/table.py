"""Feature tables: what a study trains on, as one `.npz` file."""

import dataclasses
import hashlib
import os
import zipfile
import zlib
from collections.abc import Callable

import numpy as np

from emojax.corpora.labels import canonical
from emojax.corpora.records import normalise_session
from emojax.errors import UserError
from emojax.runtime import files

MODALITIES = ("audio", "text")
_REQUIRED = ("label", "speaker", "dialogue", "turn")
_WRITTEN = (*_REQUIRED, "session", "corpus")


@dataclasses.dataclass(frozen=True)
class FeatureTable:
  """Features and annotations of U utterances, in one order.

  Annotations are str [U], `turn` int64 [U]; '' is what is not known. Of the
  fingerprint: it is of the file where there is one, else of the features.
  """

  features: dict[str, np.ndarray]  # float32 [U, D], of 'audio', 'text' or both.
  label: np.ndarray  # Of `labels.LABELS`.
  speaker: np.ndarray  # Never empty.
  dialogue: np.ndarray  # Unique within a session.
  turn: np.ndarray  # The order within a dialogue.
  session: np.ndarray  # As `normalise_session` gives it.
  corpus: np.ndarray | None = None
  fingerprint: np.ndarray | None = None  # Equal for identical recordings.

  def __post_init__(self):
    for name in ("corpus", "fingerprint"):
      if getattr(self, name) is None:
        object.__setattr__(self, name, np.full(np.shape(self.label), ""))

  def __len__(self) -> int:
    return len(self.label)

  def take(self, rows: np.ndarray) -> "FeatureTable":
    """The table of some rows, by index or by mask."""
    return FeatureTable(
      {name: values[rows] for name, values in self.features.items()},
      *(getattr(self, name)[rows] for name in ANNOTATIONS),
    )


ANNOTATIONS = tuple(
  field.name for field in dataclasses.fields(FeatureTable)[1:]
)


def dialogues(table: FeatureTable) -> list[np.ndarray]:
  """Gives the rows int64 [L] of each conversation in the order of its turns.

  Conversations are in the order in which they first appear. Two sessions may
  use the same name for a dialogue: they stay apart.
  """
  groups: dict[tuple[str, str], list[int]] = {}
  names = zip(table.session, table.dialogue, strict=True)
  for row, name in enumerate(names):
    groups.setdefault(name, []).append(row)
  return [
    rows[np.argsort(table.turn[rows], kind="stable")]
    for rows in map(np.array, groups.values())
  ]


def validate(table: FeatureTable, where: str | os.PathLike) -> None:
  """Checks the contract of `FeatureTable`; `where` is its file.

  Raises:
    UserError: wrong shapes, a value that is no number, an empty speaker.
  """
  if not table.features:
    raise UserError(f"{where}: neither audio nor text; one of them is required")
  if not np.size(table.label):
    raise UserError(f"{where}: label is empty; there are no utterances")
  expected = np.shape(table.label)
  for name in ANNOTATIONS:
    shape = np.shape(getattr(table, name))
    if len(shape) != 1 or shape != expected:
      raise UserError(
        f"{where}: {name} has shape {shape}, label has {expected}; each is one "
        "value for each utterance"
      )
  for name, matrix in table.features.items():
    if matrix.ndim != 2 or len(matrix) != len(table) or not matrix.shape[1]:
      raise UserError(
        f"{where}: {name} has shape {matrix.shape}; expected one row for each "
        f"of the {len(table)} utterances"
      )
    finite = np.isfinite(matrix).all(axis=1)
    if not finite.all():
      raise UserError(
        f"{where}: {name} holds NaN or infinity in {np.sum(~finite)} of "
        f"{len(table)} rows, first in {_name_row(table, np.argmin(finite))}; "
        "remove or repair those"
      )
  empty = table.speaker == ""
  if empty.any():
    row = _name_row(table, np.argmax(empty))
    raise UserError(f"{where}: no speaker in {row}; each utterance needs one")


def save(path: str | os.PathLike, table: FeatureTable) -> None:
  """Writes a table, whole or not at all.

  Raises:
    UserError: the table breaks its contract, or the disk is full.
  """
  validate(table, path)
  arrays = {name: np.asarray(getattr(table, name), str) for name in _WRITTEN}
  arrays["turn"] = np.asarray(table.turn, np.int64)
  # An open file, not a name: `savez` appends `.npz` to names that lack it.
  with files.whole(path) as temporary, open(temporary, "wb") as file:
    np.savez(file, **arrays, **table.features)


def load(path: str | os.PathLike) -> FeatureTable:
  """Reads and checks a table; no pickle in it is ever unpickled.

  `session` and `corpus` may be missing; other arrays than those of the contract
  are left alone. Spellings of labels and sessions are normalised. Rows are told
  apart by all features that the file has.

  Raises:
    UserError: no such file, no feature table, or one that breaks the contract.
  """
  arrays = _read_arrays(path)
  missing = ", ".join(name for name in _REQUIRED if name not in arrays)
  if missing:
    raise UserError(
      f"{path}: no array {missing}; a feature table has label, speaker, "
      "dialogue, turn, session, and audio or text; this one has "
      f"{', '.join(arrays) or 'none of them'}"
    )
  converted = {
    name: _CONVERSIONS.get(name, _strings)(array, f"{path}: {name} has type")
    for name, array in arrays.items()
  }
  converted.setdefault("session", np.full(converted["label"].shape, ""))
  features = {n: converted.pop(n) for n in MODALITIES if n in converted}
  table = FeatureTable(features, **converted)
  validate(table, path)
  return dataclasses.replace(
    table,
    label=_translate(table.label, lambda one: canonical(one, f"{path}: label")),
    session=_translate(table.session, normalise_session),
    fingerprint=_fingerprints(table.features),
  )


def _fingerprints(features: dict[str, np.ndarray]) -> np.ndarray:
  """One name for the same features of a row; '' where they tell nothing.

  Two people may say the same words, so rows without audio (none in the table,
  or all zeros) are not taken for copies of each other.
  """
  if "audio" not in features:
    return np.full(len(features["text"]), "")
  # Adding zero gives -0.0 the bytes of 0.0.
  rows = zip(*(features[name] + 0.0 for name in sorted(features)), strict=True)
  digests = [
    hashlib.sha256(b"".join(map(np.ndarray.tobytes, row))) for row in rows
  ]
  heard = features["audio"].any(axis=1)
  return np.where(heard, [digest.hexdigest() for digest in digests], "")


def _read_arrays(path: str | os.PathLike) -> dict[str, np.ndarray]:
  """Reads the arrays of the contract that the file has."""
  arrays = {}
  name = "the archive"
  try:
    # Not `np.load`, which takes what is no archive for a pickle.
    with np.lib.npyio.NpzFile(path, allow_pickle=False) as stored:
      for name in (*MODALITIES, *_WRITTEN):
        if name in stored:
          arrays[name] = stored[name]
  except FileNotFoundError:
    raise UserError(f"{path}: no such file; expected a feature table") from None
  except ValueError as error:
    raise UserError(
      f"{path}: {name} is no plain array ({error}); save strings with "
      ".astype(str) and features as float32"
    ) from error
  except (zipfile.BadZipFile, zlib.error, EOFError, OSError) as error:
    raise UserError(
      f"{path}: not a whole .npz file ({error}); write it again"
    ) from error
  return arrays


def _strings(array: np.ndarray, has_type: str) -> np.ndarray:
  """Brings text, bytes or whole numbers to strings without blank edges."""
  if array.dtype.kind == "S":
    try:
      array = np.strings.decode(array, "utf-8")
    except UnicodeDecodeError:
      array = np.strings.decode(array, "latin-1")
  elif array.dtype.kind != "U":
    array = _integers(array, has_type, "strings").astype(str)
  return np.strings.strip(array)


def _integers(array, has_type, expected="whole numbers") -> np.ndarray:
  """Brings whole numbers of any type to int64."""
  is_whole = array.dtype.kind in "iu" or (
    array.dtype.kind == "f"
    and np.isfinite(array).all()
    and (array == np.rint(array)).all()
  )
  if not is_whole:
    raise UserError(f"{has_type} {array.dtype}; expected {expected}")
  return array.astype(np.int64)


def _floats(array: np.ndarray, has_type: str) -> np.ndarray:
  """Brings numbers to float32; what is too large becomes infinite."""
  if array.dtype.kind not in "fiu":
    raise UserError(f"{has_type} {array.dtype}; expected float32")
  with np.errstate(over="ignore"):
    return array.astype(np.float32)


_CONVERSIONS = {"turn": _integers, **dict.fromkeys(MODALITIES, _floats)}


def _translate(array: np.ndarray, function: Callable[[str], str]) -> np.ndarray:
  """Applies a function of strings once to each distinct value."""
  values, inverse = np.unique(array, return_inverse=True)
  return np.array([function(str(v)) for v in values], str)[inverse]


def _name_row(table: FeatureTable, row: int) -> str:
  return (
    f"row {row} (dialogue {table.dialogue[row]!r}, turn {table.turn[row]}, "
    f"speaker {table.speaker[row]!r})"
  )
