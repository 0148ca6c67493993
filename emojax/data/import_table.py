"""The pickles that the field passes around, read without running them.

conv-emotion's `IEMOCAP_features*.pkl` hold nine objects: videoIDs,
videoSpeakers, videoLabels, videoText, videoAudio, videoVisual, videoSentence
(dictionaries by dialogue), trainVid and testVid. What stands for NumPy's arrays
is here; see `plain_pickle` for the rest.
"""

import logging
import os
import pathlib
import re
import reprlib
from collections.abc import Sequence

import numpy as np

from emojax.corpora.records import normalise_session
from emojax.data import table as tables
from emojax.errors import UserError
from emojax.weights import plain_pickle

_LOG = logging.getLogger(__name__)

# Numbers for each byte of a pickle, of which one row can stand for many.
_UNFOLDED = 64
_FIELDS = (
  *("videoIDs", "videoSpeakers", "videoLabels", "videoText", "videoAudio"),
  *("videoVisual", "videoSentence", "trainVid", "testVid"),
)
_LABELS = ("happy", "sad", "neutral", "angry", "excited", "frustrated")
_DIALOGUE = re.compile(r"(Ses(\d\d))[FM]_\w+")
# NumPy's codes of booleans, numbers, strings and objects.
_CODE = re.compile(r"[biufSU][0-9]{1,4}|O8?")
_UTTERANCE = re.compile(r"(Ses\d\d)[FM]_\w+_([FM])\d+")


def import_pickle(
  source: str | os.PathLike, target: str | os.PathLike
) -> tables.FeatureTable:
  """Turns a conv-emotion pickle of IEMOCAP into a feature table.

  The speaker is the letter in the utterance's last field where the file names
  its utterances so, else the one in videoSpeakers. Text and audio are taken;
  a modality whose dictionary is empty is left out.

  Args:
    source: the pickle, of Python 2 or 3.
    target: the `.npz` file to write.

  Raises:
    UserError: no such file, no such pickle, lengths that do not fit together,
      a label out of range, or a pickle that asks for anything else than
      containers and arrays.
  """
  content = _unpickle(source)
  if not isinstance(content, list | tuple) or len(content) != len(_FIELDS):
    raise UserError(
      f"{source}: not a conv-emotion pickle; expected a tuple of "
      f"{', '.join(_FIELDS)}"
    )
  videos = dict(zip(_FIELDS, content, strict=True))
  for name in _FIELDS[:5]:  # the others are not used
    if not isinstance(videos[name], dict):
      raise UserError(f"{source}: {name} is no dictionary of dialogues")
  _warn_unused(videos, source)
  rows, limit = [], os.path.getsize(source)
  for dialogue in videos["videoIDs"]:
    rows += _read_dialogue(videos, dialogue, source)
    # Each takes bytes of its own, unless one list stands for many.
    if len(rows) > limit:
      raise UserError(f"{source}: more utterances than bytes; no such pickle")
  if not rows:
    raise UserError(f"{source}: no utterance in videoIDs")
  features = {
    modality: _stack(videos, field, source)
    for modality, field in (("audio", "videoAudio"), ("text", "videoText"))
    if videos[field]
  }
  columns = map(np.array, zip(*rows, strict=True))
  table = tables.FeatureTable(features, *columns)
  tables.validate(table, source)
  tables.save(target, table)
  return table


def _warn_unused(videos: dict, source: str | os.PathLike) -> None:
  """Names the dialogues that videoIDs does not list."""
  for name in _FIELDS[1:5]:
    unused = [str(key) for key in videos[name] if key not in videos["videoIDs"]]
    if unused:
      _LOG.warning(
        "%s: %s has %d dialogues that videoIDs lacks, which are not used: %s%s",
        *(source, name, len(unused), ", ".join(unused[:3])),
        ", …" if len(unused) > 3 else "",
      )


def _read_dialogue(videos: dict, dialogue: str, source) -> list[tuple]:
  """Gives label, speaker, dialogue, turn and session of its utterances."""
  match = _DIALOGUE.fullmatch(str(dialogue))
  if not match:
    raise UserError(
      f"{source}: dialogue {dialogue!r} is not named as in IEMOCAP "
      "(Ses01F_impro01); only that corpus can be imported"
    )
  columns = (
    _of_dialogue(videos, f"video{field}", dialogue, source)
    for field in ("IDs", "Speakers", "Labels")
  )
  rows = []
  for turn, (name, letter, label) in enumerate(zip(*columns, strict=True)):
    # `reprlib`: these may be anything, nested to any depth.
    where = f"{source}: utterance {reprlib.repr(name)} of {dialogue}"
    named = isinstance(name, str) and _UTTERANCE.fullmatch(name)
    letter = named[2] if named else letter
    if letter not in ("F", "M"):
      found = reprlib.repr(letter)
      raise UserError(f"{where}: speaker {found} is neither F nor M")
    if not isinstance(label, int | np.integer) or not 0 <= label < len(_LABELS):
      raise UserError(
        f"{where}: label {reprlib.repr(label)} is not one of 0 to "
        f"{len(_LABELS) - 1} ({', '.join(_LABELS)})"
      )
    speaker = (named or match)[1] + letter
    session = normalise_session(match[2])
    rows.append((_LABELS[label], speaker, dialogue, turn, session))
  return rows


def _stack(videos: dict, field: str, source) -> np.ndarray:
  """Puts the features of all dialogues below each other: float32 [U, D]."""
  matrices = []
  left = _UNFOLDED * os.path.getsize(source)
  for dialogue in videos["videoIDs"]:
    rows = _of_dialogue(videos, field, dialogue, source)
    left -= sum(map(_size, rows))
    if left < 0:
      raise UserError(
        f"{source}: {field} unfolds to more numbers than the file can hold"
      )
    try:
      if any(not _is_flat(row) for row in rows):
        raise TypeError("rows in rows")
      with np.errstate(over="ignore"):  # infinite then, and refused as such
        matrix = np.asarray(rows, np.float32)
    except (ValueError, TypeError, OverflowError) as error:
      raise UserError(
        f"{source}: {field} of {dialogue} has rows of different lengths, or "
        "something else than numbers"
      ) from error
    expected = matrices[0].shape[1:] if matrices else matrix.shape[1:]
    if matrix.ndim != 2 or matrix.shape[1:] != expected:
      raise UserError(
        f"{source}: {field} of {dialogue} has shape {matrix.shape}; expected "
        f"{(len(rows), *expected)}"
      )
    matrices.append(matrix)
  return np.concatenate(matrices)


def _size(row: object) -> int:
  return getattr(row, "size", len(row) if isinstance(row, list | tuple) else 1)


def _is_flat(row: object) -> bool:
  """Whether a row is no list of lists, which can be large in few bytes."""
  if not isinstance(row, list | tuple):
    return True
  return set(map(type, row)) <= {int, float, bool}


def _of_dialogue(videos: dict, field: str, dialogue: str, source) -> Sequence:
  """Gives a dialogue's values of a field, one for each of its utterances."""
  if dialogue not in videos[field]:
    raise UserError(f"{source}: {field} lacks the dialogue {dialogue}")
  values = _plain(videos[field][dialogue])
  if isinstance(values, list | tuple):
    values = list(map(_plain, values))
  elif not isinstance(values, np.ndarray) or not values.ndim:
    raise UserError(f"{source}: {field} of {dialogue} is no list")
  if field != "videoIDs":
    expected = len(_of_dialogue(videos, "videoIDs", dialogue, source))
    if len(values) != expected:
      raise UserError(
        f"{source}: {field} of {dialogue} has {len(values)} entries, videoIDs "
        f"has {expected}"
      )
  return values


def _plain(value):
  """Gives the array that a stand-in stands for."""
  return value.values if isinstance(value, _Array) else value


class _Dtype:
  """Stands for NumPy's type in a pickle; knows plain values only."""

  def __init__(self, code: str, *_):
    if not isinstance(code, str) or not _CODE.fullmatch(code):
      raise ValueError("values of an unknown type")
    self._dtype = np.dtype(code)

  def build(self, state: tuple) -> None:
    """Takes the order of bytes."""
    if state[1] not in ("<", ">", "|", "="):
      raise ValueError("an unknown order of bytes")
    self._dtype = self._dtype.newbyteorder(state[1])

  def parse(self, content: str | bytes | list) -> np.ndarray | list:
    """Reads the values [N] of an array's bytes; objects are a list already."""
    if self._dtype.hasobject:
      if not isinstance(content, list):
        raise TypeError("objects that are no list")
      return content
    if isinstance(content, str):  # Python 2
      content = content.encode("latin-1")
    return np.frombuffer(content, self._dtype)


class _Array:
  """Stands for an array in a pickle.

  NumPy's own `__setstate__` trusts its argument: a few wrong bytes in a file
  are enough to crash the process. This one parses it.
  """

  values: np.ndarray | list | None = None

  def build(self, state: tuple) -> None:
    """Takes version, shape, type, order and content."""
    _, shape, dtype, is_fortran, content = state
    order = "F" if is_fortran else "C"
    self.values = _frombuffer(content, dtype, shape, order)


def _frombuffer(content, dtype, shape, order, axis_order=None):
  """NumPy's constructor in protocol 5; values that are objects stay a list."""
  if not isinstance(dtype, _Dtype):
    raise TypeError("an array without a type")
  values = dtype.parse(content)
  if not isinstance(values, np.ndarray):
    return values
  if order == "K":
    return values.reshape(shape).transpose(axis_order)
  return values.reshape(shape, order=order)


def _scalar(dtype, content):
  return dtype.parse(content)[0].item()


def _encode(text: str, encoding: str) -> bytes:
  """`_codecs.encode` as Python 3 writes it for bytes in old protocols."""
  if encoding != "latin1":
    raise ValueError("an unknown encoding")
  return text.encode("latin-1")


def _make_dict(items: object = None) -> dict:
  """Python 2 gives an ordered dict its items; others are filled afterwards."""
  pairs = items if isinstance(items, list) else []
  if not all(isinstance(key, str | int) for key, _ in pairs):
    raise TypeError("keys other than strings and numbers")
  return dict(pairs)


def _names() -> dict[str, object]:
  """What a pickle may name, and what stands for it here."""
  names: dict[str, object] = {
    "numpy.ndarray": None,  # Named, but only `_reconstruct` makes one.
    "numpy.dtype": _Dtype,
    "_codecs.encode": _encode,
    "collections.OrderedDict": _make_dict,
    "collections.defaultdict": _make_dict,
  }
  for core in ("numpy.core", "numpy._core"):  # NumPy 2 has moved it
    names[f"{core}.multiarray._reconstruct"] = lambda *_: _Array()
    names[f"{core}.multiarray.scalar"] = _scalar
    names[f"{core}.numeric._frombuffer"] = _frombuffer
  for module in ("builtins", "__builtin__"):
    for kind in ("set", "frozenset"):
      names[f"{module}.{kind}"] = lambda items=(): items
    for kind in ("list", "dict", "int"):  # Of a defaultdict; never called.
      names[f"{module}.{kind}"] = None
  return names


def _build(state: object, target: object) -> None:
  if not isinstance(target, _Array | _Dtype):
    raise plain_pickle.RefusedError("sets attributes of what is no array")
  target.build(state)


def _unpickle(source: str | os.PathLike) -> object:
  try:
    content = pathlib.Path(source).read_bytes()
  except OSError as error:
    raise UserError(f"{source}: {error.strerror}; expected a pickle") from error
  try:
    return plain_pickle.run(content, _names(), build=_build)
  except plain_pickle.RefusedError as error:
    raise UserError(
      f"{source}: refused, nothing of it was run: the pickle {error}, and only "
      "containers and NumPy arrays are admitted"
    ) from error
  except plain_pickle.DAMAGE as error:
    why = str(error).partition("\n")[0] or type(error).__name__
    raise UserError(f"{source}: not a whole pickle ({why})") from error
