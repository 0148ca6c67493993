"""Pooling and classifier against PyTorch, and what padding must not change."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

from emojax.encoders.log_mel import LogMelEncoder, num_frames
from emojax.encoders.speech_config import SpeechConfig
from emojax.models.pooling import AttentionPooling, MeanPooling
from emojax.models.speech_classifier import SpeechClassifier
from emojax.systems import speech
from emojax.systems.speech import SpeechSystem

TINY = SpeechConfig(
  hidden_size=16,
  num_hidden_layers=2,
  num_attention_heads=2,
  intermediate_size=16,
  feat_extract_norm="group",
  conv_dim=(8, 8),
  conv_kernel=(20, 16),
  conv_stride=(16, 10),
  num_conv_pos_embeddings=4,
  num_conv_pos_embedding_groups=2,
  mask_time_prob=0.0,
)
ENCODERS = {
  "wav2vec2": speech.speech_encoder(TINY),
  "log_mel": speech.log_mel_encoder((4, 4)),
}


def make_system(name, **changes):
  fields = {
    "encoder": ENCODERS[name],
    "classes": ("angry", "happy", "sad"),
    "sample_rate": 16_000,
    "normalise": True,
    "window_seconds": 1.0,
    "pooling": "attention",
    "weigh_layers": False,
    "hidden": 8,
    "dropout": 0.3,
  }
  return SpeechSystem(**fields | changes)


def frames(seed=0):
  rng = np.random.default_rng(seed)
  x = rng.normal(size=(3, 7, 5)).astype(np.float32)
  mask = np.arange(7)[None] < np.array([7, 4, 1])[:, None]
  return x, mask


def test_attention_pooling_is_pytorchs():
  x, mask = frames()
  module = AttentionPooling()
  variables = module.init(jax.random.key(1), x, mask)
  pooled, weights = module.apply(variables, x, mask)
  score = torch.nn.Linear(5, 1)
  kernel = variables["params"]["score"]["kernel"]
  score.weight.data = torch.tensor(np.asarray(kernel).T)
  score.bias.data = torch.tensor(
    np.asarray(variables["params"]["score"]["bias"])
  )
  scores = score(torch.tensor(x))[..., 0]
  scores = scores.masked_fill(~torch.tensor(mask), -torch.inf)
  expected = scores.softmax(-1)
  np.testing.assert_allclose(weights, expected.detach(), atol=1e-6)
  expected = (expected[..., None] * torch.tensor(x)).sum(1)
  np.testing.assert_allclose(pooled, expected.detach(), atol=1e-6)


def test_mean_pooling():
  x, mask = frames()
  pooled, weights = MeanPooling().apply({}, x, mask)
  expected = [clip[rows].mean(0) for clip, rows in zip(x, mask, strict=True)]
  np.testing.assert_allclose(pooled, expected, atol=1e-6)
  np.testing.assert_allclose(weights.sum(-1), 1, atol=1e-6)


@pytest.mark.parametrize(
  "pooling", [AttentionPooling(), MeanPooling()], ids=str
)
def test_nothing_comes_in_from_behind_the_end(pooling):
  x, mask = frames()
  mask = mask.copy()
  mask[2] = False  # A clip without a frame.
  variables = pooling.init(jax.random.key(0), x, mask)
  pooled, _ = pooling.apply(variables, x, mask)
  dirty = np.where(mask[..., None], x, np.nan)
  again, _ = pooling.apply(variables, dirty, mask)
  np.testing.assert_array_equal(pooled, again)
  np.testing.assert_array_equal(pooled[2], 0)
  gradient = jax.grad(
    lambda params: pooling.apply({"params": params}, x, mask)[0].sum()
  )(variables.get("params", {}))
  chex.assert_tree_all_finite(gradient)


@pytest.mark.parametrize("weigh_layers", [False, True])
@pytest.mark.parametrize("encoder", sorted(ENCODERS))
def test_padding_and_batch_mates_change_nothing(encoder, weigh_layers):
  system = make_system(encoder, weigh_layers=weigh_layers)
  model = system.model()
  rng = np.random.default_rng(0)
  lengths = np.array([4000, 2500, 3200])
  audio = np.zeros((3, 5000), np.float32)
  for row, length in zip(audio, lengths, strict=True):
    row[:length] = rng.normal(size=length)
  variables = jax.jit(model.init)(jax.random.key(0), audio, lengths)

  @jax.jit
  def classify(audio, lengths):
    audio = speech.normalise(audio, lengths)
    return model.apply(variables, audio, lengths)[0]

  together = classify(audio, lengths)
  alone = classify(audio[1:2, :2500], lengths[1:2])
  np.testing.assert_allclose(together[1], alone[0], atol=2e-5)


def test_normalise_is_the_preprocessors():
  rng = np.random.default_rng(0)
  audio = np.zeros((2, 900), np.float32)
  audio[0, :900], audio[1, :500] = (
    3 + rng.normal(size=900),
    rng.normal(size=500),
  )
  found = speech.normalise(jnp.asarray(audio), jnp.array([900, 500]))
  for row, length, clip in zip(found, (900, 500), audio, strict=True):
    clip = clip[:length]
    expected = (clip - clip.mean()) / np.sqrt(clip.var() + 1e-7)
    np.testing.assert_allclose(row[:length], expected, atol=1e-5)
    np.testing.assert_array_equal(row[length:], 0)


def test_frames_of_the_log_mel_encoder():
  encoder = LogMelEncoder((4, 4, 4))
  for samples in (1280, 1279, 4000, 4001):
    audio = jnp.zeros((1, samples))
    lengths = jnp.array([samples])
    outputs, _ = jax.eval_shape(
      lambda audio, lengths: encoder.init_with_output(
        jax.random.key(0), audio, lengths
      ),
      audio,
      lengths,
    )
    chex.assert_shape(outputs["mask"], (1, num_frames(samples, 3)))


def test_published_head_of_a_base_model():
  system = make_system(
    "wav2vec2",
    encoder=speech.speech_encoder(SpeechConfig(mask_time_prob=0.0)),
    classes=tuple("abcdefgh"),
    hidden=256,
  )
  audio = jax.ShapeDtypeStruct((1, 16_000), jnp.float32)
  lengths = jax.ShapeDtypeStruct((1,), jnp.int32)
  params = jax.eval_shape(
    system.model().init, jax.random.key(0), audio, lengths
  )["params"]
  count = {
    k: sum(x.size for x in jax.tree.leaves(v)) for k, v in params.items()
  }
  head = {k: v for k, v in count.items() if k != "encoder"}
  # Linear(768, 1), Linear(768, 256), Linear(256, 8).
  assert head == {"pool": 769, "hidden_layer": 196_864, "output": 2_056}
  assert 94e6 < count["encoder"] < 95e6


def test_description_survives_json(tmp_path):
  system = make_system("wav2vec2", temperature=1.5)
  model = system.model()
  audio, lengths = jnp.ones((1, 3200)), jnp.array([3200])
  params = jax.jit(model.init)(jax.random.key(0), audio, lengths)["params"]
  for name, write in speech.files("model", system, params).items():
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    write(path)
  again, read = speech.load(tmp_path / "model")
  assert again == SpeechSystem.from_json(again.to_json())
  assert (again.temperature, again.classes) == (1.5, system.classes)
  chex.assert_trees_all_equal(read, jax.device_get(params))
  assert isinstance(again.model(), SpeechClassifier)
  np.testing.assert_array_equal(
    model.apply({"params": params}, audio, lengths)[0],
    again.model().apply({"params": read}, audio, lengths)[0],
  )
