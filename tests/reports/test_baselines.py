"""Baselines, by hand."""

import numpy as np
import pytest

from emojax.errors import UserError
from emojax.reports import baselines

PENALTIES = 10.0 ** np.arange(-5, -0.75, 0.5)


def speakers():
  """Six speakers, two classes; each speaker's features have a place."""
  rng = np.random.default_rng(0)
  speaker_U = np.repeat(np.arange(6), 20)
  class_U = np.tile(np.arange(2), 60)
  features_UxD = rng.normal(size=(120, 30))
  features_UxD[:, :3] += 1.5 * class_U[:, None]
  features_UxD += 0.5 * rng.normal(size=(6, 30))[speaker_U]
  return features_UxD.astype(np.float32), class_U, speaker_U


def by_hand(features_UxD, class_U, penalty, learn_U):
  """The classes of all, from the normal equations."""
  x_NxD, sign_N = features_UxD[learn_U], 2.0 * class_U[learn_U] - 1
  mean_D, mean = x_NxD.mean(0), sign_N.mean()
  centred_NxD = x_NxD - mean_D
  square_DxD = centred_NxD.T @ centred_NxD + penalty * np.eye(len(mean_D))
  weight_D = np.linalg.solve(square_DxD, centred_NxD.T @ (sign_N - mean))
  return ((features_UxD - mean_D) @ weight_D + mean > 0).astype(int)


def test_ridge_takes_the_penalty_that_is_best_for_others():
  features_UxD, class_U, speaker_U = speakers()
  learn_U = speaker_U < 5
  label_U = np.where(learn_U, class_U, -1)
  found_U = baselines.predict("ridge", features_UxD, label_U, speaker_U)
  wide_UxD = features_UxD.astype(np.float64)
  scores = {}
  for value in PENALTIES * learn_U.sum() * 30:
    right = []
    for speaker in range(5):
      others_U = learn_U & (speaker_U != speaker)
      predicted_U = by_hand(wide_UxD, class_U, value, others_U)
      right.append((predicted_U == class_U)[speaker_U == speaker].mean())
    scores[value] = np.mean(right)
  best = max(scores, key=scores.get)
  assert min(scores) < best < max(scores)
  expected_U = by_hand(wide_UxD, class_U, best, learn_U)
  np.testing.assert_array_equal(found_U, expected_U)


def test_one_labelled_speaker_leaves_nobody_to_hold_out():
  features_UxD, class_U, speaker_U = speakers()
  label_U = np.where(speaker_U == 0, class_U, -1)
  with pytest.raises(UserError, match="there is one labelled speaker"):
    baselines.predict("ridge", features_UxD, label_U, speaker_U)
