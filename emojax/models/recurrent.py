"""Recurrent layers over conversations that are packed into common rows.

N utterances, B rows of T positions, E sequences of each row (such as both
directions of time), K units of the input, H units of a state.
"""

import flax.struct
import jax
import jax.numpy as jnp
from flax import linen as nn

from emojax.kernels.gather import gather_rows
from emojax.kernels.gru import gru
from emojax.kernels.lstm import lstm


@flax.struct.dataclass
class Packing:
  """Where the utterances of several conversations stand in common rows.

  Attributes:
    position_BxT: int32, the utterance at each position; N for padding. No
      utterance stands at two positions.
    segment_BxT: int32, the conversation within its row, from 1; 0 for
      padding. A conversation's utterances are consecutive.
    party_N: int32, who of the conversation speaks: 0 for who speaks first, 1
      for the next new speaker, and so on, which says nothing of who that is
      elsewhere. None where no model asks.
  """

  position_BxT: jax.Array
  segment_BxT: jax.Array
  party_N: jax.Array | None = None

  @property
  def party_BxT(self) -> jax.Array:
    """The party at each position; 0 for padding."""
    return jnp.take(self.party_N, self.position_BxT, mode="fill", fill_value=0)


@flax.struct.dataclass
class Sequences:
  """In which order E recurrences go through the rows.

  A state is carried on from one position to the next within a segment.
  """

  position_TxExB: jax.Array
  segment_TxExB: jax.Array

  @property
  def keep_TxExB(self) -> jax.Array:
    """float32, 0 where a segment begins."""
    same = self.segment_TxExB[1:] == self.segment_TxExB[:-1]
    return jnp.pad(same, ((1, 0), (0, 0), (0, 0))).astype(jnp.float32)


def both_directions(packing: Packing) -> Sequences:
  """Forwards and, beside it, backwards."""

  def both(rows_BxT):
    forward_TxB = rows_BxT.T
    return jnp.stack([forward_TxB, forward_TxB[::-1]], axis=1)

  return Sequences(both(packing.position_BxT), both(packing.segment_BxT))


def by_party(packing: Packing, count: int) -> Sequences:
  """What each party says, one party after the other; `count` times the same."""
  segment_BxT = packing.segment_BxT
  length = segment_BxT.shape[1]
  # There are at most T segments in a row, and T parties in a segment.
  label_BxT = segment_BxT * length + packing.party_BxT
  label_BxT = jnp.where(segment_BxT > 0, label_BxT, length * (length + 1))
  order_BxT = jnp.argsort(label_BxT, axis=1, stable=True)

  def sort(rows_BxT):
    sorted_TxB = jnp.take_along_axis(rows_BxT, order_BxT, axis=1).T
    return jnp.repeat(sorted_TxB[:, None], count, axis=1)

  return Sequences(sort(packing.position_BxT), sort(label_BxT))


class Gru(nn.Module):
  """One layer of gated recurrent units, with weights of its own for each E.

  Parameters are those of PyTorch and cuDNN for each sequence: gates in the
  order reset, update, new, and two biases.
  """

  units: int

  @nn.compact
  def __call__(self, x: jax.Array, sequences: Sequences) -> jax.Array:
    """Returns float32 [N, E, H]; zero for an utterance of no conversation.

    `x` is [N, K], or [N, E, K] where each sequence has its own input.
    """
    count, width = sequences.position_TxExB.shape[1], 3 * self.units
    kernel_KxExG = self.param(
      "input_kernel", input_kernel, (x.shape[-1], count, width)
    )
    recurrent_ExHxG = self.param(
      "recurrent_kernel", orthogonal_gates, (count, self.units, width)
    )
    zeros = nn.initializers.zeros_init()
    bias_ExG = self.param("input_bias", zeros, (count, width))
    recurrent_bias_ExG = self.param("recurrent_bias", zeros, (count, width))
    keep = sequences.keep_TxExB
    return in_order(
      lambda inputs: gru(inputs, keep, recurrent_ExHxG, recurrent_bias_ExG),
      products(x, kernel_KxExG, bias_ExG),
      sequences,
    )


class Lstm(nn.Module):
  """One layer of long short-term memory, with weights of its own for each E.

  Gates are in PyTorch's order (input, forget, cell, output), with one bias: of
  its two biases only the sum matters.
  """

  units: int

  @nn.compact
  def __call__(self, x: jax.Array, sequences: Sequences) -> jax.Array:
    """Returns float32 [N, E, H], as `Gru`."""
    count, width = sequences.position_TxExB.shape[1], 4 * self.units
    kernel_KxExG = self.param(
      "input_kernel", input_kernel, (x.shape[-1], count, width)
    )
    recurrent_ExHxG = self.param(
      "recurrent_kernel", orthogonal_gates, (count, self.units, width)
    )
    bias_ExG = self.param("bias", nn.initializers.zeros_init(), (count, width))
    keep = sequences.keep_TxExB
    return in_order(
      lambda inputs: lstm(inputs, keep, recurrent_ExHxG),
      products(x, kernel_KxExG, bias_ExG),
      sequences,
    )


# [K, E, G]: as if each sequence had its own matrix.
input_kernel = nn.initializers.lecun_normal(in_axis=0, out_axis=(1, 2))


def orthogonal_gates(key, shape, dtype=jnp.float32):
  """An orthogonal [H, H] for each sequence and gate, as [E, H, G].

  Distributed as that of a QR decomposition. LAPACK's, on a CPU, waits for
  threads of the pool that it runs in: several at once, or one on a machine with
  a single core, have waited for ever.
  """
  count, units, width = shape
  keys = jax.random.split(key, (count, width // units))

  def draw(key):
    return _orthonormal(jax.random.normal(key, (units, units), dtype))

  gates = jax.vmap(jax.vmap(draw))(keys)
  return gates.transpose(0, 2, 1, 3).reshape(shape)


def _orthonormal(matrix_HxH):
  """The columns by Gram and Schmidt, twice over for the sake of rounding."""

  def step(basis_HxH, column_H):
    for _ in range(2):
      column_H -= (basis_HxH @ column_H) @ basis_HxH
    column_H /= jnp.linalg.norm(column_H)
    return jnp.concatenate([basis_HxH[1:], column_H[None]]), None

  start = jnp.zeros_like(matrix_HxH)
  return jax.lax.scan(step, start, matrix_HxH.T)[0].T


def pairs(position, count, num_utterances, axis):
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


def products(x, kernel_KxExG, bias_ExG):
  """[N, K], or [N, E, K] where each sequence has its own input: [N, E, G]."""
  which = "nk,keg->neg" if x.ndim == 2 else "nek,keg->neg"
  return jnp.einsum(which, x, kernel_KxExG) + bias_ExG[None]


def in_order(recurrence, inputs_NxExG, sequences):
  """A recurrence [T, E, B, G] to [T, E, B, H], of utterances: [N, E, H]."""
  num_utterances, count, width = inputs_NxExG.shape
  position_TxExB = sequences.position_TxExB
  # Rows of the inputs and of the states are pairs (utterance, sequence).
  source, target = pairs(position_TxExB, count, num_utterances, axis=1)
  inputs = gather_rows(inputs_NxExG.reshape(-1, width), source, target)
  states = recurrence(inputs.reshape(*position_TxExB.shape, width))
  states = gather_rows(states.reshape(-1, states.shape[-1]), target, source)
  return states.reshape(num_utterances, count, -1)
