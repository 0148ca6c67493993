"""Speech encoders against transformers' PyTorch classes."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
import transformers
from safetensors.numpy import load_file, save_file

from emojax.encoders import speech
from emojax.encoders.speech_config import SpeechConfig
from emojax.encoders.speech_model import SpeechEncoder
from emojax.encoders.speech_parts import distance_buckets
from emojax.errors import UserError

SMALL = {
  "hidden_size": 48,
  "num_hidden_layers": 2,
  "num_attention_heads": 4,
  "intermediate_size": 80,
  "conv_dim": (32,) * 4,
  "conv_stride": (5, 2, 2, 2),
  "conv_kernel": (10, 3, 2, 2),
  "num_conv_pos_embeddings": 16,
  "num_conv_pos_embedding_groups": 4,
  "num_buckets": 32,
  "max_bucket_distance": 60,
}
CLASSES = {
  "wav2vec2": (transformers.Wav2Vec2Config, transformers.Wav2Vec2Model),
  "hubert": (transformers.HubertConfig, transformers.HubertModel),
  "wavlm": (transformers.WavLMConfig, transformers.WavLMModel),
}
LENGTHS = np.array([3000, 2100, 1234], np.int32)
# PyTorch says so of the way transformers calls it.
pytestmark = [
  pytest.mark.filterwarnings("ignore:Support for mismatched key_padding_mask"),
  pytest.mark.filterwarnings("ignore:.*has no attribute:DeprecationWarning"),
]


def make_clips(num_samples=3000):
  """A batch of three lengths, zeros after each."""
  audio = np.random.default_rng(0).normal(size=(3, num_samples))
  audio[np.arange(num_samples)[None] >= LENGTHS[:, None]] = 0
  return audio.astype(np.float32)


def make_reference(family, model_class=None, **fields):
  """A PyTorch model of random weights, its vectors too."""
  torch.manual_seed(0)
  config_class, base_class = CLASSES[family]
  model = (model_class or base_class)(config_class(**{**SMALL, **fields}))
  with torch.no_grad():
    for parameter in model.parameters():
      if parameter.ndim < 2:
        parameter += 0.1 * torch.randn_like(parameter)
  return model.eval()


def save(model, folder, masked=True, normalise=False):
  """A folder as transformers writes it."""
  model.save_pretrained(folder)
  transformers.Wav2Vec2FeatureExtractor(
    do_normalize=normalise, return_attention_mask=masked
  ).save_pretrained(folder)
  return str(folder)


def run_reference(model, audio, lengths=None):
  audio = torch.tensor(audio)
  mask = None
  if lengths is not None:
    mask = torch.arange(audio.shape[1])[None] < torch.tensor(lengths)[:, None]
  with torch.no_grad():
    return model(
      audio,
      attention_mask=None if mask is None else mask.long(),
      output_hidden_states=True,
    )


def apply(encoder, audio, lengths=None):
  return jax.jit(encoder.model.apply)(
    {"params": encoder.params}, audio, lengths
  )


def assert_states_equal(outputs, reference, rows=slice(None), frames=None):
  states = [*outputs["hidden_states"], outputs["last_hidden_state"]]
  wanted = [*reference.hidden_states, reference.last_hidden_state]
  assert len(states) == len(wanted) == SMALL["num_hidden_layers"] + 2
  for state, want in zip(states, wanted, strict=True):
    found = np.asarray(state)[rows, :frames]
    np.testing.assert_allclose(found, want.numpy(), atol=1e-4, rtol=0)


# As base and large models are published; each other mixture in one family.
USUAL = ("group", False, False), ("layer", True, True)
MIXTURES = {
  "wav2vec2": (("group", False, True), ("layer", True, False)),
  "hubert": (("group", True, False), ("layer", False, True)),
  "wavlm": (("group", True, True), ("layer", False, False)),
}


@pytest.mark.parametrize(
  ("family", "norm", "stable", "masked"),
  [
    (family, *flags)
    for family, mixtures in MIXTURES.items()
    for flags in (*USUAL, *mixtures)
  ],
)
def test_hidden_states(family, norm, stable, masked, tmp_path):
  model = make_reference(
    family,
    feat_extract_norm=norm,
    do_stable_layer_norm=stable,
    conv_bias=stable != masked,
    hidden_act="relu" if masked else "gelu",
  )
  audio = make_clips()
  encoder = speech.load(save(model, tmp_path, masked))
  outputs = apply(encoder, audio, LENGTHS)
  if not masked:
    assert_states_equal(outputs, run_reference(model, audio))
  elif norm == "layer":
    assert_states_equal(outputs, run_reference(model, audio, LENGTHS))
  else:
    # PyTorch's group norm sees the padding. Ours equals it clip by clip.
    for row, length in enumerate(LENGTHS):
      alone = run_reference(model, audio[row : row + 1, :length])
      frames = alone.last_hidden_state.shape[1]
      assert outputs["mask"][row].sum() == frames
      assert_states_equal(outputs, alone, [row], frames)


def test_hubert_without_the_norm_of_its_features(tmp_path):
  model = make_reference("hubert", feat_proj_layer_norm=False)
  encoder = speech.load(save(model, tmp_path, masked=False))
  assert_states_equal(
    apply(encoder, make_clips()), run_reference(model, make_clips())
  )


@pytest.mark.parametrize("large", [True, False])
@pytest.mark.parametrize("family", CLASSES)
def test_gradients(family, large, tmp_path):
  """Of the input and of every parameter, with several lengths."""
  model = make_reference(
    family,
    feat_extract_norm="layer" if large else "group",
    do_stable_layer_norm=large,
    conv_bias=large,
  )
  encoder = speech.load(save(model, tmp_path, masked=large))
  audio = make_clips()
  frames = encoder.config.num_frames(audio.shape[1])
  weights = np.random.default_rng(1).normal(size=(3, frames, 48))
  weights = weights.astype(np.float32)

  def loss(params, audio):
    outputs = encoder.model.apply({"params": params}, audio, LENGTHS)
    return (outputs["last_hidden_state"] * weights).mean()

  of_params, of_audio = jax.jit(jax.grad(loss, (0, 1)))(encoder.params, audio)

  tensor = torch.tensor(audio, requires_grad=True)
  mask = torch.arange(audio.shape[1])[None] < torch.tensor(LENGTHS)[:, None]
  states = model(tensor, attention_mask=mask.long() if large else None)
  (states.last_hidden_state * torch.tensor(weights)).mean().backward()
  with torch.no_grad():
    for parameter in model.parameters():
      # Loading is tested above: gradients go the same way as weights.
      gradient = parameter.grad
      parameter.copy_(torch.zeros(()) if gradient is None else gradient)
  wanted = speech.load(save(model, tmp_path / "gradients", large)).params
  assert_close(of_audio, tensor.grad.numpy())
  jax.tree.map(assert_close, of_params, wanted)


def assert_close(found, want):
  found, want = np.asarray(found), np.asarray(want)
  # A key's bias has no gradient but rounding: its scale is that of no other.
  scale = max(np.abs(want).max(), 1e-4)
  np.testing.assert_allclose(found, want, atol=1e-3 * scale, rtol=0)


def assert_equal(a, b):
  jax.tree.map(np.testing.assert_array_equal, a, b)


@pytest.mark.parametrize("family", CLASSES)
@pytest.mark.parametrize("norm", ["group", "layer"])
def test_padding_and_batch_mates_change_nothing(family, norm, tmp_path):
  model = make_reference(family, feat_extract_norm=norm)
  encoder = speech.load(save(model, tmp_path, masked=True))
  audio = make_clips()
  together = apply(encoder, audio, LENGTHS)
  # Other mates, more padding, and what is in the padding does not count.
  other = np.random.default_rng(5).normal(size=(2, 4000)).astype(np.float32)
  other[1, : LENGTHS[1]] = audio[1, : LENGTHS[1]]
  alone = apply(encoder, other, np.array([4000, LENGTHS[1]]))
  frames = int(together["mask"][1].sum())
  assert frames == encoder.config.num_frames(LENGTHS[1])
  for a, b in zip(
    together["hidden_states"], alone["hidden_states"], strict=True
  ):
    np.testing.assert_allclose(a[1, :frames], b[1, :frames], atol=1e-5)


def test_a_clip_without_a_frame_gives_no_nan(tmp_path):
  encoder = speech.load(save(make_reference("wavlm"), tmp_path))
  outputs = apply(encoder, make_clips(), np.array([3000, 5, 0]))
  assert np.isfinite(outputs["last_hidden_state"]).all()
  np.testing.assert_array_equal(outputs["mask"].any(axis=1), [1, 0, 0])


PUBLISHED = {
  # Millions of parameters: the papers' 95 and 317 (Baevski et al. 2020, section
  # 4.2; Hsu et al. 2021, Table 1; Chen et al. 2022, section V).
  "wav2vec2-base": ("wav2vec2", False, 94.4),
  "hubert-base-ls960": ("hubert", False, 94.4),
  "wavlm-base-plus": ("wavlm", False, 94.4),
  "wav2vec2-large-lv60": ("wav2vec2", True, 315.4),
  "hubert-large-ll60k": ("hubert", True, 315.4),
  "wavlm-large": ("wavlm", True, 315.5),
}
LARGE = {
  "hidden_size": 1024,
  "num_hidden_layers": 24,
  "num_attention_heads": 16,
  "intermediate_size": 4096,
  "feat_extract_norm": "layer",
  "do_stable_layer_norm": True,
  "conv_bias": True,
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_parameter_counts(name):
  family, large, millions = PUBLISHED[name]
  fields = dict(LARGE) if large else {}
  if name == "wavlm-large":
    fields["conv_bias"] = False
  config_class, model_class = CLASSES[family]
  theirs = config_class(**fields)
  with torch.device("meta"):
    want = sum(p.numel() for p in model_class(theirs).parameters())
  config = SpeechConfig.from_json(theirs.to_dict(), "config.json")
  shapes = jax.eval_shape(
    SpeechEncoder(config).init, jax.random.key(0), jnp.zeros((1, 400))
  )
  count = sum(leaf.size for leaf in jax.tree.leaves(shapes))
  assert count == want
  assert round(count / 1e6, 1) == millions


@pytest.mark.parametrize("family", CLASSES)
def test_defaults_are_those_of_transformers(family):
  theirs = CLASSES[family][0]().to_dict()
  ours = dataclasses.asdict(SpeechConfig())
  for name in ours.keys() & theirs.keys() - {"model_type"}:
    value = theirs[name]
    assert ours[name] == (tuple(value) if isinstance(value, list) else value)


@pytest.mark.parametrize(("buckets", "farthest"), [(320, 800), (32, 60)])
def test_distance_buckets(buckets, farthest):
  theirs = transformers.WavLMConfig(
    num_buckets=buckets, max_bucket_distance=farthest, num_hidden_layers=1
  )
  with torch.device("meta"):
    model = transformers.WavLMModel(theirs)
  attention = model.encoder.layers[0].attention
  distances = np.arange(-2000, 2001)
  np.testing.assert_array_equal(
    distance_buckets(distances, buckets, farthest),
    attention._relative_positions_bucket(torch.tensor(distances)),
  )


def test_frames_follow_the_convolutions():
  config = SpeechConfig()
  model = transformers.Wav2Vec2Model(
    transformers.Wav2Vec2Config(num_hidden_layers=1, conv_dim=(4,) * 7)
  )
  samples = np.arange(400, 3000, 7)
  np.testing.assert_array_equal(
    config.num_frames(samples),
    model._get_feat_extract_output_lengths(torch.tensor(samples)),
  )
  assert config.min_samples == 400
  assert config.samples_per_frame == 320
  assert [config.num_frames(n) for n in (0, 399, 400, 719, 720)] == [
    0, 0, 1, 1, 2,
  ]  # fmt: skip


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
  folder = tmp_path_factory.mktemp("wavlm")
  return speech.load(save(make_reference("wavlm"), folder))


def trained(encoder, **fields):
  """By seed, the outputs of a training step with some rates changed."""
  config = dataclasses.replace(encoder.config, **fields)
  model = encoder.model.clone(config=config)

  @jax.jit
  def outputs(seed):
    return model.apply(
      {"params": encoder.params},
      make_clips(),
      LENGTHS,
      train=True,
      rngs={"dropout": jax.random.key(seed)},
    )

  return outputs


STILL = {
  "hidden_dropout": 0.0,
  "activation_dropout": 0.0,
  "attention_dropout": 0.0,
  "layerdrop": 0.0,
  "apply_spec_augment": False,
}


@pytest.mark.parametrize(
  "active",
  [
    {},
    {"hidden_dropout": 0.3},
    {"activation_dropout": 0.3},
    {"attention_dropout": 0.3},
    {"feat_proj_dropout": 0.3},
    {"apply_spec_augment": True},
    {
      "apply_spec_augment": True,
      "mask_time_prob": 0.0,
      "mask_feature_prob": 0.5,
    },
    {"layerdrop": 0.5},
  ],
)
def test_each_source_of_randomness_is_there(encoder, active):
  outputs = trained(encoder, **{**STILL, **active})
  first, again, other = (
    np.asarray(outputs(seed)["last_hidden_state"]) for seed in (0, 0, 1)
  )
  np.testing.assert_array_equal(first, again)
  if active:
    assert np.abs(first - other).max() > 0.01
  else:
    still = apply(encoder, make_clips(), LENGTHS)["last_hidden_state"]
    np.testing.assert_allclose(first, still, atol=1e-5)


def test_layer_drop_skips_all_but_the_first_layer_of_wavlm(encoder):
  states = trained(encoder, **{**STILL, "layerdrop": 1.0})(0)["hidden_states"]
  assert np.abs(states[1] - states[0]).max() > 0.1
  np.testing.assert_array_equal(states[1], states[2])


def test_remat_changes_memory_alone(encoder):
  def gradient(remat):
    model = encoder.model.clone(remat=remat)

    def loss(params):
      outputs = model.apply({"params": params}, make_clips(), LENGTHS)
      return (outputs["last_hidden_state"] ** 3).mean()

    return jax.jit(jax.grad(loss))(encoder.params)

  jax.tree.map(assert_close, gradient(True), gradient(False))


def test_half_precision(encoder, tmp_path):
  half = speech.load(
    save(make_reference("wavlm"), tmp_path), dtype=jnp.bfloat16
  )
  assert {leaf.dtype for leaf in jax.tree.leaves(half.params)} == {
    jnp.dtype(jnp.float32)
  }
  found = apply(half, make_clips(), LENGTHS)["last_hidden_state"]
  assert found.dtype == jnp.bfloat16
  want = apply(encoder, make_clips(), LENGTHS)["last_hidden_state"]
  assert np.abs(found.astype(jnp.float32) - want).mean() < 0.02


@pytest.mark.parametrize("normalise", [True, False])
def test_preprocessing(normalise, tmp_path):
  save(make_reference("hubert"), tmp_path, normalise=normalise)
  encoder = speech.load(str(tmp_path))
  rng = np.random.default_rng(0)
  clips = [0.2 + rng.normal(size=n).astype(np.float32) for n in (900, 700)]
  theirs = transformers.AutoFeatureExtractor.from_pretrained(tmp_path)
  want = theirs(clips, sampling_rate=16_000, padding=True, return_tensors="np")
  audio, lengths = encoder.preprocess(clips, 16_000)
  np.testing.assert_allclose(audio, want["input_values"], atol=1e-5)
  np.testing.assert_array_equal(lengths, want["attention_mask"].sum(1))
  wide, _ = encoder.preprocess(clips, 16_000, num_samples=1200)
  np.testing.assert_array_equal(wide[:, :900], audio)
  assert wide.shape == (2, 1200) and not wide[:, 900:].any()


CLIP = np.ones(1000, np.float32)


@pytest.mark.parametrize(
  ("clips", "rate", "message"),
  [
    ([CLIP], 48_000, "clips of 48000 Hz: the encoder takes 16000 Hz"),
    ([], 16_000, "an empty batch"),
    ([CLIP, CLIP[:30]], 16_000, "clip 1 has 30 samples, less than the 50 of"),
    ([CLIP * np.nan], 16_000, "clip 0 has samples that are NaN or infinite"),
    ([CLIP[None]], 16_000, r"clip 0 has the shape \(1, 1000\)"),
    ([np.ones(5000)], 16_000, "clip 0 has 5000 samples, more than the batch's"),
  ],
)
def test_bad_clips(encoder, clips, rate, message):
  with pytest.raises(UserError, match=message) as caught:
    encoder.preprocess(clips, rate, 3000)
  assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
  ("fields", "message"),
  [
    ({"hidden_size": "48"}, "hidden_size = '48' is no int"),
    ({"model_type": "whisper"}, "'whisper' is no speech encoder"),
    ({"model_type": None}, "None is no speech encoder"),
    ({"add_adapter": True}, "add_adapter = True is not supported"),
    ({"conv_kernel": [3]}, "differ in length"),
    ({"num_attention_heads": 7}, "no multiple of num_attention_heads = 7"),
    ({"hidden_act": "silu"}, "hidden_act = 'silu' is none of gelu"),
    ({"feat_extract_norm": "batch"}, "feat_extract_norm = 'batch'"),
    ({"hidden_size": 64}, "misshapen"),
    ({"num_hidden_layers": 3}, "missing"),
    ({"num_hidden_layers": 1}, "unexpected"),
  ],
)
def test_bad_configs(fields, message, tmp_path):
  save(make_reference("wav2vec2"), tmp_path)
  path = tmp_path / "config.json"
  path.write_text(json.dumps(json.loads(path.read_text()) | fields))
  with pytest.raises(UserError, match=message) as caught:
    speech.load(str(tmp_path))
  assert str(tmp_path) in str(caught.value)
  assert "\n" not in str(caught.value)


def test_a_folder_that_is_no_checkpoint(tmp_path):
  with pytest.raises(UserError, match=r"no config\.json"):
    speech.load(str(tmp_path))


def test_a_truncated_file(tmp_path):
  save(make_reference("wav2vec2"), tmp_path)
  weights = tmp_path / "model.safetensors"
  weights.write_bytes(weights.read_bytes()[:-1000])
  with pytest.raises(UserError, match=r"model\.safetensors"):
    speech.load(str(tmp_path))


@pytest.mark.parametrize(
  "task",
  [
    "PreTraining",
    "SequenceClassification",
    "AudioFrameClassification",
    "XVector",
  ],
)
def test_heads_of_other_tasks_are_no_matter(task, tmp_path):
  model_class = getattr(transformers, f"Wav2Vec2For{task}")
  model = make_reference("wav2vec2", model_class, use_weighted_layer_sum=True)
  loaded = speech.load(save(model, tmp_path))
  save(model.wav2vec2, tmp_path / "base")
  assert_equal(loaded.params, speech.load(str(tmp_path / "base")).params)


def test_a_missing_mask_embedding_is_drawn(tmp_path, caplog):
  """wav2vec2-base-960h is published without it."""
  save(make_reference("wav2vec2"), tmp_path)
  weights = load_file(tmp_path / "model.safetensors")
  del weights["masked_spec_embed"]
  save_file(weights, tmp_path / "model.safetensors")
  with caplog.at_level("INFO", "emojax"):
    encoder = speech.load(str(tmp_path))
  assert "has no masked_spec_embed" in caplog.text
  assert encoder.params["masked_spec_embed"].shape == (48,)


@pytest.mark.parametrize(
  ("head", "prefix"),
  [
    ({"cls_head.weight": np.zeros((4, 3), np.float32)}, "wav2vec2."),
    ({"my_pool.0.bias": np.zeros(4, np.float32)}, ""),
    ({"module.lm_head.bias": np.zeros(4, np.float32)}, "module.wav2vec2."),
    ({"head.bias": np.zeros(4, np.float32)}, "backbone."),
    ({}, "_orig_mod."),
    ({}, "module._orig_mod.model.wav2vec2."),
  ],
)
def test_the_prefix_decides_what_is_the_encoder(head, prefix, tmp_path, caplog):
  folder = save(make_reference("wav2vec2"), tmp_path)
  want = speech.load(folder).params
  assert not caplog.records
  path = tmp_path / "model.safetensors"
  weights = {prefix + name: x for name, x in load_file(path).items()}
  save_file(weights | head, path)
  assert_equal(speech.load(folder).params, want)
  parts = [name.removeprefix("module.").split(".")[0] for name in head]
  assert [r.getMessage().split(": ")[-1] for r in caplog.records] == parts


def test_what_is_no_encoder_of_this_kind(tmp_path):
  folder = save(make_reference("wav2vec2"), tmp_path)
  path = tmp_path / "model.safetensors"
  own = load_file(path)
  whole = {"wav2vec2." + name: x for name, x in own.items()}
  one = np.zeros(3, np.float32)
  lora = "wav2vec2.encoder.layers.0.attention.q_proj.lora_A.default.weight"
  for weights, why in (
    (whole | own, r"there 2 times, as '\*' and 'wav2vec2\.\*'"),
    (whole | {"wav2vec2.adapter.bias": one}, r"1 unexpected: adapter\.bias"),
    (whole | {lora: one}, "merge it into its base model"),
    (whole | {"wav2vec2.x.weight_scale": one}, "quantised weights"),
    ({n: x.astype(np.int8) for n, x in own.items()}, r"\(int8, not float\)"),
    ({n: x * np.float32("nan") for n, x in own.items()}, r"\.bias \(NaN\)"),
  ):
    save_file(weights, path)
    with pytest.raises(UserError, match=why) as caught:
      speech.load(folder)
    assert "\n" not in str(caught.value)


def test_nothing_is_said_to_be_drawn_of_weights_that_do_not_fit(
  tmp_path, caplog
):
  folder = save(make_reference("wav2vec2"), tmp_path)
  save_file({"w": np.zeros(3, np.float32)}, tmp_path / "model.safetensors")
  with caplog.at_level("INFO", "emojax"), pytest.raises(UserError):
    speech.load(folder)
  assert not caplog.records
