"""The metrics against scikit-learn's, eager, compiled, mapped and scanned."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from clu import values
from sklearn import metrics as sklearn_metrics

from emojax import metrics

NUM_CLASSES = 5
REFERENCES = {
  "weighted_accuracy": sklearn_metrics.accuracy_score,
  "unweighted_accuracy": sklearn_metrics.balanced_accuracy_score,
  "macro_f1": functools.partial(
    sklearn_metrics.f1_score, average="macro", zero_division=0
  ),
}


def batch(seed: int, shape=(6, 7), truth=range(NUM_CLASSES)) -> dict:
  """Random model outputs; what is masked has labels that must not matter."""
  rng = np.random.default_rng(seed)
  mask = rng.random(shape) < 0.6
  labels = np.where(mask, rng.choice(list(truth), shape), -1)
  logits = rng.normal(size=(*shape, NUM_CLASSES)).astype(np.float32)
  return {"logits": logits, "labels": labels, "mask": mask}


def truth_and_prediction(outputs: dict) -> tuple[np.ndarray, np.ndarray]:
  mask = outputs["mask"]
  return outputs["labels"][mask], outputs["logits"].argmax(-1)[mask]


def test_counts_are_scikit_learns():
  rng = np.random.default_rng(0)
  logits_NxC, labels_N = rng.normal(size=(40, 6)), rng.integers(0, 5, 40)
  want = sklearn_metrics.confusion_matrix(
    labels_N, logits_NxC.argmax(1), labels=range(6)
  )
  got = metrics.confusion_counts(logits_NxC, labels_N)
  np.testing.assert_array_equal(got, want)


def reference_confusion(outputs: dict) -> np.ndarray:
  return sklearn_metrics.confusion_matrix(
    *truth_and_prediction(outputs), labels=range(NUM_CLASSES)
  )


@jax.jit
def counted(outputs: dict):
  return metrics.ClassificationMetrics.from_model_output(**outputs)


# Classes absent from the truth still get predictions here.
@pytest.mark.filterwarnings("ignore:y_pred contains classes not in y_true")
@pytest.mark.parametrize("truth", [range(NUM_CLASSES), [0, 2, 3], [4]])
@pytest.mark.parametrize("seed", [0, 1])
def test_scikit_learn_agrees(seed, truth):
  outputs = batch(seed, truth=truth)
  computed = counted(outputs).compute()
  np.testing.assert_array_equal(
    computed.pop("confusion_matrix"), reference_confusion(outputs)
  )
  expected = {
    name: reference(*truth_and_prediction(outputs))
    for name, reference in REFERENCES.items()
  }
  chex.assert_trees_all_close(computed, expected, rtol=1e-6)


def test_class_absent_from_truth_and_prediction():
  """Only two of three classes exist: scikit-learn averages over two."""
  truth, prediction = [0, 0, 1, 1], [0, 1, 1, 1]
  confusion = sklearn_metrics.confusion_matrix(
    truth, prediction, labels=range(3)
  )
  for name, reference in REFERENCES.items():
    np.testing.assert_allclose(
      getattr(metrics, name)(confusion), reference(truth, prediction)
    )


def test_nothing_ever_hit_is_zero():
  confusion = np.asarray([[0, 3], [2, 0]])
  for name in REFERENCES:
    assert getattr(metrics, name)(confusion) == 0.0


def test_no_mask_counts_everything():
  outputs = batch(0)
  everything = {**outputs, "mask": np.ones_like(outputs["mask"])}
  everything["labels"] = np.abs(outputs["labels"])
  chex.assert_trees_all_equal(
    counted({**everything, "mask": None}).compute(),
    counted(everything).compute(),
  )


def test_float_mask_is_a_mask():
  outputs = batch(0)
  chex.assert_trees_all_equal(
    counted({**outputs, "mask": outputs["mask"].astype(np.float32)}),
    counted(outputs),
  )


def test_merged_parts_are_the_whole():
  whole = batch(3, shape=(8, 5))
  merged, *others = (
    counted({k: v[part : part + 2] for k, v in whole.items()})
    for part in range(0, 8, 2)
  )
  for other in others:
    merged = merged.merge(other)
  chex.assert_trees_all_equal(merged.compute(), counted(whole).compute())


def test_empty_mask_counts_nothing_and_has_no_accuracy():
  outputs = batch(0)
  outputs["mask"] = np.zeros_like(outputs["mask"])
  computed = counted(outputs).compute()
  assert not computed.pop("confusion_matrix").any()
  assert all(np.isnan(value) for value in computed.values())
  whole = counted(batch(1))
  chex.assert_trees_all_equal(
    whole.merge(counted(outputs)).compute(), whole.compute()
  )


def test_jit_scan_and_vmap_over_replicates():
  """Three runs, four batches scanned, as a training's evaluation does it."""
  outputs = batch(5, shape=(3, 4, 6))

  @jax.jit
  @jax.vmap
  def evaluate(outputs):
    def step(total, one):
      return total.merge(counted(one)), None

    first = jax.tree.map(lambda leaf: leaf[0], outputs)
    rest = jax.tree.map(lambda leaf: leaf[1:], outputs)
    return jax.lax.scan(step, counted(first), rest)[0]

  with jax.numpy_rank_promotion("raise"):
    totals = evaluate(jax.tree.map(jnp.asarray, outputs))
  computed = jax.vmap(lambda total: total.compute())(totals)
  chex.assert_shape(computed["confusion_matrix"], (3, 5, 5))
  for run in range(3):
    one = {name: value[run] for name, value in outputs.items()}
    chex.assert_trees_all_equal(
      jax.tree.map(lambda leaf, run=run: leaf[run], computed),
      counted(one).compute(),
    )


@pytest.mark.parametrize("name", REFERENCES)
def test_functions_take_leading_axes_in_numpy_and_compiled(name):
  function = getattr(metrics, name)
  confusion = np.random.default_rng(0).integers(0, 9, (2, 3, 4, 4))
  confusion[0, 0] = 0
  confusion[0, 1, :2] = 0
  expected = [[function(one) for one in row] for row in confusion]
  in_numpy = function(confusion)
  assert isinstance(in_numpy, np.ndarray) and in_numpy.dtype == np.float64
  np.testing.assert_array_equal(in_numpy, expected)
  in_jax = jax.jit(function)(confusion)
  assert isinstance(in_jax, jax.Array)
  np.testing.assert_allclose(in_jax, expected, rtol=1e-6)


def confusion_of(truth, prediction, num_classes: int) -> np.ndarray:
  return sklearn_metrics.confusion_matrix(
    truth, prediction, labels=range(num_classes)
  )


@pytest.mark.parametrize("predicted", [range(NUM_CLASSES), [0, 2], [3]])
@pytest.mark.parametrize("seed", [0, 1])
def test_confusion_figures_are_scikit_learns(seed, predicted):
  rng = np.random.default_rng(seed)
  truth = np.arange(200) % NUM_CLASSES
  chosen = rng.choice(list(predicted), 200)
  prediction = np.where(rng.random(200) < 0.3, chosen, chosen[0])
  figures = metrics.confusion_figures(
    confusion_of(truth, prediction, NUM_CLASSES)
  )
  assert all(type(value) is float for value in figures.values())
  macro = {"average": "macro", "zero_division": 0}
  precision = sklearn_metrics.precision_score(truth, prediction, **macro)
  recall = sklearn_metrics.recall_score(truth, prediction, **macro)
  chex.assert_trees_all_close(
    figures,
    {
      "weighted_accuracy": sklearn_metrics.accuracy_score(truth, prediction),
      "unweighted_accuracy": recall,
      "macro_precision": precision,
      "f1_of_averages": 2 * recall * precision / (recall + precision),
      "macro_f1": sklearn_metrics.f1_score(truth, prediction, **macro),
    },
    rtol=1e-12,
  )


def test_confusion_figures_are_equations_7_to_10():
  """By hand; the third class is never predicted."""
  figures = metrics.confusion_figures(
    np.asarray([[6, 2, 0], [3, 1, 0], [1, 1, 0]])
  )
  recall = (6 / 8 + 1 / 4 + 0) / 3
  precision = (6 / 10 + 1 / 4 + 0) / 3
  expected = {
    "weighted_accuracy": 7 / 14,
    "unweighted_accuracy": recall,
    "macro_precision": precision,
    "f1_of_averages": 2 * recall * precision / (recall + precision),
    "macro_f1": (12 / 18 + 2 / 8 + 0) / 3,
  }
  chex.assert_trees_all_close(figures, expected, rtol=1e-12)


def test_confusion_figures_leave_out_what_does_not_occur():
  """A fourth class without an image, true or predicted, changes nothing."""
  counts = np.random.default_rng(0).integers(0, 9, (3, 3))
  more = np.zeros((4, 4), int)
  more[:3, :3] = counts
  expected = metrics.confusion_figures(counts)
  assert metrics.confusion_figures(more) == pytest.approx(expected)


def test_confusion_figures_where_nothing_is_hit_or_nothing_is_there():
  nothing_hit = metrics.confusion_figures(np.asarray([[0, 3], [2, 0]]))
  assert set(nothing_hit.values()) == {0.0}
  empty = metrics.confusion_figures(np.zeros((3, 3), int))
  assert all(np.isnan(value) for value in empty.values())


def test_the_picture_of_a_confusion_matrix():
  image = metrics.confusion_picture(counted(batch(0)).counts)
  assert isinstance(image, values.Image)
  side = 16 * NUM_CLASSES  # A pixel would hardly be seen.
  chex.assert_shape(image.value, (side, side, 1))
  shares = image.value[8::16, 8::16, 0]
  np.testing.assert_allclose(shares.sum(1), 1.0, rtol=1e-6)
  np.testing.assert_array_equal(image.value[:16, :16], shares[0, 0])
