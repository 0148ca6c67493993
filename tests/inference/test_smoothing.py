"""What is shown of a series of probabilities."""

import math

import numpy as np

from emojax.inference.smoothing import UNCERTAIN, Smoother

CLASSES = ("angry", "sad")


def test_probabilities_are_averaged_exponentially():
  smoother = Smoother(CLASSES, 0.0, hop=1.0)
  series = np.array([[1, 0], [0, 1], [0, 1], [0.5, 0.5]])
  shown = [smoother.add(p)[0] for p in series]
  # In closed form: older windows weigh exp(-age / 1.5 s), the first all the
  # rest.
  new = 1 - math.exp(-1 / 1.5)
  for last, found in enumerate(shown):
    weights = [new * (1 - new) ** (last - i) for i in range(last + 1)]
    weights[0] = (1 - new) ** last
    np.testing.assert_allclose(found, weights @ series[: last + 1])
    np.testing.assert_allclose(found.sum(), 1)


def test_a_label_stays_until_another_is_likelier_by_a_margin():
  def labels(series):
    smoother = Smoother(CLASSES, 0.0, hop=100.0)  # Nothing is averaged.
    return [smoother.add(np.array([p, 1 - p]))[1] for p in series]

  assert labels([0.9, 0.48, 0.46, 0.44]) == ["angry"] * 3 + ["sad"]
  assert labels([0.44, 0.48, 0.54, 0.56]) == ["sad"] * 3 + ["angry"]


def test_below_the_threshold_nothing_is_claimed():
  smoother = Smoother(CLASSES, 0.7, hop=100.0)
  labels = [smoother.add(np.array([p, 1 - p]))[1] for p in (0.8, 0.6, 0.72)]
  assert labels == ["angry", UNCERTAIN, "angry"]


def test_a_silence_makes_it_forget():
  smoother = Smoother(CLASSES, 0.0, hop=0.1)
  smoother.add(np.array([1.0, 0.0]))
  smoother.reset()
  smoothed_C, label = smoother.add(np.array([0.45, 0.55]))
  np.testing.assert_array_equal(smoothed_C, [0.45, 0.55])
  assert label == "sad"
