"""Feature normalisation: z-scores by training utterances or by speaker."""

from collections.abc import Mapping

import numpy as np

METHODS = ("train", "speaker")


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


def apply(values: np.ndarray, mean: np.ndarray, std: np.ndarray) -> np.ndarray:
  """z-scores [..., D], float32, by `statistics` [D]."""
  return ((values - mean) / std).astype(np.float32)


def statistics(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
  """Mean and standard deviation [...] of [U, ...], 1 where nothing varies."""
  std = values.std(0)
  constant = std <= 1e-8 * np.abs(values).max(0, initial=0)
  return values.mean(0), np.where(constant, 1, std)
