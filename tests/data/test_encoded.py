"""Features of a frozen encoder: right, kept, and resumed."""

import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from emojax.data import encoded, store
from emojax.encoders.log_mel import LogMel
from emojax.errors import UserError
from emojax.models.speech_classifier import states

ENCODER = LogMel((4,))
KEPT = encoded.Kept(np.dtype(np.float32), True, 1)
LENGTHS = np.array([3000, 5200, 4100, 6000, 2500, 3900])


@pytest.fixture
def data(monkeypatch, tmp_path):
  """Clips, and blocks of two of them in a cache of their own."""
  monkeypatch.setattr(encoded, "_BLOCK", 2)
  monkeypatch.setattr(encoded, "cache_folder", lambda: tmp_path)
  rng = np.random.default_rng(0)
  return types.SimpleNamespace(
    audio=[rng.integers(-9000, 9000, n).astype(np.int16) for n in LENGTHS],
    num_samples_U=LENGTHS,
    digest_U=np.array([f"clip {n}" for n in LENGTHS]),
  )


@pytest.fixture(scope="module")
def params():
  module = ENCODER.module(jnp.float32)
  audio_BxS = jnp.zeros((1, 6400))
  variables = module.init(jax.random.key(0), audio_BxS, jnp.array([6400]))
  return variables["params"]


def features_of(data, params, kept=KEPT):
  return encoded.features(ENCODER, params, kept, data, (6400,), 2)


def check(found, data, params, kept, atol=1e-5):
  """They are what the encoder gives of each clip by itself."""
  apply = jax.jit(ENCODER.module(kept.dtype).apply)
  for samples, frames, length in zip(
    data.audio, found, found.lengths, strict=True
  ):
    audio_BxS = np.zeros((1, 6400), np.float32)
    audio_BxS[0, : len(samples)] = samples / 32768
    lengths_B = np.array([len(samples)])
    audio_BxS = ENCODER.preprocess(jnp.asarray(audio_BxS), lengths_B)
    outputs = apply({"params": params}, audio_BxS, lengths_B)
    expected, mask = states(outputs, *kept[1:])
    assert len(frames) == length == mask.sum()
    assert frames.dtype == kept.dtype and frames.ndim == 3
    expected = np.asarray(expected[0, :length], np.float32)
    np.testing.assert_allclose(frames.astype(np.float32), expected, atol=atol)


@pytest.mark.parametrize("averaged_frames", [1, 3])
def test_features_are_the_encoders(data, params, averaged_frames):
  kept = KEPT._replace(averaged_frames=averaged_frames)
  check(features_of(data, params, kept), data, params, kept)


def test_nothing_else_is_taken_for_them(data, params, tmp_path):
  """What is kept of other weights, layers, frames or of another type."""
  other = jax.tree.map(lambda values: 1.5 * values, params)
  ways = [
    (params, KEPT),
    (other, KEPT),
    (params, KEPT._replace(all_layers=False)),
    (params, KEPT._replace(averaged_frames=3)),
    (params, KEPT._replace(dtype=jnp.dtype(jnp.bfloat16))),
  ]
  for weights, kept in ways:
    atol = 1e-5 if kept.dtype == np.float32 else 0.05
    check(features_of(data, weights, kept), data, weights, kept, atol)
  assert len(list((tmp_path / "encoded").iterdir())) == 3 * len(ways)


def test_what_was_interrupted_goes_on(data, params, monkeypatch):
  create, made = store.create, []

  def stop_at_the_second(folder, compute):
    if len(made) == 1:
      raise KeyboardInterrupt
    made.append(folder)
    create(folder, compute)

  with monkeypatch.context() as patch:
    patch.setattr(store, "create", stop_at_the_second)
    with pytest.raises(KeyboardInterrupt):
      features_of(data, params)
  again = []
  monkeypatch.setattr(
    store, "create", lambda *args: (again.append(args[0]), create(*args))
  )
  features_of(data, params)
  assert len(again) == 2 and made[0] not in again
  features_of(data, params)
  assert len(again) == 2


def test_z_scores_are_those_of_each_speakers_frames(data, params):
  found = features_of(data, params)
  speaker_P = np.array(["a", "b", "a", "b", "b", "a"])
  scores = encoded.BySpeaker(found, speaker_P, np.arange(6))
  np.testing.assert_array_equal(scores.lengths, found.lengths)
  for speaker in "ab":
    own = np.flatnonzero(speaker_P == speaker)
    frames = np.concatenate([found[i] for i in own]).astype(np.float64)
    # A feature that does not vary is centred only; SciPy gives NaN.
    expected = np.nan_to_num(stats.zscore(frames))
    got = np.concatenate([scores[i] for i in own])
    np.testing.assert_allclose(got, expected, atol=1e-3)


def test_one_clip_of_a_speaker_is_refused(data, params):
  """However many pieces it is cut in."""
  found = features_of(data, params)
  speaker_U = np.array(["a", "a", "b", "b", "c"])
  with pytest.raises(UserError, match="speaker c has one clip"):
    encoded.BySpeaker(found, speaker_U, np.array([0, 1, 2, 3, 4, 4]))
