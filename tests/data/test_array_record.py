"""Prepared corpora: what is written, skipped, kept and read again."""

import os
import pickle
import subprocess
import sys

import numpy as np
import pytest
import soundfile

from emojax.audio import io
from emojax.corpora import recordings
from emojax.corpora import speech as corpora
from emojax.corpora.records import Utterance
from emojax.data import array_record
from emojax.errors import UserError

RATE = array_record.SAMPLE_RATE


@pytest.fixture(autouse=True)
def small_shards(monkeypatch):
  monkeypatch.setattr(array_record, "_CLIPS_IN_A_SHARD", 4)


@pytest.fixture
def corpus(tmp_path):
  """A manifest of ten recordings of 16 bits, noise of growing length."""
  rng = np.random.default_rng(0)
  lines = ["path,label,speaker,dialogue,turn,session,text"]
  samples = {}
  for i in range(10):
    name = f"{i}.wav"
    samples[name] = rng.integers(-9000, 9000, 800 + i, np.int16)
    soundfile.write(tmp_path / name, samples[name], RATE, subtype="PCM_16")
    label = ("happy", "sad", "")[i % 3]
    lines.append(
      f"{name},{label},Zoë {i % 2},d{i // 5},{i},Ses0{i // 5},Tüte {i}"
    )
  path = tmp_path / "mine.csv"
  path.write_text("\n".join(lines), encoding="utf-8")
  return path, samples


def prepare(name, path, data_dir, max_skipped, **options):
  return prepare_all(
    name, corpora.read(name, str(path)), data_dir, max_skipped, **options
  )


def prepare_all(name, found, data_dir, max_skipped, **options):
  skips = recordings.Skips(max_skipped, len(found))
  used = [True] * len(found)
  clips = array_record.prepare(name, found, data_dir, skips, used, **options)
  return clips, skips.found


def _prepare(corpus, tmp_path, max_skipped=0, **options):
  path, _ = corpus
  return prepare("manifest", path, tmp_path / "data", max_skipped, **options)


def test_every_clip_as_it_is(corpus, tmp_path, capsys):
  clips, skipped = _prepare(corpus, tmp_path)
  assert (len(clips), skipped) == (10, [])
  for i, (utterance, digest) in enumerate(
    zip(clips.utterances, clips.digests, strict=True)
  ):
    assert clips[i].dtype == np.int16
    np.testing.assert_array_equal(clips[i], corpus[1][f"{i}.wav"])
    assert digest == io.fingerprint(clips[i])
    assert utterance.turn == i
  assert clips.utterances[2].label == ""
  captured = capsys.readouterr()
  assert captured.out == ""
  assert "prepare manifest: 10/10" in captured.err


def test_another_rate_and_more_channels(tmp_path):
  time = np.arange(48_000) / 48_000
  stereo = np.stack([np.sin(2 * np.pi * 440 * time), np.zeros(48_000)], axis=1)
  soundfile.write(tmp_path / "a.wav", stereo, 48_000, subtype="FLOAT")
  (tmp_path / "mine.csv").write_text("path,label,speaker\na.wav,sad,A\n")
  path = tmp_path / "mine.csv"
  clips, _ = prepare("manifest", path, tmp_path / "data", 0)
  audio = clips[0] / io.FULL_SCALE
  expected = 0.5 * np.sin(2 * np.pi * 440 * np.arange(RATE) / RATE)
  np.testing.assert_allclose(audio[500:-500], expected[500:-500], atol=1e-3)


def test_what_is_louder_than_full_scale_is_clipped():
  samples = np.array([-1.5, -1.0, 0.0, 0.5, 1.0, 2.0], np.float32)
  np.testing.assert_array_equal(
    io.to_int16(samples), [-32768, -32768, 0, 16384, 32767, 32767]
  )


def test_other_processes_read_it_too(corpus, tmp_path):
  clips, _ = _prepare(corpus, tmp_path)
  copy = pickle.loads(pickle.dumps(clips))
  assert repr(copy) == repr(clips)
  for index in (9, 0, 4):
    np.testing.assert_array_equal(copy[index], clips[index])


def test_prepared_once(corpus, tmp_path, monkeypatch):
  first, _ = _prepare(corpus, tmp_path)
  monkeypatch.setattr(io, "decode", None)
  again, _ = _prepare(corpus, tmp_path)
  assert repr(again) == repr(first)
  np.testing.assert_array_equal(again[3], first[3])


def test_other_content_is_another_version(corpus, tmp_path):
  _prepare(corpus, tmp_path)
  path, samples = corpus
  louder = samples["3.wav"] // 2
  soundfile.write(tmp_path / "3.wav", louder, RATE, subtype="PCM_16")
  np.testing.assert_array_equal(_prepare(corpus, tmp_path)[0][3], louder)
  # What is said of the recordings is not kept with them.
  path.write_text(path.read_text("utf-8").replace("Tüte 3", "Tüte"), "utf-8")
  assert _prepare(corpus, tmp_path)[0].utterances[3].text == "Tüte"
  assert len(list((tmp_path / "data").iterdir())) == 2


def test_unreadable_clips_are_named_each_time(corpus, tmp_path, caplog):
  (tmp_path / "4.wav").write_bytes(b"")
  (tmp_path / "5.wav").write_bytes(b"no audio at all")
  for _ in range(2):
    caplog.clear()
    clips, skipped = _prepare(corpus, tmp_path, max_skipped=2)
    assert [error.path for error in skipped] == [
      str(tmp_path / "4.wav"),
      str(tmp_path / "5.wav"),
    ]
    assert [record.getMessage() for record in caplog.records] == [
      f"skipped {error}" for error in skipped
    ]
    assert [u.turn for u in clips.utterances] == [0, 1, 2, 3, 6, 7, 8, 9]
    for index, utterance in enumerate(clips.utterances):
      assert len(clips[index]) == 800 + utterance.turn
    # The limit holds for what is prepared already, too.
    with pytest.raises(UserError, match=r"2 of 10 .*max_skipped = 1; .*4\.wav"):
      _prepare(corpus, tmp_path, max_skipped=1)


def _fail(path, *_):
  raise io.UnreadableAudio(path, "Input/output error")


def test_a_failure_is_not_remembered(corpus, tmp_path, monkeypatch, caplog):
  """Who reads what was prepared without it, goes on with that."""
  decode = io.decode
  (tmp_path / "2.wav").write_bytes(b"no audio at all")

  def some(path, *segment):
    is_lost = path.endswith(("4.wav", "7.wav"))
    return _fail(path) if is_lost else decode(path, *segment)

  with monkeypatch.context() as patched:
    patched.setattr(io, "decode", some)
    without, skipped = _prepare(corpus, tmp_path, max_skipped=3)
    assert (len(without), len(skipped)) == (7, 3)
  for _ in range(2):
    caplog.clear()
    clips, skipped = _prepare(corpus, tmp_path, max_skipped=1)
    assert [u.turn for u in clips.utterances] == [0, 1, 3, 4, 5, 6, 7, 8, 9]
    for index, utterance in enumerate(clips.utterances):
      expected = corpus[1][f"{utterance.turn}.wav"]
      np.testing.assert_array_equal(clips[index], expected)
    assert caplog.messages == [f"skipped {skipped[0]}"]
    assert skipped[0].path == str(tmp_path / "2.wav")
  for index, turn in enumerate([0, 1, 3, 5, 6, 8, 9]):
    np.testing.assert_array_equal(without[index], corpus[1][f"{turn}.wav"])
  # As is said today.
  monkeypatch.setattr(io, "decode", _fail)
  _, skipped = _prepare(corpus, tmp_path, max_skipped=3)
  assert {error.why for error in skipped} == {"Input/output error"}


def test_another_decoder_decodes_anew(corpus, tmp_path, monkeypatch):
  _prepare(corpus, tmp_path)
  monkeypatch.setattr(soundfile, "__libsndfile_version__", "9.9")
  with monkeypatch.context() as patched:
    patched.setattr(io, "decode", _fail)
    with pytest.raises(UserError, match="no recording is usable"):
      _prepare(corpus, tmp_path, max_skipped=10)
  assert len(_prepare(corpus, tmp_path)[0]) == 10


def test_short_clips_are_named_each_time_and_not_prepared_again(
  corpus, tmp_path, caplog, monkeypatch
):
  (tmp_path / "9.wav").write_bytes(b"no audio at all")
  _prepare(corpus, tmp_path, max_skipped=1)
  tried = []
  monkeypatch.setattr(
    io, "decode", lambda path, *_: (tried.append(path), _fail(path))
  )
  caplog.clear()
  # The first two have 800 and 801 samples.
  clips, skipped = _prepare(corpus, tmp_path, max_skipped=3, min_samples=802)
  assert [error.path for error in skipped] == [
    str(tmp_path / f"{name}.wav") for name in (9, 0, 1)
  ]
  assert tried == [str(tmp_path / "9.wav")]
  text = "0.wav: 50 ms long, less than the 50 ms of one frame"
  assert text in caplog.text
  assert [u.turn for u in clips.utterances] == [2, 3, 4, 5, 6, 7, 8]
  assert list(clips.num_samples) == list(range(802, 809))
  for index, utterance in enumerate(clips.utterances):
    assert len(clips[index]) == clips.num_samples[index] == 800 + utterance.turn
  with pytest.raises(UserError, match=r"3 of 10 .*max_skipped = 2; .*9\.wav"):
    _prepare(corpus, tmp_path, max_skipped=2, min_samples=802)
  with pytest.raises(UserError, match="no recording is usable"):
    _prepare(corpus, tmp_path, max_skipped=10, min_samples=2_000)


def test_who_is_not_used_is_not_counted(corpus, tmp_path, caplog):
  """In a store that is new, and in one that is there."""
  for i in (2, 5, 8):  # Those without a label.
    (tmp_path / f"{i}.wav").write_bytes(b"no audio at all")
  found = corpora.read("manifest", str(corpus[0]))
  used = [bool(one.label) for one in found]
  for _ in range(2):
    skips = recordings.Skips(0, sum(used))
    clips = array_record.prepare(
      "manifest", found, tmp_path / "data", skips, used
    )
    assert [one.turn for one in clips.utterances] == [0, 1, 3, 4, 6, 7, 9]
    assert not skips.found and "skipped" not in caplog.text
  (tmp_path / "4.wav").write_bytes(b"no audio at all")
  skips = recordings.Skips(0, sum(used))
  with pytest.raises(UserError, match=r"1 of 7 .*first: .*4\.wav"):
    array_record.prepare("manifest", found, tmp_path / "data", skips, used)


def test_a_shard_without_a_usable_clip(corpus, tmp_path):
  for i in range(4, 8):
    (tmp_path / f"{i}.wav").write_bytes(b"")
  clips, skipped = _prepare(corpus, tmp_path, max_skipped=4)
  assert len(skipped) == 4
  lengths = [len(clips[i]) - 800 for i in range(len(clips))]
  assert lengths == [0, 1, 2, 3, 8, 9]


def test_nothing_usable(corpus, tmp_path):
  for i in range(10):
    (tmp_path / f"{i}.wav").write_bytes(b"")
  for _ in range(2):
    with pytest.raises(UserError, match=r"no recording is usable; .*0\.wav"):
      _prepare(corpus, tmp_path, max_skipped=10)


def test_too_many_unreadable_leave_nothing(corpus, tmp_path):
  (tmp_path / "6.wav").write_bytes(b"")
  with pytest.raises(UserError, match="1 of 10 recordings can not be used"):
    _prepare(corpus, tmp_path)
  assert not [p for p in (tmp_path / "data").rglob("*") if p.is_file()]


def test_an_interruption_leaves_nothing(corpus, tmp_path, monkeypatch):
  decode = io.decode

  def interrupted(path, *segment):
    if path.endswith("7.wav"):
      raise KeyboardInterrupt
    return decode(path, *segment)

  with monkeypatch.context() as patched:
    patched.setattr(io, "decode", interrupted)
    with pytest.raises(KeyboardInterrupt):
      _prepare(corpus, tmp_path)
  assert not [p for p in (tmp_path / "data").rglob("*") if p.is_file()]
  assert len(_prepare(corpus, tmp_path)[0]) == 10


_KILLED = """
import os, signal, sys
from emojax.audio import io
from emojax.corpora import recordings, speech
from emojax.data import array_record

def killed(*_):
  os.kill(os.getpid(), signal.SIGKILL)

io.decode = killed
found = speech.read("manifest", sys.argv[1])
skips, used = recordings.Skips(0, 10), [True] * 10
array_record.prepare("manifest", found, sys.argv[2], skips, used)
"""


def test_what_a_killed_process_left_goes(corpus, tmp_path):
  home = tmp_path / "data"
  command = [sys.executable, "-c", _KILLED, str(corpus[0]), str(home)]
  assert subprocess.run(command).returncode == -9
  before = set(home.rglob("*"))
  assert before
  for path in before:
    os.utime(path, (0, 0))
  assert len(_prepare(corpus, tmp_path)[0]) == 10
  assert not any("incomplete" in str(path) for path in home.rglob("*"))
  assert not [path for path in home.iterdir() if path.name[0] == "."]


def test_two_processes_prepare_at_once(corpus, tmp_path, monkeypatch):
  (tmp_path / "4.wav").write_bytes(b"")
  read = io.read

  def slow(path, rate):
    if path.endswith("9.wav"):
      monkeypatch.setattr(io, "read", read)
      assert len(_prepare(corpus, tmp_path, max_skipped=1)[0]) == 9
    return read(path, rate)

  monkeypatch.setattr(io, "read", slow)
  clips, skipped = _prepare(corpus, tmp_path, max_skipped=1)
  assert (len(clips), len(skipped)) == (9, 1)
  assert len(clips[8]) == 809


def test_damaged_files_say_so(corpus, tmp_path):
  _prepare(corpus, tmp_path)
  shard = sorted((tmp_path / "data").rglob("*.array_record*"))[1]
  shard.unlink()
  with pytest.raises(UserError, match=r"damaged, .* is missing; remove"):
    _prepare(corpus, tmp_path)


def test_a_full_disk(corpus, tmp_path, monkeypatch):
  def fill(_):
    raise RuntimeError("write() failed: No space left on device; writing x")

  monkeypatch.setattr(array_record.CorpusBuilder, "download_and_prepare", fill)
  with pytest.raises(UserError, match="no room on the disk"):
    _prepare(corpus, tmp_path)


def test_a_data_dir_that_is_a_file(corpus, tmp_path):
  (tmp_path / "data").touch()
  with pytest.raises(UserError, match="can not be written"):
    _prepare(corpus, tmp_path)


def test_real_clips(real_data, tmp_path):
  folder = tmp_path / "Actor_01"
  folder.mkdir()
  for path in sorted((real_data / "ravdess" / "Actor_01").iterdir())[:6]:
    (folder / path.name).symlink_to(path)
  clips, skipped = prepare("ravdess", tmp_path, tmp_path / "d", 0)
  assert (len(clips), skipped) == (6, [])
  expected = io.read(clips.utterances[5].path, RATE)
  np.testing.assert_allclose(clips[5] / io.FULL_SCALE, expected, atol=2e-5)


# One recording of 80 kB many times: 2,000 of them would be 160 MB.
_MEMORY = """
import pathlib, resource, sys
from emojax.corpora import recordings
from emojax.corpora import speech as corpora
from emojax.data import array_record
folder = pathlib.Path(sys.argv[1])

def peak(count):
  path = folder / f"{count}.csv"
  lines = ["path,label,speaker,start,end"] + [
    f"a.wav,sad,A,{i / 1000:.3f},{i / 1000 + 2.5:.3f}" for i in range(count)
  ]
  path.write_text("\\n".join(lines))
  found = corpora.read("manifest", str(path))
  skips, used = recordings.Skips(0, count), [True] * count
  clips = array_record.prepare("manifest", found, folder / "data", skips, used)
  assert len(clips) == count
  for index in range(0, count, 10):
    assert len(clips[index]) == 40_000
  return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024

print(peak(200), peak(2000))
heavy = {"tensorflow", "jax", "torch", "opensmile", "sklearn"}
print(sorted(heavy & {name.partition(".")[0] for name in sys.modules}))
"""


def test_flat_memory_without_tensorflow(tmp_path):
  samples = np.random.default_rng(0).integers(-99, 99, 72_000, np.int16)
  soundfile.write(tmp_path / "a.wav", samples, RATE, subtype="PCM_16")
  output = subprocess.run(
    [sys.executable, "-W", "error", "-c", _MEMORY, str(tmp_path)],
    check=True,
    capture_output=True,
    text=True,
  ).stdout.splitlines()
  before, after = map(float, output[0].split())
  assert after - before < 40  # MiB
  assert output[1] == "[]"


def test_segments_and_types_by_their_samples(tmp_path, caplog):
  samples = np.random.default_rng(0).integers(-9000, 9000, RATE, np.int16)
  for name in ("a.wav", "b.flac"):
    soundfile.write(tmp_path / name, samples, RATE, subtype="PCM_16")
  places = [
    ("a.wav", 0.0, None),
    ("b.flac", 0.0, None),
    ("a.wav", 0.25, 0.5),
    ("b.flac", 0.25, 0.5),
    ("a.wav", 0.5, None),
    ("a.wav", 0.5, 3.0),
  ]
  utterances = [
    Utterance(str(tmp_path / name), "sad", "A", str(i), start=start, end=end)
    for i, (name, start, end) in enumerate(places)
  ]
  for _ in range(2):
    clips, skipped = prepare_all("mine", utterances, tmp_path / "data", 1)
    assert [error.path for error in skipped] == [utterances[-1].path]
    assert "no segment from 0.5 s to 3 s" in skipped[0].why
    assert clips.num_samples == [RATE, RATE, RATE // 4, RATE // 4, RATE // 2]
    np.testing.assert_array_equal(clips[3], samples[RATE // 4 : RATE // 2])
    one, other, first, second, last = clips.digests
    assert (one, first) == (other, second)
    assert len({one, first, last}) == 3


def test_what_is_odd_is_said_each_time(tmp_path, caplog):

  path = tmp_path / "a.wav"
  soundfile.write(path, 0.3 + 0.1 * np.sin(np.arange(RATE)), RATE)
  utterances = [Utterance(str(path), "sad", "A", "a")]
  for _ in range(2):
    caplog.clear()
    prepare_all("mine", utterances, tmp_path / "data", 0)
    (message,) = caplog.messages
    assert message.startswith(f"{path}: its samples have a constant offset of")
