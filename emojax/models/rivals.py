"""What DANN is compared with: other networks between features and emotions.

N utterances, D features, M hidden units of all modalities, K hidden units, C
emotions.
"""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from emojax.models.bc_lstm import BcLstm
from emojax.models.cmn import Cmn
from emojax.models.dann import EmotionClassifier, Projection
from emojax.models.dialogue_rnn import DialogueRnn
from emojax.models.recurrent import Packing

# By the id of a system, what people call it.
LABELS = {"bc_lstm": "bc-LSTM", "cmn": "CMN", "dialogue_rnn": "DialogueRNN"}


def make(
  name: str, num_emotions: int, num_parties: int, hidden: int, dropout: float
) -> "Rival":
  """The network called `name` in `LABELS`."""
  context = {
    "bc_lstm": BcLstm(hidden),
    "cmn": Cmn(hidden),
    "dialogue_rnn": DialogueRnn(num_parties, hidden),
  }[name]
  return Rival(num_emotions, context, hidden, dropout)


class Rival(nn.Module):
  """The features of an utterance, its context, and the emotion classifier.

  Each modality is projected as in AT-Fusion, and then concatenated, as all
  three papers have it.

  Attributes:
    context: takes [N, M] and a `Packing` with parties, gives [N, K].
    dropout: rate before and after the context, as in `Dann`.
  """

  num_emotions: int
  context: nn.Module
  hidden: int = 100
  dropout: float = 0.0

  @nn.compact
  def __call__(
    self,
    features: Mapping[str, jax.Array],
    packing: Packing,
    reversal_scale: jax.Array | float = 0.0,
    train: bool = False,
  ) -> tuple[jax.Array, dict[str, Any]]:
    """Classifies the utterances of a batch of conversations, as `Dann` does.

    There is no adversary, so that `reversal_scale` changes nothing.

    Returns:
      float32 emotion logits [N, C], and `representation` [N, K].
    """
    del reversal_scale
    projections_KxN = [
      Projection(self.hidden, name=name)(features[name])
      for name in sorted(features)
    ]
    x_NxM = jnp.concatenate(projections_KxN).T
    x_NxM = nn.Dropout(self.dropout, deterministic=not train)(x_NxM)
    representation_NxK = self.context(x_NxM, packing)
    drop = nn.Dropout(self.dropout, deterministic=not train)
    classify = EmotionClassifier(self.num_emotions, name="emotion_classifier")
    logits_NxC = classify(drop(representation_NxK))
    return logits_NxC, {"representation": representation_NxK}
