"""What is shown of probabilities that follow each other in time.

C emotions.
"""

import math

import numpy as np

UNCERTAIN = "uncertain"

_SECONDS = 1.5  # In which the weight of a window falls to 1 / e.
_MARGIN = 0.1  # By which another emotion has to be likelier to be shown.


class Smoother:
  """Probabilities averaged over time, and a label that does not flicker."""

  def __init__(self, classes: tuple[str, ...], threshold: float, hop: float):
    """Of windows that come every `hop` seconds.

    Where no smoothed probability reaches the `threshold`, the label is
    `UNCERTAIN`.
    """
    self._classes, self._threshold = classes, threshold
    self._new = 1 - math.exp(-hop / _SECONDS)
    self.reset()

  def reset(self) -> None:
    """Forgets what was before, as after a silence."""
    self._mean_C: np.ndarray | None = None
    self._shown: int | None = None

  def add(self, probabilities_C: np.ndarray) -> tuple[np.ndarray, str]:
    """Takes a window's probabilities, [C].

    Returns:
      Those of now, [C], an exponential average; and the label: the emotion that
      was shown, until another one is likelier by a margin.
    """
    if self._mean_C is None:
      self._mean_C = np.array(probabilities_C, np.float64)
    else:
      self._mean_C += self._new * (probabilities_C - self._mean_C)
    best = int(self._mean_C.argmax())
    shown = best if self._shown is None else self._shown
    if self._mean_C[best] > self._mean_C[shown] + _MARGIN:
      shown = best
    self._shown = shown
    if self._mean_C[best] < self._threshold:
      return self._mean_C.copy(), UNCERTAIN
    return self._mean_C.copy(), self._classes[shown]
