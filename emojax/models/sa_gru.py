"""SA-GRU: a bidirectional GRU, then self-attention, over conversations.

Source: Lian et al. 2020, "Domain adversarial learning for emotion
recognition", section 2.2, Eq. (4).

N utterances, B rows of T positions, K hidden units, H = K / 2 units of a
direction, E = 2 directions, A heads of D = K / A units.
"""

import flax.struct
import jax
import jax.numpy as jnp
from flax import linen as nn

from emojax.kernels.attention import segment_attention, segment_weights
from emojax.kernels.gather import gather_rows
from emojax.kernels.gru import gru


@flax.struct.dataclass
class Packing:
  """Where the utterances of several conversations stand in common rows.

  Attributes:
    position_BxT: int32, the utterance at each position; N for padding. No
      utterance stands at two positions.
    segment_BxT: int32, the conversation within its row, from 1; 0 for
      padding. A conversation's utterances are consecutive.
  """

  position_BxT: jax.Array
  segment_BxT: jax.Array


class BidirectionalGru(nn.Module):
  """One layer of gated recurrent units in both directions of time.

  Parameters are those of PyTorch and cuDNN, for each direction (forward,
  backward): gates in the order reset, update, new, and two biases.
  """

  units: int

  @nn.compact
  def __call__(self, x_NxK: jax.Array, packing: Packing) -> jax.Array:
    """Returns float32 [N, 2 H]; zero for an utterance of no conversation."""
    kernel_KxExG = self.param(
      "input_kernel",
      nn.initializers.lecun_normal(in_axis=0, out_axis=(1, 2)),
      (x_NxK.shape[-1], 2, 3 * self.units),
    )
    recurrent_ExHxG = self.param(
      "recurrent_kernel", _orthogonal_gates, (2, self.units, 3 * self.units)
    )
    zeros = nn.initializers.zeros_init()
    bias_ExG = self.param("input_bias", zeros, (2, 3 * self.units))
    recurrent_bias_ExG = self.param(
      "recurrent_bias", zeros, (2, 3 * self.units)
    )
    num_utterances = x_NxK.shape[0]
    inputs_NxExG = jnp.einsum("nk,keg->neg", x_NxK, kernel_KxExG)
    inputs_NxExG += bias_ExG[None]

    position_TxExB = _both_directions(packing.position_BxT)
    # Rows of the inputs and of the states are pairs (utterance, direction).
    source, target = _pairs(position_TxExB, 2, num_utterances, axis=1)
    inputs = gather_rows(
      inputs_NxExG.reshape(2 * num_utterances, -1), source, target
    ).reshape(*position_TxExB.shape, -1)
    segment_TxExB = _both_directions(packing.segment_BxT)
    same = segment_TxExB[1:] == segment_TxExB[:-1]
    keep_TxExB = jnp.pad(same, ((1, 0), (0, 0), (0, 0))).astype(jnp.float32)
    states = gru(inputs, keep_TxExB, recurrent_ExHxG, recurrent_bias_ExG)
    states = gather_rows(states.reshape(-1, self.units), target, source)
    return states.reshape(num_utterances, 2 * self.units)


class SelfAttention(nn.Module):
  """Multi-head self-attention within a conversation, Eq. (4).

  Heads are concatenated; there is no output projection. `scale_attention`
  divides the logits by sqrt(D) (Vaswani et al. 2017), which Eq. (4) does not.
  Where `intermediates` are asked for, `weights` are the softmax, [A, B, T, T].
  """

  num_heads: int
  scale_attention: bool = False
  dtype: jnp.dtype = jnp.float32

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
    x_NxK, kernel = nn.dtypes.promote_dtype(x_NxK, kernel, dtype=self.dtype)
    heads = jnp.einsum("nk,kjad->njad", x_NxK, kernel).astype(jnp.float32)

    # Queries, keys and values go from [N, 3, A, D] to [3, A, B, T, D].
    position_1xBxT = packing.position_BxT[None]
    source, target = _pairs(
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

    source, target = _pairs(
      position_1xBxT, self.num_heads, num_utterances, axis=0
    )
    attended = gather_rows(attended.reshape(-1, width), target, source)
    return attended.reshape(num_utterances, hidden)


class SaGru(nn.Module):
  """Contextual representations of the utterances of conversations."""

  hidden: int = 100
  num_heads: int = 4
  scale_attention: bool = False
  dtype: jnp.dtype = jnp.float32

  @nn.compact
  def __call__(self, x_NxK: jax.Array, packing: Packing) -> jax.Array:
    """Returns float32 [N, K]; zero for an utterance of no conversation."""
    states_NxK = BidirectionalGru(self.hidden // 2, name="gru")(x_NxK, packing)
    return SelfAttention(
      self.num_heads, self.scale_attention, self.dtype, name="attention"
    )(states_NxK, packing)


def _orthogonal_gates(key, shape, dtype=jnp.float32):
  """An orthogonal [H, H] for each direction and gate, as [E, H, 3 H]."""
  directions, units, _ = shape
  orthogonal = nn.initializers.orthogonal()
  keys = jax.random.split(key, (directions, 3))
  each = jax.vmap(jax.vmap(lambda key: orthogonal(key, (units, units), dtype)))
  gates = each(keys)
  return gates.transpose(0, 2, 1, 3).reshape(shape)


def _both_directions(rows_BxT):
  """Time first, and beside each row the same row backwards: [T, E, B]."""
  forward_TxB = rows_BxT.T
  return jnp.stack([forward_TxB, forward_TxB[::-1]], axis=1)


def _pairs(position, count, num_utterances, axis):
  """Which row of [N, count], flattened, each place reads, and the inverse.

  `position` is repeated over `axis` (which it has with size 1 or `count`).
  Padding reads row N x count, the first outside; a row that nobody reads has
  the first place outside.
  """
  shape = [1] * position.ndim
  shape[axis] = count
  pair = position * count + jnp.arange(count).reshape(shape)
  num_rows = num_utterances * count
  pair = jnp.where(position < num_utterances, pair, num_rows)
  source = pair.reshape(-1).astype(jnp.int32)
  places = jnp.arange(source.size, dtype=jnp.int32)
  target = jnp.full(num_rows, source.size, jnp.int32)
  return source, target.at[source].set(places, mode="drop")
