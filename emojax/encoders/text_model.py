"""BERT and RoBERTa as one family of Flax modules.

Devlin et al. 2019, "BERT"; Liu et al. 2019, "RoBERTa". Modules and parameters
carry the names of the published checkpoints.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any, Self

import jax
import jax.numpy as jnp
from flax import linen as nn

from emojax.encoders.activations import ACTIVATIONS
from emojax.encoders.layers import dense, dropout, layer_norm
from emojax.errors import UserError
from emojax.kernels.attention import attend
from emojax.weights import checkpoints

FAMILIES = ("bert", "roberta")


@dataclasses.dataclass(frozen=True)
class TextConfig:
  """A text encoder; names are those of `config.json`, defaults BERT base."""

  model_type: str = "bert"
  vocab_size: int = 30_522
  hidden_size: int = 768
  num_hidden_layers: int = 12
  num_attention_heads: int = 12
  intermediate_size: int = 3072
  hidden_act: str = "gelu"
  hidden_dropout_prob: float = 0.1
  attention_probs_dropout_prob: float = 0.1
  max_position_embeddings: int = 512
  type_vocab_size: int = 2
  layer_norm_eps: float = 1e-12
  pad_token_id: int = 0

  @classmethod
  def from_json(cls, fields: Mapping[str, Any], source: str) -> Self:
    """Reads the object of a `config.json`; `source` is named in errors.

    Raises:
      UserError: another architecture, or a part of it that is not here.
    """
    family = fields.get("model_type")
    if family not in FAMILIES:
      raise UserError(
        f"{source}: model_type {family!r} is no text encoder that emojax has; "
        f"it has {', '.join(FAMILIES)}"
      )
    positions = fields.get("position_embedding_type", "absolute")
    if positions != "absolute" or fields.get("is_decoder"):
      raise UserError(
        f"{source}: a decoder, or {positions} positions, are not supported; "
        "choose an encoder with absolute positions"
      )
    defaults = {"vocab_size": 50_265, "pad_token_id": 1}  # RoBERTa's.
    values = defaults if family == "roberta" else {}
    values |= checkpoints.known_fields(cls, fields, source)
    config = cls(**values)
    if config.hidden_size % config.num_attention_heads:
      raise UserError(
        f"{source}: hidden_size = {config.hidden_size} is no multiple of "
        f"num_attention_heads = {config.num_attention_heads}"
      )
    if config.hidden_act not in ACTIVATIONS:
      raise UserError(
        f"{source}: hidden_act = {config.hidden_act!r} is none of "
        f"{', '.join(ACTIVATIONS)}"
      )
    return config

  @property
  def first_position(self) -> int:
    """RoBERTa counts positions from behind its padding token."""
    return self.pad_token_id + 1 if self.model_type == "roberta" else 0

  @property
  def max_tokens(self) -> int:
    """The longest text, with the marks of begin and end."""
    return self.max_position_embeddings - self.first_position


class TextEncoder(nn.Module):
  """A transformer encoder over tokens.

  Attributes:
    config: the architecture.
    dtype: type of the computation; parameters are float32.
  """

  config: TextConfig
  dtype: Any = jnp.float32

  @nn.compact
  def __call__(
    self,
    tokens_BxT: jax.Array,
    lengths_B: jax.Array,
    train: bool = False,
  ) -> dict[str, Any]:
    """Encodes texts of one segment.

    Args:
      tokens_BxT: ids of the checkpoint's tokenizer, anything after the end.
      lengths_B: tokens of each text.
      train: whether dropout is active; it draws from the rng 'dropout'.

    Returns:
      `last_hidden_state` [B, T, D]; `hidden_states`, the embedding and the
      output of each layer, as a tuple; `mask` [B, T], true within a text.
    """
    mask_BxT = jnp.arange(tokens_BxT.shape[1])[None] < lengths_B[:, None]
    x_BxTxD = Embeddings(self.config, self.dtype, name="embeddings")(
      tokens_BxT, train
    )
    hidden_states = Layers(self.config, self.dtype, name="encoder")(
      x_BxTxD, mask_BxT, train
    )
    return {
      "last_hidden_state": hidden_states[-1],
      "hidden_states": hidden_states,
      "mask": mask_BxT,
    }


class Embeddings(nn.Module):
  """Token, position and segment."""

  config: TextConfig
  dtype: Any

  @nn.compact
  def __call__(self, tokens_BxT, train):
    config = self.config

    def table(rows, name):
      return nn.Embed(
        rows,
        config.hidden_size,
        dtype=self.dtype,
        embedding_init=nn.initializers.normal(0.02),
        name=name,
      )

    positions = jnp.arange(tokens_BxT.shape[1]) + config.first_position
    x_BxTxD = table(config.vocab_size, "word_embeddings")(tokens_BxT)
    for rows, name, index in (
      (config.max_position_embeddings, "position_embeddings", positions),
      (config.type_vocab_size, "token_type_embeddings", jnp.zeros(1, int)),
    ):
      x_BxTxD += table(rows, name)(index)[None]
    x_BxTxD = layer_norm(config.layer_norm_eps, self.dtype, "LayerNorm")(
      x_BxTxD
    )
    return dropout(config.hidden_dropout_prob, train)(x_BxTxD)


class Layers(nn.Module):
  """All layers."""

  config: TextConfig
  dtype: Any

  @nn.compact
  def __call__(self, x_BxTxD, mask_BxT, train):
    hidden_states = [x_BxTxD]
    for index in range(self.config.num_hidden_layers):
      layer = Layer(self.config, self.dtype, name=f"layer_{index}")
      hidden_states.append(layer(hidden_states[-1], mask_BxT, train))
    return tuple(hidden_states)


class Layer(nn.Module):
  """Self-attention and feed-forward network, each normalised after it."""

  config: TextConfig
  dtype: Any

  @nn.compact
  def __call__(self, x_BxTxD, mask_BxT, train):
    config = self.config
    x_BxTxD = Attention(config, self.dtype, name="attention")(
      x_BxTxD, mask_BxT, train
    )
    y = Intermediate(config, self.dtype, name="intermediate")(x_BxTxD)
    return Output(config, self.dtype, name="output")(y, x_BxTxD, train)


class Attention(nn.Module):
  """Self-attention and its residual."""

  config: TextConfig
  dtype: Any

  @nn.compact
  def __call__(self, x_BxTxD, mask_BxT, train):
    config = self.config
    y = SelfAttention(config, self.dtype, name="self")(x_BxTxD, mask_BxT, train)
    return Output(config, self.dtype, name="output")(y, x_BxTxD, train)


class SelfAttention(nn.Module):
  """Queries, keys and values of all heads."""

  config: TextConfig
  dtype: Any

  @nn.compact
  def __call__(self, x_BxTxD, mask_BxT, train):
    config = self.config
    heads = (config.num_attention_heads, -1)
    query, key, value = (
      dense(config.hidden_size, self.dtype, name)(x_BxTxD).reshape(
        *x_BxTxD.shape[:2], *heads
      )
      for name in ("query", "key", "value")
    )
    rate = config.attention_probs_dropout_prob
    dropout_key = self.make_rng("dropout") if train and rate > 0 else None
    y = attend(
      query, key, value, mask_BxT, dropout_rate=rate, dropout_key=dropout_key
    )
    return y.reshape(x_BxTxD.shape)


class Intermediate(nn.Module):
  """The wide layer."""

  config: TextConfig
  dtype: Any

  @nn.compact
  def __call__(self, x_BxTxD):
    config = self.config
    x = dense(config.intermediate_size, self.dtype, "dense")(x_BxTxD)
    return ACTIVATIONS[config.hidden_act](x)


class Output(nn.Module):
  """Back to the width of the model, added to the input and normalised."""

  config: TextConfig
  dtype: Any

  @nn.compact
  def __call__(self, y_BxTxE, x_BxTxD, train):
    config = self.config
    y = dense(config.hidden_size, self.dtype, "dense")(y_BxTxE)
    y = dropout(config.hidden_dropout_prob, train)(y)
    return layer_norm(config.layer_norm_eps, self.dtype, "LayerNorm")(
      x_BxTxD + y
    )
