"""Emotion from a waveform: encoder, pooling over time, classifier."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from emojax.models.dann import DomainClassifier


class AttentionPooling(nn.Module):
  """A weighted mean of the frames, the weights by a linear score of each.

  The published speech emotion classifier: score = Linear(D, 1), softmax over
  the valid frames only.
  """

  @nn.compact
  def __call__(
    self, x_BxTxD: jax.Array, mask_BxT: jax.Array
  ) -> tuple[jax.Array, jax.Array]:
    """Pools each sequence to float32 [B, D], with the weights [B, T].

    States may be anything where the mask is false; no frame at all gives zero.
    """
    score = nn.Dense(1, dtype=jnp.float32, name="score")
    score_BxT = score(x_BxTxD.astype(jnp.float32))[..., 0]
    # Not minus infinity: a sequence without a frame would become NaN.
    weight_BxT = nn.softmax(jnp.where(mask_BxT, score_BxT, -1e30))
    weight_BxT = jnp.where(mask_BxT, weight_BxT, 0)
    return _weighted_sum(x_BxTxD, weight_BxT, mask_BxT), weight_BxT


class MeanPooling(nn.Module):
  """The mean of the valid frames."""

  @nn.compact
  def __call__(
    self, x_BxTxD: jax.Array, mask_BxT: jax.Array
  ) -> tuple[jax.Array, jax.Array]:
    """See `AttentionPooling`."""
    count_Bx1 = mask_BxT.sum(-1, keepdims=True)
    weight_BxT = mask_BxT / jnp.maximum(count_Bx1, 1).astype(jnp.float32)
    return _weighted_sum(x_BxTxD, weight_BxT, mask_BxT), weight_BxT


class WeightedLayerSum(nn.Module):
  """A learned average of an encoder's hidden states.

  Yang et al. 2021, "SUPERB", section 2.2: softmax over one weight a layer. All
  layers count alike at first.
  """

  @nn.compact
  def __call__(self, hidden_states: Sequence[jax.Array]) -> jax.Array:
    """Averages L arrays [B, T, D] to one, in their type."""
    logits_L = self.param("weights", nn.initializers.zeros, len(hidden_states))
    weights_L = nn.softmax(logits_L).astype(hidden_states[0].dtype)
    return jnp.einsum("l,lbtd->btd", weights_L, jnp.stack(hidden_states))


POOLINGS = {"attention": AttentionPooling, "mean": MeanPooling}


def _weighted_sum(x_BxTxD, weight_BxT, mask_BxT):
  # Of frames that do not count not even a NaN may come through.
  x_BxTxD = jnp.where(mask_BxT[..., None], x_BxTxD.astype(jnp.float32), 0)
  return jnp.einsum("bt,btd->bd", weight_BxT, x_BxTxD)


class SpeechClassifier(nn.Module):
  """The published head on any encoder.

  Attributes:
    encoder: a module that gives `last_hidden_state` [B, T, D], `hidden_states`
      (a tuple of such) and `mask` [B, T] for `(audio_BxS, lengths_B, train)`.
    weigh_layers: whether the head reads a learned average of all hidden states
      instead of the last one.
    hidden: units of the head.
    dropout: before each of its two layers.
    num_domains: S, what the adversary tells apart; 0 for no adversary.
  """

  encoder: nn.Module
  num_classes: int
  pooling: str = "attention"
  weigh_layers: bool = False
  hidden: int = 256
  dropout: float = 0.3
  num_domains: int = 0

  def setup(self):
    if self.weigh_layers:
      self.layer_sum = WeightedLayerSum()
    self.pool = POOLINGS[self.pooling]()
    self.drop = nn.Dropout(self.dropout)
    self.hidden_layer = nn.Dense(self.hidden)
    self.output = nn.Dense(self.num_classes)
    if self.num_domains:
      self.domain_classifier = DomainClassifier(self.num_domains)

  def encode(
    self, audio_BxS: jax.Array, lengths_B: jax.Array, train: bool = False
  ) -> tuple[tuple[jax.Array, ...], jax.Array]:
    """What the head reads: L arrays [B, T, D], L = 1 or all layers; the mask.

    Clips are zero after their end; `train` is for the encoder's randomness.
    """
    outputs = self.encoder(audio_BxS, lengths_B, train)
    if self.weigh_layers:
      return outputs["hidden_states"], outputs["mask"]
    return (outputs["last_hidden_state"],), outputs["mask"]

  def classify(
    self,
    features: Sequence[jax.Array],
    mask_BxT: jax.Array,
    train: bool = False,
    reversal: jax.Array | float = 0.0,
  ) -> tuple[jax.Array, dict[str, Any]]:
    """The head on what `encode` gives.

    Args:
      features: L arrays [B, T, D].
      mask_BxT: true for the frames of the clip itself.
      train: whether dropout is active, by the rng 'dropout'.
      reversal: lambda of the gradient reversal before the adversary.

    Returns:
      float32 logits [B, C]; and `pooled` [B, D], `attention` [B, T], and with
      an adversary `domain_logits` [B, S].
    """
    x_BxTxD = self.layer_sum(features) if self.weigh_layers else features[0]
    pooled_BxD, weight_BxT = self.pool(x_BxTxD, mask_BxT)
    out = {"pooled": pooled_BxD, "attention": weight_BxT}
    if self.num_domains:
      out["domain_logits"] = self.domain_classifier(pooled_BxD, reversal)
    x_BxD = self.drop(pooled_BxD, deterministic=not train)
    x_BxH = nn.gelu(self.hidden_layer(x_BxD), approximate=False)
    return self.output(self.drop(x_BxH, deterministic=not train)), out

  def __call__(
    self,
    audio_BxS: jax.Array,
    lengths_B: jax.Array,
    train: bool = False,
    reversal: jax.Array | float = 0.0,
    train_encoder: bool = False,
  ) -> tuple[jax.Array, dict[str, Any]]:
    """Encodes and classifies; see both."""
    features, mask_BxT = self.encode(audio_BxS, lengths_B, train_encoder)
    return self.classify(features, mask_BxT, train, reversal)
