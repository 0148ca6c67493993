"""Exported systems: run without emojax, equal to the system, and errors."""

import json
import os
import re
import runpy
import subprocess
import sys

import jax
import numpy as np
import pytest
import soundfile

import emojax
from emojax import __main__ as entry
from emojax.encoders.log_mel import LogMel
from emojax.encoders.speech import Wav2Vec2
from emojax.encoders.speech_config import SpeechConfig
from emojax.encoders.whisper_config import WhisperConfig
from emojax.encoders.whisper_encoder import Whisper
from emojax.errors import UserError
from emojax.exporting import export
from emojax.exporting.scripts import speech as speech_script
from emojax.systems import stored
from emojax.systems.speech import SpeechSystem

RATE = 16_000


def wav2vec2(family: str, **fields) -> Wav2Vec2:
  return Wav2Vec2(
    SpeechConfig(
      model_type=family,
      hidden_size=16,
      num_hidden_layers=1,
      num_attention_heads=2,
      intermediate_size=32,
      conv_dim=(8, 8),
      conv_stride=(20, 16),
      conv_kernel=(20, 16),
      num_conv_pos_embeddings=4,
      num_conv_pos_embedding_groups=2,
      num_buckets=8,
      max_bucket_distance=12,
      **fields,
    )
  )


ENCODERS = {
  "log_mel": LogMel((4, 6)),
  "hubert": wav2vec2(
    "hubert", feat_extract_norm="layer", do_stable_layer_norm=True
  ),
  "wavlm": wav2vec2("wavlm", feat_extract_norm="group"),
  "whisper": Whisper(
    WhisperConfig(
      num_mel_bins=8,
      d_model=16,
      encoder_layers=1,
      encoder_attention_heads=2,
      encoder_ffn_dim=32,
      max_source_positions=50,
    )
  ),
  "whisper_window": Whisper(
    WhisperConfig(
      num_mel_bins=8,
      d_model=16,
      encoder_layers=1,
      encoder_attention_heads=2,
      encoder_ffn_dim=32,
      max_source_positions=50,
    ),
    window=True,
  ),
}
ONNX_ALONE = ("hubert", "whisper", "whisper_window")


def make_run(folder, encoder="log_mel", **fields):
  """A system as a run leaves it, with weights that differ from one another."""
  system = SpeechSystem(
    ENCODERS[encoder],
    classes=("angry", "neutral", "sad"),
    window_seconds=1.0,
    pooling="attention",
    weigh_layers=encoder != "log_mel",
    averaged_frames=1 if encoder == "log_mel" else 3,
    hidden=8,
    dropout=0.3,
    num_domains=2,
    temperature=1.7,
    **fields,
  )
  random = np.random.default_rng(0)
  params = jax.tree.map(
    lambda x: random.normal(0.1, 0.3, x.shape).astype(x.dtype), system.shapes()
  )
  (folder / "model").mkdir(parents=True)
  for name, write in stored.writers(system, params).items():
    write(folder / name)
  config = {"model": {"encoder": "/home/me/hubert", "revision": "main"}}
  (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
  return folder


@pytest.fixture(scope="module")
def run(tmp_path_factory):
  return make_run(tmp_path_factory.mktemp("export") / "run")


@pytest.fixture(scope="module", params=export.FORMATS)
def exported(request, run, tmp_path_factory):
  target = tmp_path_factory.mktemp(request.param) / "exports" / "system"
  export.export(run, target, request.param)
  return target


def program(folder):
  """The function that a folder's own script gives."""
  return runpy.run_path(str(folder / "program.py"))["load"](folder)


@pytest.mark.parametrize("encoder", [*ENCODERS][1:])
def test_a_program_equals_the_system(tmp_path, encoder):
  """For sizes that were not known when it was written."""
  run = make_run(tmp_path / "run", encoder)
  # StableHLO takes XLA seconds to compile, and its parts are those of JAX.
  formats = ("onnx",) if encoder in ONNX_ALONE else export.FORMATS
  system, params = stored.load(run)
  random, found = np.random.default_rng(1), []
  for format_ in formats:
    said = export.export(run, tmp_path / format_, format_)
    # Two clips as long as the window.
    assert said["largest_difference"]["probabilities"] < 1e-5
    least, most = said["bounds"]["samples"]
    lengths = np.array([most // 3, 2 * least, least], np.int32)
    audio = random.uniform(-1, 1, (3, lengths.max()))
    audio *= np.arange(lengths.max()) < lengths[:, None]
    audio = audio.astype(np.float32)
    found.append(program(tmp_path / format_)(audio=audio, lengths=lengths))
    random = np.random.default_rng(1)
  logits, _ = system.forward(params, audio, lengths)
  assert np.ptp(logits) > 0.01  # They say something.
  scores = np.exp(np.asarray(logits, float) / system.temperature)
  scores /= scores.sum(1, keepdims=True)
  for values in found:
    np.testing.assert_allclose(values["logits"], logits, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(values["probabilities"], scores, atol=1e-5)


_WITHOUT = """
import runpy, sys
sys.modules["emojax"] = None
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
assert not {"flax", "onnx", "torch", "tensorflow"} & sys.modules.keys()
"""


def test_the_script_says_what_predict_says(tmp_path, run, exported):
  """Of short and of long recordings, in a process that has no emojax."""
  random, paths = np.random.default_rng(2), []
  for seconds in (0.6, 2.3):
    paths.append(str(tmp_path / f"{seconds}.wav"))
    samples = random.uniform(-0.5, 0.5, int(seconds * RATE))
    soundfile.write(paths[-1], samples, RATE)
  command = [sys.executable, "-c", _WITHOUT, str(exported / "run.py"), *paths]
  # The script stands in its own folder, as `python run.py` has it.
  environment = os.environ | {"PYTHONPATH": str(exported)}
  done = subprocess.run(
    command, capture_output=True, text=True, env=environment, check=True
  )
  expected = emojax.load(run).predict(paths)
  best = expected.probabilities_UxC.max(1)
  for line, emotion, confidence, path in zip(
    done.stdout.splitlines(), expected.emotions, best, paths, strict=True
  ):
    said = line.split("\t")
    assert (said[0], said[2]) == (emotion, path)
    assert abs(float(said[1]) - confidence) < 1e-5


def test_the_script_bounds_its_batches_and_hears_opposite_phases(tmp_path):
  random, sizes = np.random.default_rng(3), []

  def call(audio, lengths):
    sizes.append(len(lengths))
    return {"logits": np.stack([audio.mean(1), audio.std(1)], 1)}

  card = {"sample_rate": RATE, "bounds": {"samples": [400, 800]}}
  card["temperature"] = 0.1
  mono = random.uniform(-0.5, 0.5, (800 * 37, 1))
  said = []
  for name, channels in (("mono", [1]), ("opposite", [1, -1])):
    path = tmp_path / f"{name}.wav"
    soundfile.write(path, mono * channels, RATE, subtype="FLOAT")
    said.append(speech_script.probabilities(call, card, str(path)))
  assert sizes == 2 * [16, 16, 5]
  np.testing.assert_allclose(said[1], said[0], atol=1e-6)


@pytest.mark.parametrize(
  ("rate", "seconds", "what"),
  [(8_000, 1, "8000 Hz; resample it to 16000"), (RATE, 0.05, "800 samples")],
)
def test_the_script_refuses(
  tmp_path, exported, monkeypatch, rate, seconds, what
):
  path = tmp_path / "clip.wav"
  soundfile.write(path, np.zeros(int(rate * seconds)), rate)
  monkeypatch.syspath_prepend(exported)
  monkeypatch.delitem(sys.modules, "program", raising=False)
  monkeypatch.setattr(sys, "argv", ["run.py", str(path)])
  with pytest.raises(SystemExit, match=what):
    runpy.run_path(str(exported / "run.py"), run_name="__main__")


def test_the_card_says_what_a_caller_has_to_know(exported):
  card = json.loads((exported / "card.json").read_text(encoding="utf-8"))
  assert card["kind"] == "speech"
  assert card["classes"] == ["angry", "neutral", "sad"]
  assert (card["temperature"], card["sample_rate"]) == (1.7, RATE)
  assert card["bounds"] == {"batch": [1, None], "samples": [1280, RATE]}
  assert card["inputs"]["audio"]["shape"] == ["batch", "samples"]
  assert card["outputs"]["probabilities"]["shape"] == ["batch", 3]
  assert card["trained_as"] == {"encoder": "hubert", "revision": "main"}
  assert card["versions"]["jax"] == jax.__version__
  assert card["largest_difference"]["probabilities"] < 1e-5
  page = (exported / "README.md").read_text(encoding="utf-8")
  assert "pip install" in page and "float32" in page
  assert not list(exported.parent.glob(".*"))  # Nothing is left of the work.
  assert (exported.stat().st_mode & 0o777) == 0o755


def test_weights_are_beside_the_stablehlo(exported):
  if (exported / "model.stablehlo").exists():
    weights = (exported / "weights.safetensors").stat().st_size
    assert weights > 4 * 100
    # One program for all platforms, any batch and length.
    assert (exported / "model.stablehlo").stat().st_size < 300_000


def test_products_are_whole_on_accelerators_too(exported):
  """By default GPUs and TPUs multiply with ten bits or seven."""
  if (exported / "model.stablehlo").exists():
    content = (exported / "model.stablehlo").read_bytes()
    text = jax.export.deserialize(bytearray(content)).mlir_module()
    products = re.findall(r"stablehlo\.(?:dot_general|convolution).*", text)
    assert len(products) > 3
    assert {product.count("HIGHEST") for product in products} == {2}


def test_bfloat16_is_float32_in_onnx(tmp_path):
  run = make_run(tmp_path / "run", "hubert", dtype="bfloat16")
  said = export.export(run, tmp_path / "out", "onnx")
  assert said["computes_in"] == "float32"
  page = (tmp_path / "out" / "README.md").read_text(encoding="utf-8")
  assert "that it was made from, computed in float32, on\n" in page


def is_refused(tmp_path, arguments, what):
  before = sorted(tmp_path.rglob("*"))
  with pytest.raises(UserError) as caught:
    entry.main(["emojax", "export", *map(str, arguments)])
  assert what in str(caught.value)
  assert "\n" not in str(caught.value)
  assert sorted(tmp_path.rglob("*")) == before


def test_a_target_that_exists(tmp_path, run):
  (tmp_path / "folder").mkdir()
  (tmp_path / "file").touch()
  (tmp_path / "link").symlink_to("nowhere")
  for name in ("folder", "file", "link"):
    target = tmp_path / name
    is_refused(tmp_path, [run, target], f"{target} exists: name a folder")


def test_arguments_that_are_wrong(tmp_path, run, monkeypatch):
  out = tmp_path / "out"
  is_refused(
    tmp_path,
    [run, out, "--format=onx"],
    "--format=onx: there is stablehlo, onnx",
  )
  is_refused(tmp_path, [run], "export needs more arguments")
  is_refused(tmp_path, [run, out, "more"], "unexpected argument 'more'")
  is_refused(tmp_path, [tmp_path / "none", out], "none: no finished run")
  monkeypatch.setitem(sys.modules, "onnx", None)
  monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
  is_refused(
    tmp_path,
    [run, out, "--format=onnx"],
    "--format=onnx takes onnx, onnxruntime: install the extra export",
  )


@pytest.mark.parametrize("format_", export.FORMATS)
def test_tampered_weights(tmp_path, format_):
  run = make_run(tmp_path / "run")
  path = run / "model" / "weights.safetensors"
  path.write_bytes(path.read_bytes()[:-8] + b"\xff" * 8)
  is_refused(tmp_path, [run, tmp_path / "out", f"--format={format_}"], "NaN")


def test_what_fails_leaves_nothing(tmp_path, run, monkeypatch):
  """Such as a program that does not compute what the system does."""
  monkeypatch.setattr(export, "_CLOSE", {"float32": -1.0})
  is_refused(tmp_path, [run, tmp_path / "out"], "it is of no use")


def test_a_full_disk(small_disk, run):
  (small_disk / "big").write_bytes(bytes(980_000))
  is_refused(small_disk, [run, small_disk / "out"], "no room on the disk")


def test_the_command(tmp_path, run, capsys):
  entry.main(["emojax", "export", str(run), str(tmp_path / "out")])
  said = capsys.readouterr().out
  assert said.startswith(f"{tmp_path / 'out'}: stablehlo, probabilities within")
