"""`live` and `predict --timeline`: the same from everywhere, and bad input."""

import csv
import json
import os
import signal
import subprocess
import sys
import threading
import types

import numpy as np
import pytest
import soundfile

from emojax import __main__ as commands
from emojax.audio import io
from emojax.errors import UserError
from emojax.inference import listener as listeners
from emojax.inference import live, microphone, timeline
from emojax.inference.session import Session

RATE = 16_000


@pytest.fixture
def recording(tmp_path, talk):
  path = tmp_path / "talk.wav"
  soundfile.write(path, talk, RATE, subtype="PCM_16")
  return path


def read_csv(path):
  with open(path, encoding="utf-8", newline="") as file:
    return list(csv.DictReader(file))


def test_file_pipe_and_timeline_agree(listening_run, recording, tmp_path):
  """Each as its user starts it."""

  def start(*arguments, **more):
    done = subprocess.run(
      [sys.executable, "-m", "emojax", *map(str, arguments)],
      **{"capture_output": True, "timeout": 120, **more},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.decode()

  samples, _ = soundfile.read(recording, dtype="int16")
  shown = start(
    *("live", listening_run, "--input=-", "--fast", "--asr=none"),
    f"--output={tmp_path / 'pipe'}",
    input=samples.tobytes(),
  )
  assert "\x1b" not in shown  # No terminal: plain lines.
  commands.main(
    [
      *("emojax", "live", str(listening_run), f"--input={recording}"),
      *("--fast", f"--output={tmp_path / 'file'}"),
    ]
  )
  commands.main(
    [
      *("emojax", "predict", str(listening_run), str(recording)),
      f"--timeline={tmp_path / 'timeline.csv'}",
    ]
  )
  piped = read_csv(tmp_path / "pipe" / "timeline.csv")
  assert len(piped) == 7 and any(row["emotion"] for row in piped)
  assert piped == read_csv(tmp_path / "file" / "timeline.csv")
  rows = read_csv(tmp_path / "timeline.csv")
  assert {row.pop("path") for row in rows} == {str(recording)}
  assert rows == piped
  session = json.loads((tmp_path / "pipe" / "session.json").read_text("utf-8"))
  assert session["counts"]["dropped_windows"] == 0
  assert sum(line.startswith("[") for line in shown.splitlines()) == len(
    session["segments"]
  )


def test_a_file_in_its_own_time(listener, talk, tmp_path):
  path = tmp_path / "short.wav"
  soundfile.write(path, talk[: 2 * RATE], RATE)
  shown = []
  session = Session(listener.system.classes, 1.0)
  live.listen(
    listener, session, lambda found, stream: shown.append(found), str(path)
  )
  assert [w.end for w in session.windows][-1] == 2.0
  assert len(shown) == len(session.windows) + len(session.segments)


def test_timelines_of_several_recordings(listener, recording, tmp_path, caplog):
  bad = tmp_path / "bad.wav"
  bad.write_bytes(b"RIFF")
  output = tmp_path / "out.csv"
  paths = [str(recording), str(bad), str(recording)]
  assert timeline.write(listener, paths, output) == (1, 2)
  assert "skipped" in caplog.text and "bad.wav" in caplog.text
  with pytest.raises(UserError, match="none of 1 recordings can be used"):
    timeline.write(listener, [str(bad)], tmp_path / "none.csv")
  assert not (tmp_path / "none.csv").exists()


def test_blocks_are_the_whole_recording(recording, tmp_path):
  rng = np.random.default_rng(0)
  stereo = rng.uniform(-0.5, 0.5, (150_000, 2)).astype(np.float32)
  path = tmp_path / "stereo.flac"
  soundfile.write(path, stereo, 48_000)
  found = list(io.blocks(path))
  assert len(found) > 1
  np.testing.assert_allclose(np.concatenate(found), stereo.mean(1), atol=1e-4)
  # Opposite phases cancel out: one channel is read, as `decode` does.
  soundfile.write(path, stereo[:, :1] * [1, -1], 48_000)
  np.testing.assert_allclose(
    np.concatenate(list(io.blocks(path))), stereo[:, 0], atol=1e-4
  )


@pytest.mark.parametrize(
  ("samples", "why"),
  [
    (np.full(100, np.nan), "NaN or infinite"),
    (np.linspace(-30_000, 30_000, 100), "divide its samples by 32768"),
    (np.zeros(0), "zero length"),
  ],
)
def test_blocks_of_what_is_no_sound(tmp_path, samples, why):
  path = tmp_path / "odd.wav"
  soundfile.write(path, samples.astype(np.float32), RATE, subtype="FLOAT")
  with pytest.raises(io.UnreadableAudio, match=why):
    list(io.blocks(path))


def test_runs_that_can_not_listen(make_run, tmp_path):
  old = make_run(tmp_path / "old", threshold=None, level_db=None)
  with pytest.raises(UserError, match=r"by an older version.*train it again"):
    listeners.load(old)
  with pytest.raises(UserError, match="no finished run"):
    listeners.load(tmp_path / "nothing")


def test_times_that_make_no_sense(listening_run):
  # In 0.2 s there is never as much speech as a window has to have.
  for window in (0.0, 0.2, 2.1, float("nan")):
    with pytest.raises(UserError, match=f"--window={window:g}: this run hears"):
      listeners.load(listening_run, window=window)
  for hop in (0.0, 3.0, float("nan")):
    with pytest.raises(UserError, match=f"--hop={hop:g}: give 0.1 seconds"):
      listeners.load(listening_run, hop=hop)


def test_inputs_that_are_not_there(listener, tmp_path):
  with pytest.raises(UserError, match="no such file; give another --input"):
    live.listen(listener, None, print, str(tmp_path / "nothing.wav"))


def fake_sounddevice(monkeypatch, devices=(), unplugged=False, talk=None):
  """PortAudio with such devices; a callback gets what they hear."""

  class PortAudioError(Exception):
    pass

  class InputStream:
    def __init__(self, rate, callback, finished_callback, **_):
      self._callback, self._finished = callback, finished_callback

    def start(self):
      self._callback(talk[:, None], len(talk), None, None)
      self._finished()

    def close(self):
      pass

  def query_devices(device=None, kind=None):
    if kind is None:
      return list(devices)
    if not devices:
      raise PortAudioError("Error querying device -1")
    return devices[0]

  def check_input_settings(*_):
    raise PortAudioError("Invalid sample rate")

  module = types.SimpleNamespace(
    PortAudioError=PortAudioError,
    InputStream=InputStream,
    query_devices=query_devices,
    check_input_settings=check_input_settings,
  )
  monkeypatch.setitem(sys.modules, "sounddevice", module)


def test_no_microphone(listener, monkeypatch):
  fake_sounddevice(monkeypatch)
  with pytest.raises(UserError, match=r"no microphone \(.*there is none.*FILE"):
    live.listen(listener, None, print, "")
  with pytest.raises(UserError, match="no microphone 'usb'"):
    live.listen(listener, None, print, "", device="usb")
  monkeypatch.setitem(sys.modules, "sounddevice", None)
  with pytest.raises(UserError, match=r"install the extra live"):
    live.listen(listener, None, print, "")


def test_the_real_sound_card_or_one_line():
  """This machine may have one; where it has none that is said."""
  if "CI" not in os.environ:
    pytest.importorskip("sounddevice", exc_type=(ImportError, OSError))
  try:
    with microphone.listening("") as (_, rate):
      assert rate > 0
  except UserError as error:
    assert "microphone" in str(error)


def test_a_microphone_that_goes(listening_run, monkeypatch, talk, tmp_path):
  device = {
    "index": 3,
    "name": "USB",
    "default_samplerate": 16_000.0,
    "max_input_channels": 1,
  }
  fake_sounddevice(monkeypatch, [device], talk=talk[: 3 * RATE])
  output = tmp_path / "session"
  with pytest.raises(UserError, match="the microphone 'USB' has gone"):
    commands.main(["emojax", "live", str(listening_run), f"--output={output}"])
  # What was heard before is kept.
  rows = read_csv(output / "timeline.csv")
  assert rows[-1]["end"] == "3.000"


def test_an_error_while_listening_is_not_the_microphones(
  listener, monkeypatch, talk
):
  device = {"index": 3, "name": "USB", "default_samplerate": 16_000.0}
  fake_sounddevice(monkeypatch, [device], talk=talk[:RATE])
  with (
    pytest.raises(ValueError, match="something else"),
    microphone.listening(""),
  ):
    raise ValueError("something else")


def test_standard_input_that_is_a_folder(tmp_path):
  folder = os.open(tmp_path, os.O_RDONLY)
  with pytest.raises(UserError, match=r"can not be read \(Is a directory\)"):
    list(live._pcm(folder, threading.Event()))
  os.close(folder)
  with pytest.raises(UserError, match=r"can not be read \(Bad file"):
    list(live._pcm(folder, threading.Event()))


def test_a_pipe_that_waits_is_left_where_it_is_to_stop():
  read, write = os.pipe()
  os.write(write, b"\0\0")
  stopped = threading.Event()
  blocks = live._pcm(read, stopped)
  assert len(next(blocks)) == 1
  threading.Timer(0.1, stopped.set).start()
  assert list(blocks) == []
  for end in (read, write):
    os.close(end)


@pytest.mark.parametrize("how", [(), ("--fast",)])
def test_ctrl_c_ends_a_pipe_that_waits(listening_run, talk, tmp_path, how):
  output = tmp_path / "session"
  command = [sys.executable, "-m", "emojax", "live", str(listening_run)]
  with subprocess.Popen(
    [*command, "--input=-", f"--output={output}", *how],
    stdin=subprocess.PIPE,
    stdout=subprocess.PIPE,
    stderr=subprocess.PIPE,
    text=False,
  ) as live_one:
    live_one.stdin.write(io.to_int16(talk[: 3 * RATE].copy()).tobytes())
    live_one.stdin.flush()
    for line in live_one.stdout:
      if b" 3.0 " in line:
        break
    live_one.send_signal(signal.SIGINT)
    assert live_one.wait(30) == 0, live_one.stderr.read()
    assert b"Fatal" not in live_one.stderr.read()
  assert read_csv(output / "timeline.csv")[-1]["end"] == "3.000"


@pytest.mark.parametrize(
  ("arguments", "what"),
  [
    (["predict", "run", "a.wav", "--hop=2"], "--hop is of a timeline"),
    (["predict", "run", "a.wav", "--asr=none"], "--asr is of a timeline"),
    (["live", "run", "--fast"], "--fast is for --input=FILE"),
    (["live", "run", "--device=usb", "--input=a.wav"], "--device is a micro"),
    (["live", "run", "a.wav"], "recordings are --input="),
  ],
)
def test_options_that_would_do_nothing(arguments, what):
  with pytest.raises(UserError, match=what):
    commands.main(["emojax", *arguments])
