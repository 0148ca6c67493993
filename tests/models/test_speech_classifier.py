"""Pooling and classifier against PyTorch, and what padding must not change."""

import json

import chex
import flax
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

from emojax import encoders
from emojax.encoders.interface import normalise
from emojax.encoders.log_mel import LogMel
from emojax.encoders.speech import Wav2Vec2
from emojax.encoders.speech_config import SpeechConfig
from emojax.models.speech_classifier import SpeechClassifier, states
from emojax.systems import stored
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
  "wav2vec2": Wav2Vec2(TINY),
  "log_mel": LogMel((4, 4)),
}


def make_system(name, **changes):
  fields = {
    "encoder": ENCODERS[name],
    "classes": ("angry", "happy", "sad"),
    "window_seconds": 1.0,
    "pooling": "attention",
    "weigh_layers": False,
    "averaged_frames": 1,
    "hidden": 8,
    "dropout": 0.3,
  }
  return SpeechSystem(**fields | changes)


def frames(seed=0):
  rng = np.random.default_rng(seed)
  x = rng.normal(size=(3, 7, 2, 5)).astype(np.float32)
  mask = np.arange(7)[None] < np.array([7, 4, 0])[:, None]
  return np.where(mask[..., None, None], x, 0), mask


def head(**changes):
  fields = {"encoder": None, "num_classes": 3, "hidden": 4, "dropout": 0.0}
  return SpeechClassifier(**fields | changes)


def whole(function, *arguments):
  """A method of a head, compiled in one piece."""
  return jax.jit(function, static_argnames="method")(
    *arguments, method="classify"
  )


@pytest.mark.parametrize("weigh_layers", [False, True])
def test_attention_over_an_average_of_layers_is_pytorchs(weigh_layers):
  x, mask = frames()
  x = x if weigh_layers else x[:, :, :1]
  model = head(weigh_layers=weigh_layers)
  (_, out), variables = whole(
    model.init_with_output, jax.random.key(1), x, mask
  )
  params = variables["params"]
  count = np.array([[7], [4], [1]])
  np.testing.assert_allclose(out["attention"], mask / count, atol=1e-6)
  kernel = params["pool"]["score"]["kernel"]
  drawn = jax.random.normal(jax.random.key(2), kernel.shape)
  params["pool"]["score"]["kernel"] = drawn
  if weigh_layers:
    params["layer_weights"]["logits"] = jnp.array([0.3, -0.7])
  _, out = whole(model.apply, {"params": params}, x, mask)
  score = torch.nn.Linear(5, 1)
  kernel = params["pool"]["score"]["kernel"]
  score.weight.data = torch.tensor(np.asarray(kernel).T)
  score.bias.data = torch.tensor(np.asarray(params["pool"]["score"]["bias"]))
  logits = torch.tensor([0.3, -0.7] if weigh_layers else [0.0])
  average = torch.einsum("l,btld->btd", logits.softmax(0), torch.tensor(x))
  scores = score(average)[..., 0].masked_fill(~torch.tensor(mask), -torch.inf)
  weights = scores.softmax(-1).nan_to_num()  # Of a clip without a frame: 0.
  np.testing.assert_allclose(out["attention"], weights.detach(), atol=1e-6)
  pooled = (weights[..., None] * average).sum(1)
  np.testing.assert_allclose(out["pooled"], pooled.detach(), atol=1e-6)


def test_mean_pooling():
  x, mask = frames()
  (_, out), _ = whole(
    head(pooling="mean").init_with_output,
    *(jax.random.key(1), x[:, :, :1], mask),
  )
  for pooled, clip, rows in zip(out["pooled"], x[:, :, 0], mask, strict=True):
    mean = clip[rows].mean(0) if rows.any() else np.zeros(5)
    np.testing.assert_allclose(pooled, mean, atol=1e-6)


@pytest.mark.parametrize("pooling", ["attention", "mean"])
def test_a_clip_without_a_frame_has_finite_gradients(pooling):
  x, mask = frames()
  model = head(pooling=pooling, weigh_layers=True)
  params = whole(model.init, jax.random.key(0), x, mask)["params"]

  def total(params):
    return model.apply({"params": params}, x, mask, method="classify")[0].sum()

  chex.assert_tree_all_finite(jax.jit(jax.grad(total))(params))


def test_states_are_those_of_the_clip_alone():
  rng = np.random.default_rng(0)
  layers = rng.normal(size=(2, 3, 7, 5)).astype(np.float32)
  layers[1] *= 100
  mask = np.arange(7)[None] < np.array([7, 4, 0])[:, None]
  dirty = np.where(mask[..., None], layers, np.nan)
  outputs = {
    "hidden_states": tuple(dirty),
    "last_hidden_state": dirty[1],
    "mask": mask,
  }
  found, valid = states(outputs, all_layers=True, count=3)
  np.testing.assert_array_equal(valid, [[1, 1, 1], [1, 1, 0], [0, 0, 0]])
  normal = torch.nn.functional.layer_norm(torch.tensor(layers), (5,)).numpy()
  np.testing.assert_allclose(found[0, 1], normal[:, 0, 3:6].mean(1), atol=1e-5)
  np.testing.assert_allclose(found[1, 1], normal[:, 1, 3], atol=1e-5)
  np.testing.assert_array_equal(found[1, 2], 0)
  np.testing.assert_array_equal(found[2], 0)
  last, valid = states(outputs, all_layers=False, count=1)
  np.testing.assert_array_equal(valid, mask)
  np.testing.assert_array_equal(last[1, :4, 0], layers[1, 1, :4])
  np.testing.assert_array_equal(last[1, 4:], 0)


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
    audio = system.prepare(audio, lengths)
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
  found = normalise(jnp.asarray(audio), jnp.array([900, 500]))
  for row, length, clip in zip(found, (900, 500), audio, strict=True):
    clip = clip[:length]
    expected = (clip - clip.mean()) / np.sqrt(clip.var() + 1e-7)
    np.testing.assert_allclose(row[:length], expected, atol=1e-5)
    np.testing.assert_array_equal(row[length:], 0)


@pytest.mark.parametrize("name", sorted(ENCODERS))
def test_what_an_encoder_says_of_itself(name):
  encoder = ENCODERS[name]
  module = encoder.module(jnp.float32)
  shortest = encoder.min_samples
  longer = shortest + 3 * encoder.samples_per_frame
  assert encoder.num_frames(longer) == encoder.num_frames(shortest) + 3
  audio, lengths = jnp.ones((1, longer)), jnp.array([longer])
  outputs, variables = jax.eval_shape(
    lambda: module.init_with_output(jax.random.key(0), audio, lengths)
  )
  chex.assert_shape(outputs["mask"], (1, encoder.num_frames(longer)))
  flat = flax.traverse_util.flatten_dict(variables["params"])
  layers = {encoder.layer_of(path) for path in flat} - {None}
  assert layers == set(range(encoder.num_layers))
  assert encoders.from_json(json.loads(json.dumps(encoder.to_json()))) == (
    encoder
  )
  assert encoder.masks == (name == "wav2vec2")


def test_names_of_encoders():
  assert {"log_mel", "small"} <= set(encoders.names())
  with pytest.raises(ValueError, match="there is an encoder called 'small'"):
    encoders.register("small", LogMel(), "another one")
  with pytest.raises(ValueError, match="no encoder 'unknown'"):
    encoders.from_json({"kind": "unknown"})


def test_frames_of_the_log_mel_encoder():
  encoder = LogMel((4, 4, 4))
  module = encoder.module(jnp.float32)
  for samples in (1280, 1279, 4000, 4001):
    audio = jnp.zeros((1, samples))
    lengths = jnp.array([samples])
    outputs, _ = jax.eval_shape(
      lambda audio, lengths: module.init_with_output(
        jax.random.key(0), audio, lengths
      ),
      audio,
      lengths,
    )
    chex.assert_shape(outputs["mask"], (1, encoder.num_frames(samples)))


def test_published_head_of_a_base_model():
  system = make_system(
    "wav2vec2",
    encoder=Wav2Vec2(SpeechConfig(mask_time_prob=0.0)),
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
  system = make_system(
    "wav2vec2", temperature=1.5, threshold=0.4, level_db=-23.5
  )
  model = system.model()
  audio, lengths = jnp.ones((1, 3200)), jnp.array([3200])
  params = jax.jit(model.init)(jax.random.key(0), audio, lengths)["params"]
  (tmp_path / "summary.json").touch()
  for name, write in stored.writers(system, params).items():
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    write(path)
  again, read = stored.load(tmp_path)
  assert again == system
  assert (again.temperature, again.classes) == (1.5, system.classes)
  chex.assert_trees_all_equal(read, jax.device_get(params))
  assert isinstance(again.model(), SpeechClassifier)
  np.testing.assert_array_equal(
    jax.jit(model.apply)({"params": params}, audio, lengths)[0],
    jax.jit(again.model().apply)({"params": read}, audio, lengths)[0],
  )
