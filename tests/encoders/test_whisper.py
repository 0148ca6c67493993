"""Whisper against transformers' PyTorch: spectra, states, logits, tokens."""

import dataclasses
import functools
import json
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
import transformers
from safetensors.torch import save_file

from emojax import encoders
from emojax.encoders import (
  whisper_decoding,
  whisper_encoder,
  whisper_features,
  whisper_rules,
)
from emojax.encoders.whisper_config import WhisperConfig
from emojax.encoders.whisper_decoder import WhisperDecoder
from emojax.encoders.whisper_model import WhisperEncoder
from emojax.errors import UserError
from emojax.weights import checkpoints

TINY = {
  "vocab_size": 60,
  "num_mel_bins": 80,
  "d_model": 16,
  "encoder_layers": 2,
  "encoder_attention_heads": 2,
  "encoder_ffn_dim": 24,
  "decoder_layers": 2,
  "decoder_attention_heads": 4,
  "decoder_ffn_dim": 20,
  "max_source_positions": 50,
  "max_target_positions": 24,
  "pad_token_id": 40,
  "bos_token_id": 40,
  "eos_token_id": 40,
  "decoder_start_token_id": 41,
  "suppress_tokens": None,
  "begin_suppress_tokens": None,
}
# Every field that shapes the network otherwise.
OTHERS = {
  "128 bands": {"num_mel_bins": 128},
  "ReLU": {"activation_function": "relu"},
  "a small decoder": {"decoder_layers": 1, "decoder_attention_heads": 2},
}


def save(folder, change=(), prefix="model."):
  """A checkpoint with random weights, as transformers saves it."""
  torch.manual_seed(0)
  config = transformers.WhisperConfig(**(TINY | dict(change)))
  model = transformers.WhisperForConditionalGeneration(config).eval()
  with torch.no_grad():
    for parameter in model.parameters():
      parameter.normal_(std=0.2)
  folder.mkdir(exist_ok=True)
  config.save_pretrained(folder)
  tensors = {
    name.replace("model.", prefix, 1): value.contiguous()
    for name, value in model.state_dict().items()
    if name != "proj_out.weight"
  }
  save_file(tensors, folder / "model.safetensors", {"format": "pt"})
  transformers.WhisperFeatureExtractor(config.num_mel_bins).save_pretrained(
    folder
  )
  return model


@functools.cache
def example():
  """Noise of two lengths below one second: float32 [2, 16000]."""
  audio_BxS = np.random.default_rng(0).normal(size=(2, 16_000)) / 10
  audio_BxS[1, 9_000:] = 0
  return audio_BxS.astype(np.float32), np.array([16_000, 9_000])


@pytest.mark.parametrize("num_mels", [80, 128])
def test_spectra_equal_the_published_ones(num_mels):
  extract = transformers.WhisperFeatureExtractor(num_mels)
  clips = [np.r_[example()[0][0, :3001]], np.r_[example()[0][1]]]
  audio_BxS = np.zeros((2, 16_000), np.float32)
  for row, clip in zip(audio_BxS, clips, strict=True):
    row[: len(clip)] = clip
  expected = extract(clips, sampling_rate=16_000, return_tensors="np")
  found = whisper_features.log_mel(jnp.asarray(audio_BxS), num_mels, 3000)
  expected = expected.input_features.transpose(0, 2, 1)
  np.testing.assert_allclose(found, expected, atol=1e-4)


def test_spectra_of_a_long_recording_equal_the_published_ones():
  extract = transformers.WhisperFeatureExtractor()
  recording = np.random.default_rng(1).normal(size=16_000 * 31 + 77) / 10
  expected = extract(
    recording.astype(np.float32),
    sampling_rate=16_000,
    return_tensors="np",
    truncation=False,
    padding="longest",
  ).input_features[0]
  found = whisper_features.log_mel_of_recording(
    recording.astype(np.float32), 80
  )
  np.testing.assert_allclose(found, expected.T[: len(found)], atol=1e-4)
  assert len(found) == 3100


@pytest.mark.parametrize("change", OTHERS.values(), ids=OTHERS.keys())
def test_states_and_logits_equal_transformers(tmp_path, change):
  model = save(tmp_path, change)
  encoder = encoders.find(str(tmp_path)).encoder
  config = encoder.config
  audio_BxS, lengths_B = example()
  features_BxTxM = whisper_features.log_mel(
    jnp.asarray(audio_BxS), config.num_mel_bins, 100
  )
  with torch.no_grad():
    expected = model.model.encoder(
      torch.tensor(np.asarray(features_BxTxM.transpose(0, 2, 1))),
      output_hidden_states=True,
    )
  params = encoder.load(tmp_path)
  module = WhisperEncoder(config, window=True)
  outputs = jax.jit(module.apply)({"params": params}, audio_BxS, lengths_B)
  for ours, theirs in zip(
    outputs["hidden_states"], expected.hidden_states, strict=True
  ):
    np.testing.assert_allclose(ours, theirs, atol=2e-4, rtol=1e-4)
  tokens_BxT = np.random.default_rng(0).integers(60, size=(2, 7))
  with torch.no_grad():
    expected = model(
      encoder_outputs=(torch.tensor(np.asarray(outputs["states"])),),
      decoder_input_ids=torch.tensor(tokens_BxT),
    ).logits
  tensors = checkpoints.open_tensors(tmp_path)
  params = whisper_encoder.decoder_params(config, tensors, tmp_path)
  decoder = WhisperDecoder(config)
  found = jax.jit(decoder.apply, static_argnames="method")(
    {"params": params}, outputs["states"], tokens_BxT, method="teacher_forced"
  )
  np.testing.assert_allclose(found, expected, atol=1e-3, rtol=1e-4)


def test_a_clip_is_the_same_in_any_batch(tmp_path):
  save(tmp_path)
  encoder = encoders.find(str(tmp_path)).encoder
  variables = {"params": encoder.load(tmp_path)}
  apply = jax.jit(encoder.module(jnp.float32).apply)
  audio_BxS, lengths_B = example()
  both = apply(variables, audio_BxS, lengths_B)
  alone = apply(variables, audio_BxS[1:, :9_000], lengths_B[1:])
  frames = encoder.num_frames(9_000)
  assert frames == both["mask"][1].sum() == alone["mask"].sum() == 29
  np.testing.assert_allclose(
    both["last_hidden_state"][1, :frames],
    alone["last_hidden_state"][0, :frames],
    atol=1e-5,
  )


def test_layers_and_json(tmp_path):
  save(tmp_path)
  encoder = encoders.find(str(tmp_path)).encoder
  assert (
    encoders.from_json(json.loads(json.dumps(encoder.to_json()))) == encoder
  )
  params = encoder.load(tmp_path)
  layers = {name: encoder.layer_of((name,)) for name in params}
  assert layers["layers_1"] == 1
  assert layers["conv1"] is layers["layer_norm"] is None


def test_weights_without_their_first_prefix(tmp_path):
  save(tmp_path / "a")
  save(tmp_path / "b", prefix="")
  found = [
    encoders.find(str(tmp_path / name)).encoder.load(tmp_path / name)
    for name in "ab"
  ]
  jax.tree.map(np.testing.assert_array_equal, *found)


def test_spans_are_hidden_in_training_only(tmp_path):
  save(tmp_path)
  encoder = encoders.find(str(tmp_path)).encoder.masked(0.5, 0.3)
  variables = {"params": encoder.load(tmp_path)}
  apply = jax.jit(encoder.module(jnp.float32).apply, static_argnames="train")
  rngs = {"dropout": jax.random.key(0)}
  plain = apply(variables, *example())["last_hidden_state"]
  hidden = apply(variables, *example(), train=True, rngs=rngs)
  assert np.abs(plain - hidden["last_hidden_state"]).max() > 0.1
  none = dataclasses.replace(encoder.config, apply_spec_augment=False)
  module = WhisperEncoder(none)
  apply = jax.jit(module.apply, static_argnames="train")
  again = apply(variables, *example(), train=True, rngs=rngs)
  np.testing.assert_allclose(plain, again["last_hidden_state"], atol=1e-6)


def test_another_preprocessor_is_refused(tmp_path):
  save(tmp_path)
  transformers.WhisperFeatureExtractor(128).save_pretrained(tmp_path)
  with pytest.raises(UserError, match=r"feature_size = 128.*takes 80"):
    encoders.find(str(tmp_path))


@functools.cache
def _rules(timestamps: bool) -> whisper_rules.Rules:
  return whisper_rules.Rules(
    *(40, 44, (1, 2, 41, 42, 43), (3, 40), 5, timestamps)
  )


@pytest.mark.parametrize("num_beams", [1, 3])
@pytest.mark.parametrize("timestamps", [False, True])
def test_tokens_equal_transformers(tmp_path, timestamps, num_beams):
  model = save(tmp_path)
  config = encoders.find(str(tmp_path)).encoder.config
  rules = _rules(timestamps)
  asked = {
    "no_timestamps_token_id": 44,
    "max_initial_timestamp_index": 5,
    "suppress_tokens": list(rules.suppressed),
    "begin_suppress_tokens": list(rules.suppressed_first),
    "max_length": 24,
    "return_timestamps": timestamps,
    "no_speech_threshold": None,
  }
  for name, value in asked.items():
    setattr(model.generation_config, name, value)
  states_BxTxD = np.random.default_rng(2).normal(size=(3, 50, 16))
  states_BxTxD = states_BxTxD.astype(np.float32)
  outputs = transformers.modeling_outputs.BaseModelOutput(
    torch.tensor(states_BxTxD)
  )
  with torch.no_grad():
    expected = transformers.GenerationMixin.generate(
      model,
      encoder_outputs=outputs,
      decoder_input_ids=torch.full((3, 2 - timestamps), 44).index_fill_(
        1, torch.tensor([0]), 41
      ),
      num_beams=num_beams,
      do_sample=False,
      logits_processor=model._retrieve_logit_processors(
        model.generation_config, None, 2 - timestamps, num_beams, "cpu"
      ),
    )
  tensors = checkpoints.open_tensors(tmp_path)
  params = whisper_encoder.decoder_params(config, tensors, tmp_path)
  decoder = WhisperDecoder(config)
  cross = whisper_decoding.cross_cache(decoder, params, states_BxTxD)
  prompt = jnp.tile(jnp.array([[41, 44][: 2 - timestamps]]), (3, 1))
  if num_beams == 1:
    found = whisper_decoding.greedy(
      *(decoder, rules, params, cross, prompt),
      jnp.float32(0),
      jax.random.split(jax.random.key(0), 3),
    )
  else:
    found = whisper_decoding.beams(
      decoder, rules, num_beams, params, cross, prompt
    )
  expected = expected[:, 2 - timestamps :].numpy()
  tokens = np.asarray(found.tokens_BxN)[:, : expected.shape[1]]
  np.testing.assert_array_equal(tokens, expected)


class _Script:
  """A decoder that says what it is told, whatever was said before.

  Of K clips, tokens 0 and 1, and 2 for the end.
  """

  config = types.SimpleNamespace(
    decoder_attention_heads=1, max_target_positions=24
  )
  dtype = jnp.float32

  def start(self, batch, positions):
    return jnp.zeros((batch, 1))

  def apply(self, variables, tokens_BxT, position, script_KxNxV, cache):
    place = position + tokens_BxT.shape[1] - 1
    said_KxV = script_KxNxV[:, place]
    logits_BxV = jnp.repeat(said_KxV, len(tokens_BxT) // len(said_KxV), 0)
    return jnp.repeat(logits_BxV[:, None], tokens_BxT.shape[1], 1), cache


def test_beams_of_a_clip_do_not_depend_on_who_is_beside_it():
  """A clip is closed for good, as by transformers, while others go on.

  The short one ends at once, or after one token; ten tokens more would have
  been likelier in the mean.
  """
  short_NxV = np.full((24, 5), 1e-9)
  short_NxV[0, [0, 2]] = 0.55, 0.45
  short_NxV[1, [0, 1, 2]] = 0.25, 0.25, 0.5
  short_NxV[2:10, 0] = short_NxV[10:, 2] = 1
  long_NxV = np.full((24, 5), 1e-9)
  long_NxV[:14, 0] = long_NxV[14:, 2] = 1
  rules = whisper_rules.Rules(2, 3, (), (), None, False)
  for script in ([short_NxV], [short_NxV, long_NxV]):
    found = whisper_decoding.beams(
      *(_Script(), rules, 2, {}, jnp.log(np.array(script))),
      jnp.zeros((len(script), 1), int),
    )
    expected = np.r_[0, np.full(22, 2)]
    np.testing.assert_array_equal(found.tokens_BxN[0], expected)
    logprob = np.log(0.55 * 0.5) / 2
    np.testing.assert_allclose(found.logprob_B[0], logprob, rtol=1e-5)
  assert (np.asarray(found.tokens_BxN[1]) == 0).sum() == 14


def test_what_is_drawn_of_a_clip_does_not_depend_on_who_is_beside_it():
  script_KxNxV = np.random.default_rng(0).normal(size=(3, 24, 5))
  script_KxNxV[..., 2] = -30
  rules = whisper_rules.Rules(2, 3, (), (), None, False)

  def drawn(clips, keys):
    script = jnp.asarray(script_KxNxV[clips], jnp.float32)
    prompt_BxP = jnp.zeros((len(clips), 1), int)
    key_B = jax.vmap(jax.random.key)(np.array(keys))
    heat = jnp.float32(1)
    return whisper_decoding.greedy(
      _Script(), rules, {}, script, prompt_BxP, heat, key_B
    ).tokens_BxN

  alone, together = drawn([1], [7]), drawn([0, 1, 1], [5, 7, 8])
  np.testing.assert_array_equal(alone[0], together[1])
  assert (together[1] != together[2]).any()


def test_heads_that_do_not_fit_are_refused():
  with pytest.raises(UserError, match="d_model = 16 is no multiple"):
    WhisperConfig.from_json(
      {"model_type": "whisper", "d_model": 16, "encoder_attention_heads": 3},
      "config.json",
    )
