"""The pickles that the field passes around, read without running them.

conv-emotion's `IEMOCAP_features*.pkl` hold nine objects: videoIDs,
videoSpeakers, videoLabels, videoText, videoAudio, videoVisual, videoSentence
(dictionaries by dialogue), trainVid and testVid. A pickle is a program; the
unpickler here knows the words for containers and arrays, and no other.
"""

import io
import os
import pathlib
import pickle
import re
import struct
from collections import OrderedDict
from collections.abc import Callable, Sequence
from types import MappingProxyType
from typing import BinaryIO

import numpy as np

from emojax.corpora.records import normalise_session
from emojax.data import table as tables
from emojax.errors import UserError

_FIELDS = (
  "videoIDs",
  "videoSpeakers",
  "videoLabels",
  "videoText",
  "videoAudio",
  "videoVisual",
  "videoSentence",
  "trainVid",
  "testVid",
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
  rows = [
    row
    for dialogue in videos["videoIDs"]
    for row in _read_dialogue(videos, dialogue, source)
  ]
  if not rows:
    raise UserError(f"{source}: no utterance in videoIDs")
  label, speaker, names, turn, session = map(np.array, zip(*rows, strict=True))
  features = {
    modality: _stack(videos, field, source)
    for modality, field in (("audio", "videoAudio"), ("text", "videoText"))
    if videos[field]
  }
  table = tables.FeatureTable(features, label, speaker, names, turn, session)
  tables.validate(table, source)
  tables.save(target, table)
  return table


def _read_dialogue(videos: dict, dialogue: str, source) -> list[tuple]:
  """Gives label, speaker, dialogue, turn and session of its utterances."""
  match = _DIALOGUE.fullmatch(str(dialogue))
  if not match:
    raise UserError(
      f"{source}: dialogue {dialogue!r} is not named as in IEMOCAP "
      "(Ses01F_impro01); only that corpus can be imported"
    )
  prefix, session = match.groups()
  names = _of_dialogue(videos, "videoIDs", dialogue, source)
  speakers = _of_dialogue(videos, "videoSpeakers", dialogue, source)
  labels = _of_dialogue(videos, "videoLabels", dialogue, source)
  rows = []
  for turn, (name, letter, label) in enumerate(
    zip(names, speakers, labels, strict=True)
  ):
    where = f"{source}: utterance {name!r} of {dialogue}"
    named = _UTTERANCE.fullmatch(str(name))
    speaker = named[1] + named[2] if named else f"{prefix}{letter}"
    if speaker[-1] not in "FM":
      raise UserError(f"{where}: speaker {letter!r} is neither F nor M")
    if not isinstance(label, int | np.integer) or not 0 <= label < len(_LABELS):
      raise UserError(
        f"{where}: label {label!r} is not one of 0 to {len(_LABELS) - 1} "
        f"({', '.join(_LABELS)})"
      )
    session_name = normalise_session(session)
    rows.append((_LABELS[label], speaker, dialogue, turn, session_name))
  return rows


def _stack(videos: dict, field: str, source) -> np.ndarray:
  """Puts the features of all dialogues below each other: float32 [U, D]."""
  matrices = []
  for dialogue in videos["videoIDs"]:
    rows = _of_dialogue(videos, field, dialogue, source)
    try:
      with np.errstate(over="ignore"):  # infinite then, and refused as such
        matrix = np.asarray(rows, np.float32)
    except (ValueError, TypeError) as error:
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


def _of_dialogue(videos: dict, field: str, dialogue: str, source) -> Sequence:
  """Gives a dialogue's values of a field, one for each of its utterances."""
  if dialogue not in videos[field]:
    raise UserError(f"{source}: {field} lacks the dialogue {dialogue}")
  values = _plain(videos[field][dialogue])
  if isinstance(values, list | tuple):
    values = [_plain(value) for value in values]
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
  """Stands for NumPy's type while unpickling; knows plain values only."""

  def __init__(self, code: str, align: bool = False, copy: bool = False):
    if not isinstance(code, str) or not _CODE.fullmatch(code):
      raise pickle.UnpicklingError(f"values of type {code!r}")
    self.code = code
    self.order = "="

  def __setstate__(self, state: tuple):
    self.order = {"<": "<", ">": ">", "|": "|", "=": "="}[state[1]]

  def parse(self, content: str | bytes) -> np.ndarray | list:
    """Reads the values [N] of an array's bytes; objects are a list already."""
    if self.code[0] == "O":
      return list(content)
    if isinstance(content, str):  # Python 2
      content = content.encode("latin-1")
    dtype = np.dtype(self.code).newbyteorder(self.order)
    return np.frombuffer(content, dtype)


class _Array:
  """Stands for an array while unpickling.

  NumPy's own `__setstate__` trusts its argument: a few wrong bytes in a file
  are enough to crash the process. This one parses it.
  """

  values: np.ndarray | list | None = None

  def __setstate__(self, state: tuple):
    _, shape, dtype, is_fortran, content = state
    self._fill(content, dtype, shape, "F" if is_fortran else "C")

  def _fill(self, content, dtype: _Dtype, shape: tuple, order: str) -> None:
    if not isinstance(dtype, _Dtype):
      raise pickle.UnpicklingError("an array without a type")
    values = dtype.parse(content)
    if isinstance(values, np.ndarray):
      values = values.reshape(shape, order=order)
    self.values = values


def _reconstruct(kind, shape, code) -> _Array:
  """NumPy's constructor in protocols 0 to 4; the state comes after it."""
  return _Array()


def _frombuffer(buffer, dtype, shape, order, axis_order=None) -> _Array:
  """NumPy's constructor in protocol 5."""
  array = _Array()
  array._fill(buffer, dtype, shape, "C" if order == "K" else order)
  if order == "K":
    array.values = array.values.transpose(axis_order)
  return array


def _scalar(dtype: _Dtype, content) -> object:
  """NumPy's constructor of one number."""
  return dtype.parse(content)[0].item()


def _encode(text: str, encoding: str) -> bytes:
  """`_codecs.encode` as Python 3 writes it for bytes in old protocols."""
  if encoding != "latin1":
    raise pickle.UnpicklingError(f"encoding {encoding!r}")
  return text.encode("latin-1")


def _admit() -> dict[tuple[str, str], Callable]:
  """What a pickle may name, and what stands for it here."""
  names: dict[tuple[str, str], Callable] = {
    ("numpy", "ndarray"): _Array,
    ("numpy", "dtype"): _Dtype,
    ("_codecs", "encode"): _encode,
    ("collections", "OrderedDict"): OrderedDict,
  }
  for core in ("numpy.core", "numpy._core"):  # NumPy 2 has moved it
    names[f"{core}.multiarray", "_reconstruct"] = _reconstruct
    names[f"{core}.multiarray", "scalar"] = _scalar
    names[f"{core}.numeric", "_frombuffer"] = _frombuffer
  for module in ("builtins", "__builtin__"):
    for kind in (set, frozenset, list, tuple, dict):
      names[module, kind.__name__] = kind
  return names


class _Unpickler(pickle._Unpickler):
  """Builds containers and arrays; refuses every other name.

  It derives from the version in Python: that in C allocates whatever memory a
  damaged file asks for. For the same reason byte arrays are read as bytes.
  """

  dispatch = MappingProxyType(
    {
      **pickle._Unpickler.dispatch,
      pickle.BYTEARRAY8[0]: pickle._Unpickler.load_binbytes8,
    }
  )

  def __init__(self, file: BinaryIO, source: str | os.PathLike):
    # Python 2's strings are bytes: `latin1` keeps them as they are.
    super().__init__(file, encoding="latin1")
    self._source = source
    self._names = _admit()

  def find_class(self, module: str, name: str) -> Callable:
    if (module, name) not in self._names:
      raise UserError(
        f"{self._source}: refused, nothing of it was run: the pickle asks for "
        f"{module}.{name}, and only containers and NumPy arrays are admitted"
      )
    return self._names[module, name]


def _unpickle(source: str | os.PathLike) -> object:
  try:
    content = pathlib.Path(source).read_bytes()
  except OSError as error:
    raise UserError(f"{source}: {error.strerror}; expected a pickle") from error
  try:
    return _Unpickler(io.BytesIO(content), source).load()
  except (
    pickle.UnpicklingError,
    ArithmeticError,
    AssertionError,
    AttributeError,
    EOFError,
    ImportError,
    LookupError,
    MemoryError,
    TypeError,
    struct.error,
    ValueError,
  ) as error:  # damaged bytes can mean any operation on any value
    why = str(error).partition("\n")[0] or type(error).__name__
    raise UserError(f"{source}: not a whole pickle ({why})") from error
