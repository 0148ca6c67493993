"""JSON as editors, versions and failed downloads leave it."""

import dataclasses

import pytest

from emojax.errors import UserError
from emojax.weights import checkpoints, json_files


@dataclasses.dataclass(frozen=True)
class _Config:
  size: int = 1
  rate: float = 0.5
  bias: bool = False
  widths: tuple[int, ...] = (1,)
  name: str = "a"


@pytest.mark.parametrize(
  "encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le"]
)
def test_encodings(tmp_path, encoding):
  path = tmp_path / "config.json"
  path.write_bytes('{"name": "é", "x": 1, "x": 1}'.encode(encoding))
  assert json_files.read(path) == {"name": "é", "x": 1}


@pytest.mark.parametrize(
  ("content", "why"),
  [
    ('{"a": 1, "a": 2}', "'a' is there twice, with 1 and 2"),
    ("", "an empty file"),
    ("\n<html><body>Log in", "a page of a web site"),
    ("Entry not found", "the words 'Entry not found'"),
    ("version https://git-lfs.github.com/spec/v1\noid", "git lfs pull"),
    ("/annex/objects/MD5E-s3--0", "git annex get"),
    ('{"a": ' * 100_000, "not readable as JSON"),
    ('{"a": ' + "9" * 5000 + "}", "not readable as JSON"),
  ],
)
def test_what_is_no_json(tmp_path, content, why):
  (tmp_path / "config.json").write_text(content)
  with pytest.raises(UserError) as caught:
    json_files.read_config(tmp_path)
  assert why in str(caught.value) and "\n" not in str(caught.value)


def test_fields_however_they_are_written():
  given = {"size": 2.0, "rate": 1, "bias": 1, "widths": [3.0, 4], "other": None}
  found = json_files.known_fields(_Config, given, "config.json")
  assert _Config(**found) == _Config(2, 1, True, (3, 4))
  assert [type(x) for x in (found["size"], found["bias"])] == [int, bool]


@pytest.mark.parametrize(
  ("name", "value"),
  [
    *(("size", x) for x in (None, "2", 2.5, True, -1, 10**9, float("nan"))),
    *(("rate", x) for x in (None, "0.1", True, -0.1, float("inf"))),
    *(("bias", x) for x in (None, "true", 2)),
    *(("widths", x) for x in (None, [], 3, ["3"], [1, None])),
    *(("name", x) for x in (None, 3, ["gelu"])),
  ],
)
def test_fields_that_make_no_sense(name, value):
  with pytest.raises(UserError, match=rf"config\.json: {name} = "):
    json_files.known_fields(_Config, {name: value}, "config.json")


@pytest.mark.parametrize(
  ("file", "why"),
  [
    ("model.safetensors.crdownload", "a download that has not ended"),
    ("checkpoint-500/model.safetensors", "its folder checkpoint-500: give"),
    ("a/b/pytorch_model.bin", "its folder a/b: give"),
    ("adapter_model.safetensors", "merge it into its base model"),
    ("tf_model.h5", "a format of TensorFlow"),
    ("flax_model.msgpack", "a format of Flax"),
    ("model.onnx", "a format of ONNX"),
    ("model.bin", "a format of CTranslate2"),
    ("checkpoint_best.pt", "fairseq"),
    ("hubert.safetensors", "rename it to model.safetensors"),
  ],
)
def test_what_is_there_instead_of_the_weights(tmp_path, file, why):
  (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
  (tmp_path / file).write_bytes(b"1")
  with pytest.raises(UserError) as caught:
    checkpoints.open_tensors(tmp_path)
  assert why in str(caught.value) and "no weights; expected" in str(
    caught.value
  )


def test_a_folder_with_the_checkpoint_below(tmp_path):
  (tmp_path / "checkpoint-500").mkdir()
  (tmp_path / "checkpoint-500" / "config.json").write_text("{}")
  with pytest.raises(
    UserError, match=r"no config\.json; .* checkpoint-500: give"
  ):
    json_files.read_config(tmp_path)
