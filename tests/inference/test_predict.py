"""Prediction: what it says, on what, and how it fails."""

import csv
import dataclasses
import json
import os
import shutil
import subprocess
import sys

import jax
import numpy as np
import pytest
import soundfile
import soxr
from scipy import special

from emojax.audio import io
from emojax.encoders.log_mel import LogMel
from emojax.encoders.speech import Wav2Vec2
from emojax.encoders.speech_config import SpeechConfig
from emojax.errors import UserError
from emojax.inference import predict, recordings, sources
from emojax.runtime import tensors
from emojax.systems import speech, stored

RATE = 16_000
WINDOW = 1.0
ENCODERS = {
  "log_mel": LogMel((4,)),
  "wav2vec2": Wav2Vec2(
    SpeechConfig(
      hidden_size=16,
      num_hidden_layers=1,
      num_attention_heads=2,
      intermediate_size=32,
      feat_extract_norm="layer",
      conv_dim=(8, 8, 8),
      conv_stride=(10, 8, 4),
      conv_kernel=(10, 8, 4),
      num_conv_pos_embeddings=4,
      num_conv_pos_embedding_groups=2,
    )
  ),
}


def make_system(encoder: str) -> speech.SpeechSystem:
  return speech.SpeechSystem(
    ENCODERS[encoder],
    classes=("angry", "neutral", "sad"),
    window_seconds=WINDOW,
    pooling="attention",
    weigh_layers=False,
    averaged_frames=1,
    hidden=8,
    dropout=0.3,
    temperature=1.7,
  )


def make_run(folder, encoder="log_mel"):
  """A finished run of the study, as training leaves it."""
  system = make_system(encoder)
  variables = jax.jit(system.model().init)(
    jax.random.key(0), np.zeros((1, RATE)), np.array([RATE])
  )
  (folder / "model").mkdir(parents=True)
  for name, write in stored.writers(system, variables["params"]).items():
    write(folder / name)
  (folder / "summary.json").touch()
  return folder


@pytest.fixture(scope="module")
def run(tmp_path_factory):
  return make_run(tmp_path_factory.mktemp("log_mel") / "run")


@pytest.fixture(scope="module", params=ENCODERS)
def any_run(request, tmp_path_factory):
  folder = tmp_path_factory.mktemp(request.param) / "run"
  return make_run(folder, request.param)


@pytest.fixture
def record(tmp_path, monkeypatch):
  """Writes a voice-like clip into the current, empty folder."""
  monkeypatch.chdir(tmp_path)

  def record(name, seconds=0.5, seed=0, rate=RATE, channels=1, **options):
    (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
    samples = voice(seconds, seed, rate)
    if channels > 1:
      samples = np.stack([samples] * channels, axis=1)
    soundfile.write(tmp_path / name, samples, rate, **options)
    return name

  return record


def voice(seconds, seed, rate=RATE):
  rng = np.random.default_rng(seed)
  time = np.arange(round(seconds * rate)) / rate
  pitch, loudness = rng.uniform(80, 300), rng.uniform(0.05, 0.3)
  harmonics = sum(np.sin(2 * np.pi * pitch * k * time) / k for k in (1, 2, 5))
  noise = np.sin(1e4 * np.sin(7919 * np.arange(len(time)) + seed))
  return loudness * (harmonics + 0.1 * noise)


def direct(run, windows):
  """Logits of single clips, one by one and without padding."""
  system, params = stored.load(run)

  @jax.jit
  def logits(samples_S):
    lengths_1 = np.array([len(samples_S)])
    audio_1xS = system.prepare(samples_S[None], lengths_1)
    return system.model().apply({"params": params}, audio_1xS, lengths_1)[0][0]

  return np.array([logits(samples) for samples in windows])


def probabilities(run, logits_C):
  system, _ = stored.load(run)
  return special.softmax(logits_C / system.temperature)


def decode(name):
  return (
    np.rint(io.read(name, RATE) * 32_768).clip(-32_768, 32_767).astype(np.int16)
  )


def test_equals_the_model_on_each_clip_alone(any_run, record):
  lengths = (0.045, 0.3, 1.0)
  names = [record(f"{s}.wav", s, seed=i) for i, s in enumerate(lengths)]
  long = record("long.wav", 2.3, seed=5)
  found = predict.load(any_run).predict([*names, long])
  assert found.names["path"] == [*names, long]
  assert found.classes == ("angry", "neutral", "sad")
  np.testing.assert_allclose(found.details["seconds"], (*lengths, 2.3))
  expected = [
    probabilities(any_run, direct(any_run, [decode(name)])[0]) for name in names
  ]
  # Three windows of a second cover 2.3 s: they start at 0, 0.65 and 1.3 s.
  samples = decode(long)
  pieces = [samples[start : start + RATE] for start in (0, 10_400, 20_800)]
  expected.append(probabilities(any_run, direct(any_run, pieces).mean(0)))
  np.testing.assert_allclose(found.probabilities_UxC, expected, atol=2e-5)
  assert np.ptp(found.probabilities_UxC, axis=0).max() > 1e-3


def test_batch_mates_change_nothing(run, record):
  lengths = [0.045, *np.linspace(0.76, 1, 16), 0.09]
  names = [record(f"{i:02d}.wav", s, seed=i) for i, s in enumerate(lengths)]
  together = predict.load(run).predict(names)
  assert together.names["path"] == names
  for index in (0, 7):
    alone = predict.load(run).predict([names[index]])
    np.testing.assert_allclose(
      alone.probabilities_UxC[0], together.probabilities_UxC[index], atol=2e-5
    )


def test_stereo_at_44100_hertz(run, record):
  stereo = record("stereo.wav", 0.8, rate=44_100, channels=2)
  mono, _ = soundfile.read(stereo, dtype="float32")
  soundfile.write(
    "mono.wav", soxr.resample(mono[:, 0], 44_100, RATE), RATE, subtype="FLOAT"
  )
  found = predict.load(run).predict([stereo, "mono.wav"])
  first, second = found.probabilities_UxC
  np.testing.assert_allclose(first, second, atol=1e-4)
  np.testing.assert_allclose(found.details["seconds"], 0.8, atol=1e-3)


def test_types_of_files(run, record):
  names = [
    record("a.flac"),
    record("a.ogg"),
    record("a.mp3"),
    record("a.aiff"),
    record("24-bit.wav", subtype="PCM_24"),
    record("telephone.wav", subtype="ULAW", rate=8_000),
    record("fine.wav", rate=192_000),
    record("six.wav", channels=6, rate=48_000),
    record("without a suffix, but a comma", format="WAV"),
  ]
  found = predict.load(run).predict(names)
  assert found.names["path"] == names
  seconds = found.details["seconds"]
  np.testing.assert_allclose(seconds, 0.5, atol=0.1)  # MP3 pads.
  np.testing.assert_allclose(found.probabilities_UxC.sum(1), 1)


def test_files_and_folders_each_once_in_order(record, tmp_path):
  for name in ("b/2.wav", "b/1.flac", "b/deep/0.WAV", "a.wav", "b/.hidden.wav"):
    record(name, format="FLAC" if name.endswith("flac") else "WAV")
  (tmp_path / "b" / "notes.txt").write_text("no audio")
  (tmp_path / "b" / "folder.wav").mkdir()
  (tmp_path / "b" / "link.wav").symlink_to("2.wav")
  (tmp_path / "empty").mkdir()
  inside = ["b/1.flac", "b/2.wav", "b/deep/0.WAV", "b/link.wav"]
  assert sources.find(["a.wav", "b"]).paths == ["a.wav", *inside]
  assert sources.find(["./b/"]).paths == [f"./{name}" for name in inside]
  again = ["./a.wav", "b/../a.wav", str(tmp_path / "a.wav"), "b/2.wav", "b"]
  assert sources.find(["a.wav", *again]).paths[0] == "a.wav"
  assert len(sources.find(["a.wav", *again]).paths) == 5
  assert sources.find(["empty"]).paths == ["empty"]


def test_what_can_not_be_used_is_named_and_skipped(
  run, record, tmp_path, caplog
):
  good = [record("x.wav", seed=1), record("z.wav", seed=2)]
  record("short.wav", 0.03)
  record("zero.wav", 0.0)
  soundfile.write("silent.wav", np.zeros(RATE), RATE)
  soundfile.write("nan.wav", np.full(RATE, np.nan), RATE, subtype="FLOAT")
  (tmp_path / "empty.wav").touch()
  (tmp_path / "noise.wav").write_bytes(bytes(range(256)) * 9)
  (tmp_path / "letter.txt").write_text("Dear reader")
  (tmp_path / "broken.wav").symlink_to("nowhere.wav")
  (tmp_path / "folder").mkdir()
  bad = {
    "short.wav": "30 ms long, less than the 40 ms of one frame",
    "zero.wav": "zero length",
    "silent.wav": "silent",
    "nan.wav": "NaN",
    "empty.wav": "an empty file",
    "noise.wav": "not readable",
    "letter.txt": "not readable",
    "broken.wav": "no such file",
    "nowhere.wav": "no such file",
    "folder": "without audio files",
  }
  found = predict.load(run).predict([good[0], *bad, good[1]])
  assert found.names["path"] == good
  assert [skip.path for skip in found.skipped] == list(bad)
  messages = [r.message for r in caplog.records if r.name.startswith("emojax")]
  for message, (name, why) in zip(messages, bad.items(), strict=True):
    assert message.startswith(f"skipped {name}: ")
    assert why in message
    assert "\n" not in message
  alone = predict.load(run).predict(good)
  np.testing.assert_allclose(
    alone.probabilities_UxC, found.probabilities_UxC, atol=2e-5
  )


def test_what_has_to_be_converted_counts_as_skipped(
  run, record, tmp_path, caplog
):
  record("calls/a.wav")
  record("calls/on disk/b.ogg")
  for name in ("a.m4a", "b.AMR", "on disk/film.webm", "notes.txt"):
    (tmp_path / "calls" / name).write_bytes(b"something else")
  (tmp_path / "calls" / "gone.wav").symlink_to("nowhere")
  os.mkfifo(tmp_path / "calls" / "pipe.wav")
  (tmp_path / "linked").mkdir()
  (tmp_path / "linked" / "calls").symlink_to(tmp_path / "calls")
  found = predict.load(run).predict(["calls", "calls/on disk", "linked"])
  assert found.names["path"] == ["calls/a.wav", "calls/on disk/b.ogg"]
  assert [skip.path for skip in found.skipped] == [
    *("calls/a.m4a", "calls/b.AMR", "calls/on disk/film.webm"),
    "calls/gone.wav",
  ]
  assert (
    "calls: 3 files of types to be converted first (for example with ffmpeg -i "
    "FILE FILE.wav) were not read: 1 .m4a, 1 .amr, 1 .webm (a.m4a, b.AMR, "
    "on disk/film.webm)" in caplog.messages
  )
  assert any("1 file of other types was not" in m for m in caplog.messages)
  with pytest.raises(UserError, match=r"none of 1 rec.*m4a: convert it, for"):
    predict.load(run).predict(["calls/a.m4a"])
  found, unread = sources.find(["calls/a.m4a", "calls"])
  assert (len(found), len(unread)) == (4, 2)


def test_nothing_that_can_be_used(run, tmp_path):
  (tmp_path / "empty.wav").touch()
  with pytest.raises(UserError, match=r"none of 2 recordings.*an empty file"):
    predict.load(run).predict([str(tmp_path / "empty.wav"), "nowhere.wav"])
  (tmp_path / "mine.csv").write_text("path\n", encoding="utf-8")
  with pytest.raises(UserError, match="a table, which a system of conv"):
    predict.load(run).predict(tmp_path / "mine.csv")
  with pytest.raises(UserError, match="nothing to predict"):
    predict.load(run).predict([])


def damage(run, what):
  weights, description = run / "model" / "weights.safetensors", "system.json"
  if what == "missing":
    (run / "summary.json").unlink()
    (run / "model" / description).unlink()
  elif what == "another kind":
    (run / "model" / description).write_text(json.dumps({"kind": "music"}))
  elif what == "no description":
    (run / "model" / description).unlink()
  elif what == "cut":
    weights.write_bytes(weights.read_bytes()[:-100])
  elif what == "weights of another model":
    params = tensors.load(weights)
    params["output"]["kernel"] = np.zeros((8, 4), np.float32)
    tensors.save(weights, params)
  elif what == "weights missing":
    params = tensors.load(weights)
    del params["pool"]
    tensors.save(weights, params)
  elif what == "nan":
    params = jax.tree.map(
      lambda x: np.full_like(x, np.nan), tensors.load(weights)
    )
    tensors.save(weights, params)
  elif what == "no weights":
    weights.unlink()
  elif what == "no model":
    shutil.rmtree(run / "model")
  elif what == "description":
    (run / "model" / description).write_text("{")


@pytest.mark.parametrize(
  ("what", "message"),
  [
    ("missing", "no finished run"),
    (
      "no model",
      "system.json: no such file; copy the run's folder",
    ),
    ("another kind", r"damaged \(kind has to be one of "),
    ("no description", "system.json: no such file; copy"),
    ("cut", "damaged"),
    ("weights of another model", "damaged, or not of the system.json"),
    ("weights missing", "tensors do not fit; .* is missing"),
    ("nan", "damaged"),
    ("no weights", "weights.safetensors: no such file"),
    ("description", "not readable as JSON"),
  ],
)
def test_a_run_that_is_none(run, tmp_path, record, what, message):
  copy = shutil.copytree(run, tmp_path / "run")
  damage(copy, what)
  with pytest.raises(UserError, match=message) as caught:
    predict.load(copy).predict([record("a.wav")])
  assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
  ("field", "value"),
  [
    *(("temperature", 0), ("threshold", 1.5), ("threshold", -0.1)),
    *(("threshold", float("nan")), ("threshold", "x"), ("level_db", 3)),
    *(("level_db", float("-inf")), ("level_db", -200)),
  ],
)
def test_a_description_that_was_tampered_with(run, tmp_path, field, value):
  copy = shutil.copytree(run, tmp_path / "run")
  path = copy / "model" / "system.json"
  path.write_text(json.dumps({**json.loads(path.read_text()), field: value}))
  with pytest.raises(UserError, match=r"system.json: .*train it again"):
    stored.load(copy)


def test_a_run_from_before_there_was_a_threshold(run, tmp_path, record):
  copy = shutil.copytree(run, tmp_path / "run")
  path = copy / "model" / "system.json"
  fields = json.loads(path.read_text())
  del fields["threshold"], fields["level_db"]
  path.write_text(json.dumps(fields))
  system, _ = stored.load(copy)
  assert (system.threshold, system.level_db) == (None, None)
  assert len(predict.load(copy).predict([record("a.wav")]).names["path"]) == 1


def test_no_run_at_all(tmp_path, record):
  with pytest.raises(UserError, match="no finished run"):
    predict.load(tmp_path / "nowhere").predict([record("a.wav")])


def test_long_windows_make_smaller_batches(run, monkeypatch):
  shapes = []
  in_batches = recordings.in_batches

  def spy(pieces, sizes, rows):
    shapes.append((sizes[-1], rows))
    return in_batches(pieces, sizes, rows)

  monkeypatch.setattr(recordings, "in_batches", spy)
  system, params = stored.load(run)
  for seconds in (1.0, 20.0, 500.0):
    long = dataclasses.replace(system, window_seconds=seconds)
    list(recordings.classify(long, params, []))
  assert shapes == [(16_000, 16), (320_000, 5), (8_000_000, 1)]


_NOT_LOADED = (
  "clu", "emojax.loop", "emojax.trainers", "grain", "librosa", "matplotlib",
  "numba", "opensmile", "optax", "orbax", "pandas", "scipy", "sklearn",
  "tensorflow", "tensorflow_datasets", "torch", "transformers",
)  # fmt: skip


def test_command(run, record, cache):
  """In a process of its own: exit code, streams, and what it imports."""
  names = [record("clips/a.wav"), record("clips/b.wav", seed=3)]
  open("clips/bad.wav", "w", encoding="utf-8").close()
  program = (
    "import sys; from emojax import __main__ as entry, cli;"
    "code = cli.run(entry.main, ['emojax', *sys.argv[1:]]);"
    f"loaded = [m for m in {_NOT_LOADED} if m in sys.modules];"
    "sys.exit(f'loaded {loaded}' if loaded else code)"
  )

  done = subprocess.run(
    [
      sys.executable,
      "-c",
      program,
      "predict",
      str(run),
      "clips",
      "-output=o/p",
    ],
    capture_output=True,
    text=True,
    env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
  )
  assert done.returncode == 0, done.stderr
  assert not done.stdout
  assert "skipped clips/bad.wav: an empty file\n" in done.stderr
  assert "o/p: 2 predicted, 1 skipped\n" in done.stderr
  with open("o/p", encoding="utf-8", newline="") as file:
    rows = list(csv.DictReader(file))
  assert [row["path"] for row in rows] == names
  probabilities_UxC = [
    [float(row[name]) for name in ("angry", "neutral", "sad")] for row in rows
  ]
  np.testing.assert_allclose(np.sum(probabilities_UxC, 1), 1, atol=2e-6)
