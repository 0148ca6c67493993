"""A server on this machine that answers like the Hugging Face hub."""

import base64
import contextlib
import http.server
import json
import re
import threading
import urllib.parse
from collections.abc import Iterator

import huggingface_hub

COMMIT = "0123456789abcdef0123456789abcdef01234567"
NAME = "speech/encoder"


class Hub(http.server.ThreadingHTTPServer):
  """One repository, `NAME`, with one commit on its branch `main`."""

  daemon_threads = True

  def __init__(self, files: dict[str, bytes]):
    super().__init__(("127.0.0.1", 0), Handler)
    self.files = files
    self.requests: list[tuple[str, str, str | None]] = []
    self.error: tuple[int, str] | None = None
    self.gated = False
    self.token: str | None = None  # That uploads need.
    # Files that are cut off after so many bytes, and how often.
    self.cuts: dict[str, tuple[int, int]] = {}

  def downloads(self) -> list[str]:
    """Names of the files that were asked for, in their order."""
    return [
      path.rsplit("/", 1)[1]
      for method, path, _ in self.requests
      if method == "GET" and "/resolve/" in path
    ]


class Handler(http.server.BaseHTTPRequestHandler):
  protocol_version = "HTTP/1.1"
  server: Hub

  def log_message(self, *_):
    pass

  def do_HEAD(self):
    self._answer(body=False)

  def do_GET(self):
    self._answer(body=True)

  def do_POST(self):
    content = self.rfile.read(int(self.headers["Content-Length"]))
    path = urllib.parse.unquote(urllib.parse.urlsplit(self.path).path)
    self.server.requests.append((self.command, path, None))
    if self.server.error:
      self._refuse(*self.server.error)
    elif path == "/api/validate-yaml":
      self._send_json({"errors": [], "warnings": []})
    elif self.headers["Authorization"] != f"Bearer {self.server.token}":
      self._refuse(401, "")
    elif path == "/api/repos/create":
      self._send_json({"url": f"{self._home}/{NAME}", "id": NAME})
    elif path == f"/api/models/{NAME}/preupload/main":
      files = json.loads(content)["files"]
      modes = [
        {"path": f["path"], "uploadMode": "regular", "shouldIgnore": False}
        for f in files
      ]
      self._send_json({"files": modes})
    elif path == f"/api/models/{NAME}/commit/main":
      self._commit([json.loads(line) for line in content.splitlines()])
    else:
      self._refuse(404, "RepoNotFound")

  def _commit(self, lines):
    for line in lines:
      if line["key"] == "file":
        value = line["value"]
        content = base64.b64decode(value["content"])
        self.server.files[value["path"]] = content
    url = f"{self._home}/{NAME}/commit/{COMMIT}"
    self._send_json({"commitUrl": url, "commitOid": COMMIT})

  @property
  def _home(self) -> str:
    return f"http://127.0.0.1:{self.server.server_port}"

  def _send_json(self, content):
    self._send(200, json.dumps(content).encode(), {})

  def _answer(self, body: bool):
    path = urllib.parse.unquote(urllib.parse.urlsplit(self.path).path)
    self.server.requests.append((self.command, path, self.headers["Range"]))
    if self.server.error:
      self._refuse(*self.server.error)
    elif match := re.fullmatch(f"/api/models/{NAME}(?:/(.*))?", path):
      self._describe(match[1] or "revision/main")
    elif match := re.fullmatch(f"/{NAME}/resolve/([^/]+)/(.+)", path):
      self._send_file(match[2], body)
    else:
      self._refuse(404, "RepoNotFound")

  def _describe(self, what: str):
    kind, _, revision = what.partition("/")
    if revision not in ("main", "v1", COMMIT):
      self._refuse(404, "RevisionNotFound")
      return
    siblings = [{"rfilename": name} for name in self.server.files]
    tree = [
      {"type": "file", "path": name, "size": len(data), "oid": name}
      for name, data in self.server.files.items()
    ]
    info = {"id": NAME, "sha": COMMIT, "siblings": siblings}
    answer = tree if kind == "tree" else info
    self._send(200, json.dumps(answer).encode(), {})

  def _send_file(self, name: str, body: bool):
    if self.server.gated:
      self._refuse(403, "GatedRepo")
      return
    data = self.server.files[name]
    headers = {"ETag": f'"{name}"', "X-Repo-Commit": COMMIT}
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


@contextlib.contextmanager
def running(files: dict[str, bytes], tmp_path, monkeypatch) -> Iterator[Hub]:
  """A running hub, the only one that `huggingface_hub` knows of."""
  server = Hub(files)
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
  try:
    yield server
  finally:
    stop()
