"""SA-GRU: a bidirectional GRU, then self-attention, over conversations.

Source: Lian et al. 2020, "Domain adversarial learning for emotion
recognition", section 2.2, Eq. (4).

N utterances, B rows of T positions, K hidden units, H = K / 2 units of a
direction, E = 2 directions, A heads of D = K / A units.
"""

import jax
import jax.numpy as jnp
from flax import linen as nn

from emojax.kernels.attention import segment_attention, segment_weights
from emojax.kernels.gather import gather_rows
from emojax.models.recurrent import Gru, Packing, both_directions, pairs


class SelfAttention(nn.Module):
  """Multi-head self-attention within a conversation, Eq. (4).

  Heads are concatenated; there is no output projection. `scale_attention`
  divides the logits by sqrt(D) (Vaswani et al. 2017), which Eq. (4) does not.
  Where `intermediates` are asked for, `weights` are the softmax, [A, B, T, T].
  """

  num_heads: int
  scale_attention: bool = False

  @nn.compact
  def __call__(self, x_NxK: jax.Array, packing: Packing) -> jax.Array:
    """Returns float32 [N, K]; zero for an utterance of no conversation."""
    num_utterances, hidden = x_NxK.shape
    width = hidden // self.num_heads
    kernel = self.param(
      "kernel",
      nn.initializers.lecun_normal(in_axis=0, out_axis=(1, 2, 3)),
      (hidden, 3, self.num_heads, width),
    )
    heads = jnp.einsum("nk,kjad->njad", x_NxK, kernel)

    # Queries, keys and values go from [N, 3, A, D] to [3, A, B, T, D].
    position_1xBxT = packing.position_BxT[None]
    source, target = pairs(
      position_1xBxT, 3 * self.num_heads, num_utterances, axis=0
    )
    query, key, value = gather_rows(
      heads.reshape(-1, width), source, target
    ).reshape(3, self.num_heads, *packing.position_BxT.shape, width)
    if self.scale_attention:
      query /= jnp.sqrt(jnp.float32(width))
    attended = segment_attention(query, key, value, packing.segment_BxT)
    if self.is_mutable_collection("intermediates"):
      weights = segment_weights(query, key, packing.segment_BxT)
      self.sow("intermediates", "weights", weights)

    source, target = pairs(
      position_1xBxT, self.num_heads, num_utterances, axis=0
    )
    attended = gather_rows(attended.reshape(-1, width), target, source)
    return attended.reshape(num_utterances, hidden)


class SaGru(nn.Module):
  """Contextual representations of the utterances of conversations."""

  hidden: int = 100
  num_heads: int = 4
  scale_attention: bool = False

  @nn.compact
  def __call__(self, x_NxK: jax.Array, packing: Packing) -> jax.Array:
    """Returns float32 [N, K]; zero for an utterance of no conversation."""
    states_NxExH = Gru(self.hidden // 2, name="gru")(
      x_NxK, both_directions(packing)
    )
    states_NxK = states_NxExH.reshape(-1, self.hidden)
    return SelfAttention(
      self.num_heads, self.scale_attention, name="attention"
    )(states_NxK, packing)
