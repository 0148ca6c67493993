"""Schematic faces: the same seed, the same face; emotions can be seen."""

import numpy as np
import pytest
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from emojax.corpora.labels import LABELS
from emojax.synthetic import face_drawing, schematic

EMOTIONS = list(schematic.EMOTIONS)


def test_seven_emotions_of_the_common_labels():
  assert len(EMOTIONS) == 7
  assert set(EMOTIONS) < set(LABELS)


def test_the_same_seed_draws_the_same():
  first = schematic.render(EMOTIONS, seed=0)
  assert (first.shape, first.dtype) == ((7, 48, 48), np.uint8)
  np.testing.assert_array_equal(schematic.render(EMOTIONS, seed=0), first)
  assert (schematic.render(EMOTIONS, seed=1) != first).mean() > 0.9


def test_images_use_the_range_of_tones():
  drawn = schematic.render(EMOTIONS * 10, seed=0)
  contrast = drawn.reshape(len(drawn), -1).std(axis=1)
  assert contrast.min() > 8
  assert 70 < drawn.mean() < 185


def _neutral(**changes):
  """One face, seen from the front in even light, and one that differs."""
  fields = schematic._people(["neutral"], np.random.default_rng(0))
  still = dict.fromkeys(vars(fields), np.zeros((2, 1, 1), np.float32))
  still |= {
    name: np.full((2, 1, 1), value, np.float32)
    for name, value in {
      "skin": 0.7,
      "hair": 0.1,
      "hairline": -0.6,
      "width": 1.0,
      "spacing": 1.0,
      "eyes": 1.0,
      "brows": 0.2,
      "bushiness": 0.03,
      "nose": 0.3,
      "mouth": 1.0,
      "lips": 0.05,
      "zoom": 1.0,
      "background": 0.5,
    }.items()
  }
  for name, value in changes.items():
    still[name] = still[name] + np.array([0, value], np.float32)[:, None, None]
  return face_drawing.draw(face_drawing.Faces(**still), np.zeros((2, 5, 5)))


def test_a_face_is_symmetric():
  face, _ = _neutral()
  np.testing.assert_allclose(face[:, 4:-4], face[:, ::-1][:, 4:-4], atol=0.05)


@pytest.mark.parametrize(
  ("unit", "rows"),
  [
    ("inner", slice(9, 20)),
    ("outer", slice(9, 20)),
    ("lower", slice(9, 22)),
    ("lids", slice(15, 25)),
    ("narrow", slice(15, 25)),
    ("wrinkle", slice(12, 36)),
    ("lip", slice(24, 42)),
    ("smile", slice(24, 44)),
    ("frown", slice(28, 44)),
    ("stretch", slice(28, 44)),
    ("press", slice(28, 44)),
    ("drop", slice(28, 46)),
  ],
)
def test_action_units_move_their_part_of_the_face(unit, rows):
  rest, moved = _neutral(**{unit: 1.0})
  change = np.abs(moved - rest)
  assert change.max() > 0.1
  assert change.sum() == pytest.approx(change[rows].sum(), rel=1e-3)


def test_a_smile_lifts_the_corners_of_the_mouth():
  def height_of_corner(face):
    column = face[28:44, 18]  # Left of the middle, below the nose.
    dark = np.maximum(0.6 - column, 0)
    return dark @ np.arange(28, 44) / dark.sum()

  rest, smiling = _neutral(smile=0.8)
  _, frowning = _neutral(frown=0.8)
  assert height_of_corner(smiling) < height_of_corner(rest) - 0.5
  assert height_of_corner(frowning) > height_of_corner(rest) + 0.5


def test_emotions_can_be_seen_but_not_without_fail():
  emotions = EMOTIONS * 100
  drawn = schematic.render(emotions, seed=0)
  middle = drawn[:, 8:44, 8:40].astype(np.float32)
  middle -= middle.mean(axis=(1, 2), keepdims=True)
  middle = middle.reshape(len(middle), 18, 2, 16, 2).mean(axis=(2, 4))
  features = middle.reshape(len(middle), -1)
  model = make_pipeline(
    StandardScaler(),
    LinearDiscriminantAnalysis(solver="lsqr", shrinkage=0.3),
  )
  model.fit(features[:490], emotions[:490])
  accuracy = model.score(features[490:], emotions[490:])
  assert 0.3 < accuracy < 0.9  # Chance is 0.14.
