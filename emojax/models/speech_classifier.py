"""Emotion from a waveform: encoder, pooling over time, classifier."""

from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from emojax.models.dann import DomainClassifier


class AttentionPooling(nn.Module):
  """Weights of the frames by a linear score of each, float32 [B, T].

  The published speech emotion classifier: score = Linear(D, 1), softmax over
  the valid frames only. The weights of a clip add up to 1; they are all 0 where
  it has no frame at all. Scores are 0 before training, so that it begins as
  `MeanPooling`: from random ones it soon listened to single frames of the
  training speakers.
  """

  @nn.compact
  def __call__(
    self, x_BxTxLxD: jax.Array, weight_L: jax.Array, mask_BxT: jax.Array
  ) -> jax.Array:
    """Scores the average of the layers by `weight_L`.

    The score is linear, so it is the average of the layers' scores.
    """
    score = nn.Dense(
      1, dtype=jnp.float32, kernel_init=nn.initializers.zeros, name="score"
    )
    score_BxT = score(x_BxTxLxD)[..., 0] @ weight_L
    # Not minus infinity: a sequence without a frame would become NaN.
    weight_BxT = nn.softmax(jnp.where(mask_BxT, score_BxT, -1e30))
    return jnp.where(mask_BxT, weight_BxT, 0)


class MeanPooling(nn.Module):
  """The same weight for each valid place of T; see `AttentionPooling`."""

  @nn.compact
  def __call__(
    self, x_BxTxLxD: jax.Array, weight_L: jax.Array, mask_BxT: jax.Array
  ) -> jax.Array:
    del x_BxTxLxD, weight_L
    count_Bx1 = mask_BxT.sum(-1, keepdims=True)
    return mask_BxT / jnp.maximum(count_Bx1, 1).astype(jnp.float32)


class LayerWeights(nn.Module):
  """The weights of a learned average of an encoder's layers.

  Yang et al. 2021, "SUPERB", section 2.2: softmax over one number a layer. All
  layers count alike at first.
  """

  @nn.compact
  def __call__(self, num_layers: int) -> jax.Array:
    """Gives float32 [L]; they add up to 1."""
    return nn.softmax(self.param("logits", nn.initializers.zeros, num_layers))


POOLINGS = {"attention": AttentionPooling, "mean": MeanPooling}


def states(
  outputs: dict[str, Any], all_layers: bool, count: int
) -> tuple[jax.Array, jax.Array]:
  """What the head reads of an encoder's outputs, float32 [B, T, L, D]; a mask.

  The last layer, or all of them: then each state with zero mean and unit
  variance over its features, as in SUPERB's toolkit, for layers differ in scale
  by orders of magnitude. Every `count` frames of the clip itself are averaged
  to one, so that T is ceil(frames / count); the last, of what is left, counts
  as one in the pooling. States are zero where the mask is false, whatever the
  encoder gives there.
  """
  mask_BxT = outputs["mask"]
  if all_layers:
    x_BxTxLxD = jnp.stack(outputs["hidden_states"], 2).astype(jnp.float32)
    x_BxTxLxD = jax.nn.standardize(x_BxTxLxD, epsilon=1e-5)
  else:
    x_BxTxLxD = outputs["last_hidden_state"][:, :, None].astype(jnp.float32)
  x_BxTxLxD = jnp.where(mask_BxT[..., None, None], x_BxTxLxD, 0)
  if count == 1:
    return x_BxTxLxD, mask_BxT
  blocks = -(-mask_BxT.shape[1] // count)
  lacking = blocks * count - mask_BxT.shape[1]
  x_BxTxLxD, mask_BxT = (
    jnp.pad(x, ((0, 0), (0, lacking)) + ((0, 0),) * (x.ndim - 2))
    for x in (x_BxTxLxD, mask_BxT)
  )
  batch, _, *rest = x_BxTxLxD.shape
  sums = x_BxTxLxD.reshape(batch, blocks, count, *rest).sum(2)
  valid_BxT = mask_BxT.reshape(batch, blocks, count).sum(2)
  return sums / jnp.maximum(valid_BxT, 1)[..., None, None], valid_BxT > 0


class SpeechClassifier(nn.Module):
  """The published head on any encoder.

  Attributes:
    encoder: a module that gives `last_hidden_state` [B, T, D], `hidden_states`
      (a tuple of such) and `mask` [B, T] for `(audio_BxS, lengths_B, train)`.
    weigh_layers: whether the head reads a learned average of all layers, or
      the last one.
    averaged_frames: of the encoder, that become one before the pooling.
    hidden: units of the head.
    dropout: before each of its two layers.
    num_domains: S, what the adversary tells apart; 0 for no adversary.
  """

  encoder: nn.Module
  num_classes: int
  pooling: str = "attention"
  weigh_layers: bool = False
  averaged_frames: int = 1
  hidden: int = 256
  dropout: float = 0.3
  num_domains: int = 0

  def setup(self):
    if self.weigh_layers:
      self.layer_weights = LayerWeights()
    self.pool = POOLINGS[self.pooling]()
    self.drop = nn.Dropout(self.dropout)
    self.hidden_layer = nn.Dense(self.hidden)
    self.output = nn.Dense(self.num_classes)
    if self.num_domains:
      self.domain_classifier = DomainClassifier(self.num_domains)

  def classify(
    self,
    x_BxTxLxD: jax.Array,
    mask_BxT: jax.Array,
    train: bool = False,
    reversal: jax.Array | float = 0.0,
  ) -> tuple[jax.Array, dict[str, Any]]:
    """The head on what `states` gives.

    The average over the layers and the one over time are taken at once: that
    of single frames, [B, T, D], is never formed.

    Args:
      x_BxTxLxD: the states of L layers, zero where the mask is false.
      mask_BxT: true for the frames of the clip itself.
      train: whether dropout is active, by the rng 'dropout'.
      reversal: lambda of the gradient reversal before the adversary.

    Returns:
      float32 logits [B, C]; and `pooled` [B, D], `attention` [B, T], and with
      an adversary `domain_logits` [B, S].
    """
    batch, _, num_layers, size = x_BxTxLxD.shape
    weight_L = jnp.ones(num_layers) / num_layers
    if self.weigh_layers:
      weight_L = self.layer_weights(num_layers)
    weight_BxT = self.pool(x_BxTxLxD, weight_L, mask_BxT)
    weight_BxTxL = weight_BxT[..., None] * weight_L[None, None]
    # As an einsum over both axes, it and its gradient took ten times as long
    # on a CPU.
    pooled_Bx1xD = jnp.matmul(
      weight_BxTxL.reshape(batch, 1, -1), x_BxTxLxD.reshape(batch, -1, size)
    )
    pooled_BxD = pooled_Bx1xD[:, 0]
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
    """The encoder, and then `classify`.

    Clips are zero after their end; `train_encoder` is for the encoder's own
    randomness. Intermediates have the `encoder`'s outputs, too, for who wants
    more of them than the emotion: see `encoders.whisper`.
    """
    outputs = self.encoder(audio_BxS, lengths_B, train_encoder)
    found = states(outputs, self.weigh_layers, self.averaged_frames)
    logits_BxC, out = self.classify(*found, train, reversal)
    return logits_BxC, {**out, "encoder": outputs}
