"""What the study's classifiers minimise: the plain loss, co-teaching, SCN.

A loss takes `(logits [R, B, K], importance [R, B], label [R, B], weight [R, B],
progress)` of runs that train side by side and gives its value, summed over
runs, and the labels, which it may change. `progress` is the share of the
training that is done.

R runs, B examples of a batch, K classes.
"""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax

_SCN_MARGIN, _SCN_SHARE, _SCN_RELABEL = 0.15, 0.7, 0.2  # As published.


def plain(logits, alpha_RxB, label_RxB, weight_RxB, progress):
  """The mean cross-entropy of what has a weight; labels as they are."""
  del alpha_RxB, progress
  loss_RxB = optax.softmax_cross_entropy_with_integer_labels(logits, label_RxB)
  total_R = (loss_RxB * weight_RxB).sum(1)
  return (total_R / jnp.maximum(weight_RxB.sum(1), 1)).sum(), label_RxB


@functools.cache
def co_teaching(rate: float) -> Callable:
  """Two runs: each learns from what the other has the smallest losses of.

  Han et al. 2018. The share that is left out rises to `rate` in the first
  quarter of the training. The same function for the same rate: it is compiled
  once.
  """

  def loss(logits, alpha_RxB, label_RxB, weight_RxB, progress):
    del alpha_RxB, weight_RxB
    loss_2xB = optax.softmax_cross_entropy_with_integer_labels(
      logits, label_RxB
    )
    left_out = rate * jnp.minimum(4 * progress, 1)
    rank_2xB = jnp.argsort(jnp.argsort(loss_2xB, 1), 1)
    count = jnp.ceil((1 - left_out) * loss_2xB.shape[1])
    taken_2xB = (rank_2xB < count)[::-1]
    return (loss_2xB * taken_2xB).sum() / count, label_RxB

  return loss


def scn(logits, alpha_RxB, label_RxB, weight_RxB, progress):
  """Self-Cure Network, Wang et al. 2020: importance, its rank, new labels.

  Labels of the less important are changed in the last five sixths, as of the
  70 epochs there after the tenth.
  """
  del weight_RxB
  loss_RxB = optax.softmax_cross_entropy_with_integer_labels(
    logits * alpha_RxB[..., None], label_RxB
  )
  sorted_RxB = jnp.sort(alpha_RxB, 1)[:, ::-1]
  high = round(_SCN_SHARE * alpha_RxB.shape[1])
  gap_R = sorted_RxB[:, :high].mean(1) - sorted_RxB[:, high:].mean(1)
  rank = jnp.maximum(0, _SCN_MARGIN - gap_R).sum()
  p = jax.nn.softmax(logits)
  given_RxB = jnp.take_along_axis(p, label_RxB[..., None], -1)[..., 0]
  is_low_RxB = alpha_RxB < sorted_RxB[:, high - 1 : high]
  is_surer_RxB = p.max(-1) - given_RxB > _SCN_RELABEL
  changes = is_low_RxB & is_surer_RxB & (progress > 1 / 6)
  return loss_RxB.mean() + rank, jnp.where(changes, p.argmax(-1), label_RxB)
