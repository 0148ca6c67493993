"""DialogueRNN: a state for each party of a conversation.

Source: Majumder et al. 2019, "DialogueRNN: an attentive RNN for emotion
detection in conversations", sections 3.3 and 3.4: BiDialogueRNN with attention
over the emotion representations, the paper's best; listeners keep their state.

N utterances, M units of an input, B rows of T positions, E = 2 directions, P
parties, K hidden units, H = K / 2 units of each state in a direction, G = 3 H.
"""

import functools

import jax
import jax.numpy as jnp
from flax import linen as nn

from emojax.kernels.attention import segment_attention
from emojax.kernels.gather import gather_rows
from emojax.models import recurrent
from emojax.models.recurrent import Gru, Packing, Sequences, both_directions


class DialogueRnn(nn.Module):
  """Global, party and emotion states of both directions, and attention.

  Attributes:
    num_parties: P, of the conversation that has most.
  """

  num_parties: int
  hidden: int = 100

  @nn.compact
  def __call__(self, x_NxM: jax.Array, packing: Packing) -> jax.Array:
    """Returns float32 [N, K]."""
    num_utterances = len(x_NxM)
    sequences = both_directions(packing)
    units = self.hidden // 2
    party_NxExH = _PartyStates(self.num_parties, units, name="parties")(
      x_NxM, packing.party_N, sequences
    )
    emotion_NxExH = Gru(units, name="emotion_gru")(party_NxExH, sequences)
    emotion_NxK = emotion_NxExH.reshape(num_utterances, self.hidden)

    # Every utterance of the conversation, whichever side, is attended to.
    query = nn.Dense(self.hidden, use_bias=False, name="attention")
    both_Nx2K = jnp.concatenate([query(emotion_NxK), emotion_NxK], axis=1)
    position_BxT = packing.position_BxT
    source, target = recurrent.pairs(
      position_BxT[None], 1, num_utterances, axis=0
    )
    rows = gather_rows(both_Nx2K, source, target)
    query, key = jnp.split(rows.reshape(1, *position_BxT.shape, -1), 2, -1)
    attended = segment_attention(query, key, key, packing.segment_BxT)
    attended = attended.reshape(-1, self.hidden)
    attended_NxK = gather_rows(attended, target, source)
    return nn.relu(nn.Dense(self.hidden, name="dense")(attended_NxK))


class _PartyStates(nn.Module):
  """Of whoever speaks, after the utterance: [N, E, H]; Eqs. (1) to (4).

  The global state g_t follows from g_{t-1}, the utterance u_t and the state of
  its speaker so far; the context c_t is attention over g_1, …, g_{t-1}, with
  u_t as the query; the new state of the speaker follows from the old one, u_t
  and c_t.
  """

  num_parties: int
  units: int

  @nn.compact
  def __call__(self, x_NxM, party_N, sequences: Sequences):
    count, units = sequences.position_TxExB.shape[1], self.units
    width = 3 * units
    weights = {}
    inputs = []
    zeros = nn.initializers.zeros_init()
    for name in ("global", "party"):
      kernel_MxExG = self.param(
        f"{name}_input_kernel",
        recurrent.input_kernel,
        (x_NxM.shape[-1], count, width),
      )
      # Of what else enters: the speaker's state, the context.
      weights[f"{name}_other"] = self.param(
        f"{name}_other_kernel",
        nn.initializers.lecun_normal(batch_axis=0),
        (count, units, width),
      )
      weights[f"{name}_own"] = self.param(
        f"{name}_recurrent_kernel",
        recurrent.orthogonal_gates,
        (count, units, width),
      )
      bias = self.param(f"{name}_input_bias", zeros, (count, width))
      weights[f"{name}_bias"] = self.param(
        f"{name}_recurrent_bias", zeros, (count, width)
      )
      inputs.append(recurrent.products(x_NxM, kernel_MxExG, bias))
    query_MxExH = self.param(
      "context_kernel",
      recurrent.input_kernel,
      (x_NxM.shape[-1], count, units),
    )
    inputs.append(jnp.einsum("nm,meh->neh", x_NxM, query_MxExH))
    party_TxExB = jnp.take(
      party_N, sequences.position_TxExB, mode="fill", fill_value=0
    )
    one_hot = jax.nn.one_hot(party_TxExB, self.num_parties)
    return recurrent.in_order(
      functools.partial(
        _scan, weights, one_hot, sequences.segment_TxExB, sequences.keep_TxExB
      ),
      jnp.concatenate(inputs, axis=-1),
      sequences,
    )


def _scan(weights, party_TxExBxP, segment_TxExB, keep_TxExB, inputs):
  """The states of the speakers, position by position: [T, E, B, H].

  The attention is turned around: once a global state is there, it is weighed
  for all later positions and added to their contexts. What a position keeps
  for the way back is then a number for each other position, not the states of
  all of them. The largest score so far is taken off; it changes nothing, and
  needs no gradient.
  """
  units = inputs.shape[-1] // 7
  of_global, of_party, query = jnp.split(inputs, (3 * units, 6 * units), -1)
  length, count, rows, parties = party_TxExBxP.shape
  zeros = functools.partial(jnp.zeros, dtype=inputs.dtype)

  def step(carry, position):
    states, (context, total, top) = carry
    turn, x_global, x_party, party, segment, keep = position
    before, parties_ExBxPxH = (
      state * keep[:, :, *(None,) * (state.ndim - 2)] for state in states
    )
    speaker = jnp.einsum("ebp,ebph->ebh", party, parties_ExBxPxH)
    summed = total[turn]
    heard = context[turn] / jnp.where(summed > 0, summed, 1)[..., None]
    after = _cell(weights, "global", x_global, speaker, before)
    said = _cell(weights, "party", x_party, heard, speaker)
    changed = parties_ExBxPxH + party[..., None] * (said - speaker)[:, :, None]

    later = (jnp.arange(length) > turn)[:, None, None]
    later &= segment_TxExB == segment[None]
    scores = jnp.einsum("tebh,ebh->teb", query, after)
    scores = jnp.where(later, scores, _LOWEST)
    highest = jax.lax.stop_gradient(jnp.maximum(top, scores))
    kept = jnp.exp(top - highest)
    weight = jnp.where(later, jnp.exp(scores - highest), 0)
    context = context * kept[..., None] + weight[..., None] * after[None]
    memory = context, total * kept + weight, highest
    return ((after, changed), memory), said

  states = zeros((count, rows, units)), zeros((count, rows, parties, units))
  memory = (
    zeros((length, count, rows, units)),
    zeros((length, count, rows)),
    jnp.full((length, count, rows), _LOWEST, inputs.dtype),
  )
  positions = (
    jnp.arange(length),
    *(of_global, of_party, party_TxExBxP, segment_TxExB, keep_TxExB),
  )
  return jax.lax.scan(step, (states, memory), positions)[1]


# Below any score, and a number.
_LOWEST = -1e30


def _cell(weights, name, x_ExBxG, other_ExBxH, state_ExBxH):
  """A GRU cell, see `kernels.gru`; `x` are the products with the utterance."""
  kernel = functools.partial(jnp.einsum, "ebh,ehg->ebg")
  x = x_ExBxG + kernel(other_ExBxH, weights[f"{name}_other"])
  a = kernel(state_ExBxH, weights[f"{name}_own"])
  a += weights[f"{name}_bias"][:, None]
  units = state_ExBxH.shape[-1]
  gates = jax.nn.sigmoid(x[..., : 2 * units] + a[..., : 2 * units])
  reset, update = jnp.split(gates, 2, -1)
  new = jnp.tanh(x[..., 2 * units :] + reset * a[..., 2 * units :])
  return new + update * (state_ExBxH - new)
