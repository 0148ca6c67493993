"""Downloads against a server on this machine that misbehaves on demand."""

import collections
import hashlib
import http.server
import io
import json
import re
import shutil
import tarfile
import threading
import time
import zipfile

import pytest

from emojax.corpora import downloads
from emojax.corpora import speech as corpora
from emojax.corpora.downloads import Download
from emojax.errors import UserError
from tests import processes


class _Handler(http.server.BaseHTTPRequestHandler):
  def do_GET(self):
    server = self.server
    content = server.content.get(self.path)
    server.requests.append((self.path, self.headers.get("Range")))
    if content is None or server.status:
      self.send_error(server.status or 404)
      return
    match = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
    start = int(match[1]) if match and server.takes_ranges else 0
    if start >= len(content):
      self.send_error(416)
      return
    body = content[start:]
    self.send_response(206 if start else 200)
    self.send_header("Content-Length", str(len(body)))
    self.end_headers()
    server.gate.wait()
    if server.breaks:
      server.breaks -= 1
      body = body[: len(body) // 2]
    self.wfile.write(body)

  def log_message(self, *_):
    pass


class _Server(http.server.ThreadingHTTPServer):
  request_queue_size = 32


@pytest.fixture
def server():
  """A server of `content`; `breaks` answers end halfway."""
  with _Server(("127.0.0.1", 0), _Handler) as server:
    server.content, server.requests = {}, []
    server.breaks, server.status, server.takes_ranges = 0, 0, True
    server.gate = threading.Event()
    server.gate.set()
    server.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield server
    server.shutdown()
    thread.join()


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
  monkeypatch.setattr(downloads, "_PAUSES", (0.0, 0.0))


def _zip(members):
  stream = io.BytesIO()
  with zipfile.ZipFile(stream, "w") as archive:
    for name, content in members.items():
      archive.writestr(name, content)
  return stream.getvalue()


def _md5(content):
  return f"md5:{hashlib.md5(content).hexdigest()}"


@pytest.fixture
def ravdess(server, monkeypatch):
  """The address of RAVDESS, on this machine."""
  content = _zip(
    {f"Actor_01/03-01-0{e}-01-01-01-01.wav": bytes(999) for e in range(1, 9)}
  )
  server.content["/ravdess.zip"] = content
  item = Download(f"{server.url}/ravdess.zip", "ravdess.zip", _md5(content))
  monkeypatch.setitem(downloads._ARCHIVES, "ravdess", item)
  return server


def _fails(corpus, folder, match):
  with pytest.raises(UserError, match=match) as caught:
    downloads.fetch(corpus, folder)
  assert "\n" not in str(caught.value)
  assert not (folder / corpus).exists()


def test_an_archive_is_fetched_once(ravdess, tmp_path):
  folder = downloads.fetch("ravdess", tmp_path / "data")
  assert folder == tmp_path / "data" / "ravdess"
  assert len(corpora.read("ravdess", folder)) == 8
  assert [path.name for path in folder.parent.iterdir()] == ["ravdess"]
  assert downloads.fetch("ravdess", tmp_path / "data") == folder
  assert ravdess.requests == [("/ravdess.zip", None)]


def main(arguments):
  _, url, checksum, folder = arguments
  downloads._ARCHIVES["ravdess"] = Download(url, "ravdess.zip", checksum)
  print(len(corpora.read("ravdess", downloads.fetch("ravdess", folder))))


def _wait_for(has_come):
  end = time.monotonic() + 30
  while not has_come() and time.monotonic() < end:
    time.sleep(0.02)


def test_two_processes_fetch_once(ravdess, tmp_path):
  item = downloads._ARCHIVES["ravdess"]
  given = [item.url, item.checksum, str(tmp_path)]
  ravdess.gate.clear()
  try:
    with processes.Process(main, given) as first:
      _wait_for(lambda: ravdess.requests)
      with processes.Process(main, given) as second:
        _wait_for(lambda: "waiting for it" in second.printed()[1])
        said = second.printed()[1].splitlines()
        ravdess.gate.set()
        for process in first, second:
          printed = process.communicate(60)
          assert (process.returncode, printed[0]) == (0, "8\n"), printed
  finally:
    ravdess.gate.set()
  assert len(said) == 1 and "another process downloads there" in said[0]
  assert ravdess.requests == [("/ravdess.zip", None)]
  assert [path.name for path in tmp_path.iterdir()] == ["ravdess"]


def test_a_broken_connection_goes_on(ravdess, tmp_path):
  size = len(ravdess.content["/ravdess.zip"])
  ravdess.breaks = 1
  downloads.fetch("ravdess", tmp_path)
  assert [r for _, r in ravdess.requests] == [None, f"bytes={size // 2}-"]


def test_the_next_command_goes_on(ravdess, tmp_path):
  size = len(ravdess.content["/ravdess.zip"])
  ravdess.breaks = 2
  _fails("ravdess", tmp_path, "connection broke; .* MiB of it are kept in")
  assert len(corpora.read("ravdess", downloads.fetch("ravdess", tmp_path))) == 8
  assert (
    ravdess.requests[-1][1] == f"bytes={size // 2 + (size - size // 2) // 2}-"
  )


def test_a_server_without_ranges_starts_again(ravdess, tmp_path):
  ravdess.takes_ranges, ravdess.breaks = False, 1
  assert len(corpora.read("ravdess", downloads.fetch("ravdess", tmp_path))) == 8


def test_stopped_between_the_last_byte_and_the_check(ravdess, tmp_path):
  work = tmp_path / ".ravdess.part"
  work.mkdir()
  (work / "ravdess.zip.part").write_bytes(ravdess.content["/ravdess.zip"])
  (work / "content").mkdir()
  assert len(corpora.read("ravdess", downloads.fetch("ravdess", tmp_path))) == 8


def test_content_that_changed_is_fetched_anew(ravdess, tmp_path):
  good = ravdess.content["/ravdess.zip"]
  ravdess.content["/ravdess.zip"] = bytes(len(good))
  ravdess.breaks = 2
  _fails("ravdess", tmp_path, "kept")
  ravdess.content["/ravdess.zip"] = good
  _fails("ravdess", tmp_path, "the md5 of what came is .* expected .* removed")
  assert len(corpora.read("ravdess", downloads.fetch("ravdess", tmp_path))) == 8


@pytest.mark.parametrize(("status", "attempts"), [(404, 1), (403, 1), (503, 2)])
def test_an_answer_that_is_no_file(ravdess, tmp_path, status, attempts):
  ravdess.status = status
  _fails("ravdess", tmp_path, f"the server answers {status} .*ravdess.part")
  assert len(ravdess.requests) == attempts


def test_no_network(ravdess, tmp_path, monkeypatch):
  item = Download("http://127.0.0.1:9/a.zip", "a.zip", "md5:0")
  monkeypatch.setitem(downloads._ARCHIVES, "ravdess", item)
  _fails("ravdess", tmp_path, r"no connection .*0\.0 MiB .*the same command")


def test_no_room(ravdess, tmp_path, monkeypatch):
  usage = collections.namedtuple("usage", "total used free")
  monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(100, 90, 10))
  _fails("ravdess", tmp_path, "no room for ravdess.zip")


def test_a_folder_that_can_not_be_written(ravdess, tmp_path):
  (tmp_path / "file").touch()
  with pytest.raises(UserError, match="can not be written"):
    downloads.fetch("ravdess", tmp_path / "file")


def test_an_archive_in_one_folder(server, tmp_path, monkeypatch):
  stream = io.BytesIO()
  with tarfile.open(fileobj=stream, mode="w:gz") as archive:
    member = tarfile.TarInfo("musan/noise/free-sound/noise-0000.wav")
    member.size = 4
    archive.addfile(member, io.BytesIO(b"hiss"))
  server.content["/musan.tar.gz"] = stream.getvalue()
  item = Download(
    f"{server.url}/musan.tar.gz", "musan.tar.gz", _md5(stream.getvalue())
  )
  monkeypatch.setitem(downloads._ARCHIVES, "musan", item)
  noise = downloads.fetch("musan", tmp_path) / "noise" / "free-sound"
  assert (noise / "noise-0000.wav").read_bytes() == b"hiss"


@pytest.fixture
def crema_d(server, monkeypatch):
  """The list of TensorFlow Datasets and the files in it, on this machine."""
  clips = {f"10{i:02d}_DFA_ANG_XX.wav": bytes([i] * 50) for i in range(1, 31)}
  lines = [f"{server.url}/summaryTable.csv 12 {'0' * 64}"]
  for name, content in clips.items():
    server.content[f"/{name}"] = content
    digest = hashlib.sha256(content).hexdigest()
    lines.append(f"{server.url}/{name} {len(content)} {digest}")
  index = "\n".join(lines).encode()
  server.content["/crema_d.txt"] = index
  digest = hashlib.sha256(index).hexdigest()
  item = Download(
    f"{server.url}/crema_d.txt", "crema_d.txt", f"sha256:{digest}"
  )
  monkeypatch.setitem(downloads._LISTS, "crema_d", item)
  return server


def test_a_list_of_files(crema_d, tmp_path):
  folder = downloads.fetch("crema_d", tmp_path)
  clips = corpora.read("crema_d", folder)
  assert [clip.speaker for clip in clips] == [
    f"10{i:02d}" for i in range(1, 31)
  ]
  assert {path.name for path in tmp_path.iterdir()} == {"crema_d"}


def test_a_list_goes_on_where_it_stopped(crema_d, tmp_path):
  lost = crema_d.content.pop("/1030_DFA_ANG_XX.wav")
  _fails("crema_d", tmp_path, "1030_DFA_ANG_XX.wav: the server answers 404")
  crema_d.content["/1030_DFA_ANG_XX.wav"] = lost
  assert (
    len(corpora.read("crema_d", downloads.fetch("crema_d", tmp_path))) == 30
  )
  assert collections.Counter(path for path, _ in crema_d.requests) == {
    **dict.fromkeys(crema_d.content, 1),  # Whole files are not fetched again.
    "/1030_DFA_ANG_XX.wav": 2,
  }


def test_a_file_of_a_list_is_checked(crema_d, tmp_path):
  crema_d.content["/1007_DFA_ANG_XX.wav"] = b"another recording"
  _fails("crema_d", tmp_path, "1007_DFA_ANG_XX.wav: the sha256 of what came")


@pytest.fixture
def tess(server, monkeypatch):
  """A Dataverse's list: one clip, one archive, and a file of no interest."""
  archive = _zip({"YAF_fear/YAF_back_fear.wav": b"fear"})
  clips = {"OAF_back_angry.wav": b"anger", "YAF_fear.zip": archive}
  entries = [{"label": "README.txt", "dataFile": {"id": 99, "md5": ""}}]
  for number, (name, content) in enumerate(clips.items()):
    server.content[f"/{number}"] = content
    md5 = hashlib.md5(content).hexdigest()
    entries.append({"label": name, "dataFile": {"id": number, "md5": md5}})
  answer = {"status": "OK", "data": entries}
  server.content["/tess"] = json.dumps(answer).encode()
  item = Download(f"{server.url}/tess", "tess.json")
  monkeypatch.setitem(downloads._LISTS, "tess", item)
  monkeypatch.setattr(downloads, "_TESS_FILE", f"{server.url}/")
  return server


def test_a_dataverse(tess, tmp_path):
  clips = corpora.read("tess", downloads.fetch("tess", tmp_path))
  assert [clip.dialogue for clip in clips] == [
    "OAF_back_angry",
    "YAF_back_fearful",
  ]


@pytest.mark.parametrize("answer", [b"<html>", b"[]", b'{"data": [{}]}'])
def test_a_list_that_is_none(tess, tmp_path, answer):
  good = tess.content["/tess"]
  tess.content["/tess"] = answer
  _fails("tess", tmp_path, "not the list of files that is expected")
  tess.content["/tess"] = good
  assert len(corpora.read("tess", downloads.fetch("tess", tmp_path))) == 2


@pytest.mark.parametrize(
  ("corpus", "why"),
  [
    ("ravdes", "'ravdes': nothing to download; .* musan, ravdess, tess"),
    ("demo", "'demo': nothing to download"),
  ],
)
def test_what_can_not_be_fetched(tmp_path, corpus, why):
  _fails(corpus, tmp_path, why)


def test_what_can_be_fetched_has_a_reader():
  assert set(downloads.names()) - {"musan"} <= set(corpora.names())
