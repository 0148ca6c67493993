"""wav2vec 2.0, HuBERT and WavLM as one family of Flax modules.

Baevski et al. 2020, "wav2vec 2.0: a framework for self-supervised learning of
speech representations"; Hsu et al. 2021, "HuBERT"; Chen et al. 2022, "WavLM".
Modules and parameters carry the names of the published checkpoints.
"""

from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from emojax.encoders import span_masking
from emojax.encoders.layers import dense, dropout
from emojax.encoders.speech_config import SpeechConfig
from emojax.encoders.speech_parts import (
  FeatureEncoder,
  FeatureProjection,
  Transformer,
)


class SpeechEncoder(nn.Module):
  """A waveform encoder.

  Attributes:
    config: the architecture.
    masked: whether padding is hidden from everything. Base models were trained
      without: they take zeros after a clip for a part of it.
    dtype: type of the computation; parameters are float32.
    remat: whether the backward pass computes each layer a second time instead
      of keeping its intermediate values.
  """

  config: SpeechConfig
  masked: bool = True
  dtype: Any = jnp.float32
  remat: bool = False

  @nn.compact
  def __call__(
    self,
    audio_BxS: jax.Array,
    lengths_B: jax.Array | None = None,
    train: bool = False,
  ) -> dict[str, Any]:
    """Encodes a batch of clips.

    Args:
      audio_BxS: samples as the checkpoint's preprocessor gives them, zeros
        after the end of a clip.
      lengths_B: samples of each clip; None: all are S long.
      train: whether dropout, layer drop and the masking of spans are active.

    Returns:
      See `Encoder.module`; `hidden_states` are the input of the first layer
      and the output of each.
    """
    config, dtype = self.config, self.dtype
    batch, samples = audio_BxS.shape
    if lengths_B is None:
      lengths_B = jnp.full(batch, samples)
    frames_B = config.num_frames(lengths_B)
    features = FeatureEncoder(config, dtype, name="feature_extractor")(
      audio_BxS, lengths_B if self.masked else None
    )
    mask_BxT = jnp.arange(features.shape[1])[None] < frames_B[:, None]
    x_BxTxD = FeatureProjection(config, dtype, name="feature_projection")(
      features, train
    )
    x_BxTxD = self._mask_spans(x_BxTxD, frames_B, train)
    transformer = Transformer(config, dtype, self.remat, name="encoder")
    last_hidden_state, hidden_states = transformer(
      x_BxTxD, mask_BxT if self.masked else None, train
    )
    return {
      "last_hidden_state": last_hidden_state,
      "hidden_states": hidden_states,
      "mask": mask_BxT,
    }

  def _mask_spans(self, x_BxTxD, frames_B, train):
    """Hides spans of frames and of features, after SpecAugment."""
    config = self.config
    if config.mask_time_prob == config.mask_feature_prob == 0:
      return x_BxTxD
    embedding = self.param(
      "masked_spec_embed", nn.initializers.uniform(1.0), (config.hidden_size,)
    )
    if not (train and config.apply_spec_augment):
      return x_BxTxD
    batch, frames, _ = x_BxTxD.shape
    return span_masking.masked(
      x_BxTxD,
      frames_B if self.masked else jnp.full(batch, frames),
      config,
      lambda: self.make_rng("dropout"),
      embedding.astype(self.dtype)[None, None],
    )


class CTC(nn.Module):
  """A speech encoder with a linear layer to the tokens of a transcript.

  Connectionist temporal classification: Graves et al. 2006.
  """

  config: SpeechConfig
  masked: bool = True
  dtype: Any = jnp.float32

  @nn.compact
  def __call__(
    self,
    audio_BxS: jax.Array,
    lengths_B: jax.Array | None = None,
    train: bool = False,
  ) -> dict[str, Any]:
    """Gives the encoder's outputs and `logits` [B, T, V], in float32."""
    encoder = SpeechEncoder(
      self.config, self.masked, self.dtype, name=self.config.model_type
    )
    outputs = encoder(audio_BxS, lengths_B, train)
    x = dropout(self.config.final_dropout, train)(outputs["last_hidden_state"])
    logits = dense(self.config.vocab_size, self.dtype, "lm_head")(x)
    return outputs | {"logits": logits.astype(jnp.float32)}
