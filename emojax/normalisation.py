"""Feature normalisation: z-scores by training utterances or by speaker."""

from collections.abc import Iterable, Mapping

import numpy as np

METHODS = ("train", "speaker")
_CONSTANT = 1e-8  # A deviation below this share of the values is rounding.


def normalise(
  features: Mapping[str, np.ndarray],
  method: str,
  labelled_U: np.ndarray,
  speaker_U: np.ndarray,
) -> dict[str, np.ndarray]:
  """z-scores every feature, in float64, and rounds the result to float32.

  (ComParE functionals span ten orders of magnitude: float32 sums over them
  would lose the small ones.) A feature that does not vary is centred only.

  Features are [U, D] for each modality. Method `train`: by the labelled
  utterances; `speaker`: each by all of its utterances, no label needed.
  """
  if method == "train":
    groups = [(slice(None), labelled_U)]
  else:
    members = [speaker_U == speaker for speaker in np.unique(speaker_U)]
    groups = [(rows, rows) for rows in members]
  normalised = {}
  for name, values in features.items():
    normalised[name] = np.empty(values.shape, np.float32)
    for rows, fitted in groups:
      statistics_D = statistics(values[fitted].astype(np.float64))
      normalised[name][rows] = apply(values[rows], *statistics_D)
  return normalised


def alone(speaker_U: np.ndarray) -> np.ndarray:
  """Whether an utterance is its speaker's only one, a mask [U].

  By the statistics of its speaker it is told apart from itself: all is zero.
  """
  _, place_U, counts = np.unique(
    speaker_U, return_inverse=True, return_counts=True
  )
  return counts[place_U] == 1


def apply(values: np.ndarray, mean: np.ndarray, std: np.ndarray) -> np.ndarray:
  """z-scores [..., D], float32, by `statistics` [D]."""
  return ((values - mean) / std).astype(np.float32)


def statistics(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
  """Mean and standard deviation [...] of [U, ...], 1 where nothing varies."""
  std = values.std(0)
  constant = std <= _CONSTANT * np.abs(values).max(0, initial=0)
  return values.mean(0), np.where(constant, 1, std)


def statistics_of(
  pieces: Iterable[np.ndarray],
) -> tuple[np.ndarray, np.ndarray]:
  """`statistics` of [T, ...] pieces as one, with one of them in memory.

  In float64, by the update of Chan, Golub & LeVeque, "Updating formulae and a
  pairwise algorithm for computing sample variances" (1979).
  """
  count, mean, squares, largest = 0, 0.0, 0.0, 0.0
  for piece in pieces:
    values = piece.astype(np.float64)
    mean_of_piece = values.mean(0)
    moved = mean_of_piece - mean
    total = count + len(values)
    squares = squares + np.square(values - mean_of_piece).sum(0)
    squares += np.square(moved) * (count * len(values) / total)
    mean = mean + moved * (len(values) / total)
    largest = np.maximum(largest, np.abs(values).max(0))
    count = total
  std = np.sqrt(squares / count)
  return mean, np.where(std <= _CONSTANT * largest, 1, std)
