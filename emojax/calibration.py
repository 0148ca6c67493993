"""How far a classifier's probabilities can be taken at their word.

After Guo et al. 2017, "On calibration of modern neural networks". N clips, C
classes, M bins of confidence; the confidence of a prediction is the largest
probability.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy import optimize, special

_LOWEST, _HIGHEST = 0.1, 10.0


class Reliability(NamedTuple):
  """Predictions sorted into M bins of equal width by their confidence.

  Counts, mean confidences and shares that are right, `[M]`, NaN in empty bins.
  """

  count: np.ndarray
  confidence: np.ndarray
  accuracy: np.ndarray


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
  logits_NxC, labels_N = _checked(logits, labels)
  # Differences lose nothing to the softmax, and keep what is large finite.
  logits_NxC = logits_NxC - logits_NxC.max(axis=1, keepdims=True)
  of_label_N = logits_NxC[np.arange(len(labels_N)), labels_N]
  if (of_label_N == 0).all():
    return 1.0

  def slope(inverse: float) -> float:
    expected_N = (special.softmax(inverse * logits_NxC, 1) * logits_NxC).sum(1)
    return (expected_N - of_label_N).mean()

  if slope(1 / _HIGHEST) >= 0:
    return _HIGHEST
  if slope(1 / _LOWEST) <= 0:
    return _LOWEST
  return float(1 / optimize.brentq(slope, 1 / _HIGHEST, 1 / _LOWEST))


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
  probabilities_NxC, labels_N = _checked(probabilities, labels)
  confidence_N = probabilities_NxC.max(axis=1)
  is_right_N = probabilities_NxC.argmax(axis=1) == labels_N
  inner_edges = np.linspace(0, 1, num_bins + 1)[1:-1]
  bin_N = np.digitize(confidence_N, inner_edges, right=True)
  count_M = np.bincount(bin_N, minlength=num_bins)
  filled_M = np.where(count_M, count_M, np.nan)
  return Reliability(
    count_M,
    np.bincount(bin_N, confidence_N, num_bins) / filled_M,
    np.bincount(bin_N, is_right_N, num_bins) / filled_M,
  )


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
