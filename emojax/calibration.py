"""How far a classifier's probabilities can be taken at their word.

After Guo et al. 2017, "On calibration of modern neural networks". N clips, C
classes, M bins of confidence; the confidence of a prediction is the largest
probability.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

_LOWEST, _HIGHEST = 0.1, 10.0
_ROUNDING = 1e-9  # Of the mean of a few rights and wrongs.


class Reliability(NamedTuple):
  """Predictions sorted into M bins of equal width by their confidence.

  Counts, mean confidences and shares that are right, `[M]`, NaN in empty bins.
  """

  count: np.ndarray
  confidence: np.ndarray
  accuracy: np.ndarray


def probabilities(logits: np.ndarray, temperature: float = 1.0) -> np.ndarray:
  """softmax(logits / T) over the last axis, [..., C] of the logits' type."""
  # Not SciPy's, whose import a prediction would wait for.
  scaled = logits / temperature
  powers = np.exp(scaled - scaled.max(axis=-1, keepdims=True))
  return powers / powers.sum(axis=-1, keepdims=True)


def temperature(logits: ArrayLike, labels: ArrayLike) -> float:
  """The T with which softmax(logits / T) gives the labels most likelihood.

  Guo et al. 2017, Eq. (9). The negative log-likelihood is convex in 1 / T, so
  that the one root of its derivative is the minimum. T is held in 0.1 to 10:
  10 stands where the logits are worse than a guess. Where no clip is wrong, as
  in a tiny validation set, the likelihood grows without end as T falls, and
  says nothing on how sure to be of the next clip: T is 1 then. T is above 1
  where the classifier was too sure of itself.

  Args:
    logits: finite `[N, C]`, of validation clips.
    labels: `[N]`, class indices.

  Raises:
    ValueError: no clip, shapes that do not match, or a label that is no class.
  """
  from scipy import optimize

  logits_NxC, labels_N = _checked(logits, labels)
  # Differences lose nothing to the softmax, and keep what is large finite.
  logits_NxC = logits_NxC - logits_NxC.max(axis=1, keepdims=True)
  of_label_N = logits_NxC[np.arange(len(labels_N)), labels_N]
  if (of_label_N == 0).all():
    return 1.0

  def slope(inverse: float) -> float:
    expected_N = (probabilities(inverse * logits_NxC) * logits_NxC).sum(1)
    return (expected_N - of_label_N).mean()

  if slope(1 / _HIGHEST) >= 0:
    return _HIGHEST
  if slope(1 / _LOWEST) <= 0:
    return _LOWEST
  inverse = optimize.brentq(slope, 1 / _HIGHEST, 1 / _LOWEST, xtol=1e-9)
  return float(1 / inverse)


def expected_calibration_error(bins: Reliability) -> float:
  """Mean gap of confidence and accuracy, weighted by count: Guo, Eq. (3)."""
  gap_M = np.abs(bins.accuracy - bins.confidence)
  return float(np.nansum(bins.count * gap_M) / bins.count.sum())


def reliability(
  probabilities: ArrayLike, labels: ArrayLike, num_bins: int = 15
) -> Reliability:
  """What a reliability diagram shows: Guo et al. 2017, Eqs. (1) and (2).

  Of probabilities `[N, C]` and labels `[N]`; raises as `temperature` does. Bin
  m of M holds the confidences above m / M, up to (m + 1) / M.
  """
  confidence_N, is_right_N = _outcomes(probabilities, labels)
  inner_edges = np.linspace(0, 1, num_bins + 1)[1:-1]
  bin_N = np.digitize(confidence_N, inner_edges, right=True)
  count_M = np.bincount(bin_N, minlength=num_bins)
  filled_M = np.where(count_M, count_M, np.nan)
  return Reliability(
    count_M,
    np.bincount(bin_N, confidence_N, num_bins) / filled_M,
    np.bincount(bin_N, is_right_N, num_bins) / filled_M,
  )


def threshold(probabilities: ArrayLike, labels: ArrayLike) -> float:
  """The confidence below which a prediction is wrong more often than right.

  Chow 1970, "On optimum recognition error and reject tradeoff", rejects what is
  likelier wrong than right where a rejection costs half a mistake. How often a
  confidence is right is its isotonic regression over clips that nobody trained
  on; the first at which that reaches a half is the threshold, and 1 where it
  never gets there. Below the least confidence of these clips nothing is known
  but the confidence itself, a calibrated probability: where the regression
  begins with a half, the threshold is that least one, or a half.

  Of probabilities `[N, C]` and labels `[N]`; raises as `temperature` does.
  """
  from scipy import optimize

  confidence_N, is_right_N = _outcomes(probabilities, labels)
  # Clips of one confidence are one point, which counts as often as they do.
  confidence_K, of_point_N, count_K = np.unique(
    confidence_N, return_inverse=True, return_counts=True
  )
  right_K = np.bincount(of_point_N, is_right_N) / count_K
  right_K = optimize.isotonic_regression(right_K, weights=count_K).x
  kept_K = right_K >= 0.5 - _ROUNDING
  if not kept_K.any():
    return 1.0
  first = float(confidence_K[kept_K.argmax()])
  return min(first, 0.5) if kept_K.all() else first


def accuracy_of_kept(
  probabilities: ArrayLike, labels: ArrayLike, at: float
) -> tuple[float, float]:
  """Coverage and accuracy where a confidence below `at` is no prediction.

  The share of the clips that are kept, and of these the share that is right:
  NaN where none is kept. Arrays are those of `threshold`.
  """
  confidence_N, is_right_N = _outcomes(probabilities, labels)
  kept_N = confidence_N >= at
  right = is_right_N[kept_N].mean() if kept_N.any() else np.nan
  return float(kept_N.mean()), float(right)


def coverage_curve(
  probabilities: ArrayLike, labels: ArrayLike
) -> tuple[np.ndarray, np.ndarray]:
  """Accuracy against coverage, as the least confidence falls: [K] each.

  El-Yaniv & Wiener 2010, "On the foundations of noise-free selective
  classification": 1 minus their risk. Clips of one confidence come together;
  the last point is that of all clips.
  """
  confidence_N, is_right_N = _outcomes(probabilities, labels)
  order_N = np.argsort(-confidence_N, kind="stable")
  last_N = np.append(np.diff(confidence_N[order_N]) != 0, True)
  count_N = np.arange(1, len(order_N) + 1)
  accuracy_N = np.cumsum(is_right_N[order_N]) / count_N
  return count_N[last_N] / len(order_N), accuracy_N[last_N]


def _outcomes(
  probabilities: ArrayLike, labels: ArrayLike
) -> tuple[np.ndarray, np.ndarray]:
  """Of each clip how sure the prediction is, and whether it is right: [N]."""
  probabilities_NxC, labels_N = _checked(probabilities, labels)
  is_right_N = probabilities_NxC.argmax(axis=1) == labels_N
  return probabilities_NxC.max(axis=1), is_right_N


def _checked(
  scores: ArrayLike, labels: ArrayLike
) -> tuple[np.ndarray, np.ndarray]:
  scores_NxC, labels_N = np.asarray(scores, np.float64), np.asarray(labels)
  if scores_NxC.ndim != 2 or labels_N.shape != scores_NxC.shape[:1]:
    shapes = f"{scores_NxC.shape} and {labels_N.shape}"
    raise ValueError(f"expected [N, C] and labels [N], got {shapes}")
  if not labels_N.size:
    raise ValueError("there is no clip to calibrate on")
  if labels_N.min() < 0 or labels_N.max() >= scores_NxC.shape[1]:
    raise ValueError(f"a label is outside 0..{scores_NxC.shape[1] - 1}")
  return scores_NxC, labels_N
