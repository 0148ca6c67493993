"""Accuracies and F1 with masks, all from one accumulated confusion matrix.

C classes, a confusion matrix has true classes in rows and predicted ones in
columns. The field's names: *weighted* accuracy is the overall accuracy (each
class weighs as much as it has utterances), *unweighted* accuracy the mean
recall (each class weighs the same).

The functions take counts `[..., C, C]` with any leading axes (runs, settings)
and are the same in NumPy and, under `jax.jit` too, in JAX. They are NaN where
the matrix is empty: there is no accuracy over nothing.
"""

import flax
import jax
import jax.numpy as jnp
import numpy as np
from clu import metrics
from clu import values as clu_values

Array = np.ndarray | jax.Array

_PIXELS = 16  # Of the side of a cell, when a matrix is shown.


def confusion_counts(
  logits_NxC: np.ndarray, labels_N: np.ndarray
) -> np.ndarray:
  """Counts [C, C] of the predictions, the largest logit of each example."""
  # Not scikit-learn's: its import takes longer than many a prediction.
  num_classes = logits_NxC.shape[1]
  cell_N = num_classes * labels_N + logits_NxC.argmax(1)
  counts = np.bincount(cell_N, minlength=num_classes**2)
  return counts.reshape(num_classes, num_classes)


def weighted_accuracy(confusion: Array) -> Array:
  """Overall accuracy, `[..., C, C] -> [...]`."""
  hits = confusion.trace(axis1=-2, axis2=-1)
  return _ratio(hits, confusion.sum((-2, -1)), empty=np.nan)


def unweighted_accuracy(confusion: Array) -> Array:
  """Mean recall over the classes present in the truth, `[..., C, C] -> [...]`.

  The same as scikit-learn's `balanced_accuracy_score`.
  """
  support = confusion.sum(-1)
  recall = _ratio(_diagonal(confusion), support, empty=0.0)
  return _ratio(recall.sum(-1), (support > 0).sum(-1), empty=np.nan)


def macro_f1(confusion: Array) -> Array:
  """Mean F1 over the classes present at all, `[..., C, C] -> [...]`.

  The same as scikit-learn's `f1_score(average='macro', zero_division=0)`: a
  class that is in the truth or among the predictions counts, with F1 = 0 if
  it was never hit.
  """
  occurrences = confusion.sum(-1) + confusion.sum(-2)
  f1 = _ratio(2 * _diagonal(confusion), occurrences, empty=0.0)
  return _ratio(f1.sum(-1), (occurrences > 0).sum(-1), empty=np.nan)


def confusion_figures(confusion_CxC: np.ndarray) -> dict[str, float]:
  """What studies of faces report, after Li & Xu (2020), section 4.2.

  Their "average accuracy" is printed as a precision (Eq. 8), but their tables
  say that it is the mean diagonal of the normalised confusion matrix: the
  recall. Both are here.

  Returns:
    Fractions, in float64; NaN where there is no count at all.
    `weighted_accuracy`: their total accuracy.
    `unweighted_accuracy`: Eq. (10), their average accuracy.
    `macro_precision`: Eq. (9), over the classes present at all; a class that
      is never predicted has the precision 0.
    `f1_of_averages`: Eq. (7), the harmonic mean of the two averages.
    `macro_f1`: the mean of the F1 of each class.
  """
  counts_CxC = np.asarray(confusion_CxC, np.float64)
  predicted_C = counts_CxC.sum(0)
  num_present = np.count_nonzero(predicted_C + counts_CxC.sum(1))
  precision_C = _ratio(_diagonal(counts_CxC), predicted_C, empty=0.0)
  precision = _ratio(precision_C.sum(), num_present, empty=np.nan)
  recall = unweighted_accuracy(counts_CxC)
  harmonic = _ratio(2 * recall * precision, recall + precision, empty=0.0)
  figures = {
    "weighted_accuracy": weighted_accuracy(counts_CxC),
    "unweighted_accuracy": recall,
    "macro_precision": precision,
    "f1_of_averages": harmonic,
    "macro_f1": macro_f1(counts_CxC),
  }
  return {name: float(value) for name, value in figures.items()}


def confusion_picture(counts_CxC: jax.Array) -> clu_values.Image:
  """Rows as shares 0..1, a square each, as an image `[16 C, 16 C, 1]`."""
  shares = _ratio(counts_CxC, counts_CxC.sum(-1, keepdims=True), empty=0.0)
  pixels = shares.repeat(_PIXELS, 0).repeat(_PIXELS, 1)
  return clu_values.Image(pixels[..., None])


@flax.struct.dataclass
class ClassificationMetrics(metrics.Metric):
  """Everything that is reported of a classifier, from counts int32 `[C, C]`.

  One that was made under `jax.vmap` over runs has counts [runs, C, C].
  """

  counts: jax.Array

  @classmethod
  def from_model_output(
    cls,
    *,
    logits: jax.Array,
    labels: jax.Array,
    mask: jax.Array | None = None,
  ) -> "ClassificationMetrics":
    """Counts a batch of logits `[..., C]`: the first of equals is predicted.

    A label outside 0..C-1 counts nowhere, nor does one where the mask is 0.
    """
    # Zeros and ones: the product is exact in float32, and fast everywhere.
    truth, predicted = (
      jax.nn.one_hot(classes, logits.shape[-1], dtype=jnp.float32)
      for classes in (labels, logits.argmax(-1))
    )
    if mask is not None:
      truth = jnp.where(jnp.asarray(mask, bool)[..., None], truth, 0.0)
    counts = jnp.einsum("...t,...p->tp", truth, predicted)
    return cls(counts=counts.astype(jnp.int32))

  def merge(self, other: "ClassificationMetrics") -> "ClassificationMetrics":
    return ClassificationMetrics(counts=self.counts + other.counts)

  def compute(self) -> dict[str, jax.Array]:
    """The accuracies and F1 by name, and `confusion_matrix`, the counts."""
    return {
      "weighted_accuracy": weighted_accuracy(self.counts),
      "unweighted_accuracy": unweighted_accuracy(self.counts),
      "macro_f1": macro_f1(self.counts),
      "confusion_matrix": self.counts,
    }


def _diagonal(confusion: Array) -> Array:
  return confusion.diagonal(axis1=-2, axis2=-1)


def _ratio(numerator: Array, denominator: Array, empty: float) -> Array:
  """`numerator / denominator`, and `empty` where the denominator is 0."""
  xp = jnp if isinstance(denominator, jax.Array) else np
  is_empty = denominator == 0
  ratio = numerator / xp.where(is_empty, 1, denominator)
  return xp.where(is_empty, empty, ratio)
