"""Classifiers without a conversation or a domain, to compare with."""

import numpy as np


def svm_confusion(
  features_UxD: np.ndarray,
  label_U: np.ndarray,
  target_U: np.ndarray,
  num_classes: int,
) -> np.ndarray:
  """Confusion matrix [C, C] of an RBF support vector machine, C = 1.

  Of normalised features, classes to learn from and to test on, -1 elsewhere.
  """
  from sklearn.metrics import confusion_matrix
  from sklearn.svm import SVC

  learn, test = np.flatnonzero(label_U >= 0), np.flatnonzero(target_U >= 0)
  # gamma = 1 / (D * variance), scikit-learn's default.
  classifier = SVC(C=1.0).fit(features_UxD[learn], label_U[learn])
  predicted = classifier.predict(features_UxD[test])
  return confusion_matrix(target_U[test], predicted, labels=range(num_classes))
