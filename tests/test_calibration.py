"""Calibration against PyTorch's optimiser, a plain loop and scikit-learn."""

import numpy as np
import pytest
import torch
from scipy import special
from sklearn.isotonic import IsotonicRegression
from sklearn.metrics import log_loss

from emojax import calibration


def clips(num_clips=400, num_classes=8, sharpness=1.0, seed=0):
  """Logits that are calibrated at temperature `sharpness`, and labels."""
  rng = np.random.default_rng(seed)
  logits_NxC = rng.normal(0, 1.5, (num_clips, num_classes))
  probabilities_NxC = special.softmax(logits_NxC, axis=1)
  labels_N = [rng.choice(num_classes, p=row) for row in probabilities_NxC]
  return sharpness * logits_NxC, np.asarray(labels_N)


def test_probabilities_are_scipys_softmax():
  logits = 900 * np.random.default_rng(0).normal(size=(2, 5, 4))
  want = special.softmax(logits / 3.0, axis=-1)
  np.testing.assert_allclose(calibration.probabilities(logits, 3.0), want)


def temperature_of_torch(logits_NxC, labels_N) -> float:
  log_temperature = torch.zeros((), dtype=torch.float64, requires_grad=True)
  optimizer = torch.optim.LBFGS(
    [log_temperature], max_iter=200, line_search_fn="strong_wolfe"
  )
  logits, labels = torch.tensor(logits_NxC), torch.tensor(labels_N)

  def closure():
    optimizer.zero_grad()
    scaled = logits / log_temperature.exp()
    loss = torch.nn.functional.cross_entropy(scaled, labels)
    loss.backward()
    return loss

  optimizer.step(closure)
  return log_temperature.exp().item()


@pytest.mark.parametrize("sharpness", [0.3, 1.0, 4.0])
def test_temperature_agrees_with_torch(sharpness):
  logits_NxC, labels_N = clips(sharpness=sharpness)
  ours = calibration.temperature(logits_NxC, labels_N)
  assert ours == pytest.approx(
    temperature_of_torch(logits_NxC, labels_N), rel=1e-4
  )
  assert ours == pytest.approx(sharpness, rel=0.2)


def test_no_other_temperature_has_a_lower_loss():
  logits_NxC, labels_N = clips(sharpness=2.5, num_clips=50)

  def loss(t):
    return log_loss(
      labels_N, special.softmax(logits_NxC / t, axis=1), labels=range(8)
    )

  best = calibration.temperature(logits_NxC, labels_N)
  assert all(loss(best) <= loss(t) for t in np.geomspace(0.1, 10, 101))


@pytest.mark.parametrize(
  ("logits", "labels", "expected"),
  [
    ([[4.0, 0.0], [0.0, 0.1]], [0, 1], 1.0),  # None is wrong.
    ([[2.0, 2.0]], [1], 1.0),  # Nothing was said.
    ([[4.0, 0.0], [0.0, 4.0]], [1, 0], 10.0),  # All are wrong.
    ([[4.0, 0.0]], [1], 10.0),
    # Nine right and one wrong at almost equal logits: T = 0.001 / ln 9.
    ([[0.001, 0.0]] * 10, [0] * 9 + [1], 0.1),
    ([[1e6, 0.0]] * 10, [0] * 9 + [1], 10.0),
  ],
)
def test_the_bounds(logits, labels, expected):
  assert calibration.temperature(logits, labels) == expected


def test_two_classes_in_closed_form():
  # Nine of ten at a logit of 3: the best probability is 0.9.
  ours = calibration.temperature([[3.0, 0.0]] * 10, [0] * 9 + [1])
  assert ours == pytest.approx(3 / np.log(9))


def test_scaling_mends_the_calibration_and_keeps_the_predictions():
  logits_NxC, labels_N = clips(num_clips=2000, sharpness=4.0)
  t = calibration.temperature(logits_NxC[:1000], labels_N[:1000])
  before, after = (
    calibration.expected_calibration_error(
      calibration.reliability(
        special.softmax(logits_NxC[1000:] / scale, axis=1), labels_N[1000:]
      )
    )
    for scale in (1.0, t)
  )
  assert before > 0.15
  assert after < 0.05


def error_of_a_loop(probabilities_NxC, labels_N, num_bins) -> float:
  edges = np.linspace(0, 1, num_bins + 1)
  total = 0.0
  for low, high in zip(edges[:-1], edges[1:], strict=True):
    inside = [
      (max(row), int(np.argmax(row)) == label)
      for row, label in zip(probabilities_NxC, labels_N, strict=True)
      if low < max(row) <= high
    ]
    if inside:
      confidence, accuracy = np.mean(inside, axis=0)
      total += len(inside) / len(labels_N) * abs(confidence - accuracy)
  return total


@pytest.mark.parametrize("num_bins", [1, 10, 15])
@pytest.mark.parametrize("num_clips", [1, 3, 300])
def test_error_agrees_with_a_loop(num_bins, num_clips):
  logits_NxC, labels_N = clips(num_clips, sharpness=3.0)
  probabilities_NxC = special.softmax(logits_NxC, axis=1)
  ours = calibration.expected_calibration_error(
    calibration.reliability(probabilities_NxC, labels_N, num_bins)
  )
  expected = error_of_a_loop(probabilities_NxC, labels_N, num_bins)
  assert ours == pytest.approx(expected, abs=1e-12)


def test_reliability_by_hand():
  probabilities_NxC = [[0.5, 0.5], [0.6, 0.4], [0.3, 0.7], [1.0, 0.0]]
  bins = calibration.reliability(probabilities_NxC, [1, 0, 0, 0], num_bins=4)
  np.testing.assert_array_equal(bins.count, [0, 1, 2, 1])
  np.testing.assert_allclose(bins.confidence, [np.nan, 0.5, 0.65, 1.0])
  np.testing.assert_allclose(bins.accuracy, [np.nan, 0.0, 0.5, 1.0])
  assert calibration.expected_calibration_error(bins) == pytest.approx(
    (1 * 0.5 + 2 * 0.15 + 1 * 0.0) / 4
  )


@pytest.mark.parametrize(
  ("scores", "labels", "why"),
  [
    (np.zeros((0, 3)), [], "no clip"),
    (np.zeros((2, 3)), [0], r"got \(2, 3\) and \(1,\)"),
    (np.zeros(3), [0, 1, 2], "expected"),
    (np.zeros((2, 3)), [0, 3], r"outside 0\.\.2"),
    (np.zeros((2, 3)), [0, -1], r"outside 0\.\.2"),
  ],
)
def test_what_is_no_set_of_predictions(scores, labels, why):
  for function in (
    *(calibration.temperature, calibration.reliability),
    *(calibration.threshold, calibration.coverage_curve),
  ):
    with pytest.raises(ValueError, match=why):
      function(scores, labels)


def of_five(confidence_N, is_right_N):
  """Probabilities of five classes, and labels that are right where asked."""
  rest_N = (1 - np.asarray(confidence_N)) / 4
  probabilities_Nx5 = np.stack([confidence_N, *[rest_N] * 4], axis=1)
  return probabilities_Nx5, 1 - np.asarray(is_right_N, int)


@pytest.mark.parametrize(
  ("confidence", "is_right", "expected"),
  [
    ([0.6, 0.7, 0.8, 0.9], [0, 0, 1, 1], 0.8),
    # A right one below wrong ones: pooled to a half, and to a third.
    ([0.6, 0.7, 0.8, 0.9], [0, 1, 0, 1], 0.7),
    ([0.6, 0.7, 0.8, 0.85, 0.9], [0, 1, 0, 0, 1], 0.9),
    # Wrong nowhere more often than right: what is less sure than any clip here
    # is taken at its word.
    ([0.6, 0.7, 0.9], [1, 0, 1], 0.5),
    ([0.3, 0.4, 0.9], [1, 0, 1], 0.3),
    ([0.7], [1], 0.5),
    # The same confidence is one point, whatever the order.
    ([0.6, 0.6, 0.6, 0.9], [1, 0, 0, 1], 0.9),
    ([0.4, 0.4, 0.4, 0.4, 0.9], [0, 1, 0, 1, 1], 0.4),
    ([0.7, 0.9], [0, 0], 1.0),
    ([0.9, 0.8, 0.7], [0, 0, 1], 1.0),  # Surest where it is wrong.
  ],
)
def test_threshold_in_closed_form(confidence, is_right, expected):
  found = calibration.threshold(*of_five(confidence, is_right))
  assert found == pytest.approx(expected)


@pytest.mark.parametrize("seed", range(5))
def test_threshold_agrees_with_scikit_learn(seed):
  logits_NxC, labels_N = clips(300, sharpness=2.0, seed=seed)
  # Rounded, so that some confidences are the same.
  probabilities_NxC = special.softmax(logits_NxC, axis=1).round(2)
  confidence_N = probabilities_NxC.max(1)
  is_right_N = probabilities_NxC.argmax(1) == labels_N
  fit = IsotonicRegression().fit(confidence_N, is_right_N)
  sure_N = fit.predict(confidence_N) >= 0.5 - 1e-9
  found = calibration.threshold(probabilities_NxC, labels_N)
  np.testing.assert_array_equal(confidence_N >= found, sure_N)
  assert sure_N.any() and not sure_N.all()


def test_what_is_kept_by_hand():
  predictions = of_five([0.9, 0.6, 0.8, 0.6], [1, 0, 0, 1])
  for at, coverage, accuracy in (
    *((0.0, 1, 1 / 2), (0.6, 1, 1 / 2), (0.7, 1 / 2, 1 / 2)),
    *((0.9, 1 / 4, 1), (0.95, 0, np.nan)),
  ):
    found = calibration.accuracy_of_kept(*predictions, at)
    np.testing.assert_allclose(found, (coverage, accuracy))
  shares_K, accuracy_K = calibration.coverage_curve(*predictions)
  np.testing.assert_allclose(shares_K, [1 / 4, 1 / 2, 1])
  np.testing.assert_allclose(accuracy_K, [1, 1 / 2, 1 / 2])
