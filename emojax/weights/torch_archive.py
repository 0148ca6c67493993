"""Files of `torch.save`, read without PyTorch and without trust in them.

A file is a zip archive: `NAME/data.pkl` describes tensors as views of storages
(shape, strides, offset), and `NAME/data/KEY` holds the bytes of a storage.
"""

import dataclasses
import math
import pathlib
import struct
import zipfile
from collections.abc import Callable, Sequence
from typing import Any, BinaryIO

import ml_dtypes
import numpy as np

from emojax.errors import UserError
from emojax.runtime import files
from emojax.weights import plain_pickle

_STORAGES = {
  f"torch.{name}Storage": np.dtype(kind)
  for name, kind in (
    *(("Double", "f8"), ("Float", "f4"), ("Half", "f2")),
    *(("Long", "i8"), ("Int", "i4"), ("Short", "i2"), ("Char", "i1")),
    *(("Byte", "u1"), ("Bool", "?"), ("BFloat16", ml_dtypes.bfloat16)),
    *(("ComplexDouble", "c16"), ("ComplexFloat", "c8")),
  )
}
# Where training scripts put the state dict.
_NESTED = ("state_dict", "model")
# How a file starts that PyTorch wrote before 1.6 (a row of pickles, the first
# of which is one number), and what its first versions have at byte 257 (tar).
_ROW_OF_PICKLES = b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19."
_TAR = b"ustar"
_LOCAL_HEADER = 30
_MOST_AXES = 32
_MOST_ELEMENTS = 2**48


@dataclasses.dataclass(frozen=True)
class _Storage:
  """Where the elements of one storage are in the file, in bytes."""

  path: pathlib.Path
  dtype: np.dtype
  start: int
  size: int


@dataclasses.dataclass(frozen=True)
class _Tensor:
  """A view of a storage; offset and strides count elements."""

  storage: _Storage
  offset: int
  shape: tuple[int, ...]
  strides: tuple[int, ...]

  def read(self) -> np.ndarray:
    """Reads what the view spans of its storage, and no more of the file."""
    path, dtype = self.storage.path, self.storage.dtype
    if 0 in self.shape:
      return np.zeros(self.shape, dtype)
    span = _span(self.shape, self.strides)
    if math.prod(self.shape) > span:
      raise UserError(
        f"{path}: a tensor {self.shape} of {span} stored values, which is no "
        "weight; save it anew"
      )
    num_bytes = span * dtype.itemsize
    start = self.storage.start + self.offset * dtype.itemsize
    values = np.fromfile(path, np.uint8, count=num_bytes, offset=start)
    if len(values) != num_bytes:
      raise UserError(f"{path}: has changed while it was read; start again")
    strides = [step * dtype.itemsize for step in self.strides]
    return np.lib.stride_tricks.as_strided(
      values.view(dtype), self.shape, strides
    )


def read(path: pathlib.Path) -> dict[str, Callable[[], np.ndarray]]:
  """Opens a state dict that `torch.save` wrote: by name, what reads a tensor.

  Of a dict that holds other things, the entry `state_dict` or `model` is
  taken, else the only one with tensors; values that are none are left out.

  Raises:
    UserError: not a whole archive of little-endian tensors, or a pickle that
      wants to do more than rebuild tensors.
  """
  try:
    with path.open("rb") as file:
      _check_format(path, file)
      state = _read_state(path, file)
  except plain_pickle.RefusedError as error:
    raise UserError(
      f"{path}: its pickle {error}; not read: take a file that holds tensors "
      "alone, best a safetensors file"
    ) from error
  except (
    zipfile.BadZipFile,
    struct.error,
    OSError,
    EOFError,
    OverflowError,
    RuntimeError,  # An encrypted entry.
    *plain_pickle.DAMAGE,
  ) as error:
    reason = " ".join(str(error).split())[:200]
    why = f"not a whole PyTorch file ({reason}); download it again"
    raise UserError(f"{path}: {files.instead(path) or why}") from error
  if readers := _tensors(state):
    return readers
  entries = state if isinstance(state, dict) else {}
  found = {name: _tensors(value) for name, value in entries.items()}
  found = {name: readers for name, readers in found.items() if readers}
  known = [name for name in (*_NESTED, *found) if name in found]
  if not known:
    raise UserError(
      f"{path}: holds no names with tensors, neither itself nor under "
      f"{' or '.join(_NESTED)}; save model.state_dict() alone"
    )
  if known[0] not in _NESTED and len(found) > 1:
    raise UserError(
      f"{path}: holds tensors under {' and '.join(map(repr, known[:4]))}; save "
      "one model.state_dict() alone"
    )
  return found[known[0]]


def _tensors(values: Any) -> dict[str, Callable[[], np.ndarray]]:
  """What reads the tensors of a dict, by their names."""
  return {
    name: value.read
    for name, value in (values.items() if isinstance(values, dict) else ())
    if isinstance(name, str) and isinstance(value, _Tensor)
  }


def _check_format(path: pathlib.Path, file: BinaryIO) -> None:
  """Refuses what PyTorch wrote before its zip archives."""
  start = file.read(257 + len(_TAR))
  is_tar = start.endswith(_TAR)
  if is_tar or start.startswith(_ROW_OF_PICKLES):
    # PyTorch has no safe way to read the tar files.
    note = ", which runs what is in the file" if is_tar else ""
    raise UserError(
      f"{path}: in the format before PyTorch 1.6; convert it where PyTorch is "
      f'installed{note}: python -c "import torch; torch.save(torch.load('
      f"'{path}', weights_only={not is_tar}), '{path}')\""
    )


def _read_state(path: pathlib.Path, file: BinaryIO) -> Any:
  """Carries out the pickle; of the storages only the places are read."""
  with zipfile.ZipFile(file) as archive:
    entries = {info.filename: info for info in archive.infolist()}
  roots = [
    name.removesuffix("data.pkl")
    for name in entries
    if name.split("/")[-1] == "data.pkl"
  ]
  if len(roots) != 1:
    raise ValueError(f"{len(roots)} entries named data.pkl")
  (root,) = roots
  byte_order = entries.get(f"{root}byteorder")
  if byte_order and _read_entry(file, byte_order) != b"little":
    raise UserError(
      f"{path}: of a big-endian machine; save it as safetensors there"
    )

  def find(identity: Any) -> _Storage:
    kind, dtype, key, _, size = identity
    if kind != "storage" or not isinstance(dtype, np.dtype):
      raise plain_pickle.RefusedError("refers to something else than a storage")
    if not isinstance(key, str) or f"{root}data/{key}" not in entries:
      raise ValueError("a storage is missing")
    start, length = _locate(file, entries[f"{root}data/{key}"])
    if _natural(size) * dtype.itemsize > length:
      raise ValueError(f"storage {key} is shorter than its {size} elements")
    return _Storage(path, dtype, start, size)

  program = _read_entry(file, entries[f"{root}data.pkl"])
  return plain_pickle.run(program, _NAMES | _STORAGES, find)


def _locate(file: BinaryIO, entry: zipfile.ZipInfo) -> tuple[int, int]:
  """Where the bytes of an entry start, and how many there are."""
  if entry.compress_type != zipfile.ZIP_STORED:
    raise ValueError(f"{entry.filename} is compressed")
  file.seek(entry.header_offset)
  header = file.read(_LOCAL_HEADER)
  name_length, extra_length = struct.unpack_from("<HH", header, 26)
  start = entry.header_offset + _LOCAL_HEADER + name_length + extra_length
  if start + entry.file_size > file.seek(0, 2):
    raise ValueError(f"{entry.filename} goes on beyond the end")
  return start, entry.file_size


def _read_entry(file: BinaryIO, entry: zipfile.ZipInfo) -> bytes:
  # Not by `ZipFile.read`: PyTorch can be told not to compute check sums.
  start, length = _locate(file, entry)
  file.seek(start)
  return file.read(length)


def _rebuild_tensor(
  storage: Any,
  offset: Any,
  shape: Sequence[Any],
  strides: Sequence[Any],
  requires_grad: Any,
  hooks: Any,
  metadata: Any = None,
) -> _Tensor:
  """Stands for `torch._utils._rebuild_tensor_v2`, with bounds checked."""
  # `metadata` marks a tensor as conjugate or negated; weights never are.
  if not isinstance(storage, _Storage) or metadata:
    raise plain_pickle.RefusedError("rebuilds a tensor from no plain storage")
  if len(shape) != len(strides) or len(shape) > _MOST_AXES:
    raise ValueError(f"a tensor of {len(shape)} axes, {len(strides)} strides")
  shape = tuple(_natural(size) for size in shape)
  strides = tuple(_natural(step) for step in strides)
  end = _natural(offset) + _span(shape, strides)
  if end > storage.size or math.prod(shape) > _MOST_ELEMENTS:
    raise ValueError(
      f"a tensor {shape} reaches beyond the {storage.size} elements of its "
      "storage"
    )
  return _Tensor(storage, offset, shape, strides)


def _rebuild_parameter(data: Any, requires_grad: Any, hooks: Any) -> _Tensor:
  """Stands for `torch._utils._rebuild_parameter`."""
  if not isinstance(data, _Tensor):
    raise plain_pickle.RefusedError("makes a parameter of what is no tensor")
  return data


_NAMES = {
  # Made empty and filled afterwards; `dict` itself could be given things.
  "collections.OrderedDict": lambda: {},  # noqa: PIE807
  "torch._utils._rebuild_tensor_v2": _rebuild_tensor,
  "torch._utils._rebuild_parameter": _rebuild_parameter,
}


def _span(shape: Sequence[int], strides: Sequence[int]) -> int:
  """How many elements of the storage lie between the first and the last."""
  if 0 in shape:
    return 0
  steps = zip(shape, strides, strict=True)
  return 1 + sum((size - 1) * step for size, step in steps)


def _natural(number: Any) -> int:
  if type(number) is not int or not 0 <= number < _MOST_ELEMENTS:
    raise ValueError("a size, stride or offset that is none")
  return number
