"""Bad files of ELMo: each ends in one line that says what to mend."""

import copy
import json
import re

import elmo_pytorch
import h5py
import numpy as np
import pytest

from emojax.encoders import elmo
from emojax.errors import UserError


def _fails(folder, why):
  with pytest.raises(UserError, match=why) as raised:
    elmo.load(folder)
  assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
  ("name", "pattern"),
  [("options.json", r"\*options\*\.json"), ("weights.hdf5", r"\*weights\*")],
)
def test_files_that_are_not_there_or_twice(tmp_path, name, pattern):
  _fails(tmp_path / "elmo", "no such folder.*elmo_2x4096_512_2048cnn")
  folder = elmo_pytorch.write(tmp_path / "elmo", elmo_pytorch.OPTIONS)
  second = folder / f"elmo_{name}"
  second.write_bytes((folder / name).read_bytes())
  _fails(folder, rf"elmo_{name}, {name}: keep one")
  second.unlink()
  (folder / name).unlink()
  (folder / name).mkdir()
  _fails(folder, rf"no {pattern}.*elmo_2x4096_512_2048cnn.*AllenNLP's")


@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.99])
def test_truncated_weights(tmp_path, share):
  path = (
    elmo_pytorch.write(tmp_path / "elmo", elmo_pytorch.OPTIONS) / "weights.hdf5"
  )
  content = path.read_bytes()
  path.write_bytes(content[: int(share * len(content))])
  why = "damaged, or not HDF5" if share else "an empty file"
  _fails(path.parent, rf"weights\.hdf5: {why}")


def test_damaged_weights(tmp_path):
  """Bytes changed anywhere: loaded, or refused in one line."""
  path = (
    elmo_pytorch.write(tmp_path / "elmo", elmo_pytorch.OPTIONS) / "weights.hdf5"
  )
  content = np.frombuffer(path.read_bytes(), np.uint8)
  rng = np.random.default_rng(0)
  refused = 0
  for _ in range(100):
    damaged = content.copy()
    damaged[rng.integers(0, len(content), 5)] = rng.integers(256)
    path.write_bytes(damaged.tobytes())
    try:
      elmo.load(path.parent)
    except UserError as error:
      assert "\n" not in str(error)
      refused += 1
  assert refused > 10


def test_weights_that_are_not_hdf5(tmp_path):
  path = (
    elmo_pytorch.write(tmp_path / "elmo", elmo_pytorch.OPTIONS) / "weights.hdf5"
  )
  path.write_bytes(b"PK\x03\x04" + bytes(1000))
  _fails(path.parent, r"weights\.hdf5: damaged, or not HDF5")


def test_weights_of_another_network(tmp_path):
  """All that is wrong is in one line."""
  folder = elmo_pytorch.write(tmp_path / "elmo", elmo_pytorch.OPTIONS)
  with h5py.File(folder / "weights.hdf5", "a") as file:
    del file["CNN/b_cnn_2"], file["CNN_high_1"]
    file["softmax/W"] = np.zeros(3, np.float32)
    for name, values in {
      "char_embed": np.zeros((262, 4), np.float32),
      "CNN_proj/b_proj": np.zeros(6, np.int32),
    }.items():
      del file[name]
      file[name] = values
  faults = [
    "CNN/b_cnn_2 is missing",
    "CNN_high_1/W_carry is missing",
    "CNN_high_1/W_transform is missing",
    "CNN_high_1/b_carry is missing",
    "CNN_high_1/b_transform is missing",
    "softmax/W is unexpected",
    "CNN_proj/b_proj is int32, must be float",
    "char_embed is (262, 4), must be (261, 4)",
  ]
  _fails(folder, re.escape("; ".join(faults)))


@pytest.mark.parametrize(
  ("content", "why"),
  [
    (b"", "an empty file"),
    (b"{'lstm'", "not readable as JSON"),
    (b"\xff\xfe\xfd", "not readable as JSON"),
    (b"version https://git-lfs.github.com/spec/v1\noid", "git lfs pull"),
  ],
)
def test_options_that_are_not_json(tmp_path, content, why):
  path = (
    elmo_pytorch.write(tmp_path / "elmo", elmo_pytorch.OPTIONS) / "options.json"
  )
  path.write_bytes(content)
  _fails(path.parent, rf"options\.json: .*{why}")


def _fields(options, prefix=""):
  for name, value in options.items():
    yield prefix + name
    if isinstance(value, dict):
      yield from _fields(value, f"{prefix}{name}.")


@pytest.mark.parametrize("name", list(_fields(elmo_pytorch.OPTIONS)))
def test_options_without_a_field(tmp_path, name):
  folder = elmo_pytorch.write(tmp_path / "elmo", elmo_pytorch.OPTIONS)
  options = copy.deepcopy(elmo_pytorch.OPTIONS)
  *path, last = name.split(".")
  section = options
  for key in path:
    section = section[key]
  del section[last]
  (folder / "options.json").write_text(json.dumps(options))
  _fails(folder, rf"options\.json: no field {name}")


@pytest.mark.parametrize("content", ["[]", "3", '{"lstm": 3, "char_cnn": []}'])
def test_options_that_are_something_else(tmp_path, content):
  folder = elmo_pytorch.write(tmp_path / "elmo", elmo_pytorch.OPTIONS)
  (folder / "options.json").write_text(content)
  _fails(folder, r"options\.json: (no field|holds no JSON object)")


@pytest.mark.parametrize(
  ("name", "value"),
  [
    ("activation", "gelu"),
    ("cell_clip", 0),
    ("dim", 0),
    ("dim", "10"),
    ("embedding", {"dim": 0.5}),
    ("filters", []),
    ("filters", [[1, 4], [51, 4]]),
    ("filters", [[1, 4, 4]]),
    ("filters", 3),
    ("max_characters_per_token", 2),
    ("n_characters", 60),
    ("n_highway", -1),
    ("n_layers", True),
    ("proj_clip", "3"),
    ("use_skip_connections", 1),
  ],
)
def test_options_that_make_no_sense(tmp_path, name, value):
  folder = elmo_pytorch.write(tmp_path / "elmo", elmo_pytorch.OPTIONS)
  content = json.dumps(elmo_pytorch.options_with(**{name: value}))
  (folder / "options.json").write_text(content)
  _fails(folder, rf"options\.json: \w+\.{name}.* = .*: must be")


@pytest.mark.parametrize(
  ("given", "why"),
  [
    ({"fillvalue": 1.0}, "W_proj is empty"),
    ({"external": [("/etc/passwd", 0, 4 * 22 * 6)]}, "is in another file"),
    ({"data": np.full((22, 6), np.nan, "f4")}, "no numbers in CNN_proj/W_proj"),
  ],
)
def test_data_sets_that_are_no_weights(tmp_path, given, why):
  """Nothing but the file itself is read, and no more than it has."""
  folder = elmo_pytorch.write(tmp_path / "elmo", elmo_pytorch.OPTIONS)
  with h5py.File(folder / "weights.hdf5", "a") as file:
    del file["CNN_proj/W_proj"]
    file.create_dataset("CNN_proj/W_proj", shape=(22, 6), dtype="f4", **given)
  _fails(folder, why)
