"""Classifiers without a conversation or a domain, to compare with."""

import numpy as np
from sklearn.metrics import confusion_matrix
from sklearn.svm import SVC


def svm_confusion(
  train_NxD: np.ndarray,
  train_labels_N: np.ndarray,
  test_MxD: np.ndarray,
  test_labels_M: np.ndarray,
  num_classes: int,
) -> np.ndarray:
  """Confusion matrix [C, C] of an RBF support vector machine, C = 1.

  Args:
    train_NxD: normalised features.
    train_labels_N: class indices.
    test_MxD: features, normalised likewise.
    test_labels_M: class indices.
    num_classes: C.
  """
  # gamma = 1 / (D * variance), scikit-learn's default.
  classifier = SVC(C=1.0).fit(train_NxD, train_labels_N)
  return confusion_matrix(
    test_labels_M,
    classifier.predict(test_MxD),
    labels=np.arange(num_classes),
  )
