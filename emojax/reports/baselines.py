"""Classifiers without a conversation or a domain, to compare with.

U utterances of the corpus, N of them to learn from, D normalised features of
each, P penalties, C classes.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from emojax.errors import UserError

LABELS = {"svm": "SVM", "ridge": "Ridge regression"}
_MOST_FOLDS = 5
# Of ridge regression, by the number of features and of utterances.
_PENALTIES = np.logspace(-5, -1, 9)


def predict(
  name: str, features_UxD: np.ndarray, label_U: np.ndarray, speaker_U
) -> np.ndarray:
  """The class of every utterance, [U].

  Args:
    name: one of `LABELS`.
    label_U: classes to learn from, -1 elsewhere.
    speaker_U: of whom some are held out where there is something to choose.

  Raises:
    UserError: nobody can be held out.
  """
  learn = np.flatnonzero(label_U >= 0)
  train = features_UxD[learn], label_U[learn], speaker_U[learn]
  return _FITS[name](*train).predict(features_UxD)


def _support_vector_machine(features_NxD, label_N, speaker_N):
  """With an RBF kernel, C = 1."""
  from sklearn.svm import SVC

  del speaker_N  # Nothing is chosen.
  # gamma = 1 / (D * variance), scikit-learn's default.
  return SVC(C=1.0).fit(features_NxD, label_N)


class Ridge(NamedTuple):
  """Ridge regression on each class, 1 or -1.

  Attributes:
    penalty: on the squared norm of the weights of a class.
    held_out: mean recall with it on speakers who were held out in turn.
    predict: from features [U, D] to classes [U].
  """

  penalty: float
  held_out: float
  predict: Callable[[np.ndarray], np.ndarray]


def ridge(
  features_NxD: np.ndarray, label_N: np.ndarray, speaker_N: np.ndarray
) -> Ridge:
  """Takes the penalty that is best on speakers who are held out.

  Raises:
    UserError: nobody can be held out.
  """
  from sklearn.metrics import balanced_accuracy_score
  from sklearn.model_selection import GroupKFold

  num_folds = min(_MOST_FOLDS, len(np.unique(speaker_N)))
  if num_folds < 2:
    raise UserError(
      "config.baselines: 'ridge' chooses its penalty on labelled speakers who "
      "are held out, and there is one labelled speaker; leave it out"
    )
  penalties_P = features_NxD.size * _PENALTIES
  parts = GroupKFold(num_folds).split(features_NxD, groups=speaker_N)
  scores_FxP = []
  for learn, held in parts:
    classify = _solve(features_NxD[learn], label_N[learn])
    scores_FxP.append(
      [
        balanced_accuracy_score(label_N[held], predicted_H)
        for predicted_H in classify(features_NxD[held], penalties_P)
      ]
    )
  scores_P = np.mean(scores_FxP, axis=0)
  best = scores_P.argmax()
  classify = _solve(features_NxD, label_N)
  return Ridge(
    float(penalties_P[best]),
    float(scores_P[best]),
    lambda features_UxD: classify(features_UxD, penalties_P[[best]])[0],
  )


def _solve(features_NxD: np.ndarray, label_N: np.ndarray) -> Callable:
  """From features [U, D] and penalties [P] to classes [P, U].

  For all penalties from one decomposition: they shrink the directions in which
  the features vary, X = U diag(s) V^T, by s^2 / (s^2 + penalty).
  """
  classes_C = np.unique(label_N)
  sign_NxC = np.where(label_N[:, None] == classes_C, 1.0, -1.0)
  mean_D, bias_C = features_NxD.mean(0), sign_NxC.mean(0)
  # Products of so many features are not to be trusted in float32.
  centred_NxD = features_NxD.astype(np.float64) - mean_D
  left_NxK, size_K, right_KxD = np.linalg.svd(centred_NxD, full_matrices=False)
  along_KxC = left_NxK.T @ (sign_NxC - bias_C)

  def classify(features_UxD, penalties_P):
    projected_UxK = (features_UxD - mean_D) @ right_KxD.T
    shrunk_PxK = size_K / (size_K**2 + penalties_P[:, None])
    scores_PxUxC = np.stack(
      [projected_UxK @ (along_KxC * one_K[:, None]) for one_K in shrunk_PxK]
    )
    return classes_C[(scores_PxUxC + bias_C).argmax(-1)]

  return classify


_FITS: dict[str, Callable] = {"svm": _support_vector_machine, "ridge": ridge}
