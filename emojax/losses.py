"""Losses: pure functions, in float32, with masks."""

import jax
import jax.numpy as jnp
import optax


def masked_cross_entropy(logits_NxC, labels_N, mask_N):
  """Mean cross-entropy over the examples where `mask` (bool or 0/1) holds.

  Either term of Lian et al. 2020, Eq. (5): a float32 scalar in nats, 0 where
  the mask is empty. Where it is zero, logits and labels may hold anything.
  """
  mask_N = jnp.asarray(mask_N, bool)
  logits_NxC = jnp.where(mask_N[:, None], logits_NxC.astype(jnp.float32), 0)
  # One-hot targets: the gradient of their product needs no scatter.
  target_NxC = jax.nn.one_hot(labels_N, logits_NxC.shape[-1])
  loss_N = optax.softmax_cross_entropy(logits_NxC, target_NxC)
  total = jnp.where(mask_N, loss_N, 0).sum()
  return total / jnp.maximum(mask_N.sum(), 1)
