"""Downloads from a server on this machine that answers like the hub."""

import logging

import numpy as np
import pytest

from emojax.errors import UserError
from emojax.weights import hub
from tests import hub_server
from tests.hub_server import COMMIT, NAME


@pytest.fixture
def served(tmp_path, monkeypatch):
  weights = np.random.default_rng(0).bytes(200_000)
  files = {
    "README.md": b"# Encoder",
    "config.json": b"{}",
    "vocab.json": b'{"a": 0}',
    "model.safetensors": weights,
    "model.fp16.safetensors": weights,
    "pytorch_model.bin": weights,
    "flax_model.msgpack": weights,
  }
  with hub_server.running(files, tmp_path, monkeypatch) as server:
    yield server


def _names(folder):
  return {path.name for path in folder.iterdir()}


def _refusal(name, revision=None) -> str:
  with pytest.raises(UserError) as error:
    hub.folder(name, revision)
  assert "\n" not in str(error.value)
  assert repr(name)[1:-1] in str(error.value)
  return str(error.value)


def test_download_takes_safetensors_alone(served):
  folder = hub.folder(NAME)
  assert _names(folder) == {"config.json", "vocab.json", "model.safetensors"}
  for path in folder.iterdir():
    assert path.read_bytes() == served.files[path.name]
  assert hub.revision_of(folder) == COMMIT


def test_download_takes_pytorch_where_there_is_nothing_else(served):
  del served.files["model.safetensors"]
  folder = hub.folder(NAME)
  assert _names(folder) == {"config.json", "vocab.json", "pytorch_model.bin"}


def test_shards(served):
  for name in ("model.safetensors", "pytorch_model.bin"):
    served.files.pop(name)
    stem, suffix = name.split(".")
    for shard in (1, 2):
      served.files[f"{stem}-0000{shard}-of-00002.{suffix}"] = b"weights"
    served.files[f"{name}.index.json"] = b"{}"
  assert _names(hub.folder(NAME)) == {
    "config.json",
    "vocab.json",
    "model.safetensors.index.json",
    "model-00001-of-00002.safetensors",
    "model-00002-of-00002.safetensors",
  }


def test_patterns(served):
  folder = hub.folder(NAME, patterns=["*.md", "*.msgpack"])
  assert _names(folder) == {"README.md", "flax_model.msgpack"}
  with pytest.raises(UserError, match=r"holds none of options\.json"):
    hub.folder(NAME, patterns=["options.json"])


@pytest.mark.parametrize("revision", [None, "v1", COMMIT])
def test_second_call_downloads_nothing(served, revision):
  folder = hub.folder(NAME, revision)
  first = len(served.downloads())
  assert hub.folder(NAME, revision) == folder
  assert len(served.downloads()) == first == 3


@pytest.mark.parametrize("revision", [None, "v1", COMMIT])
@pytest.mark.parametrize("only", ["model.safetensors", "pytorch_model.bin"])
def test_cache_without_a_network(served, caplog, revision, only):
  for name in {"model.safetensors", "pytorch_model.bin"} - {only}:
    del served.files[name]
  folder = hub.folder(NAME, revision)
  served.stop()
  caplog.clear()
  with caplog.at_level(logging.WARNING, "emojax"):
    assert hub.folder(NAME, revision) == folder
  assert only in _names(folder)
  (record,) = caplog.records
  assert "no answer from the hub" in record.getMessage()


def test_cache_with_both_kinds_of_weights_offered(served, monkeypatch, caplog):
  """The listing has a `pytorch_model.bin` that the cache rightly lacks."""
  folder = hub.folder(NAME)
  monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
  requests = len(served.requests)
  assert hub.folder(NAME) == folder
  assert len(served.requests) == requests
  assert "HF_HUB_OFFLINE is set; taking what the cache holds" in caplog.text


def test_no_network_and_no_cache(served, monkeypatch):
  served.stop()
  line = _refusal(NAME)
  assert "no whole copy of revision main in the cache" in line
  assert "run the same command again" in line and "local folder" in line
  monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
  assert "in the cache" in _refusal(NAME, "v1")


def test_hub_that_is_down(served):
  served.error = (503, "")
  assert "in the cache" in _refusal(NAME)


def test_connection_that_breaks_goes_on_at_the_same_byte(served):
  served.cuts["model.safetensors"] = (60_000, 1)
  folder = hub.folder(NAME)
  weights = (folder / "model.safetensors").read_bytes()
  assert weights == served.files["model.safetensors"]
  ranges = [
    range_
    for method, path, range_ in served.requests
    if method == "GET" and path.endswith("model.safetensors")
  ]
  assert ranges == [None, "bytes=60000-"]


def test_download_that_stops_goes_on_with_the_same_command(served):
  served.cuts["model.safetensors"] = (0, 100)
  line = _refusal(NAME)
  assert "the download stopped" in line
  assert "run the same command again" in line and "local folder" in line
  served.cuts.clear()
  served.requests.clear()
  folder = hub.folder(NAME)
  weights = (folder / "model.safetensors").read_bytes()
  assert weights == served.files["model.safetensors"]
  assert served.downloads().count("model.safetensors") == 1
  assert len(served.downloads()) < 3


@pytest.mark.parametrize("cache", ["/dev/null/hub", "/proc/hub"])
def test_a_cache_that_takes_nothing(served, monkeypatch, cache):
  monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", cache)
  line = _refusal(NAME)
  assert f"its cache {cache} can not be written: set HF_HOME" in line


def test_a_home_that_takes_nothing(monkeypatch):
  path = "huggingface_hub.constants.HF_TOKEN_PATH"
  monkeypatch.setattr(path, "/dev/null/token")
  monkeypatch.delenv("HF_TOKEN", raising=False)
  assert "set HF_HOME" in _refusal(NAME)


def test_part_of_a_download_is_no_checkpoint(served):
  served.cuts["model.safetensors"] = (0, 100)
  _refusal(NAME)
  served.stop()
  assert "no whole copy" in _refusal(NAME)


def test_what_the_hub_refuses(served):
  assert "nor a repository of the hub" in _refusal("speech/encoderr")
  assert "no revision 'v2'" in _refusal(NAME, "v2")
  served.gated = True
  assert "grant access" in _refusal(NAME)
  served.error = (401, "RepoNotFound")
  assert "private" in _refusal(NAME)
  served.error = (401, "")
  assert "set HF_TOKEN" in _refusal(NAME)


def test_local_folder(tmp_path, monkeypatch):
  (tmp_path / "encoder").mkdir()
  assert hub.folder(str(tmp_path / "encoder")) == tmp_path / "encoder"
  monkeypatch.setenv("HOME", str(tmp_path))
  assert hub.folder("~/encoder") == tmp_path / "encoder"
  assert hub.revision_of(tmp_path / "encoder") == ""


@pytest.mark.parametrize(
  "name",
  [
    "",
    "~",
    "/no/such/folder",
    "./encoder",
    "../encoder",
    "~/encoder",
    "corpora/speech/encoder",
    "C:\\speech\\encoder",
    "speech/two words",
    "speech/",
    "speech--encoder",
    "x" * 100,
  ],
)
def test_what_is_neither_a_folder_nor_an_id(
  tmp_path_factory, monkeypatch, name
):
  folder = tmp_path_factory.mktemp("empty")
  monkeypatch.chdir(folder)
  monkeypatch.setenv("HOME", str(folder / "nobody"))
  assert "hub id" in _refusal(name)


def test_file_instead_of_a_folder(tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  (tmp_path / "model.safetensors").touch()
  assert "a file" in _refusal("model.safetensors")
  assert "a file" in _refusal(str(tmp_path / "model.safetensors"))
