"""Classifiers without a conversation or a domain, to compare with."""

import numpy as np
from sklearn.metrics import confusion_matrix
from sklearn.svm import SVC


def svm_confusion(
  features_UxD: np.ndarray,
  label_U: np.ndarray,
  target_U: np.ndarray,
  num_classes: int,
) -> np.ndarray:
  """Confusion matrix [C, C] of an RBF support vector machine, C = 1.

  Args:
    features_UxD: normalised.
    label_U: classes to learn from, -1 elsewhere.
    target_U: classes to test on, -1 elsewhere.
    num_classes: C.
  """
  learn, test = np.flatnonzero(label_U >= 0), np.flatnonzero(target_U >= 0)
  # gamma = 1 / (D * variance), scikit-learn's default.
  classifier = SVC(C=1.0).fit(features_UxD[learn], label_U[learn])
  return confusion_matrix(
    target_U[test],
    classifier.predict(features_UxD[test]),
    labels=np.arange(num_classes),
  )
