"""Transcripts of Whisper: real weights, one pass for both, what users give."""

import io
import json
import pathlib
import shutil
import subprocess

import jax
import jax.numpy as jnp
import jiwer
import numpy as np
import pytest
import soundfile
import soxr
import tokenizers
import torch
import transformers
from safetensors.torch import load_file, save_file
from test_whisper import example, save

from configs import speech as speech_config
from emojax import encoders
from emojax.encoders import whisper, whisper_features
from emojax.encoders.whisper_config import WhisperConfig
from emojax.encoders.whisper_decoder import WhisperDecoder
from emojax.encoders.whisper_model import WhisperEncoder
from emojax.errors import UserError
from emojax.models import speech_classifier
from emojax.systems import untrained
from emojax.systems.speech import SpeechSystem

# d_model, layers of encoder and decoder, heads, bands; millions of parameters
# (Radford et al. 2023, table 1; the model cards of large-v3, its turbo and
# distil-whisper).
SIZES = {
  "tiny": (384, 4, 4, 6, 80, 39),
  "base": (512, 6, 6, 8, 80, 74),
  "small": (768, 12, 12, 12, 80, 244),
  "medium": (1024, 24, 24, 16, 80, 769),
  "large-v2": (1280, 32, 32, 20, 80, 1550),
  "large-v3": (1280, 32, 32, 20, 128, 1550),
  "large-v3-turbo": (1280, 32, 4, 20, 128, 809),
  "distil-large-v3": (1280, 32, 2, 20, 128, 756),
}


@pytest.mark.parametrize("size", SIZES)
def test_published_sizes_have_their_parameters(size):
  width, encoder_layers, decoder_layers, heads, bands, millions = SIZES[size]
  # All layers have the same: two are the first and what each more adds.
  one, two = (parameters(width, layers, heads, bands) for layers in (1, 2))
  total = sum(
    first + (second - first) * (layers - 1)
    for first, second, layers in zip(
      one, two, (encoder_layers, decoder_layers), strict=True
    )
  )
  # The published numbers are rounded, some to ten millions.
  assert total / 1e6 == pytest.approx(millions, rel=0.035)


def parameters(width, layers, heads, bands):
  """Of encoder and decoder with so many layers each."""
  config = WhisperConfig(
    vocab_size=51866 if bands == 128 else 51865,
    num_mel_bins=bands,
    d_model=width,
    **{f"{part}_layers": layers for part in ("encoder", "decoder")},
    **{f"{part}_attention_heads": heads for part in ("encoder", "decoder")},
    **{f"{part}_ffn_dim": 4 * width for part in ("encoder", "decoder")},
  )
  encoder, decoder = WhisperEncoder(config), WhisperDecoder(config)
  states_BxTxD, tokens_BxT = jnp.zeros((1, 1, width)), jnp.zeros((1, 1), int)

  def init(key):
    return (
      encoder.init(key, jnp.zeros((1, 320)), jnp.full(1, 320)),
      decoder.init(key, states_BxTxD, tokens_BxT, method="teacher_forced"),
    )

  shapes = jax.eval_shape(init, jax.random.key(0))
  return [sum(x.size for x in jax.tree.leaves(part)) for part in shapes]


def save_words(folder, languages, timestamps):
  """Tokenizer and ids of `TINY`: 40 words, marks from 40 on, 15 timestamps."""
  words = {f"w{i}": i for i in range(60)}
  tokenizer = tokenizers.Tokenizer(tokenizers.models.WordLevel(words, "w0"))
  tokenizer.save(str(folder / "tokenizer.json"))
  fields = {
    "eos_token_id": 40,
    "decoder_start_token_id": 41,
    "no_timestamps_token_id": 44,
    "max_initial_timestamp_index": 5,
    "suppress_tokens": [1, 2, *range(41, 45 if timestamps else 60)],
    "begin_suppress_tokens": [3, 40],
  }
  if languages:
    ids = {f"<|{code}|>": 50 + i for i, code in enumerate(languages)}
    fields |= {"lang_to_id": ids, "task_to_id": {"transcribe": 42}}
  text = json.dumps(fields)
  (folder / "generation_config.json").write_text(text, encoding="utf-8")


def tiny(folder, languages=("en", "de"), timestamps=False):
  save(folder)
  save_words(folder, languages, timestamps)
  return whisper.load(str(folder))


ONCE = whisper.Options(language="en", temperatures=(0.0,))


def test_one_pass_gives_emotion_and_transcript(tmp_path, monkeypatch):
  transcriber = tiny(tmp_path)
  encoder = encoders.find(str(tmp_path)).encoder
  system = SpeechSystem(
    encoder,
    ("sad", "glad"),
    window_seconds=1.0,
    pooling="attention",
    weigh_layers=True,
    averaged_frames=1,
    hidden=8,
    dropout=0.0,
  )
  params = jax.tree.map(jnp.asarray, system.init(jax.random.key(0)))
  params["encoder"] = transcriber.params["encoder"]
  apply = jax.jit(system.model().apply, static_argnames="method")
  audio_BxS, lengths_B = example()
  # Apart: the encoder alone, and its outputs for the head.
  alone = jax.jit(encoder.module(jnp.float32).apply)(
    {"params": params["encoder"]}, audio_BxS, lengths_B
  )
  read = speech_classifier.states(alone, True, 1)
  apart, _ = apply({"params": params}, *read, method="classify")
  calls = []
  call = WhisperEncoder._transform

  def counted(*arguments):
    calls.append(arguments)
    return call(*arguments)

  monkeypatch.setattr(WhisperEncoder, "_transform", counted)
  logits, out = apply({"params": params}, audio_BxS, lengths_B)
  assert len(calls) == 1
  _ = transcriber._silence  # Once for all clips.
  calls.clear()
  states, mask = out["encoder"]["last_hidden_state"], out["encoder"]["mask"]
  both = transcriber.transcribe_states(states, mask, ONCE)
  assert not calls
  np.testing.assert_allclose(logits, apart, atol=1e-6)
  heard = alone["last_hidden_state"]
  assert both == transcriber.transcribe_states(heard, alone["mask"], ONCE)
  # The second is the same without the frames of the batch that are not its.
  frames = int(mask[1].sum())
  twice = heard[np.array([1, 1]), :frames]  # A shape that is compiled already.
  short, _ = transcriber.transcribe_states(twice, None, ONCE)
  assert both[1] == short
  assert both[0].text and both[0].text != both[1].text


def test_a_row_without_a_frame_says_nothing(tmp_path):
  transcriber = tiny(tmp_path)
  states = transcriber.encode(*example())["states"]
  mask = np.ones(states.shape[:2], bool)
  expected, _ = transcriber.transcribe_states(states, mask, ONCE)
  mask[1] = False
  found, empty = transcriber.transcribe_states(states, mask, ONCE)
  assert found == expected
  assert (empty.text, empty.segments) == ("", ())


def test_an_output_layer_of_its_own_is_refused(tmp_path):
  save(tmp_path, {"tie_word_embeddings": False})
  save_words(tmp_path, ("en", "de"), False)
  tensors = load_file(tmp_path / "model.safetensors")
  tensors["proj_out.weight"] = 2 * tensors["model.decoder.embed_tokens.weight"]
  save_file(tensors, tmp_path / "model.safetensors", {"format": "pt"})
  with pytest.raises(UserError, match=r"proj_out.weight beside .*tied weights"):
    whisper.load(str(tmp_path))


@pytest.mark.parametrize(
  ("asked", "said"),
  [
    ({"num_beams": 0}, "num_beams = 0: has to be 1 or more"),
    ({"temperatures": ()}, r"temperatures = \(\): give one at least"),
    ({"temperatures": (0.0, -0.2)}, "none below 0"),
  ],
)
def test_options_that_would_not_end(asked, said):
  with pytest.raises(UserError, match=said):
    whisper.Options(**asked)


def test_states_of_the_transcriber_serve_an_emotion_model(tmp_path):
  transcriber = tiny(tmp_path)
  audio_BxS, lengths_B = example()
  outputs = transcriber.encode(audio_BxS, lengths_B)
  assert outputs["states"].shape == (2, 50, 16)
  found = transcriber.transcribe_states(outputs["states"], None, ONCE)
  clips = [a[:n] for a, n in zip(audio_BxS, lengths_B, strict=True)]
  assert [f.text for f in found] == [
    t.text for t in transcriber.transcribe(clips, ONCE)
  ]
  module = WhisperEncoder(transcriber.config, window=True)
  expected = jax.jit(module.apply)(
    {"params": transcriber.params["encoder"]}, audio_BxS, lengths_B
  )
  for ours, theirs in zip(
    outputs["hidden_states"], expected["hidden_states"], strict=True
  ):
    np.testing.assert_allclose(ours, theirs, atol=1e-5)


@pytest.mark.parametrize(
  ("clip", "said"),
  [
    (np.zeros(0, np.float32), r"clip 1: of shape \(0,\); give one channel"),
    (np.zeros((2, 9), np.float32), "give one channel of samples"),
    (np.full(9, np.nan, np.float32), "clip 1: NaN or infinite samples"),
    (np.ones(9, np.int16), "clip 1: int16; give float32 with full scale"),
  ],
)
def test_clips_that_are_none(tmp_path, clip, said):
  transcriber = tiny(tmp_path)
  with pytest.raises(UserError, match=said):
    transcriber.transcribe([np.ones(400, np.float32), clip])


def test_a_checkpoint_for_english_hears_nothing_else(tmp_path):
  transcriber = tiny(tmp_path, languages=())
  clip = example()[0][0]
  for asked in (
    whisper.Options(language="de"),
    whisper.Options(task="translate"),
  ):
    with pytest.raises(UserError, match="English only"):
      transcriber.transcribe([clip], asked)
  (found,) = transcriber.transcribe([clip], whisper.Options(temperatures=(0,)))
  assert found.text and not found.language


@pytest.mark.parametrize(
  ("asked", "said"),
  [
    (whisper.Options(language="xx"), "the checkpoint has de en"),
    (whisper.Options(task="sing"), "choose one of transcribe, translate"),
    (whisper.Options(task="translate"), "the checkpoint has transcribe"),
  ],
)
def test_languages_and_tasks_that_are_none(tmp_path, asked, said):
  with pytest.raises(UserError, match=said):
    tiny(tmp_path).transcribe([example()[0][0]], asked)


def test_a_clip_longer_than_the_window(tmp_path):
  transcriber = tiny(tmp_path, timestamps=True)
  encoder = encoders.find(str(tmp_path)).encoder
  assert encoder.max_samples == 16_000  # 50 frames of 20 ms.
  module, size = encoder.module(jnp.float32), encoder.max_samples + 1
  with pytest.raises(ValueError, match="Whisper hears 16000"):
    module.init(jax.random.key(0), jnp.zeros((1, size)), jnp.full(1, size))
  with pytest.raises(UserError, match="51 frames: Whisper hears 50 at once"):
    transcriber.transcribe_states(jnp.zeros((1, 51, 8)))
  config = speech_config.get_config("whisper")
  config.model.encoder, config.data.buckets = str(tmp_path), (0.5, 1.5)
  with pytest.raises(UserError, match=r"buckets = .* takes 1 s at most"):
    untrained.make(config, str(tmp_path), ("sad", "glad"))
  long = np.tile(example()[0][0], 2)
  (found,) = transcriber.transcribe([long], ONCE)
  starts = [segment.start for segment in found.segments]
  assert len(starts) > 1 and starts == sorted(starts)


def test_folders_of_other_programs(tmp_path):
  (tmp_path / "model.bin").write_bytes(b"")
  for fields in ("", '{"alignment_heads": [[1, 2]], "suppress_ids": [1]}'):
    if fields:
      (tmp_path / "config.json").write_text(fields, encoding="utf-8")
    with pytest.raises(UserError, match=r"CTranslate2.*openai/whisper-base"):
      whisper.load(str(tmp_path))
  folder = tmp_path / "openai"
  folder.mkdir()
  (folder / "base.pt").write_bytes(b"")
  with pytest.raises(UserError, match=r"base.pt: weights .* of OpenAI's.*hub"):
    whisper.load(str(folder))
  with pytest.raises(UserError, match="a file; expected the folder of a"):
    whisper.load(str(folder / "base.pt"))


@pytest.mark.parametrize(
  ("file", "said"),
  [
    ("tokenizer.json", "no tokenizer.json"),
    ("generation_config.json", "no generation_config.json"),
  ],
)
def test_files_of_the_words_are_wanted(tmp_path, file, said):
  tiny(tmp_path)
  (tmp_path / file).unlink()
  with pytest.raises(UserError, match=said):
    whisper.load(str(tmp_path))


def test_languages_without_tasks_are_refused_when_read(tmp_path):
  tiny(tmp_path)
  path = tmp_path / "generation_config.json"
  fields = json.loads(path.read_text(encoding="utf-8"))
  del fields["task_to_id"]
  path.write_text(json.dumps(fields), encoding="utf-8")
  with pytest.raises(
    UserError, match="lang_to_id without task_to_id"
  ) as caught:
    whisper.load(str(tmp_path))
  assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", ["shards", "bin"])
def test_other_files_of_weights(tmp_path, kind):
  model = save(tmp_path)
  expected = encoders.find(str(tmp_path)).encoder.load(tmp_path)
  (tmp_path / "model.safetensors").unlink()
  if kind == "shards":
    model.save_pretrained(tmp_path, max_shard_size="40KB")
    assert len(list(tmp_path.glob("model-*.safetensors"))) > 1
  else:
    torch.save(model.state_dict(), tmp_path / "pytorch_model.bin")
  found = encoders.find(str(tmp_path)).encoder.load(tmp_path)
  jax.tree.map(np.testing.assert_array_equal, found, expected)


def test_bfloat16_and_remat(tmp_path):
  save(tmp_path)
  encoder = encoders.find(str(tmp_path)).encoder
  variables = {"params": encoder.load(tmp_path)}

  def loss(variables, dtype, remat):
    module = encoder.module(dtype, remat)
    states = module.apply(variables, *example())["last_hidden_state"]
    return (states.astype(jnp.float32) ** 3).mean(), states

  grad = jax.jit(jax.grad(loss, has_aux=True), static_argnums=(1, 2))
  plain, states = grad(variables, jnp.float32, False)
  again, _ = grad(variables, jnp.float32, True)
  scale = max(np.abs(leaf).max() for leaf in jax.tree.leaves(plain))
  jax.tree.map(
    lambda x, y: np.testing.assert_allclose(x, y, atol=1e-5 * scale),
    *(plain, again),
  )
  module = encoder.module(jnp.bfloat16)
  half = jax.jit(module.apply)(variables, *example())["last_hidden_state"]
  assert half.dtype == jnp.bfloat16
  error = np.abs(np.asarray(half, np.float32) - states)
  assert error.mean() < 0.02 * np.abs(states).mean()
  assert error.mean() > 0


@pytest.fixture
def published(real_data) -> pathlib.Path:
  return real_data / "whisper-base"


@pytest.fixture(scope="module")
def transcribers():
  """Loaded once."""
  loaded = {}

  def load(folder):
    if folder not in loaded:
      loaded[folder] = whisper.load(str(folder))
    return loaded[folder]

  return load


def clip_of(real_data, name):
  folder = real_data / "ravdess" / f"Actor_{name[-2:]}"
  return soundfile.read(folder / f"{name}.ogg", dtype="float32")[0]


def test_states_of_the_published_weights(real_data, published, transcribers):
  """Ours and PyTorch's against float64, on a clip filled up to 10 s."""
  clip = clip_of(real_data, "03-01-05-02-01-01-01")
  transcriber = transcribers(published)
  model = transformers.WhisperForConditionalGeneration.from_pretrained(
    published, dtype=torch.float32
  ).eval()
  frames = 200
  audio = np.zeros((1, frames * 320), np.float32)
  audio[0, : len(clip)] = clip[: audio.shape[1]]
  module = WhisperEncoder(transcriber.config)
  ours = jax.jit(module.apply)(
    {"params": transcriber.params["encoder"]},
    *(audio, jnp.full(1, audio.shape[1])),
  )
  spectra = whisper_features.log_mel(
    jnp.asarray(audio), 80, 2 * frames + 2, mirrored=False
  )
  spectra = torch.tensor(np.asarray(spectra)).transpose(1, 2)
  single = cropped(model.model.encoder, spectra, frames)
  exact = cropped(model.double().model.encoder, spectra.double(), frames)
  for mine, theirs, right in zip(
    ours["hidden_states"], single, exact, strict=True
  ):
    scale = np.abs(right).max()
    error = np.abs(np.asarray(mine) - right).max()
    assert error < 1e-4 * scale
    # As exact as PyTorch, or nearly: sums are of another order.
    assert error < 2 * np.abs(theirs - right).max() + 1e-6 * scale
  prompt = [[50258, 50259, 50359, 50363, 1, 2]]
  decoder = WhisperDecoder(transcriber.config)
  logits = jax.jit(decoder.apply, static_argnames="method")(
    {"params": transcriber.params["decoder"]},
    *(ours["last_hidden_state"], jnp.array(prompt)),
    method="teacher_forced",
  )
  with torch.no_grad():
    expected = model.float()(
      encoder_outputs=(torch.tensor(np.asarray(ours["last_hidden_state"])),),
      decoder_input_ids=torch.tensor(prompt),
    ).logits
  np.testing.assert_allclose(logits, expected, atol=1e-3)


def cropped(encoder, spectra, frames):
  """Hidden states of PyTorch's layers on fewer positions than 30 s."""
  gelu, states = torch.nn.functional.gelu, []
  with torch.no_grad():
    x = gelu(encoder.conv2(gelu(encoder.conv1(spectra)))).transpose(1, 2)
    x = x[:, :frames] + encoder.embed_positions.weight[:frames]
    for layer in encoder.layers:
      states.append(x.numpy())
      x = layer(x, None)
      x = x[0] if isinstance(x, tuple) else x
    return [*states, encoder.layer_norm(x).numpy()]


def test_transcripts_equal_transformers(real_data, published, transcribers):
  clips = [clip_of(real_data, "03-01-05-02-01-01-01"), spoken("en-us")]
  found = transcribers(published).transcribe(clips, ONCE)
  model = transformers.WhisperForConditionalGeneration.from_pretrained(
    published, dtype=torch.float32
  ).eval()
  tokenizer = transformers.WhisperTokenizerFast.from_pretrained(published)
  extract = transformers.WhisperFeatureExtractor.from_pretrained(published)
  inputs = extract(clips, sampling_rate=16_000, return_tensors="pt")
  tokens = model.generate(
    inputs.input_features, language="en", task="transcribe", max_new_tokens=60
  )
  expected = tokenizer.batch_decode(tokens, skip_special_tokens=True)
  assert [transcript.text for transcript in found] == expected
  words = jiwer.Compose([jiwer.ToLowerCase(), jiwer.RemovePunctuation()])
  said = words(found[0].text).strip()
  assert jiwer.wer("kids are talking by the door", said) == 0


def spoken(voice: str) -> np.ndarray:
  """Two sentences of espeak-ng, 16 kHz."""
  program = shutil.which("espeak-ng")
  if not program:
    pytest.skip("no espeak-ng: install the package of that name")
  text = "The weather was cold this morning. We stayed at home and read a book."
  wave = subprocess.run(
    [program, "-v", voice, "--stdout", text], capture_output=True, check=True
  ).stdout
  with soundfile.SoundFile(io.BytesIO(wave)) as file:
    samples, rate = file.read(dtype="float32"), file.samplerate
  return soxr.resample(samples, rate, 16_000)


def test_silence_gives_no_words(published, transcribers):
  faint = np.random.default_rng(0).normal(size=32_000).astype(np.float32)
  clips = [np.zeros(32_000, np.float32), faint * 1e-5]
  found = transcribers(published).transcribe(clips, ONCE)
  assert [transcript.text for transcript in found] == ["", ""]
