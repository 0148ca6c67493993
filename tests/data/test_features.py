"""Extraction: parity with openSMILE, the cache, bad files, interruptions."""

import dataclasses
import multiprocessing
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import textwrap
import threading
import time
from concurrent import futures

import numpy as np
import opensmile
import pytest
import soundfile

from configs import common
from emojax.audio import io
from emojax.corpora import recordings
from emojax.corpora import speech as corpora
from emojax.corpora.records import Utterance
from emojax.data import features, functionals
from emojax.errors import UserError

ROOT = pathlib.Path(features.__file__).parents[2]


def _clip(seed: int, seconds: float = 0.4) -> np.ndarray:
  time_S = np.arange(int(16_000 * seconds)) / 16_000
  noise = np.random.default_rng(seed).standard_normal(len(time_S))
  return 0.2 * np.sin(2 * np.pi * (100 + 10 * seed) * time_S) + 0.01 * noise


def _corpus(folder: pathlib.Path, number: int) -> list[Utterance]:
  folder.mkdir(exist_ok=True)
  utterances = []
  for i in range(number):
    path = folder / f"{i}.wav"
    soundfile.write(path, _clip(i), 16_000)
    utterances.append(
      Utterance(str(path), "sad", f"S{i % 2}", "d", i, "1", f"word {i}")
    )
  return utterances


def _extract(utterances, cache, **changes):
  data = common.data()
  fields = {
    "audio_features": "eGeMAPSv02",
    "text_features": "none",
    "text_encoder": "",
    "text_revision": "",
    "num_workers": 1,
    "max_skipped": 0,
  }
  data.update(fields | changes)
  names = ["c"] * len(utterances)
  skips = recordings.Skips(data.max_skipped, len(utterances))
  return features.extract(utterances, names, data, cache, skips)


@pytest.fixture
def jobs(monkeypatch):
  """The recordings that were given to openSMILE, for each extraction."""
  given = []
  run = functionals.Functionals.run

  def record(self, jobs):
    given.append(sorted(pathlib.Path(one.path).name for one in jobs.values()))
    return run(self, jobs)

  monkeypatch.setattr(functionals.Functionals, "run", record)
  return given


@pytest.mark.parametrize(
  ("name", "size"), [("ComParE_2016", 6373), ("eGeMAPSv02", 88)]
)
def test_real_clips_agree_with_opensmile(real_data, tmp_path, name, size):
  clips = corpora.read("ravdess", real_data / "ravdess")[::250]
  table = _extract(clips, tmp_path, audio_features=name)
  smile = opensmile.Smile(
    opensmile.FeatureSet[name], opensmile.FeatureLevel.Functionals
  )
  expected = smile.process_files([clip.path for clip in clips]).to_numpy()
  assert table.features["audio"].dtype == np.float32
  assert table.features["audio"].shape == (3, size)
  np.testing.assert_array_equal(table.features["audio"], expected)
  assert table.speaker.tolist() == [clip.speaker for clip in clips]


def test_the_cache_follows_the_content(tmp_path, jobs):
  utterances = _corpus(tmp_path / "a", 3)
  shutil.copy(tmp_path / "a" / "0.wav", tmp_path / "a" / "copy.wav")
  copy = Utterance(str(tmp_path / "a" / "copy.wav"), "", "S0", "d", 9)
  cache = tmp_path / "cache"
  table = _extract([*utterances, copy], cache)
  audio = table.features["audio"]
  np.testing.assert_array_equal(audio[0], audio[3])
  assert table.label.tolist() == ["sad", "sad", "sad", ""]
  prints = table.fingerprint.tolist()
  assert prints[0] == prints[3]
  assert len(set(prints)) == 3
  assert table.corpus.tolist() == ["c"] * 4
  assert table.turn.tolist() == [0, 1, 2, 9]

  # Other names and another order: nothing is left to do.
  (tmp_path / "a").rename(tmp_path / "b")
  moved = [
    Utterance(str(tmp_path / "b" / f"{i}.wav"), "", "S", "d", i)
    for i in (2, 1, 0)
  ]
  again = _extract(moved, cache)
  np.testing.assert_array_equal(again.features["audio"], audio[2::-1])

  # Other content, and a file of the cache that was cut off.
  soundfile.write(tmp_path / "b" / "1.wav", _clip(77), 16_000)
  stored = next(p for p in cache.rglob("*.npy") if _holds(p, audio[0]))
  stored.write_bytes(stored.read_bytes()[:-50])
  changed = _extract(moved, cache)
  np.testing.assert_array_equal(
    changed.features["audio"][[0, 2]], audio[[2, 0]]
  )
  assert (changed.features["audio"][1] != audio[1]).any()
  assert jobs == [["0.wav", "1.wav", "2.wav"], [], ["0.wav", "1.wav"]]


def _holds(path: pathlib.Path, vector: np.ndarray) -> bool:
  return np.array_equal(np.load(path), vector)


@pytest.fixture
def mixed(tmp_path):
  """Three good recordings among eight that can not be used."""
  utterances = _corpus(tmp_path / "a", 3)
  folder = tmp_path / "a"
  (folder / "corrupt.wav").write_bytes(b"RIFF\x00\x00 no audio")
  (folder / "empty.wav").touch()
  soundfile.write(folder / "none.wav", np.zeros(0), 16_000)
  soundfile.write(folder / "silent.wav", np.zeros(8000), 16_000)
  shutil.copy(folder / "silent.wav", folder / "silent2.wav")
  soundfile.write(folder / "nan.wav", np.full(80, np.nan), 16_000, "FLOAT")
  soundfile.write(folder / "short.wav", _clip(0, 0.01), 16_000)
  names = [
    "corrupt",
    "empty",
    "missing",
    "nan",
    "none",
    "short",
    "silent",
    "silent2",
  ]
  bad = [
    Utterance(str(folder / f"{name}.wav"), "sad", "S0", name, 0)
    for name in names
  ]
  return [*bad[:5], *utterances, *bad[5:]]


def test_bad_files_are_named_and_skipped(tmp_path, mixed, caplog):
  cache = tmp_path / "cache"
  table = _extract(mixed, cache, max_skipped=8)
  assert table.turn.tolist() == [0, 1, 2]
  assert table.features["audio"].shape == (3, 88)
  lines = [r.getMessage() for r in caplog.records if r.levelname == "WARNING"]
  assert len(lines) == 8
  found = [line.removeprefix("skipped ").split(": ", 1) for line in lines]
  why = {pathlib.Path(path).stem: reason for path, reason in found}
  for name, reason in {
    "corrupt": "not readable as audio",
    "empty": "empty file",
    "missing": "no such file",
    "nan": "NaN",
    "none": "zero length",
    "short": "for 0.01 s",
    "silent": "silent",
    "silent2": "silent",
  }.items():
    assert reason in why.pop(name)
  assert not why

  with pytest.raises(
    UserError, match=r"8 of 11 .*config.data.max_skipped = 7; the first"
  ):
    _extract(mixed, cache, max_skipped=7)


def test_a_recording_too_many_stops_at_once(tmp_path, mixed):
  with pytest.raises(UserError, match=r"1 of 11 .*missing\.wav: no such file"):
    _extract(mixed, tmp_path / "cache")
  assert not (tmp_path / "cache").exists()


def test_nothing_usable(tmp_path):
  missing = [Utterance(str(tmp_path / "x.wav"), "sad", "S", "d", 0)]
  with pytest.raises(UserError, match=r"no recording is usable; .*x.wav"):
    _extract(missing, tmp_path, max_skipped=1)


def test_text_alone_reads_no_audio(tmp_path):
  (tmp_path / "no.wav").write_bytes(b"no audio")
  utterances = [
    Utterance("no/such.wav", "sad", "S", "d", 0, "", "some words"),
    Utterance("", "sad", "S", "d", 1),
    Utterance(str(tmp_path / "no.wav"), "sad", "S", "d", 2),
  ]
  table = _extract(
    utterances, tmp_path, audio_features="none", text_features="hashing"
  )
  assert set(table.features) == {"text"}
  assert table.features["text"].shape == (3, 1024)
  # Files are told apart wherever there are files.
  assert [bool(name) for name in table.fingerprint] == [False, False, True]
  data = common.data()
  data.audio_features = "none"
  alone = features.annotations(utterances, list("abc"), data, tmp_path)
  assert alone.fingerprint.tolist() == table.fingerprint.tolist()
  assert alone.corpus.tolist() == ["a", "b", "c"]


def test_identical_recordings_are_known_by_their_samples(tmp_path, caplog):
  samples = (20_000 * _clip(0)).astype(np.int16)
  for name in ("a.wav", "b.flac"):
    soundfile.write(tmp_path / name, samples, 16_000, subtype="PCM_16")
  utterances = [
    Utterance(str(tmp_path / name), "sad", "S", name, start=start)
    for name in ("a.wav", "b.flac")
    for start in (0.0, 0.1)
  ]
  data = common.data()
  data.audio_features = "eGeMAPSv02"
  for _ in range(2):
    table = features.annotations(utterances, ["c"] * 4, data, tmp_path)
    whole, part, same_whole, same_part = table.fingerprint.tolist()
    assert (whole, part) == (same_whole, same_part)
    assert whole == io.fingerprint(samples)
    assert part == io.fingerprint(samples[1600:])
  assert "and count each: 2 of 4, such as" in caplog.text
  utterances[2] = dataclasses.replace(utterances[2], label="happy")
  with pytest.raises(UserError, match=r"a\.wav is sad and .*b\.flac, the same"):
    features.annotations(utterances, ["manifest"] * 4, data, tmp_path)


@pytest.mark.parametrize(
  ("changes", "why"),
  [
    (
      {"audio_features": "ComParE"},
      r"config.data.audio_features = .* ComParE_2016, eGeMAPSv02, none",
    ),
    (
      {"text_features": "elmo9"},
      r"config.data.text_features = .* hashing, bert, elmo, none",
    ),
    ({"audio_features": "none"}, "choose one"),
    (
      {"audio_features": "none", "text_features": "hashing"},
      r"config.data.text_features = .*no utterance has a transcript",
    ),
  ],
)
def test_arguments_that_make_no_sense(tmp_path, changes, why):
  utterances = [Utterance("x.wav", "sad", "S", "d", 0)]
  with pytest.raises(UserError, match=why):
    _extract(utterances, tmp_path, **changes)


def test_a_killed_worker_is_an_error(tmp_path):
  utterances = _corpus(tmp_path / "a", 100)

  def kill():
    while not multiprocessing.active_children():
      time.sleep(0.01)
    os.kill(multiprocessing.active_children()[0].pid, signal.SIGKILL)

  killer = threading.Thread(target=kill)
  killer.start()
  with pytest.raises(UserError, match=r"a worker .* was killed"):
    _extract(utterances, tmp_path / "cache", num_workers=2)
  killer.join()
  assert not multiprocessing.active_children()


@pytest.mark.parametrize(
  "error",  # both are CPython 3.11's
  [OSError("handle is closed"), ValueError("bad value(s) in fds_to_keep")],
)
def test_a_worker_killed_while_jobs_are_given_out(tmp_path, monkeypatch, error):
  def submit(*_):
    raise error

  monkeypatch.setattr(futures.ProcessPoolExecutor, "submit", submit)
  with pytest.raises(UserError, match=r"a worker .* was killed"):
    _extract(_corpus(tmp_path / "a", 2), tmp_path / "cache", num_workers=2)


def test_a_cache_that_is_no_folder(tmp_path):
  utterances = _corpus(tmp_path / "a", 1)
  (tmp_path / "cache").touch()
  with pytest.raises(UserError, match="choose another folder"):
    _extract(utterances, tmp_path / "cache")


SCRIPT = """
  import pathlib, resource, sys
  import ml_collections
  from emojax.data import features
  from emojax.corpora import recordings
  from emojax.corpora.records import Utterance
  from emojax.errors import UserError

  if __name__ == "__main__":
    folder, cache, limit = sys.argv[1:]
    if int(limit):
      hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
      resource.setrlimit(resource.RLIMIT_FSIZE, (int(limit), hard))
    paths = sorted(pathlib.Path(folder).glob("*.wav"))
    utterances = [Utterance(str(p), "sad", "S", p.stem, 0) for p in paths]
    data = ml_collections.ConfigDict()
    data.audio_features, data.text_features = "eGeMAPSv02", "none"
    data.num_workers, data.max_skipped = 2, 0
    try:
      skips = recordings.Skips(0, len(paths))
      features.extract(utterances, ["c"] * len(paths), data, cache, skips)
    except UserError as error:
      sys.exit(f"UserError: {error}")
"""


@pytest.fixture
def start(tmp_path):
  """Starts an extraction in a process group of its own."""
  script = tmp_path / "script.py"
  script.write_text(textwrap.dedent(SCRIPT))
  started = []

  def start(folder, cache, limit=0):
    process = subprocess.Popen(
      [sys.executable, str(script), str(folder), str(cache), str(limit)],
      env={**os.environ, "PYTHONPATH": str(ROOT)},
      stderr=subprocess.PIPE,
      text=True,
      start_new_session=True,
    )
    started.append(process)
    return process

  yield start
  for process in started:
    if process.poll() is None:
      os.killpg(process.pid, signal.SIGKILL)
    process.communicate()


def _wait(condition, seconds=60.0):
  end = time.monotonic() + seconds
  while not condition():
    assert time.monotonic() < end, "waited in vain"
    time.sleep(0.02)


def _stored(cache: pathlib.Path) -> dict[str, int]:
  return {
    p.name: p.stat().st_mtime_ns for p in cache.glob("*opensmile*/*/[!.]*.npy")
  }


def _group_is_alive(group: int) -> bool:
  try:
    os.killpg(group, 0)
  except ProcessLookupError:
    return False
  return True


@pytest.mark.parametrize("how", ["SIGKILL", "SIGINT"])
def test_an_interrupted_extraction_goes_on(tmp_path, start, jobs, how):
  """Kills the parent alone; interrupts the group, as a terminal does."""
  utterances = _corpus(tmp_path / "a", 100)
  cache = tmp_path / "cache"
  process = start(tmp_path / "a", cache)
  _wait(lambda: len(_stored(cache)) >= 3)
  began = time.monotonic()
  if how == "SIGKILL":
    os.kill(process.pid, signal.SIGKILL)
  else:
    os.killpg(process.pid, signal.SIGINT)
  process.communicate(timeout=20)
  _wait(lambda: not _group_is_alive(process.pid), 20)
  assert time.monotonic() - began < 20
  before = _stored(cache)
  assert 3 <= len(before) < 100

  table = _extract(utterances, cache)
  assert len(table) == 100
  after = _stored(cache)
  assert {name: after[name] for name in before} == before
  assert [len(given) for given in jobs] == [100 - len(before)]


def test_a_full_disk_leaves_nothing_half_written(tmp_path, start):
  _corpus(tmp_path / "a", 3)
  process = start(tmp_path / "a", tmp_path / "cache", limit=200)
  _, error = process.communicate(timeout=60)
  assert process.returncode == 1
  assert "UserError: no room on the disk to write" in error
  assert "Traceback" not in error
  assert not [p for p in (tmp_path / "cache").rglob("*") if p.is_file()]
