"""Normalisation against scikit-learn's."""

import tracemalloc

import numpy as np
import pytest
from sklearn.preprocessing import StandardScaler

from emojax import normalisation

SPEAKERS = np.repeat([0, 1, 2], [10, 5, 8])
LABELLED = np.arange(len(SPEAKERS)) % 3 != 0


def make_features() -> dict[str, np.ndarray]:
  """Features over ten orders of magnitude, each far from zero."""
  rng = np.random.default_rng(0)
  scales = 10.0 ** np.arange(-5, 6)
  audio = (rng.normal(size=(len(SPEAKERS), len(scales))) + 3) * scales
  text = rng.normal(size=(len(SPEAKERS), 4)) + SPEAKERS[:, None]
  return {"audio": audio.astype(np.float32), "text": text.astype(np.float32)}


def normalised(features, method):
  return normalisation.normalise(features, method, LABELLED, SPEAKERS)


def check(features, method, atol=1e-5):
  """The features agree with scikit-learn's in float64."""
  found = normalised(features, method)
  assert found.keys() == features.keys()
  for name, raw in features.items():
    values = raw.astype(np.float64)
    if method == "train":
      expected = StandardScaler().fit(values[LABELLED]).transform(values)
    else:
      expected = np.empty_like(values)
      for speaker in np.unique(SPEAKERS):
        of = speaker == SPEAKERS
        expected[of] = StandardScaler().fit_transform(values[of])
    assert found[name].dtype == np.float32
    np.testing.assert_allclose(found[name], expected, atol=atol)


@pytest.mark.parametrize("method", normalisation.METHODS)
def test_it_is_that_of_scikit_learn(method):
  check(make_features(), method)


@pytest.mark.parametrize("method", normalisation.METHODS)
def test_huge_raw_magnitudes(method):
  """A small spread on a large offset, as float32 holds it."""
  rng = np.random.default_rng(1)
  raw = (1e9 + 1e4 * rng.normal(size=(len(SPEAKERS), 3))).astype(np.float32)
  check({"audio": raw}, method)
  check({"audio": np.float32(1e37) * make_features()["text"]}, method)


@pytest.mark.parametrize("method", normalisation.METHODS)
def test_tiny_raw_magnitudes(method):
  """What is small varies all the same."""
  check({"audio": np.float32(1e-20) * make_features()["text"]}, method)


def test_speakers_may_be_names():
  features, names = make_features(), np.array(["Ann", "Ben", "C"])[SPEAKERS]
  found = normalisation.normalise(features, "speaker", LABELLED, names)
  for name, values in normalised(features, "speaker").items():
    np.testing.assert_array_equal(found[name], values)


@pytest.mark.parametrize("value", [0, 1, -0.1, 1 / 3, 1e-30, 12345.678, 1e30])
@pytest.mark.parametrize("method", normalisation.METHODS)
def test_a_constant_feature_becomes_zero(method, value):
  constant = np.full((len(SPEAKERS), 2), value, np.float32)
  found = normalised({"audio": constant}, method)["audio"]
  np.testing.assert_allclose(found, np.zeros_like(found), atol=1e-6 * value)


def test_a_feature_that_is_constant_where_it_is_fitted_is_only_centred():
  raw = np.where(LABELLED, 7, SPEAKERS)[:, None].astype(np.float32)
  found = normalised({"audio": raw}, "train")["audio"]
  np.testing.assert_array_equal(found, raw - 7)


def test_a_speaker_of_one_utterance_becomes_zero():
  found = normalisation.normalise(
    {"text": np.array([[5.0], [1], [2], [3]], np.float32)},
    "speaker",
    np.ones(4, bool),
    np.array([0, 1, 1, 1]),
  )["text"]
  np.testing.assert_allclose(
    found[:, 0], [0, -np.sqrt(1.5), 0, np.sqrt(1.5)], atol=1e-6
  )


def test_who_has_one_utterance_only():
  names = np.array(["b", "a", "c", "b", "a", "d"])
  alone = normalisation.alone(names)
  assert alone.tolist() == [False, False, True, False, False, True]


def test_statistics_come_from_nobody_else():
  """`train` sees labelled utterances alone, `speaker` no label at all."""
  features = make_features()
  changed = {
    name: np.where(LABELLED[:, None], values, values + 100)
    for name, values in features.items()
  }
  one, other = normalised(features, "train"), normalised(changed, "train")
  for name in features:
    np.testing.assert_array_equal(one[name][LABELLED], other[name][LABELLED])
  one, other = (
    normalisation.normalise(features, "speaker", labelled, SPEAKERS)
    for labelled in (LABELLED, ~LABELLED)
  )
  for name in features:
    np.testing.assert_array_equal(one[name], other[name])


def test_the_features_stay_as_they_were():
  features, before = make_features(), make_features()
  normalised(features, "train")
  for name in features:
    np.testing.assert_array_equal(features[name], before[name])


def test_statistics_a_piece_at_a_time_are_those_of_all_together():
  """Far from 0, where sums of squares would lose them; two never vary."""
  rng = np.random.default_rng(0)
  pieces = [rng.normal(1e6, 1, (count, 2, 3)) for count in (1, 7, 30)]
  for piece in pieces:
    piece[:, 1, 1:] = -0.1, 0.1
  together = np.concatenate(pieces)
  expected_std = together.std(0)
  expected_std[1, 1:] = 1
  mean, std = normalisation.statistics_of(iter(pieces))
  np.testing.assert_allclose(mean, together.mean(0), rtol=1e-12)
  np.testing.assert_allclose(std, expected_std, rtol=1e-6)
  _, std = normalisation.statistics_of(1e-20 * piece for piece in pieces)
  np.testing.assert_allclose(
    std, np.where(expected_std == 1, 1, 1e-20 * expected_std), rtol=1e-6
  )


def test_no_more_than_a_piece_is_in_memory():
  pieces = (np.full((1000, 100), number, np.float32) for number in range(50))
  tracemalloc.start()
  normalisation.statistics_of(pieces)
  _, most = tracemalloc.get_traced_memory()
  tracemalloc.stop()
  assert most < 10 * 1000 * 100 * 4, most  # All of them are 50 times that.
