"""The experiments' programs: that they can be read, and what they minimise.

Their studies take minutes to hours and are not run here.
"""

import argparse
import pathlib
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from scipy import stats
from sklearn import linear_model
from torch.nn import functional

from experiments import flags
from experiments.adversary import inductive, networks, on_layers
from experiments.rlps_s import losses, summing_up

ROOT = pathlib.Path(__file__).parents[1]
MODULES = sorted(
  ".".join(path.relative_to(ROOT).with_suffix("").parts)
  for path in (ROOT / "experiments").rglob("*.py")
)


def draw(*shape: int) -> np.ndarray:
  return np.random.default_rng(0).normal(size=shape).astype(np.float32)


def test_every_module_is_imported():
  """In a process of its own, since benchmarks set what they measure with."""
  program = f"import importlib\nfor name in {MODULES}:\n  "
  program += "print(name, flush=True)\n  importlib.import_module(name)"
  found = subprocess.run(
    [sys.executable, "-c", program],
    cwd=ROOT,
    capture_output=True,
    text=True,
    encoding="utf-8",
  )
  assert found.returncode == 0, found.stderr
  assert found.stdout.split() == MODULES


def test_a_name_that_is_not_known_is_said_in_one_line():
  parse = flags.some_of(["a", "b"])
  assert parse("b,a") == ["b", "a"]
  assert parse("") == []
  with pytest.raises(argparse.ArgumentTypeError, match="'c' is none of"):
    parse("a,c")


def test_states_of_another_encoder_are_refused():
  assert on_layers.states(np.zeros((2, 7 * 512))).shape == (2, 7, 512)
  with pytest.raises(SystemExit, match="Whisper base's size"):
    on_layers.states(np.zeros((2, 13 * 768)))


def test_co_teaching_learns_from_what_the_other_has_small_losses_of():
  logits_2xBxK, label_2xB = draw(2, 8, 3), np.tile([0, 1, 2, 0, 1, 2, 0, 1], 2)
  label_2xB = label_2xB.reshape(2, 8)

  def of(logits, progress):
    nothing = jnp.zeros((2, 8))
    return losses.co_teaching(0.5)(
      logits, nothing, label_2xB, nothing, progress
    )

  for progress, count in ((0.0, 8), (0.125, 6), (0.25, 4), (1.0, 4)):
    logits = torch.tensor(logits_2xBxK, requires_grad=True)
    loss_2xB = torch.stack(
      [
        functional.cross_entropy(one, torch.tensor(label), reduction="none")
        for one, label in zip(logits, label_2xB, strict=True)
      ]
    )
    taken = loss_2xB.detach().argsort(1)[:, :count].flip(0)
    expected = loss_2xB.gather(1, taken).mean(1).sum()
    expected.backward()
    (found, labels), gradient = jax.value_and_grad(of, has_aux=True)(
      jnp.asarray(logits_2xBxK), progress
    )
    np.testing.assert_allclose(found, expected.item(), rtol=1e-5)
    np.testing.assert_allclose(gradient, logits.grad, atol=1e-6)
    np.testing.assert_array_equal(labels, label_2xB)


def test_scn_weighs_ranks_and_relabels():
  """Wang et al. 2020, Eq. (2) to (6), one batch at a time in PyTorch."""
  logits_RxBxK, label_RxB = 3 * draw(2, 10, 3), np.tile(np.arange(10) % 3, 2)
  label_RxB = label_RxB.reshape(2, 10)
  alpha_RxB = np.random.default_rng(1).random((2, 10)).astype(np.float32)

  def of(logits, alpha, progress):
    return losses.scn(logits, alpha, label_RxB, jnp.ones((2, 10)), progress)

  logits, alpha = (
    torch.tensor(of, requires_grad=True) for of in (logits_RxBxK, alpha_RxB)
  )
  expected, changed = 0.0, label_RxB.copy()
  for run in range(2):
    order = alpha[run].detach().argsort(descending=True)
    high, low = alpha[run][order[:7]], alpha[run][order[7:]]
    expected += torch.clamp(0.15 - (high.mean() - low.mean()), min=0)
    scaled = logits[run] * alpha[run][:, None]
    label = torch.tensor(label_RxB[run])
    expected += functional.cross_entropy(scaled, label) / 2
    for place in order[7:].tolist():
      share = logits[run, place].softmax(0)
      if share.max() - share[label[place]] > 0.2:
        changed[run, place] = share.argmax()
  assert (changed != label_RxB).any()
  expected.backward()
  (found, labels), gradients = jax.value_and_grad(of, (0, 1), has_aux=True)(
    jnp.asarray(logits_RxBxK), jnp.asarray(alpha_RxB), 0.5
  )
  np.testing.assert_allclose(found, expected.item(), rtol=1e-5)
  np.testing.assert_array_equal(labels, changed)
  for one, other in zip(gradients, (logits, alpha), strict=True):
    np.testing.assert_allclose(one, other.grad, atol=1e-6)
  _, labels = of(logits_RxBxK, alpha_RxB, 0.1)
  np.testing.assert_array_equal(labels, label_RxB)


def test_coral_is_the_distance_of_covariances():
  x_NxK, labelled_N = draw(12, 4), np.arange(12) < 7
  covariances = [
    np.cov(x_NxK[rows], rowvar=False, bias=True)
    for rows in (labelled_N, ~labelled_N)
  ]
  expected = np.square(covariances[0] - covariances[1]).sum() / (4 * 4**2)
  found = networks.correlation_distance(x_NxK, None, labelled_N, 3)
  np.testing.assert_allclose(found, expected, rtol=1e-5)
  alike = networks.correlation_distance(
    np.tile(x_NxK, (2, 1)), None, np.arange(24) < 12, 3
  )
  np.testing.assert_allclose(alike, 0, atol=1e-10)


def test_mmd_is_the_variance_between_speakers():
  x_NxK, speaker_N = draw(12, 4), np.repeat([0, 2, 1], [3, 4, 5])
  means_NxK = np.stack([x_NxK[speaker_N == one].mean(0) for one in speaker_N])
  expected = np.square(means_NxK - x_NxK.mean(0)).sum(1).mean()
  # The fourth speaker is in no clip of the batch.
  found = networks.mean_distance(x_NxK, speaker_N, None, 4)
  np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_ridge_regression_from_products_is_scikit_learns():
  features_NxD, features_TxD = draw(20, 30) + 1, draw(5, 30)
  sign_NxC = np.sign(draw(20, 3))
  scores_PxTxC = inductive.solve(
    features_NxD @ features_NxD.T,
    sign_NxC,
    features_TxD @ features_NxD.T,
    np.array([0.5, 20.0]),
  )
  for penalty, scores_TxC in zip((0.5, 20.0), scores_PxTxC, strict=True):
    model = linear_model.Ridge(penalty).fit(features_NxD, sign_NxC)
    expected_TxC = model.predict(features_TxD)
    np.testing.assert_allclose(scores_TxC, expected_TxC, atol=1e-3)


def test_differences_of_rlps_s_are_resampled_over_test_examples(tmp_path):
  """As SciPy does it, of the mean of the runs; the odd count is not padded."""
  hits_SxRxT = np.random.default_rng(1).random((2, 3, 203)) < 0.7
  runs = summing_up.Runs(tmp_path, "dense", "symmetric_30")
  for seed, hits_SxT in enumerate(hits_SxRxT.swapaxes(0, 1)):
    named = zip(("rlps_s", "none"), hits_SxT, strict=True)
    runs.add(seed, [figures(*one) for one in named])
  read = summing_up.Runs(tmp_path, "dense", "symmetric_30")
  assert read.seeds == {0, 1, 2}
  summary = summing_up.summarize(tmp_path)
  one, other = (
    one for one in summary.comparisons if one.metric == "weighted_accuracy"
  )
  gain_T = np.subtract(*hits_SxRxT.mean(1))
  assert one.difference == pytest.approx(gain_T.mean())
  assert other.difference == pytest.approx(gain_T.mean())
  expected = stats.bootstrap((gain_T,), np.mean, method="percentile", rng=0)
  np.testing.assert_allclose(
    other.ci95, expected.confidence_interval, atol=0.005
  )
  assert other.p_value is None and "over test examples" in other.test
  assert all("hits" not in of_run for of_run in summary.runs)


def figures(system: str, hits_T: np.ndarray) -> dict:
  return {
    "system": system,
    "hits": summing_up.pack(hits_T),
    "weighted_accuracy": hits_T.mean(),
  }
