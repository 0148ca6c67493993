"""Domain adversarial network for emotion recognition in conversations.

Source: Lian et al. 2020, "Domain adversarial learning for emotion
recognition", Fig. 1.

N utterances, K hidden units, C emotions, S speakers.
"""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from emojax.models import classifiers, fusion, sa_gru


class Dann(nn.Module):
  """AT-Fusion, SA-GRU, and the emotion and domain classifiers.

  Attributes:
    num_emotions: C.
    num_speakers: S, the domains.
    hidden: K, the width of every representation; even, `num_heads` divides it.
    num_heads, scale_attention: see `sa_gru.SelfAttention`.
    dropout: rate on the fused and on the contextual representation; the
      paper mentions none. In training it needs the random stream `dropout`.
    domain_classifier: without it the model is the paper's system C1 alone.
    dtype: of the computation; parameters, recurrence, softmax and logits
      are float32.
  """

  num_emotions: int
  num_speakers: int
  hidden: int = 100
  num_heads: int = 4
  scale_attention: bool = False
  dropout: float = 0.0
  domain_classifier: bool = True
  dtype: jnp.dtype = jnp.float32

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
      packing: the conversations. An utterance that is in none has finite,
        meaningless outputs.
      reversal_scale: lambda of Eq. (5).
      train: use dropout.

    Returns:
      float32 emotion logits [N, C], and the intermediate results:
      `fusion_weights` [N, M], `fused` [N, K], `representation` [N, K], and
      `domain_logits` [N, S] where there is a domain classifier.
    """
    out = {}
    fused, out["fusion_weights"] = fusion.AttentionFusion(
      self.hidden, self.dtype, name="fusion"
    )(features)
    out["fused"] = fused
    fused = nn.Dropout(self.dropout, deterministic=not train)(fused)
    representation = sa_gru.SaGru(
      self.hidden,
      self.num_heads,
      self.scale_attention,
      self.dtype,
      name="context",
    )(fused, packing)
    out["representation"] = representation
    representation = nn.Dropout(self.dropout, deterministic=not train)(
      representation
    )
    if self.domain_classifier:
      out["domain_logits"] = classifiers.DomainClassifier(
        self.num_speakers, self.hidden, self.dtype, name="domain_classifier"
      )(representation, reversal_scale)
    emotion_logits = classifiers.EmotionClassifier(
      self.num_emotions, self.dtype, name="emotion_classifier"
    )(representation)
    return emotion_logits, out
