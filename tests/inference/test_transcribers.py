"""Words of segments: by the run's own encoder, other models, or not at all."""

import json
import sys
import types

import jax
import numpy as np
import pytest
from test_ctc import save_ctc
from test_whisper import example, save
from test_whisper_transcripts import save_words

from emojax import encoders
from emojax.encoders import whisper
from emojax.encoders.words import Word
from emojax.errors import UserError
from emojax.inference import transcribers
from emojax.systems.speech import SpeechSystem


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
  """Whisper of random weights."""
  folder = tmp_path_factory.mktemp("whisper")
  save(folder)
  save_words(folder, ("en", "de"), timestamps=False)
  return folder


@pytest.fixture(scope="module")
def own(checkpoint, tmp_path_factory):
  """The folder of a run that has it frozen; the system and its parameters."""
  folder = tmp_path_factory.mktemp("run")
  model = {"encoder": str(checkpoint), "revision": ""}
  (folder / "config.json").write_text(json.dumps({"model": model}), "utf-8")
  encoder = encoders.find(str(checkpoint)).encoder
  system = make_system(encoder)
  params = {"encoder": encoder.load(checkpoint)}
  return folder, system, jax.tree.map(np.asarray, params)


def make_system(encoder):
  return SpeechSystem(
    encoder,
    ("sad", "glad"),
    window_seconds=1.0,
    pooling="mean",
    weigh_layers=False,
    averaged_frames=1,
    hidden=4,
    dropout=0.0,
  )


def trained_further(params):
  layer = {"layers_1": jax.tree.map(lambda x: x + 1, params["layers_1"])}
  return {"encoder": params | layer}


def test_states_of_a_frozen_encoder_are_not_computed_again(own, checkpoint):
  folder, system, params = own
  reader = transcribers.find("", folder, system, params, "en")
  assert reader.needs_states
  other = transcribers.find(str(checkpoint), folder, system, params, "en")
  trained = trained_further(params["encoder"])
  again = transcribers.find("", folder, system, trained, "en")
  assert not other.needs_states and not again.needs_states
  module = system.encoder.module(np.float32)
  audio_BxS, lengths_B = example()
  clip = audio_BxS[1, : lengths_B[1]]
  outputs = jax.jit(module.apply)(
    {"params": params["encoder"]}, audio_BxS[1:], lengths_B[1:]
  )
  words = reader.transcribe(clip, outputs)
  assert words == other.transcribe(clip, None)
  assert words and words[-1].end <= len(clip) / 16_000 + 0.02


def test_the_language_becomes_that_of_most_segments(own, monkeypatch):
  reader = transcribers.find("", *own)
  said, asked = iter(["de", "en", "en", "de", "en", "?", "?"]), []

  def transcribe_states(self, states, mask, options):
    asked.append(options.language)
    words = (Word("so", 0.0, 1.0),)
    return [whisper.Transcript("so", next(said), (), words)]

  monkeypatch.setattr(
    whisper.Transcriber, "transcribe_states", transcribe_states
  )
  outputs = {"last_hidden_state": None, "mask": None}
  for _ in range(6):
    reader.transcribe(np.zeros(9, np.float32), outputs)
  assert asked == [""] * 5 + ["en"]
  # Another signal may be in another language.
  reader.fresh().transcribe(np.zeros(9, np.float32), outputs)
  assert asked[-1] == ""


def test_runs_without_a_transcript(own, tmp_path, caplog):
  folder, system, params = own
  assert transcribers.find("none", folder, system, params) is None
  log_mel = make_system(encoders.find("log_mel").encoder)
  assert transcribers.find("", folder, log_mel, {}) is None
  assert not caplog.records
  gone = {"model": {"encoder": str(tmp_path / "gone"), "revision": ""}}
  (tmp_path / "config.json").write_text(json.dumps(gone), encoding="utf-8")
  assert transcribers.find("", tmp_path, system, params) is None
  assert "no transcript" in caplog.text and "--asr=none" in caplog.text


def test_a_ctc_checkpoint(tmp_path, own, monkeypatch):
  monkeypatch.setattr(transcribers, "_SEGMENT", 9_600)
  save_ctc(tmp_path)
  reader = transcribers.find(str(tmp_path), *own)
  clip = np.random.default_rng(0).normal(size=9_000).astype(np.float32)
  words = reader.transcribe(clip, None)
  assert words and words[-1].end <= 9_000 / 16_000
  assert reader.transcribe(clip[:9], None) == []
  with pytest.raises(UserError, match="has one language"):
    transcribers.find(str(tmp_path), *own, language="en")


def without_decoder(folder):
  save(folder, prefix="encoder.")
  save_words(folder, ("en",), timestamps=False)


def bert(folder):
  (folder / "config.json").write_text('{"model_type": "bert"}', "utf-8")


def without_tokenizer(folder):
  save_ctc(folder)
  (folder / "vocab.json").unlink()


@pytest.mark.parametrize(
  ("make", "said"),
  [
    (lambda folder: None, "no config.json"),
    (bert, "model_type 'bert' gives no transcript"),
    (save, "no tokenizer.json"),
    (without_tokenizer, "no vocab.json"),
  ],
)
def test_checkpoints_that_give_no_transcript(tmp_path, own, make, said):
  make(tmp_path)
  with pytest.raises(UserError, match=said):
    transcribers.find(str(tmp_path), *own)


def test_what_is_asked_for_is_there(own, checkpoint):
  with pytest.raises(UserError, match="the checkpoint has de en"):
    transcribers.find(str(checkpoint), *own, language="xx")
  with pytest.raises(UserError, match="no such folder"):
    transcribers.find("./nowhere", *own)


class Faster:
  """What the extra gives, as far as it is called."""

  supported_languages = ("en",)

  def __init__(self, name):
    if name != "base.en":
      raise ValueError(f"Invalid model size {name!r}")

  def transcribe(self, samples_S, language, word_timestamps):
    assert word_timestamps and language == "en"
    words = [types.SimpleNamespace(word=" Kids", start=0.1, end=0.5)]
    return iter([types.SimpleNamespace(words=words)]), None


def test_faster_whisper(own, monkeypatch):
  monkeypatch.setitem(sys.modules, "faster_whisper", None)
  with pytest.raises(UserError, match="`pip install faster-whisper`"):
    transcribers.find("faster-whisper:base.en", *own)
  module = types.SimpleNamespace(WhisperModel=Faster)
  monkeypatch.setitem(sys.modules, "faster_whisper", module)
  reader = transcribers.find("faster-whisper:base.en", *own, language="en")
  assert not reader.needs_states
  clip = np.zeros(16_000, np.float32)
  assert reader.transcribe(clip, None) == [Word("Kids", 0.1, 0.5)]
  with pytest.raises(UserError, match="Invalid model size"):
    transcribers.find("faster-whisper:huge", *own)
  with pytest.raises(UserError, match="the model has en"):
    transcribers.find("faster-whisper:base.en", *own, language="de")
