"""The chain of augmentations: what is picked, and what stays as it was."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs import speech
from emojax.audio import augment as module
from emojax.audio import waveforms
from emojax.audio.augment import augment
from emojax.audio.settings import Augmentation, Settings
from emojax.errors import UserError
from emojax.kernels import target

KINDS = [
  field.name.removesuffix("_probability")
  for field in dataclasses.fields(Settings)
  if field.name.endswith("_probability")
]
RNG = np.random.default_rng(0)
LENGTHS = np.array([5_000, 4_000, 2_500, 5_000], np.int32)
AUDIO = np.asarray(
  waveforms.cut(RNG.normal(size=(4, 5_000)).astype(np.float32), LENGTHS)
)
NOISE = RNG.normal(size=(4, 5_000)).astype(np.float32)
KEY = jax.random.key(0)


@functools.cache
def _compiled(settings):
  return jax.jit(
    functools.partial(augment, responses_NxR=None, settings=settings)
  )


def test_probability_zero_is_the_identity_and_compiles_to_nothing():
  run = _compiled(Settings())
  audio, lengths = run(KEY, AUDIO, LENGTHS, None)
  np.testing.assert_array_equal(audio, AUDIO)
  np.testing.assert_array_equal(lengths, LENGTHS)
  program = run.lower(KEY, AUDIO, LENGTHS, None).as_text()
  assert "fft" not in program and "cosine" not in program


def test_a_batch_on_a_gpu_is_the_same_without_a_condition(monkeypatch):
  settings = Settings(**{f"{kind}_probability": 0.5 for kind in KINDS})
  operands = KEY, AUDIO, LENGTHS, NOISE
  want, want_lengths = _compiled(settings)(*operands)
  monkeypatch.setattr(target, "platform", lambda: "gpu")
  # Not the cached one, which is a CPU's.
  program = jax.jit(lambda *args: augment(*args, None, settings))
  got, got_lengths = program(*operands)
  np.testing.assert_array_equal(got_lengths, want_lengths)
  np.testing.assert_allclose(got, want, atol=1e-4)
  traced = program.trace(*operands)
  text = traced.lower(lowering_platforms=("cuda",)).as_text()
  # But for the choice of the platform, which is a constant.
  assert text.count("stablehlo.case") == 2
  assert "stablehlo.while" not in text


def test_a_clip_keeps_what_a_frame_takes():
  """0.25 s, cut to a hundredth and moved by as much as it has: nothing."""
  settings = Settings(
    min_samples=400,
    crop_probability=0.5,
    crop_share=(0.01, 0.2),
    shift_probability=0.5,
    shift_seconds=(-0.25, 0.0),
  )
  rng = np.random.default_rng(0)
  audio = np.zeros((64, 4_800), np.float32)
  lengths = np.array([4_000] * 62 + [300, 0], np.int32)
  for row, length in zip(audio, lengths, strict=True):
    row[:length] = rng.normal(size=length)
  got, got_lengths = _compiled(settings)(KEY, audio, lengths, None)
  assert (got_lengths[:62] >= 400).all() and (got_lengths[:62] < 4_000).any()
  kept = np.flatnonzero(np.asarray(got_lengths) == lengths)
  np.testing.assert_array_equal(got[kept], audio[kept])
  assert got_lengths[62:].tolist() == [300, 0]
  # Without the bound some are left with less than a frame, or nothing.
  settings = dataclasses.replace(settings, min_samples=1)
  _, got_lengths = _compiled(settings)(KEY, audio, lengths, None)
  assert (got_lengths[:62] < 400).any()
  assert (got_lengths[:62] > 0).all()


@pytest.mark.parametrize("kind", KINDS)
def test_each_alone_changes_every_clip_and_no_other_alike(kind):
  run = _compiled(Settings(**{f"{kind}_probability": 1.0}))
  # The same clip four times over.
  audio = np.stack([AUDIO[1]] * 4)
  lengths = np.full(4, LENGTHS[1])
  got, new = run(KEY, audio, lengths, NOISE)
  assert np.isfinite(got).all() and np.asarray(got).any(axis=1).all()
  assert not np.asarray(got)[np.arange(5_000)[None] >= new[:, None]].any()
  for row in range(4):
    assert not np.array_equal(got[row], audio[row])
    assert not np.array_equal(got[row], got[row - 1])


def test_all_together():
  everything = {f"{kind}_probability": 0.5 for kind in KINDS}
  run = _compiled(Settings(**everything))
  audio, lengths = run(KEY, AUDIO, LENGTHS, NOISE)
  assert audio.shape == AUDIO.shape and audio.dtype == jnp.float32
  assert lengths.dtype == jnp.int32
  assert np.isfinite(audio).all()
  assert not np.asarray(audio)[np.arange(5_000)[None] >= lengths[:, None]].any()
  again, _ = run(KEY, AUDIO, LENGTHS, NOISE)
  np.testing.assert_array_equal(audio, again)
  other, _ = run(jax.random.key(1), AUDIO, LENGTHS, NOISE)
  assert not np.array_equal(audio, other)
  # Another batch around the second clip.
  mates = AUDIO[::-1].copy()
  mates[1], lengths_of = AUDIO[1], LENGTHS[::-1].copy()
  lengths_of[1] = LENGTHS[1]
  noise = NOISE[::-1].copy()
  noise[1] = NOISE[1]
  with_others, _ = run(KEY, mates, lengths_of, noise)
  np.testing.assert_array_equal(with_others[1], audio[1])


def test_probability_is_the_share_of_clips_and_others_stay_bit_for_bit():
  audio = np.tile(AUDIO[:1, :50], (2_000, 1))
  lengths = np.full(2_000, 50, np.int32)
  settings = Settings(gain_probability=0.3, noise_probability=0.2)
  got, _ = _compiled(settings)(KEY, audio, lengths, None)
  same = (np.asarray(got) == audio).all(axis=1)
  # Independent: 0.7 * 0.8, within four standard errors.
  assert abs(same.mean() - 0.56) < 4 * np.sqrt(0.56 * 0.44 / 2_000)


def test_one_by_one_is_the_same_as_at_once():
  settings = Settings(noise_probability=0.5, crop_probability=0.5)
  keys = jax.vmap(functools.partial(jax.random.fold_in, KEY))(jnp.arange(4))
  at_once = functools.partial(module._augment, settings, None)
  want, want_lengths = jax.jit(at_once)(keys, AUDIO, LENGTHS, None)
  got, lengths = _compiled(settings)(KEY, AUDIO, LENGTHS, None)
  np.testing.assert_array_equal(lengths, want_lengths)
  np.testing.assert_allclose(got, want, atol=1e-4)


def test_responses_that_are_given_are_used():
  responses = np.zeros((1, 30), np.float32)
  responses[0, [0, 20]] = 0.8, 0.6
  settings = Settings(reverberation_probability=1.0)
  got, _ = augment(KEY, AUDIO, LENGTHS, None, responses, settings)
  want = 0.8 * AUDIO
  want[:, 20:] += 0.6 * AUDIO[:, :-20]
  np.testing.assert_allclose(got, waveforms.cut(want, LENGTHS), atol=1e-5)


def test_backgrounds_have_to_be_given():
  with pytest.raises(ValueError, match="noise_BxS"):
    settings = Settings(background_probability=0.1)
    augment(KEY, AUDIO, LENGTHS, None, None, settings)


def test_nothing_is_done_that_is_not_asked_for():
  fields = dataclasses.asdict(Settings())
  fields |= {"responses_path": "", "background_path": ""}
  assert Augmentation.read(fields) is None
  for kind in KINDS:
    asked = fields | {f"{kind}_probability": 0.1}
    if kind == "background":
      with pytest.raises(UserError, match="background_path is not set"):
        Augmentation.read(asked)
    else:
      assert Augmentation.read(asked) is not None


@pytest.mark.parametrize(
  ("path", "probability"),
  [
    ("background_path", "background_probability"),
    ("responses_path", "reverberation_probability"),
  ],
)
@pytest.mark.parametrize("gain", [0.0, 0.5])
def test_a_path_that_nothing_would_read(path, probability, gain):
  fields = speech.get_config().augment
  fields.gain_probability, fields[path] = gain, "/nonexistent"
  why = f"{path} = '/nonexistent': .*{probability} is 0: .* leave out the"
  with pytest.raises(UserError, match=why):
    Augmentation.read(fields)


def test_settings_are_read_from_a_config():
  fields = speech.get_config().augment
  # What is left out where nothing asks for it is not there; all else is.
  assert Augmentation.read(fields) is None
  fields.gain_probability, fields.gain_db = 0.5, (-3.0, 3.0)
  got = Augmentation.read(fields)
  assert got.settings == Settings(gain_probability=0.5, gain_db=(-3.0, 3.0))
  assert (got.noise, got.responses, got.lengthening) == (None, None, 1)
  fields.stretch_probability = 0.1
  assert Augmentation.read(fields).lengthening == 1 / 0.8


def test_training_for_streams_runs_without_a_folder():
  got = Augmentation.read(speech.get_config("live").augment)
  assert (got.noise, got.responses) == (None, None)
  asked = [
    kind for kind in KINDS if getattr(got.settings, f"{kind}_probability")
  ]
  # All that the paper's limitations name; the voice itself stays.
  assert sorted(set(KINDS) - set(asked)) == ["background", "pitch"]


@pytest.mark.parametrize(
  "fields",
  [
    {"gain_probability": 1.5},
    {"gain_probability": "often"},
    {"gain_db": (3.0, -3.0)},
    {"gain_db": 3.0},
    {"gain_db": (0.0, float("nan"))},
    {"stretch_rate": (0.0, 1.0)},
    {"crop_share": (0.5, 1.5)},
    {"time_masks": 0},
    {"band_high_hertz": (3_400.0, 9_000.0)},
    {"band_low_hertz": (50.0, 4_000.0)},
  ],
)
def test_values_without_sense_are_named(fields):
  name = "band_high_hertz" if "band_low_hertz" in fields else next(iter(fields))
  with pytest.raises(UserError, match=f"^config.augment.{name}") as caught:
    Settings(**fields)
  assert "\n" not in str(caught.value)
