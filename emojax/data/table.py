"""Feature tables: what a study trains on, as one `.npz` file."""

import dataclasses
import hashlib
import logging
import lzma
import math
import os
import struct
import tokenize
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable

import numpy as np

from emojax import spelling
from emojax.corpora import delimited, records
from emojax.corpora.labels import canonical
from emojax.errors import UserError
from emojax.runtime import files

_LOG = logging.getLogger(__name__)

MODALITIES = ("audio", "text")
_LARGEST = 2**53  # Whole numbers up to here are exact as floats.
# The size from which what is packed is looked at, and how many times smaller it
# may then be packed: features are no long rows of zeros.
_LARGE, _PACKED = 1 << 30, 200
_HEADERS = {
  (1, 0): np.lib.format.read_array_header_1_0,
  (2, 0): np.lib.format.read_array_header_2_0,
}
# What damaged bytes do to zip files and to NumPy's headers, which are Python.
_DAMAGE = (
  *(zipfile.BadZipFile, zlib.error, lzma.LZMAError, struct.error, EOFError),
  *(OSError, RuntimeError, SyntaxError, tokenize.TokenError, MemoryError),
  *(ArithmeticError, AttributeError, LookupError, TypeError),
)
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
  session: np.ndarray  # As `records.normalise_session` gives it.
  corpus: np.ndarray | None = None
  fingerprint: np.ndarray | None = None  # Equal for identical recordings.
  path: np.ndarray | None = None  # Of the recording; a file does not keep it.

  def __post_init__(self):
    for name in ("corpus", "fingerprint", "path"):
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
  empty = np.isin(table.speaker, ["", *delimited.MISSING])
  if empty.any():
    row = np.argmax(empty)
    why = delimited.empty("speaker", str(table.speaker[row]))
    raise UserError(f"{where}: {why}; first in {_name_row(table, row)}")


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


def load(path: str | os.PathLike, needs_label: bool = True) -> FeatureTable:
  """Reads and checks a table; no pickle in it is ever unpickled.

  `session` and `corpus` may be missing, and `label` where none is needed; other
  arrays than those of the contract are named as not used. Spellings of labels
  and sessions are normalised, and two of one speaker or dialogue are one. Where
  there are several corpora, names are those of each, see `records.merge`. Rows
  are told apart by all features that the file has; one that is there again
  counts once.

  Raises:
    UserError: no such file, no feature table, one that breaks the contract, or
      identical features with audio that have two labels.
  """
  arrays = _read_arrays(os.path.expanduser(path))
  if not needs_label and "speaker" in arrays:
    arrays.setdefault("label", np.full(np.shape(arrays["speaker"]), ""))
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
  for name in ("label", "speaker", "dialogue", "session"):
    converted[name] = _mended(converted[name], name)
  table = FeatureTable(features, **converted)
  validate(table, path)
  table = dataclasses.replace(
    table,
    label=_translate(table.label, lambda one: canonical(one, f"{path}: label")),
    fingerprint=_fingerprints(table.features),
  )
  return _each_once(_after_corpora(_unified(table, path)), path)


def _mended(names: np.ndarray, name: str) -> np.ndarray:
  """Words of pandas for what is missing are '', and its '3.0' is '3'."""
  if name != "speaker":  # Of whom `validate` asks for a name.
    names = np.where(np.isin(names, list(delimited.MISSING)), "", names)
  if name == "label" or names.ndim != 1:
    return names
  return np.array(spelling.without_points(names.tolist()), str)


def _unified(table: FeatureTable, path: str | os.PathLike) -> FeatureTable:
  """One spelling for each name; dialogues are named within a session."""

  def unified(names: np.ndarray, what: str) -> np.ndarray:
    known = spelling.unify(names.tolist(), f"{path}: {what}")
    return np.array([known[name] for name in names.tolist()], str)

  sessions = records.unify_sessions(table.session.tolist(), os.fspath(path))
  session = np.array([sessions[name] for name in table.session.tolist()], str)
  speakers = records.unify_speakers(table.speaker.tolist(), os.fspath(path))
  dialogue = table.dialogue.copy()
  for name in np.unique(session):
    of_session = session == name
    dialogue[of_session] = unified(dialogue[of_session], "dialogue")
  return dataclasses.replace(
    table,
    session=session,
    dialogue=dialogue,
    speaker=np.array([speakers[name] for name in table.speaker.tolist()], str),
    corpus=unified(table.corpus, "corpus"),
  )


def _after_corpora(table: FeatureTable) -> FeatureTable:
  """The same names in several corpora are told apart, see `records.merge`."""
  new, corpora = {}, table.corpus.tolist()
  for name in records.NAMES if len(set(corpora)) > 1 else ():
    names = map(records.named_after, corpora, getattr(table, name).tolist())
    new[name] = np.array(list(names), str)
  return dataclasses.replace(table, **new)


def _each_once(table: FeatureTable, path: str | os.PathLike) -> FeatureTable:
  """Leaves out rows that are there again; two labels of one are an error.

  Utterances without audio are not known to be the same, whatever they say.
  """
  first: dict[str, int] = {}
  again, contradictions, places = [], [], Counter()
  for row, name in enumerate(table.fingerprint.tolist()):
    other = first.setdefault(name, row) if name else row
    labels = {str(table.label[other]), str(table.label[row])}
    if len(labels - {""}) > 1:  # Without a label one contradicts nothing.
      contradictions.append((other, row))
    elif (
      other != row
      and len(labels) == 1
      and _place(table, other) == _place(table, row)
    ):
      again.append(row)
      continue
    places[_place(table, row)[:-1]] += 1
  if contradictions:
    one, other = contradictions[0]
    raise UserError(
      f"{path}: {_name_row(table, one)} and {_name_row(table, other)} have "
      f"identical features, and the labels {str(table.label[one])!r} and "
      f"{str(table.label[other])!r} ({len(contradictions)} such in all); "
      "correct or remove one of each two"
    )
  if again:
    _LOG.warning(
      "%s: %d rows are there twice and count once; the first: %s",
      *(path, len(again), _name_row(table, again[0])),
    )
  if shared := sum(count - 1 for count in places.values()):
    _LOG.warning(
      "%s: %d of %d utterances have the turn of another one in their dialogue; "
      "these are taken in their order",
      *(path, shared, len(table)),
    )
  return table.take(np.delete(np.arange(len(table)), again)) if again else table


def _place(table: FeatureTable, row: int) -> tuple:
  names = table.session, table.dialogue, table.turn, table.speaker
  return tuple(values[row] for values in names)


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
  """Reads the arrays of the contract that the file has; names the others."""
  arrays = {}
  name = "the archive"
  try:
    # Not `np.load`, which takes what is no archive for a pickle.
    with zipfile.ZipFile(path) as archive:
      entries = _entries(archive, path)
      for name in (*MODALITIES, *_WRITTEN):
        if name in entries:
          where = f"{path}: {name}"
          arrays[name] = _read_array(archive, entries.pop(name), where)
  except FileNotFoundError:
    raise UserError(f"{path}: no such file; expected a feature table") from None
  except ValueError as error:
    raise UserError(
      f"{path}: {name} is no plain array ({_line(error)}); save strings with "
      ".astype(str) and features as float32"
    ) from error
  except _DAMAGE as error:
    why = files.stand_in(path) or (
      f"not a whole .npz file ({_line(error)}); write it again"
    )
    raise UserError(f"{path}: {why}") from error
  if arrays and entries:
    _LOG.warning(
      "%s: arrays not used: %s%s",
      *(
        path,
        ", ".join(list(entries)[:12]),
        ", …" if len(entries) > 12 else "",
      ),
    )
  return arrays


def _entries(
  archive: zipfile.ZipFile, path: str | os.PathLike
) -> dict[str, zipfile.ZipInfo]:
  """The entries of an archive by the names of their arrays."""
  entries: dict[str, zipfile.ZipInfo] = {}
  for entry in archive.infolist():
    name = spelling.key(entry.filename.removesuffix(".npy"))
    if name in entries:
      raise UserError(f"{path}: holds {name[:60]!r} twice; write it again")
    entries[name] = entry
  return entries


def _read_array(
  archive: zipfile.ZipFile, entry: zipfile.ZipInfo, where: str
) -> np.ndarray:
  """Reads an array, if its file is of the size that its header says."""
  size = entry.file_size
  if size > _LARGE and size > _PACKED * entry.compress_size:
    raise UserError(
      f"{where} unpacks {entry.compress_size} bytes to {size}: no features"
    )
  with archive.open(entry) as file:
    version = np.lib.format.read_magic(file)
    if version not in _HEADERS:
      raise ValueError(f"version {version}")
    shape, _, dtype = _HEADERS[version](file)
    if dtype.hasobject:
      raise ValueError("it holds objects, which are never unpickled")
    # Before NumPy takes that much memory.
    expected = math.prod(shape) * dtype.itemsize
    if min(shape, default=0) < 0 or size - file.tell() != expected:
      raise UserError(
        f"{where} holds {size - file.tell()} bytes where its shape {shape} "
        f"takes {expected}: not a whole .npz file; write it again"
      )
  with archive.open(entry) as file:
    return np.lib.format.read_array(file, allow_pickle=False)


def _line(error: Exception) -> str:
  """What an error says, in one short line."""
  return (str(error).partition("\n")[0] or type(error).__name__)[:200]


def _strings(array: np.ndarray, has_type: str) -> np.ndarray:
  """Brings text, bytes or whole numbers to strings without blank edges."""
  if array.dtype.kind == "S":
    try:
      array = np.strings.decode(array, "utf-8")
    except UnicodeDecodeError:
      array = np.strings.decode(array, "latin-1")
  elif array.dtype.kind != "U":
    array = _integers(array, has_type, "strings").astype(str)
  elif not _is_text(array):
    raise UserError(
      f"{has_type} {array.dtype} and holds no text; write it again"
    )
  return np.strings.strip(array)


def _is_text(array: np.ndarray) -> bool:
  """Whether all of it is Unicode: damaged bytes can crash Python's strings."""
  if not array.size or not array.dtype.itemsize:
    return True
  codes = np.frombuffer(array.tobytes(), np.uint32)
  if not array.dtype.isnative:
    codes = codes.byteswap()
  is_surrogate = (codes >= 0xD800) & (codes < 0xE000)
  return bool((codes <= 0x10FFFF).all() and not is_surrogate.any())


def _integers(array, has_type, expected="whole numbers") -> np.ndarray:
  """Brings whole numbers of any type to int64."""
  is_whole = array.dtype.kind in "iu" or (
    array.dtype.kind == "f"
    and np.isfinite(array).all()
    and (array == np.rint(array)).all()
  )
  if not is_whole or not (np.abs(array) < _LARGEST).all():
    raise UserError(f"{has_type} {array.dtype}; expected {expected}")
  return array.astype(np.int64)


def _turns(array: np.ndarray, has_type: str) -> np.ndarray:
  """Brings whole numbers, which text may hold, to int64."""
  if array.dtype.kind in "SU" and (array.dtype.kind == "S" or _is_text(array)):
    try:
      return _integers(array.astype(np.float64), has_type)
    except ValueError:
      pass  # The error names the type that it has.
  return _integers(array, has_type)


def _floats(array: np.ndarray, has_type: str) -> np.ndarray:
  """Brings numbers to float32; what is too large becomes infinite."""
  if array.dtype.kind not in "fiu":
    raise UserError(f"{has_type} {array.dtype}; expected float32")
  with np.errstate(over="ignore"):
    return array.astype(np.float32)


_CONVERSIONS = {"turn": _turns, **dict.fromkeys(MODALITIES, _floats)}


def _translate(array: np.ndarray, function: Callable[[str], str]) -> np.ndarray:
  """Applies a function of strings once to each distinct value."""
  values, inverse = np.unique(array, return_inverse=True)
  return np.array([function(str(v)) for v in values], str)[inverse]


def _name_row(table: FeatureTable, row: int) -> str:
  return (
    f"row {row} (dialogue {str(table.dialogue[row])!r}, turn "
    f"{table.turn[row]}, speaker {str(table.speaker[row])!r})"
  )
