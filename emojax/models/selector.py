"""The image selector: who stays in the training set, decided one by one.

Li & Xu 2020, "Deep reinforcement learning for robust emotional classification
in facial expression recognition", section 3.1. N images, D features.
"""

import functools
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

  def setup(self):
    self.layer = [nn.Dense(width) for width in self.widths]
    self.output = nn.Dense(1)

  def __call__(self, state_BxK: jax.Array) -> jax.Array:
    """States [B, K] to logits [B]; the sigmoid of one is its probability."""
    return self.decide(self.layer[0](state_BxK))

  def project(self, features_BxD: jax.Array) -> tuple[jax.Array, jax.Array]:
    """See `_project`."""
    return _project(self.layer[0], features_BxD)

  def decide(self, x_BxP: jax.Array) -> jax.Array:
    """All that follows the first layer's products: logits [B]."""
    x = nn.relu(x_BxP)
    for layer in self.layer[1:]:
      x = nn.relu(layer(x))
    return self.output(x)[..., 0]


class LogisticPolicy(nn.Module):
  """One layer, as in DCNN+Sigmoid (after Feng et al. 2018)."""

  def setup(self):
    self.output = nn.Dense(1)

  def __call__(self, state_BxK: jax.Array) -> jax.Array:
    """As `PolicyNetwork`, with its methods."""
    return self.decide(self.output(state_BxK))

  def project(self, features_BxD: jax.Array) -> tuple[jax.Array, jax.Array]:
    """See `_project`."""
    return _project(self.output, features_BxD)

  def decide(self, x_BxP: jax.Array) -> jax.Array:
    """Nothing follows: logits [B]."""
    return x_BxP[..., 0]


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

  What the first layer makes of a mean is the mean of what it makes of features.
  So it runs once, over all images, and the scan keeps the mean of its outputs.

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
  apply = functools.partial(policy.apply, {"params": params})
  features_NxD = features_NxD[order_N]
  of_image_NxP, of_mean_NxP = apply(features_NxD, method="project")

  def step(carry, image):
    total_P, count = carry
    of_image_P, of_mean_P, uniform = image
    x_P = of_image_P + total_P / jnp.maximum(count, 1)
    probability = nn.sigmoid(apply(x_P[None], method="decide")[0])
    retained = probability >= uniform
    carry = (total_P + retained * of_mean_P, count + retained)
    return carry, (retained, probability)

  start = (jnp.zeros_like(of_mean_NxP[0]), jnp.float32(0))
  _, (retained_N, probability_N) = jax.lax.scan(
    step, start, (of_image_NxP, of_mean_NxP, uniform_N[order_N])
  )
  state_NxK = jnp.concatenate(
    [features_NxD, _mean_before(features_NxD, retained_N)], 1
  )
  passed = (retained_N, probability_N, state_NxK)
  return Selection(*(jnp.zeros_like(x).at[order_N].set(x) for x in passed))


def _project(
  layer: nn.Dense, features_BxD: jax.Array
) -> tuple[jax.Array, jax.Array]:
  """What a first layer makes of an image's features, and of them as a mean.

  Their sum is the layer's output, before an activation: [B, P] each.
  """
  params = layer.variables["params"]
  image_DxP, mean_DxP = jnp.split(params["kernel"], 2)
  of_image_BxP = features_BxD @ image_DxP + params["bias"][None]
  return of_image_BxP, features_BxD @ mean_DxP


def _mean_before(features_NxD: jax.Array, retained_N: jax.Array) -> jax.Array:
  """The mean of those retained before each image, zero before the first."""
  counted_NxD = retained_N[:, None] * features_NxD
  count_N = jnp.cumsum(retained_N) - retained_N
  total_NxD = jnp.cumsum(counted_NxD, 0) - counted_NxD
  return total_NxD / jnp.maximum(count_N, 1)[:, None]
