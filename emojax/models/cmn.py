"""CMN: conversational memory network, of what was said before and by whom.

Source: Hazarika et al. 2018, "Conversational memory network for emotion
recognition in dyadic dialogue videos", section 3; what the paper leaves open is
as in the authors' code (declare-lab/conv-emotion, CMN/IEMOCAP/cmn.py).

N utterances, B rows of T positions, K hidden units, E = 2 memories: of the
speaker's own utterances, and of those of the others.
"""

import jax
import jax.numpy as jnp
from flax import linen as nn

from emojax.kernels.gather import gather_rows
from emojax.models.recurrent import Gru, Packing, by_party, pairs


class Cmn(nn.Module):
  """Two memories, read in several hops.

  Each person's utterances go through two layers of GRU, once with the weights
  of the memory of one's own utterances, once with those of the others'. An
  utterance then asks both memories for what was said before it; the answers
  are added to the question of the next hop. With more than two people, the
  others' memory has the utterances of each of them, person by person.

  Attributes:
    hops: how often the memories are read.
    history: so many utterances back, of both memories together, can be read.
      The state of a GRU begins with the conversation rather than there, which
      is the same for whoever is not further in: one pass over a conversation
      then serves all its utterances.
  """

  hidden: int = 100
  hops: int = 3
  history: int = 40

  @nn.compact
  def __call__(self, x_NxM: jax.Array, packing: Packing) -> jax.Array:
    """Returns float32 [N, K]."""
    question_NxK = nn.tanh(nn.Dense(self.hidden, name="question")(x_NxM))
    sequences = by_party(packing, count=2)
    local_NxExK = Gru(self.hidden, name="local_gru")(x_NxM, sequences)
    cells_NxExK = Gru(self.hidden, name="memory_gru")(
      nn.tanh(local_NxExK), sequences
    )
    source, target = pairs(packing.position_BxT[None], 1, len(x_NxM), axis=0)
    found = jnp.concatenate([question_NxK[:, None], cells_NxExK], axis=1)
    rows = gather_rows(found.reshape(len(x_NxM), -1), source, target)
    question, own, others = jnp.split(
      rows.reshape(*packing.position_BxT.shape, -1), 3, axis=-1
    )
    before, same = self._masks(packing)
    for _ in range(self.hops):
      answer = _read(question, own, before & same)
      answer += _read(question, others, before & ~same)
      question = nn.tanh(question + answer)
    return gather_rows(question.reshape(-1, self.hidden), target, source)

  def _masks(self, packing):
    """[B, T, T]: what was said before within reach, and by the same person."""
    segment_BxT, party_BxT = packing.segment_BxT, packing.party_BxT
    place_T = jnp.arange(segment_BxT.shape[1])
    distance_TxT = place_T[:, None] - place_T[None]
    near_TxT = (distance_TxT > 0) & (distance_TxT <= self.history)
    within = segment_BxT[:, :, None] == segment_BxT[:, None]
    return within & near_TxT[None], party_BxT[:, :, None] == party_BxT[:, None]


def _read(question_BxTxK, cells_BxTxK, mask_BxTxT):
  """softmax(tanh(q m)) m over the cells that the mask allows; 0 where none.

  Needs no largest score: tanh bounds them all.
  """
  scores = jnp.tanh(jnp.einsum("btk,bsk->bts", question_BxTxK, cells_BxTxK))
  weights = jnp.where(mask_BxTxT, jnp.exp(scores), 0)
  total = weights.sum(-1, keepdims=True)
  answer = jnp.einsum("bts,bsk->btk", weights, cells_BxTxK)
  return answer / jnp.where(total > 0, total, 1)
