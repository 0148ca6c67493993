"""The image selector: who stays in the training set, decided one by one.

Li & Xu 2020, "Deep reinforcement learning for robust emotional classification
in facial expression recognition", section 3.1. N images, D features.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn


class PolicyNetwork(nn.Module):
  """Five dense layers with ReLU: the logit of retaining an image, Eq. (1).

  Attributes:
    widths: of the four layers before the last one, which the paper leaves
      open.
  """

  widths: tuple[int, ...] = (256, 128, 64, 32)

  @nn.compact
  def __call__(self, state_BxK: jax.Array) -> jax.Array:
    """States [B, K] to logits [B]; the sigmoid of one is its probability."""
    x = state_BxK
    for index, width in enumerate(self.widths):
      x = nn.relu(nn.Dense(width, name=f"layer_{index}")(x))
    return nn.Dense(1, name="output")(x)[..., 0]


class LogisticPolicy(nn.Module):
  """One layer, as in DCNN+Sigmoid (after Feng et al. 2018)."""

  @nn.compact
  def __call__(self, state_BxK: jax.Array) -> jax.Array:
    """As `PolicyNetwork`."""
    return nn.Dense(1, name="output")(state_BxK)[..., 0]


class Selection(NamedTuple):
  """A pass over the training set, in its own order.

  Attributes:
    retained_N: bool, whether an image stays.
    probability_N: of staying, as the policy saw it in its turn.
    state_NxK: what it saw: the image's features beside the mean of those
      retained before it, K = 2 D.
  """

  retained_N: jax.Array
  probability_N: jax.Array
  state_NxK: jax.Array


def select(
  policy: nn.Module,
  params,
  features_NxD: jax.Array,
  order_N: jax.Array,
  uniform_N: jax.Array,
) -> Selection:
  """Algorithm 1, lines 5 to 12, in one scan.

  Action 1 retains (section 3.1.2; line 9 prints the contrary). The running mean
  starts at zero.

  Args:
    policy: gives logits of states.
    params: of the policy.
    features_NxD: of the classifier's first dense layer.
    order_N: a permutation of the images.
    uniform_N: in 0..1 for each image; it stays if its probability is not less.
      0.5 for all decides deterministically.

  Returns:
    Of each image, in the order of `features_NxD`.
  """

  def step(carry, index):
    total_D, count = carry
    feature_D = features_NxD[index]
    state_K = jnp.concatenate([feature_D, total_D / jnp.maximum(count, 1)])
    logit = policy.apply({"params": params}, state_K[None])[0]
    probability = nn.sigmoid(logit)
    retained = probability >= uniform_N[index]
    carry = (total_D + retained * feature_D, count + retained)
    return carry, (retained, probability, state_K)

  start = (jnp.zeros(features_NxD.shape[1]), jnp.float32(0))
  _, passed = jax.lax.scan(step, start, order_N)
  place_N = jnp.argsort(order_N)
  return Selection(*(values[place_N] for values in passed))
