"""Archives of ill will: refused with one line, and nothing is run."""

import collections
import io
import os
import pathlib
import pickle
import struct
import zipfile

import numpy as np
import pytest
import torch

from emojax.errors import UserError
from emojax.weights import torch_archive


def _read(path: pathlib.Path) -> dict[str, np.ndarray]:
  return {name: read() for name, read in torch_archive.read(path).items()}


class _Storage:
  """Pickled as the persistent identity of a float storage."""

  def __init__(self, key="0", size=6, kind="storage"):
    self.identity = (kind, torch.FloatStorage, key, "cpu", size)

  def __repr__(self):  # In the names of the tests.
    return f"storage {self.identity[2]} of {self.identity[4]}"


class _Call:
  """Pickled as a call of `function`, and then of BUILD where it has a state."""

  def __init__(self, function, *arguments, state=None):
    self._reduced = (function, arguments, *([] if state is None else [state]))

  def __reduce__(self):
    return self._reduced


class _Pickler(pickle.Pickler):
  def persistent_id(self, value):
    return value.identity if isinstance(value, _Storage) else None


def _assemble(tmp_path, state, protocol=2) -> pathlib.Path:
  """An archive of six floats whose pickle is `state`, or these bytes."""
  file = io.BytesIO(state if isinstance(state, bytes) else b"")
  if not isinstance(state, bytes):
    _Pickler(file, protocol).dump(state)
  path = tmp_path / "pytorch_model.bin"
  with zipfile.ZipFile(path, "w") as archive:
    archive.writestr("model/data.pkl", file.getvalue())
    archive.writestr("model/data/0", np.arange(6, dtype=np.float32).tobytes())
  return path


def _tensor(storage=None, offset=0, shape=(2, 3), strides=(3, 1), **options):
  return _Call(
    torch._utils._rebuild_tensor_v2,
    storage or _Storage(),
    offset,
    shape,
    strides,
    False,
    collections.OrderedDict(),
    **options,
  )


def test_assembled_archive_is_sound(tmp_path):
  path = _assemble(tmp_path, {"weight": _tensor()})
  expected = np.arange(6, dtype=np.float32).reshape(2, 3)
  np.testing.assert_array_equal(_read(path)["weight"], expected)


@pytest.mark.parametrize(
  "options",
  [
    {"offset": 1},
    {"offset": -1},
    {"shape": (3, 3)},
    {"strides": (4, 1)},
    {"strides": (-3, 1)},
    {"shape": (2,), "strides": (6,)},
    {"shape": (2, 3), "strides": (1,)},
    {"shape": (2**40, 2**40), "strides": (0, 0)},
    {"shape": (2**70,), "strides": (0,)},
    {"shape": (1,) * 99, "strides": (1,) * 99},
    {"shape": (2.0, 3), "strides": (3, 1)},
    {"shape": (True, 3), "strides": (3, 1)},
    {"shape": "ab", "strides": "cd"},
    {"storage": _Storage(size=7)},
    {"storage": _Storage(size=-1)},
    {"storage": _Storage(key="1")},
    {"storage": _Storage(key="../data.pkl")},
    {"storage": _Storage(key=("0",))},
  ],
  ids=repr,
)
def test_view_beyond_its_storage(tmp_path, options):
  path = _assemble(tmp_path, {"weight": _tensor(**options)})
  with pytest.raises(UserError, match="not a whole PyTorch file") as error:
    _read(path)
  assert "\n" not in str(error.value)


def _evil_programs(marker: pathlib.Path) -> dict[str, object]:
  command = f"touch {marker}"
  text = struct.pack("<I", len(command)) + command.encode()
  rebuild = b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n"
  return {
    "os.system": {"weight": _Call(os.system, command)},
    "eval": _Call(eval, f"__import__('os').system({command!r})"),
    "getattr": _Call(getattr, "", "join"),
    "open": _Call(open, str(marker), "w"),
    "protocol 0": f"cposix\nsystem\n(S'{command}'\ntR.".encode(),
    "INST": f"(S'{command}'\niposix\nsystem\n.".encode(),
    "OBJ": b"(cposix\nsystem\nX" + text + b"o.",
    "NEWOBJ": b"\x80\x02ccollections\nOrderedDict\n)\x81.",
    "dotted name": b"\x80\x04\x8c\x05torch\x8c\x0f_utils.os.system\x93.",
    "module of a torch name": b"\x80\x02ctorch\nos\n.",
    "extension": b"\x80\x02\x82\x01.",
    "call of a string": b"\x80\x02X" + text + b")R.",
    "call of a type": b"\x80\x02ctorch\nFloatStorage\n)R.",
    "call of a storage": _Call(torch._utils._rebuild_parameter, _Storage()),
    "arguments in no tuple": rebuild + b"]R.",
    "tensor of a path": _tensor(storage=str(marker)),
    "tensor of a call": _tensor(storage=_Call(os.system, command)),
    "parameter of a string": _Call(
      torch._utils._rebuild_parameter, command, False, None
    ),
    "too many arguments": _Call(collections.OrderedDict, [("a", 1)]),
    "keywords": _Call(torch._utils._rebuild_tensor_v2, *range(9)),
    "state of a tensor": _tensor(state={"__class__": command}),
    "slots of a tensor": _tensor(state=(None, {"path": str(marker)})),
    "state of a function": rebuild + b"}X" + text + b"K\x01sb.",
    "defaults of a function": (
      rebuild + b"N}X\x0c\x00\x00\x00__defaults__)s\x86b."
    ),
    "tensor with a metadata": _Call(
      torch._utils._rebuild_tensor_v2,
      _Storage(),
      0,
      (2, 3),
      (3, 1),
      False,
      None,
      {"conj": True},
    ),
    "persistent module": _tensor(storage=_Storage(kind="module")),
    "key that is a tuple": {("a", ("b",)): _tensor()},
    "nested tuples": b"\x80\x02})" + b"\x85" * 1_000_000 + b"K\x01s.",
    "nested lists": b"\x80\x02" + b"]" * 50_000 + b"a" * 49_999 + b".",
    "nested name": b"\x80\x04)" + b"\x85" * 50_000 + b"\x8c\x01a\x93.",
    "nested size": rebuild + b"(K\x01)" + b"\x85" * 50_000 + b"K\x01tR.",
    "nested identity": b"\x80\x02)" + b"\x85" * 50_000 + b"Q.",
    "empty stack": b"\x80\x020000R.",
    "mark above the stack": b"\x80\x02((tt.",
    "mark below the list": b"\x80\x02(]0(K\x01e.",
    "list of a dict": b"\x80\x02}K\x01a.",
    "dict of a list": b"\x80\x02]K\x01K\x01s.",
    "odd items": b"\x80\x02}(K\x01u.",
    "endless string": b"\x80\x04\x8d" + b"\xff" * 8 + b"a.",
    "memo that is not there": b"\x80\x02h\x09.",
  }


@pytest.mark.parametrize("name", _evil_programs(pathlib.Path("marker")))
def test_evil_program_is_refused_and_not_run(tmp_path, name):
  marker = tmp_path / "marker"
  program = _evil_programs(marker)[name]
  protocols = [2] if isinstance(program, bytes) else [2, 4]
  for protocol in protocols:
    path = _assemble(tmp_path, program, protocol)
    with pytest.raises(UserError) as error:
      _read(path)
    assert "\n" not in str(error.value)
    assert not marker.exists()


def test_refusal_names_what_the_file_wants_to_run(tmp_path):
  for protocol in (2, 4):
    path = _assemble(tmp_path, {"a": _Call(os.system, "true")}, protocol)
    with pytest.raises(UserError, match=r"tries to run 'posix.system'; not r"):
      torch_archive.read(path)
