"""Feature normalisation as tables that are applied on the device.

The features of a corpus are kept once, whatever the number of training
settings; what differs between settings is a mean and a scale for each feature
and group of utterances, applied to a batch after it is gathered.
"""

from typing import NamedTuple

import jax
import numpy as np

METHODS = ("train", "speaker")


class Normaliser(NamedTuple):
  """z-scores with the statistics of an utterance's group.

  Attributes:
    group_U: int32, the group of each utterance.
    mean: for each modality, [groups, D].
    scale: for each modality, [groups, D], one over the standard deviation.
  """

  group_U: np.ndarray
  mean: dict[str, np.ndarray]
  scale: dict[str, np.ndarray]


def standardise(features: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
  """z-scores by all utterances, in float64, rounded to float32.

  ComParE functionals span ten orders of magnitude: float32 sums over raw ones
  lose the small features. It changes nothing after a `Normaliser`, which is
  invariant to it.
  """
  return {
    name: _apply(values, *_statistics(values.astype(np.float64)))
    for name, values in features.items()
  }


def make_normaliser(
  features: dict[str, np.ndarray],
  method: str,
  labelled_U: np.ndarray,
  speaker_U: np.ndarray,
) -> Normaliser:
  """Fits a normaliser.

  Args:
    features: standardised, [U, D] for each modality.
    method: `train`: one group, statistics of the labelled utterances;
      `speaker`: a group for each speaker, statistics of all its utterances, no
      label needed.
    labelled_U: which utterances are labelled in training.
    speaker_U: index of the speaker of each utterance.
  """
  if method == "train":
    group_U = np.zeros(len(speaker_U), np.int32)
    members = [labelled_U]
  else:
    group_U = speaker_U.astype(np.int32)
    members = [speaker_U == s for s in range(speaker_U.max() + 1)]
  mean, scale = {}, {}
  for name, values in features.items():
    fitted = [_statistics(values[m].astype(np.float64)) for m in members]
    mean[name] = np.stack([m for m, _ in fitted]).astype(np.float32)
    scale[name] = np.stack([s for _, s in fitted]).astype(np.float32)
  return Normaliser(group_U, mean, scale)


def normalise(
  features: dict[str, jax.Array], normaliser: Normaliser, index_N: jax.Array
) -> dict[str, jax.Array]:
  """The normalised features [N, D] of the utterances `index_N`."""
  group_N = normaliser.group_U[index_N]
  return {
    name: (values[index_N] - normaliser.mean[name][group_N])
    * normaliser.scale[name][group_N]
    for name, values in features.items()
  }


def _statistics(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
  std = values.std(0)
  # A feature that does not vary is centred and left as it is.
  constant = std <= 1e-8 * np.abs(values).max(0, initial=0)
  return values.mean(0), 1 / np.where(constant, 1, std)


def _apply(values, mean, scale):
  return ((values - mean) * scale).astype(np.float32)
