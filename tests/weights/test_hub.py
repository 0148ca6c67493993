"""Downloads from a server on this machine that answers like the hub."""

import http.server
import json
import logging
import re
import threading
import urllib.parse

import huggingface_hub
import numpy as np
import pytest

from emojax.errors import UserError
from emojax.weights import hub

_COMMIT = "0123456789abcdef0123456789abcdef01234567"
_NAME = "speech/encoder"


class _Hub(http.server.ThreadingHTTPServer):
  """One repository, `_NAME`, with one commit on its branch `main`."""

  daemon_threads = True

  def __init__(self, files: dict[str, bytes]):
    super().__init__(("127.0.0.1", 0), _Handler)
    self.files = files
    self.requests: list[tuple[str, str, str | None]] = []
    self.error: tuple[int, str] | None = None
    self.gated = False
    # Files that are cut off after so many bytes, and how often.
    self.cuts: dict[str, tuple[int, int]] = {}

  def downloads(self) -> list[str]:
    """Names of the files that were asked for, in their order."""
    return [
      path.rsplit("/", 1)[1]
      for method, path, _ in self.requests
      if method == "GET" and "/resolve/" in path
    ]


class _Handler(http.server.BaseHTTPRequestHandler):
  protocol_version = "HTTP/1.1"
  server: _Hub

  def log_message(self, *_):
    pass

  def do_HEAD(self):
    self._answer(body=False)

  def do_GET(self):
    self._answer(body=True)

  def _answer(self, body: bool):
    path = urllib.parse.unquote(urllib.parse.urlsplit(self.path).path)
    self.server.requests.append((self.command, path, self.headers["Range"]))
    if self.server.error:
      self._refuse(*self.server.error)
    elif match := re.fullmatch(f"/api/models/{_NAME}(?:/(.*))?", path):
      self._describe(match[1] or "revision/main")
    elif match := re.fullmatch(f"/{_NAME}/resolve/([^/]+)/(.+)", path):
      self._send_file(match[2], body)
    else:
      self._refuse(404, "RepoNotFound")

  def _describe(self, what: str):
    kind, _, revision = what.partition("/")
    if revision not in ("main", "v1", _COMMIT):
      self._refuse(404, "RevisionNotFound")
      return
    siblings = [{"rfilename": name} for name in self.server.files]
    tree = [
      {"type": "file", "path": name, "size": len(data), "oid": name}
      for name, data in self.server.files.items()
    ]
    info = {"id": _NAME, "sha": _COMMIT, "siblings": siblings}
    answer = tree if kind == "tree" else info
    self._send(200, json.dumps(answer).encode(), {})

  def _send_file(self, name: str, body: bool):
    if self.server.gated:
      self._refuse(403, "GatedRepo")
      return
    data = self.server.files[name]
    headers = {"ETag": f'"{name}"', "X-Repo-Commit": _COMMIT}
    status, start = 200, 0
    if self.headers["Range"]:
      start = int(re.match(r"bytes=(\d+)-", self.headers["Range"])[1])
      headers["Content-Range"] = f"bytes {start}-{len(data) - 1}/{len(data)}"
      status = 206
    length, times = self.server.cuts.get(name, (len(data), 0))
    if body and times:
      self.server.cuts[name] = (length, times - 1)
      self._send(status, data[start:], headers, stop=length)
    else:
      self._send(status, data[start:], headers, body=body)

  def _refuse(self, status: int, code: str):
    self._send(status, b"", {"X-Error-Code": code})

  def _send(self, status, data, headers, *, body=True, stop=None):
    self.send_response(status)
    for name, value in {**headers, "Content-Length": len(data)}.items():
      self.send_header(name, str(value))
    self.end_headers()
    if body:
      self.wfile.write(data[:stop])
    self.close_connection = stop is not None


@pytest.fixture
def served(tmp_path, monkeypatch):
  """A running hub, the only one that `huggingface_hub` knows of."""
  weights = np.random.default_rng(0).bytes(200_000)
  server = _Hub(
    {
      "README.md": b"# Encoder",
      "config.json": b"{}",
      "vocab.json": b'{"a": 0}',
      "model.safetensors": weights,
      "model.fp16.safetensors": weights,
      "pytorch_model.bin": weights,
      "flax_model.msgpack": weights,
    }
  )
  thread = threading.Thread(target=server.serve_forever, args=(0.01,))
  thread.start()
  endpoint = f"http://127.0.0.1:{server.server_port}"
  constants = "huggingface_hub.constants."
  monkeypatch.setattr(constants + "ENDPOINT", endpoint)
  monkeypatch.setattr(
    constants + "HUGGINGFACE_CO_URL_TEMPLATE",
    endpoint + "/{repo_id}/resolve/{revision}/{filename}",
  )
  monkeypatch.setattr(constants + "HF_HUB_CACHE", str(tmp_path / "hub"))
  monkeypatch.setattr(constants + "HF_HUB_OFFLINE", False)
  monkeypatch.setattr(constants + "DOWNLOAD_CHUNK_SIZE", 10_000)
  monkeypatch.setenv("NO_PROXY", "127.0.0.1")
  huggingface_hub.close_session()
  # It waits between the attempts at a file.
  monkeypatch.setattr("time.sleep", lambda _: None)

  def stop():
    # Ends the open connections too, which threads of their own serve.
    huggingface_hub.close_session()
    if thread.is_alive():
      server.shutdown()
      thread.join()
      server.server_close()

  server.stop = stop
  yield server
  stop()


def _names(folder):
  return {path.name for path in folder.iterdir()}


def _refusal(name, revision=None) -> str:
  with pytest.raises(UserError) as error:
    hub.folder(name, revision)
  assert "\n" not in str(error.value)
  assert repr(name)[1:-1] in str(error.value)
  return str(error.value)


def test_download_takes_safetensors_alone(served):
  folder = hub.folder(_NAME)
  assert _names(folder) == {"config.json", "vocab.json", "model.safetensors"}
  for path in folder.iterdir():
    assert path.read_bytes() == served.files[path.name]
  assert hub.revision_of(folder) == _COMMIT


def test_download_takes_pytorch_where_there_is_nothing_else(served):
  del served.files["model.safetensors"]
  folder = hub.folder(_NAME)
  assert _names(folder) == {"config.json", "vocab.json", "pytorch_model.bin"}


def test_shards(served):
  for name in ("model.safetensors", "pytorch_model.bin"):
    served.files.pop(name)
    stem, suffix = name.split(".")
    for shard in (1, 2):
      served.files[f"{stem}-0000{shard}-of-00002.{suffix}"] = b"weights"
    served.files[f"{name}.index.json"] = b"{}"
  assert _names(hub.folder(_NAME)) == {
    "config.json",
    "vocab.json",
    "model.safetensors.index.json",
    "model-00001-of-00002.safetensors",
    "model-00002-of-00002.safetensors",
  }


def test_patterns(served):
  folder = hub.folder(_NAME, patterns=["*.md", "*.msgpack"])
  assert _names(folder) == {"README.md", "flax_model.msgpack"}
  with pytest.raises(UserError, match=r"holds none of options\.json"):
    hub.folder(_NAME, patterns=["options.json"])


@pytest.mark.parametrize("revision", [None, "v1", _COMMIT])
def test_second_call_downloads_nothing(served, revision):
  folder = hub.folder(_NAME, revision)
  first = len(served.downloads())
  assert hub.folder(_NAME, revision) == folder
  assert len(served.downloads()) == first == 3


@pytest.mark.parametrize("revision", [None, "v1", _COMMIT])
@pytest.mark.parametrize("only", ["model.safetensors", "pytorch_model.bin"])
def test_cache_without_a_network(served, caplog, revision, only):
  for name in {"model.safetensors", "pytorch_model.bin"} - {only}:
    del served.files[name]
  folder = hub.folder(_NAME, revision)
  served.stop()
  caplog.clear()
  with caplog.at_level(logging.WARNING, "emojax"):
    assert hub.folder(_NAME, revision) == folder
  assert only in _names(folder)
  (record,) = caplog.records
  assert "no answer from the hub" in record.getMessage()


def test_cache_with_both_kinds_of_weights_offered(served, monkeypatch, caplog):
  """The listing has a `pytorch_model.bin` that the cache rightly lacks."""
  folder = hub.folder(_NAME)
  monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
  requests = len(served.requests)
  assert hub.folder(_NAME) == folder
  assert len(served.requests) == requests
  assert "HF_HUB_OFFLINE is set; taking what the cache holds" in caplog.text


def test_no_network_and_no_cache(served, monkeypatch):
  served.stop()
  line = _refusal(_NAME)
  assert "no whole copy of revision main in the cache" in line
  assert "run the same command again" in line and "local folder" in line
  monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
  assert "in the cache" in _refusal(_NAME, "v1")


def test_hub_that_is_down(served):
  served.error = (503, "")
  assert "in the cache" in _refusal(_NAME)


def test_connection_that_breaks_goes_on_at_the_same_byte(served):
  served.cuts["model.safetensors"] = (60_000, 1)
  folder = hub.folder(_NAME)
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
  line = _refusal(_NAME)
  assert "the download stopped" in line
  assert "run the same command again" in line and "local folder" in line
  served.cuts.clear()
  served.requests.clear()
  folder = hub.folder(_NAME)
  weights = (folder / "model.safetensors").read_bytes()
  assert weights == served.files["model.safetensors"]
  assert served.downloads().count("model.safetensors") == 1
  assert len(served.downloads()) < 3


@pytest.mark.parametrize("cache", ["/dev/null/hub", "/proc/hub"])
def test_a_cache_that_takes_nothing(served, monkeypatch, cache):
  monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", cache)
  line = _refusal(_NAME)
  assert f"its cache {cache} can not be written: set HF_HOME" in line


def test_a_home_that_takes_nothing(monkeypatch):
  path = "huggingface_hub.constants.HF_TOKEN_PATH"
  monkeypatch.setattr(path, "/dev/null/token")
  monkeypatch.delenv("HF_TOKEN", raising=False)
  assert "set HF_HOME" in _refusal(_NAME)


def test_part_of_a_download_is_no_checkpoint(served):
  served.cuts["model.safetensors"] = (0, 100)
  _refusal(_NAME)
  served.stop()
  assert "no whole copy" in _refusal(_NAME)


def test_what_the_hub_refuses(served):
  assert "nor a repository of the hub" in _refusal("speech/encoderr")
  assert "no revision 'v2'" in _refusal(_NAME, "v2")
  served.gated = True
  assert "grant access" in _refusal(_NAME)
  served.error = (401, "RepoNotFound")
  assert "private" in _refusal(_NAME)
  served.error = (401, "")
  assert "set HF_TOKEN" in _refusal(_NAME)


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
