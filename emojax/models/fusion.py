"""AT-Fusion: attention over the modalities of an utterance.

Source: Lian et al. 2020, "Domain adversarial learning for emotion
recognition", section 2.2, Eqs. (1)-(3).

N utterances, D features, K hidden units, M modalities.
"""

from collections.abc import Mapping

import jax
import jax.numpy as jnp
from flax import linen as nn


class Projection(nn.Module):
  """Linear layer for wide features, feature-major: Y = W X^T + b.

  W is stored [K, D], not [D, K] as in `nn.Dense`, and the result is [K, N]:
  with the weights of many runs stacked in front, [R, K, D] is one [R K, D]
  matrix without moving a byte, in the product, in its gradient and in the
  optimizer.
  """

  features: int
  dtype: jnp.dtype = jnp.float32

  @nn.compact
  def __call__(self, x_NxD: jax.Array) -> jax.Array:
    kernel_KxD = self.param(
      "kernel",
      nn.initializers.lecun_normal(in_axis=-1, out_axis=-2),
      (self.features, x_NxD.shape[-1]),
    )
    bias_K = self.param("bias", nn.initializers.zeros_init(), (self.features,))
    x_NxD, kernel_KxD, bias_K = nn.dtypes.promote_dtype(
      x_NxD, kernel_KxD, bias_K, dtype=self.dtype
    )
    return jnp.einsum("kd,nd->kn", kernel_KxD, x_NxD) + bias_K[:, None]


class AttentionFusion(nn.Module):
  """Weighs the projections of the modalities, utterance by utterance."""

  hidden: int = 100
  dtype: jnp.dtype = jnp.float32

  @nn.compact
  def __call__(
    self, features: Mapping[str, jax.Array]
  ) -> tuple[jax.Array, jax.Array]:
    """Fuses [N, D] of each modality; of a single one it is the projection.

    Returns:
      [N, K], and float32 weights [N, M], modalities in order of their names.
    """
    # Feature-major up to the end, as the wide projections give and take it.
    projections_KxN = [
      Projection(self.hidden, self.dtype, name=name)(features[name])
      for name in sorted(features)
    ]
    if len(projections_KxN) == 1:
      return projections_KxN[0].T, jnp.ones((projections_KxN[0].shape[1], 1))
    score = _Score(self.hidden, self.dtype, name="attention")
    weights_MxN = nn.softmax(
      jnp.stack([score(u_KxN) for u_KxN in projections_KxN]), axis=0
    )
    fused_KxN = sum(
      weight_N[None] * u_KxN
      for weight_N, u_KxN in zip(weights_MxN, projections_KxN, strict=True)
    )
    return fused_KxN.T.astype(self.dtype), weights_MxN.T


class _Score(nn.Module):
  """w_F^T tanh(W_F u) of Eq. (2): [K, N] to float32 [N]."""

  hidden: int
  dtype: jnp.dtype

  @nn.compact
  def __call__(self, u_KxN):
    kernel_HxK = self.param(
      "kernel",
      nn.initializers.lecun_normal(in_axis=-1, out_axis=-2),
      (self.hidden, u_KxN.shape[0]),
    )
    score_H = self.param(
      "score", nn.initializers.normal(self.hidden**-0.5), (self.hidden,)
    )
    u_KxN, kernel_HxK, score_H = nn.dtypes.promote_dtype(
      u_KxN, kernel_HxK, score_H, dtype=self.dtype
    )
    keys_HxN = nn.tanh(kernel_HxK @ u_KxN)
    return (score_H[:, None] * keys_HxN).sum(0).astype(jnp.float32)
