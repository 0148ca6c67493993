"""bc-LSTM: a bidirectional LSTM over the utterances of a conversation.

Source: Poria et al. 2017, "Context-dependent sentiment analysis in
user-generated videos", section 3.3, without the hierarchy: the modalities are
concatenated before the LSTM, so that the whole is one training.

N utterances, K hidden units.
"""

import jax
from flax import linen as nn

from emojax.models.recurrent import Lstm, Packing, both_directions


class BcLstm(nn.Module):
  """The LSTM of K / 2 units a direction, and a dense layer with ReLU."""

  hidden: int = 100

  @nn.compact
  def __call__(self, x_NxM: jax.Array, packing: Packing) -> jax.Array:
    """Returns float32 [N, K]."""
    states_NxExH = Lstm(self.hidden // 2, name="lstm")(
      x_NxM, both_directions(packing)
    )
    states_NxK = states_NxExH.reshape(len(x_NxM), self.hidden)
    return nn.relu(nn.Dense(self.hidden, name="dense")(states_NxK))
