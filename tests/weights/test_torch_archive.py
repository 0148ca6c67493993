"""Archives that `torch.save` wrote, whole and damaged."""

import os
import pathlib
import tarfile
import zipfile

import ml_dtypes
import numpy as np
import pytest
import torch

from emojax.errors import UserError
from emojax.weights import torch_archive

_DTYPES = (
  torch.float64,
  torch.float32,
  torch.float16,
  torch.bfloat16,
  torch.int64,
  torch.int32,
  torch.int16,
  torch.int8,
  torch.uint8,
  torch.bool,
  torch.complex128,
  torch.complex64,
)


def _read(path: pathlib.Path) -> dict[str, np.ndarray]:
  return {name: read() for name, read in torch_archive.read(path).items()}


def _save(tmp_path: pathlib.Path, state, **options) -> pathlib.Path:
  path = tmp_path / "pytorch_model.bin"
  torch.save(state, path, **options)
  return path


def _assert_equal(tensor: torch.Tensor, array: np.ndarray) -> None:
  if tensor.dtype == torch.bfloat16:
    assert array.dtype == ml_dtypes.bfloat16
    tensor, array = tensor.float(), array.astype(np.float32)
  expected = tensor.detach().numpy()
  assert array.dtype == expected.dtype
  np.testing.assert_array_equal(array, expected, strict=True)


@pytest.mark.parametrize("dtype", _DTYPES, ids=str)
def test_every_type(tmp_path, dtype):
  tensor = (torch.arange(12).reshape(3, 4) % 5 - 2).to(dtype)
  arrays = _read(_save(tmp_path, {"weight": tensor}))
  _assert_equal(tensor, arrays["weight"])


def test_views_of_one_storage(tmp_path):
  whole = torch.randn(6, 8)
  state = {
    "whole": whole,
    "tied": whole,
    "transposed": whole.T,
    "row": whole[3],
    "column": whole[:, 5],
    "steps": whole[1::2, 2::3],
    "expanded": whole[:, :1].expand(6, 4),
    "permuted": whole.reshape(2, 3, 8).permute(2, 0, 1),
    "scalar": whole[5, 7],
    "empty": whole[:0],
    "parameter": torch.nn.Parameter(whole[2:4]),
  }
  arrays = _read(_save(tmp_path, state))
  assert arrays.keys() == state.keys()
  for name, tensor in state.items():
    _assert_equal(tensor, arrays[name])


def test_state_dict_of_a_module(tmp_path):
  """It carries versions as attributes, which protocol 2 builds with BUILD."""
  state = torch.nn.Sequential(
    torch.nn.Conv1d(4, 6, 3), torch.nn.BatchNorm1d(6), torch.nn.LSTM(6, 5)
  ).state_dict()
  arrays = _read(_save(tmp_path, state))
  assert list(arrays) == list(state)
  for name, tensor in state.items():
    _assert_equal(tensor, arrays[name])


@pytest.mark.parametrize("key", ["state_dict", "model", "net"])
def test_state_dict_one_level_down(tmp_path, key):
  state = {"weight": torch.randn(2, 3)}
  file = {"epoch": 3, "loss": 0.5, "name": "best", key: state, "done": [None]}
  arrays = _read(_save(tmp_path, file))
  assert list(arrays) == ["weight"]
  _assert_equal(state["weight"], arrays["weight"])


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_pickle_protocols(tmp_path, protocol):
  state = {"weight": torch.randn(2, 3), "bias": torch.randn(3)}
  arrays = _read(_save(tmp_path, state, pickle_protocol=protocol))
  for name, tensor in state.items():
    _assert_equal(tensor, arrays[name])


def test_archive_without_check_sums(tmp_path):
  computed = torch.serialization.get_crc32_options()
  torch.serialization.set_crc32_options(False)
  try:
    path = _save(tmp_path, {"weight": torch.ones(3)})
  finally:
    torch.serialization.set_crc32_options(computed)
  np.testing.assert_array_equal(_read(path)["weight"], np.ones(3))


def test_no_state_dict(tmp_path):
  for state in ({"epoch": 3}, [torch.ones(2)], torch.ones(2), 5):
    with pytest.raises(UserError, match=r"no names with tensors.*state_dict"):
      torch_archive.read(_save(tmp_path, state))


def test_several_state_dicts(tmp_path):
  weights = {"w": torch.ones(2)}
  path = _save(tmp_path, {"student": weights, "teacher": weights})
  with pytest.raises(UserError, match="under 'student' and 'teacher'"):
    torch_archive.read(path)
  path = _save(tmp_path, {"ema": {"w": torch.zeros(2)}, "model": weights})
  np.testing.assert_array_equal(torch_archive.read(path)["w"](), [1, 1])


def test_a_tensor_larger_than_what_is_stored(tmp_path):
  """PyTorch would make all of it; a small file could take all memory."""
  path = _save(tmp_path, {"w": torch.ones(1).expand(2**20, 2**20)})
  with pytest.raises(UserError, match="of 1 stored values"):
    torch_archive.read(path)["w"]()


def test_legacy_formats_say_how_to_convert(tmp_path):
  path = _save(
    tmp_path,
    {"weight": torch.ones(2)},
    _use_new_zipfile_serialization=False,
  )
  with pytest.raises(UserError, match=r"before PyTorch 1\.6") as error:
    torch_archive.read(path)
  program = str(error.value).split('python -c "')[1].removesuffix('"')
  assert "weights_only=True" in program
  exec(program)
  np.testing.assert_array_equal(_read(path)["weight"], np.ones(2))
  with tarfile.open(path, "w") as archive:
    archive.addfile(tarfile.TarInfo("storages"))
  with pytest.raises(UserError, match="runs what is in the file"):
    torch_archive.read(path)


def _rewrite(path: pathlib.Path, change) -> None:
  """Writes the archive anew with what `change(name, bytes)` gives."""
  with zipfile.ZipFile(path) as archive:
    entries = {name: archive.read(name) for name in archive.namelist()}
  with zipfile.ZipFile(path, "w") as archive:
    for name, data in entries.items():
      changed = change(name, data)
      if changed is not None:
        archive.writestr(name, changed)


def test_big_endian(tmp_path):
  path = _save(tmp_path, {"weight": torch.ones(2)})
  _rewrite(path, lambda n, d: b"big" if n.endswith("byteorder") else d)
  with pytest.raises(UserError, match="big-endian"):
    torch_archive.read(path)


def test_archive_older_than_the_byte_order(tmp_path):
  path = _save(tmp_path, {"weight": torch.ones(2)})
  _rewrite(path, lambda n, d: None if n.endswith("byteorder") else d)
  np.testing.assert_array_equal(_read(path)["weight"], np.ones(2))


@pytest.mark.parametrize(
  "change",
  [
    lambda name, data: None if name.endswith("data/0") else data,
    lambda name, data: data[:-1] if name.endswith("data/0") else data,
    lambda name, data: None if name.endswith("data.pkl") else data,
    lambda name, data: data[:-9] if name.endswith("data.pkl") else data,
    lambda name, data: b"" if name.endswith("data.pkl") else data,
  ],
  ids=["no storage", "short storage", "no pickle", "cut pickle", "no bytes"],
)
def test_damaged_archive(tmp_path, change):
  path = _save(tmp_path, {"weight": torch.ones(2)})
  _rewrite(path, change)
  with pytest.raises(UserError, match="download it again") as error:
    torch_archive.read(path)
  assert "\n" not in str(error.value)


def test_compressed_archive(tmp_path):
  path = _save(tmp_path, {"weight": torch.ones(99)})
  with zipfile.ZipFile(path) as archive:
    entries = {name: archive.read(name) for name in archive.namelist()}
  with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
    for name, data in entries.items():
      archive.writestr(name, data)
  with pytest.raises(UserError, match="compressed"):
    torch_archive.read(path)


def test_truncated_file(tmp_path):
  path = _save(tmp_path, {"weight": torch.ones(20)})
  data = path.read_bytes()
  for length in (0, 1, 100, len(data) // 2, len(data) - 1):
    path.write_bytes(data[:length])
    why = "not a whole PyTorch file" if length else "an empty file"
    with pytest.raises(UserError, match=why):
      torch_archive.read(path)


def test_file_that_shrinks_after_it_was_opened(tmp_path):
  path = _save(tmp_path, {"weight": torch.ones(2000)})
  tensors = torch_archive.read(path)
  os.truncate(path, 3000)
  with pytest.raises(UserError, match="has changed"):
    tensors["weight"]()


def test_flipped_bytes_give_one_line_or_tensors(tmp_path):
  path = _save(tmp_path, {"weight": torch.ones(3, 4), "bias": torch.ones(4)})
  data = np.frombuffer(path.read_bytes(), np.uint8)
  rng = np.random.default_rng(0)
  for _ in range(300):
    damaged = data.copy()
    places = rng.integers(len(data), size=rng.integers(1, 4))
    damaged[places] = rng.integers(256, size=len(places))
    path.write_bytes(damaged.tobytes())
    try:
      _read(path)
    except UserError as error:
      assert "\n" not in str(error)
