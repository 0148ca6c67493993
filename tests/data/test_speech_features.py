"""Means of frames of speech encoders, against transformers' PyTorch models."""

import functools
import json
import sys

import numpy as np
import pytest
import soundfile
import torch
import transformers
from absl import flags
from ml_collections import config_flags

from configs import dann
from emojax import __main__ as entry
from emojax.data import conversations, features, speech_features
from emojax.errors import UserError

RATE = 16_000
SECONDS = (0.5, 31.0, 1.3)
WIDTH, STATES = 16, 3  # Of one layer, and of all of them.
# ml_collections loads config files with it.
pytestmark = pytest.mark.filterwarnings("ignore:the load_module")


def _draw(model):
  with torch.no_grad():
    for parameter in model.parameters():
      parameter.normal_(std=0.2)
  return model.eval()


def whisper(folder):
  """A random Whisper, and its states [L, T, D] of a clip by itself."""
  config = transformers.WhisperConfig(
    **dict.fromkeys(("encoder_ffn_dim", "decoder_ffn_dim", "d_model"), WIDTH),
    **dict.fromkeys(("encoder_layers", "decoder_layers"), STATES - 1),
    encoder_attention_heads=2,
    decoder_attention_heads=2,
    vocab_size=60,
    pad_token_id=40,
    bos_token_id=40,
    eos_token_id=40,
    decoder_start_token_id=41,
    suppress_tokens=None,
    begin_suppress_tokens=None,
  )
  model = _draw(transformers.WhisperForConditionalGeneration(config))
  model.save_pretrained(folder)
  extract = transformers.WhisperFeatureExtractor()
  extract.save_pretrained(folder)
  encoder = model.model.encoder

  def states(clip):
    spectra = extract(clip, sampling_rate=RATE, return_tensors="pt")
    x = torch.nn.functional.gelu(encoder.conv1(spectra.input_features))
    x = torch.nn.functional.gelu(encoder.conv2(x)).permute(0, 2, 1)
    frames = -(-len(clip) // 320)  # What comes after it is silence.
    x = x[:, :frames] + encoder.embed_positions.weight[:frames]
    found = [x]
    for layer in encoder.layers:
      x = layer(x, None)
      found.append(x[0] if isinstance(x, tuple) else x)
      x = found[-1]
    found[-1] = encoder.layer_norm(x)
    return torch.cat(found)

  return states


def hubert(folder):
  """A random HuBERT of the large kind, and its states [L, T, D] of a clip."""
  config = transformers.HubertConfig(
    hidden_size=WIDTH,
    num_hidden_layers=STATES - 1,
    num_attention_heads=2,
    intermediate_size=24,
    conv_dim=(8,) * 7,
    num_conv_pos_embeddings=16,
    num_conv_pos_embedding_groups=4,
    feat_extract_norm="layer",
    do_stable_layer_norm=True,
  )
  model = _draw(transformers.HubertModel(config))
  model.save_pretrained(folder)
  extract = transformers.Wav2Vec2FeatureExtractor(return_attention_mask=True)
  extract.save_pretrained(folder)

  def states(clip):
    values = extract(clip, sampling_rate=RATE, return_tensors="pt")
    found = model(values.input_values, output_hidden_states=True)
    return torch.cat(found.hidden_states)

  return states


@functools.cache
def clips():
  """Noise that swells and ebbs, int16, of three lengths."""
  rng = np.random.default_rng(0)
  return [
    (
      3000
      * np.sin(np.linspace(0, 9, int(RATE * seconds)))
      * rng.normal(size=int(RATE * seconds))
    ).astype(np.int16)
    for seconds in SECONDS
  ]


@pytest.fixture
def data(tmp_path, cache):
  """A `config.data` of three clips, in a conversation of two sessions."""
  rows = ["path,label,speaker,dialogue,turn,session"]
  for i, (clip, label) in enumerate(
    zip(clips(), ("angry", "happy", "angry"), strict=True)
  ):
    soundfile.write(tmp_path / f"{i}.wav", clip, RATE)
    rows.append(f"{i}.wav,{label},s{i},talk,{9 - i},{1 + i // 2}")
  (tmp_path / "m.csv").write_text("\n".join(rows), encoding="utf-8")
  config = dann.get_config().data
  config.update(
    corpus="manifest",
    path=str(tmp_path / "m.csv"),
    labels="angry,happy",
    audio_features=str(tmp_path / "encoder"),
    text_features="none",
    max_skipped=0,
  )
  return config


@pytest.mark.parametrize("family", [whisper, hubert])
def test_means_equal_those_of_transformers(data, tmp_path, family, monkeypatch):
  """In one batch with padding; 31 s are two pieces; then layers of them."""
  torch.manual_seed(0)
  states = family(tmp_path / "encoder")
  expected = []
  with torch.no_grad():
    for clip in clips():
      audio = clip.astype(np.float32) / 32_768
      pieces = np.array_split(audio, 1 + len(clip) // (30 * RATE))
      frames_LxTxD = np.concatenate([*map(states, pieces)], axis=1)
      expected.append(frames_LxTxD.mean(axis=1))
  expected_UxLxD = np.stack(expected)
  found = conversations.load(data).features["audio"]
  assert found.dtype == np.float32
  np.testing.assert_allclose(
    found, expected_UxLxD.reshape(3, -1), atol=1e-4, rtol=1e-4
  )
  # What is kept is all layers, and nothing is left to do.
  monkeypatch.setattr(speech_features, "_compiled", None)
  data.audio_layers = (2, 0)
  again = conversations.load(data).features["audio"]
  all_UxLxD = found.reshape(3, STATES, WIDTH)
  np.testing.assert_array_equal(again, all_UxLxD[:, [2, 0]].reshape(3, -1))


@pytest.fixture
def encoded(monkeypatch):
  """Stands in for what is compiled; records the lengths of each batch."""
  batches = []

  def compiled(encoder, params):
    def encode(inputs_BxS, lengths_B):
      batches.append(sorted(set(lengths_B.tolist())))
      sums_B = np.square(lengths_B.astype(np.float32))
      return np.tile(sums_B[:, None, None], (1, STATES, WIDTH))

    return encode

  monkeypatch.setattr(speech_features, "_compiled", compiled)
  return batches


def test_an_interrupted_extraction_goes_on(
  data, tmp_path, encoded, monkeypatch
):
  """With what no batch before it held; other weights begin anew."""
  whisper(tmp_path / "encoder")
  monkeypatch.setattr(speech_features, "_BATCH_SIZE", 2)
  whole = speech_features.FrameMeans._encode

  def interrupted(*arguments):
    yield next(whole(*arguments))
    raise KeyboardInterrupt

  monkeypatch.setattr(speech_features.FrameMeans, "_encode", interrupted)
  with pytest.raises(KeyboardInterrupt):
    conversations.load(data)
  monkeypatch.setattr(speech_features.FrameMeans, "_encode", whole)
  found = conversations.load(data).features["audio"]
  assert encoded == [[248_000], [8_000, 20_800]]
  # There are 320 samples in a frame.
  assert found[:, 0].tolist() == [320 * n for n in (8_000, 248_000, 20_800)]
  encoded.clear()
  # What transcription or another program puts beside the encoder's files.
  for name in ("generation_config.json", "tokenizer.json", "README.md"):
    (tmp_path / "encoder" / name).write_text("{}")
  conversations.load(data)
  assert not encoded
  whisper(tmp_path / "encoder")
  conversations.load(data)
  assert encoded == [[248_000], [8_000, 20_800]]


def test_a_recording_of_less_than_a_frame_is_skipped(
  data, tmp_path, encoded, caplog
):
  whisper(tmp_path / "encoder")
  soundfile.write(tmp_path / "0.wav", clips()[0][:300], RATE)
  data.max_skipped = 1
  assert conversations.load(data).speaker.tolist() == ["s1", "s2"]
  assert "0.wav: 19 ms long, less than the 20 ms of one frame" in caplog.text


@pytest.fixture
def command(monkeypatch):
  """Runs `python -m emojax features` in this process."""

  def run(*arguments):
    argv = ["emojax", "features", *arguments]
    monkeypatch.setattr(flags, "FLAGS", flags.FlagValues())
    define = functools.partial(_DEFINE, flag_values=flags.FLAGS)
    monkeypatch.setattr(config_flags, "DEFINE_config_file", define)
    monkeypatch.setattr(sys, "argv", argv)
    entry.main(argv)

  return run


_DEFINE = config_flags.DEFINE_config_file
CONFIG = "--config=configs/dann.py"


def test_a_written_table_is_what_the_study_reads(
  data, tmp_path, encoded, command, capsys
):
  whisper(tmp_path / "encoder")
  fields = [
    f"--config.data.{name}={data[name]}"
    for name in ("corpus", "path", "labels", "audio_features", "text_features")
  ]
  target = str(tmp_path / "new" / "out.npz")
  command(CONFIG, *fields, "--config.data.audio_layers=(1,)", target)
  said = f"{target}: 3 utterances, 2 dialogues, 3 speakers; features: audio 16"
  assert capsys.readouterr().out.strip().endswith(said)
  config = dann.get_config()
  config.split.update(method="speakers", test_speakers="s2")
  data.audio_layers = (1,)
  config.data = data
  direct = conversations.read(config)
  # Where the encoder is not.
  config.data.update(corpus="table", path=target, audio_features="no/where")
  again = conversations.read(config)
  assert features.audio_commit(config.data) == ""
  for name in ("label", "speaker", "dialogue", "turn", "session", "corpus"):
    found = getattr(again.table, name).tolist()
    assert found == getattr(direct.table, name).tolist()
  np.testing.assert_array_equal(again.class_U, direct.class_U)
  for name, split in direct.splits.items():
    for part, rows in split.parts.items():
      np.testing.assert_array_equal(again.splits[name].parts[part], rows)
  np.testing.assert_array_equal(
    again.table.features["audio"], direct.table.features["audio"]
  )


@pytest.mark.parametrize(
  ("arguments", "what"),
  [
    ([], "usage: emojax features"),
    ([CONFIG], "usage: emojax features"),
    (["out.npz"], "takes a config first: CONFIG[:VARIANT]"),
    (["--config=configs/speech.py", "out.npz"], "such as configs/dann.py"),
    ([CONFIG, "--config.data.audio_features=x", "out.npz"], "'x': there are"),
  ],
)
def test_a_command_that_is_wrong(command, arguments, what):
  with pytest.raises(UserError) as caught:
    command(*arguments)
  assert what in str(caught.value)


def test_a_table_is_not_written_over_the_one_that_is_read(command, tmp_path):
  path = tmp_path / "mine.npz"
  path.write_bytes(b"what is read")
  fields = ["--config.data.corpus=table", f"--config.data.path={path}"]
  with pytest.raises(UserError, match="is what is read"):
    command(CONFIG, *fields, str(path))
  assert path.read_bytes() == b"what is read"


@pytest.mark.parametrize(
  ("changes", "what"),
  [
    ({"audio_features": "whisper"}, "the folder or hub id of an encoder"),
    ({"audio_features": "./whisper"}, "'./whisper': no such folder"),
    ({"audio_features": "small"}, "the folder or hub id of an encoder"),
    ({"audio_layers": (3,)}, "audio_layers = (3,): encoder has the layers 0"),
    ({"audio_layers": (1, 1)}, "to 2; name each once"),
    ({"audio_layers": (True,)}, "audio_layers = (True,)"),
  ],
)
def test_layers_and_names_that_there_are_not(data, tmp_path, changes, what):
  whisper(tmp_path / "encoder")
  data.update(changes)
  with pytest.raises(UserError) as caught:
    conversations.load(data)
  assert what in str(caught.value)
  assert "\n" not in str(caught.value)
  assert not (tmp_path / "cache").exists()


@pytest.mark.parametrize(
  ("file", "fields", "what"),
  [
    ("config.json", {"model_type": "bert"}, "bert"),
    ("preprocessor_config.json", {"sampling_rate": 8000}, "takes 8000 Hz"),
    ("model.safetensors", {}, "model.safetensors"),
  ],
)
def test_folders_of_something_else(data, tmp_path, file, fields, what):
  hubert(tmp_path / "encoder")
  path = tmp_path / "encoder" / file
  path.write_text(json.dumps(fields), encoding="utf-8")
  with pytest.raises(UserError, match=what) as caught:
    conversations.load(data)
  assert str(tmp_path / "encoder") in str(caught.value)
