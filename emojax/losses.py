"""Losses: pure functions, in float32, with masks."""

import jax
import jax.numpy as jnp


def masked_cross_entropy(logits_NxC, labels_N, mask_N, label_smoothing=0.0):
  """Mean cross-entropy over the examples where `mask` holds.

  Either term of Lian et al. 2020, Eq. (5).

  Args:
    logits_NxC: unnormalised log-probabilities; they may hold anything where
      the mask is zero.
    labels_N: int class of each example; any number where the mask is zero.
    mask_N: bool or 0/1.
    label_smoothing: share of the target that is spread over all classes
      (Szegedy et al. 2016, section 7).

  Returns:
    float32 scalar in nats; 0 where the mask is empty.
  """
  mask_N = jnp.asarray(mask_N, bool)
  logits_NxC = jnp.where(mask_N[:, None], logits_NxC.astype(jnp.float32), 0)
  loss_N = cross_entropies(
    logits_NxC, smooth_targets(labels_N, logits_NxC.shape[-1], label_smoothing)
  )
  total = jnp.where(mask_N, loss_N, 0).sum()
  return total / jnp.maximum(mask_N.sum(), 1)


def smooth_targets(labels_N, num_classes: int, label_smoothing=0.0):
  """Target distributions [N, C]; see `masked_cross_entropy`."""
  # A product with one-hot targets: its gradient needs no scatter.
  target_NxC = jax.nn.one_hot(labels_N, num_classes, dtype=jnp.float32)
  return (1 - label_smoothing) * target_NxC + label_smoothing / num_classes


def cross_entropies(logits_NxC, target_NxC):
  """Cross-entropy of each example with its target distribution, float32 [N]."""
  log_probability_NxC = jax.nn.log_softmax(logits_NxC.astype(jnp.float32))
  return -(target_NxC * log_probability_NxC).sum(-1)
