"""Domain adversarial network for emotion recognition in conversations.

Source: Lian et al. 2020, "Domain adversarial learning for emotion
recognition", Fig. 1 and section 2.

N utterances, D features, K hidden units, M modalities, C emotions, S speakers.
"""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from emojax import ops
from emojax.kernels import products
from emojax.models import sa_gru


class Dann(nn.Module):
  """AT-Fusion, SA-GRU, and the emotion and domain classifiers.

  Attributes:
    hidden: K, the width of every representation; even, `num_heads` divides it.
    num_heads: see `sa_gru.SelfAttention`, for `scale_attention`, too.
    dropout: rate on the fused and on the contextual representation; the
      paper mentions none. In training it needs the random stream `dropout`.
    domain_classifier: without it the model is the paper's system C1 alone.
  """

  num_emotions: int
  num_speakers: int
  hidden: int = 100
  num_heads: int = 4
  scale_attention: bool = False
  dropout: float = 0.0
  domain_classifier: bool = True

  @nn.compact
  def __call__(
    self,
    features: Mapping[str, jax.Array],
    packing: sa_gru.Packing,
    reversal_scale: jax.Array | float,
    train: bool = False,
  ) -> tuple[jax.Array, dict[str, Any]]:
    """Classifies the utterances of a batch of conversations.

    Args:
      features: `audio` [N, Da] and `text` [N, Dt], or one of them.
      packing: the conversations; the outputs of an utterance that is in none
        are finite and mean nothing.
      reversal_scale: lambda of Eq. (5).

    Returns:
      float32 emotion logits [N, C]; and `fusion_weights` [N, M], `fused` and
      `representation` [N, K], and `domain_logits` [N, S] if there are any.
    """
    fuse = AttentionFusion(self.hidden, name="fusion")
    fused_NxK, weights_NxM = fuse(features)
    out = {"fusion_weights": weights_NxM, "fused": fused_NxK}
    fused_NxK = nn.Dropout(self.dropout, deterministic=not train)(fused_NxK)
    representation = sa_gru.SaGru(
      self.hidden,
      self.num_heads,
      self.scale_attention,
      name="context",
    )(fused_NxK, packing)
    out["representation"] = representation
    drop = nn.Dropout(self.dropout, deterministic=not train)
    representation = drop(representation)
    if self.domain_classifier:
      out["domain_logits"] = DomainClassifier(
        self.num_speakers, self.hidden, name="domain_classifier"
      )(representation, reversal_scale)
    emotion_logits = EmotionClassifier(
      self.num_emotions, name="emotion_classifier"
    )(representation)
    return emotion_logits, out


class AttentionFusion(nn.Module):
  """AT-Fusion: weighs the modalities, utterance by utterance; Eqs. (1)-(3)."""

  hidden: int = 100

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
      Projection(self.hidden, name=name)(features[name])
      for name in sorted(features)
    ]
    if len(projections_KxN) == 1:
      return projections_KxN[0].T, jnp.ones((projections_KxN[0].shape[1], 1))
    score = _Score(self.hidden, name="attention")
    weights_MxN = nn.softmax(
      jnp.stack([score(u_KxN) for u_KxN in projections_KxN]), axis=0
    )
    fused_KxN = sum(
      weight_N[None] * u_KxN
      for weight_N, u_KxN in zip(weights_MxN, projections_KxN, strict=True)
    )
    return fused_KxN.T, weights_MxN.T


class Projection(nn.Module):
  """Linear layer for wide features, feature-major: Y = W X^T + b.

  W is stored [K, D], not [D, K] as in `nn.Dense`, and the result is [K, N]:
  with the weights of many runs stacked in front, [R, K, D] is one [R K, D]
  matrix without moving a byte, in the product, in its gradient and in the
  optimizer.
  """

  features: int

  @nn.compact
  def __call__(self, x_NxD: jax.Array) -> jax.Array:
    kernel_KxD = self.param(
      "kernel",
      nn.initializers.lecun_normal(in_axis=-1, out_axis=-2),
      (self.features, x_NxD.shape[-1]),
    )
    bias_K = self.param("bias", nn.initializers.zeros_init(), (self.features,))
    return products.feature_major(kernel_KxD, x_NxD) + bias_K[:, None]


class _Score(nn.Module):
  """w_F^T tanh(W_F u) of Eq. (2): [K, N] to float32 [N]."""

  hidden: int

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
    keys_HxN = nn.tanh(kernel_HxK @ u_KxN)
    return (score_H[:, None] * keys_HxN).sum(0)


class EmotionClassifier(nn.Module):
  """Linear: [N, K] to logits [N, C]."""

  num_classes: int

  @nn.compact
  def __call__(self, x_NxK: jax.Array) -> jax.Array:
    return nn.Dense(self.num_classes, name="output")(x_NxK)


class DomainClassifier(nn.Module):
  """One hidden layer with ReLU behind a gradient reversal layer.

  Section 2.3; the paper does not give the shape.
  """

  num_domains: int
  hidden: int = 100

  @nn.compact
  def __call__(
    self, x_NxK: jax.Array, reversal_scale: jax.Array | float
  ) -> jax.Array:
    """Returns logits [N, S]; `reversal_scale` is lambda of Eq. (5)."""
    x_NxK = ops.gradient_reversal(x_NxK, reversal_scale)
    x_NxK = nn.relu(nn.Dense(self.hidden, name="hidden_layer")(x_NxK))
    return nn.Dense(self.num_domains, name="output")(x_NxK)
