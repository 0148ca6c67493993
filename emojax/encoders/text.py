"""Pretrained text encoders of the BERT and RoBERTa families.

Devlin et al. 2019, "BERT"; Liu et al. 2019, "RoBERTa". Modules and parameters
carry the names of the published checkpoints. The vector of a text is the mean
of its tokens (Reimers and Gurevych 2019).

  encoder = text.load("sentence-transformers/all-MiniLM-L6-v2")  # Or a folder.
  for rows, vectors_RxD in text.vectors(encoder, texts, batch_size=32): ...
"""

import dataclasses
import functools
import logging
import pathlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, Self

import jax
import jax.numpy as jnp
import numpy as np
import tokenizers
from flax import linen as nn

from emojax.encoders import batching, tokenizing, transformer_config
from emojax.encoders.layers import ACTIVATIONS, dense, dropout, layer_norm
from emojax.errors import UserError
from emojax.kernels.attention import attend
from emojax.runtime import files
from emojax.weights import checkpoints, hub, json_files

_FAMILIES = ("bert", "roberta")
_TOKENS_TOGETHER = 16_384  # In a batch, padding included.
# What published classes have within the encoder, and this one does not need.
_UNUSED = (r"pooler\.", r"embeddings\.(position|token_type)_ids$")
_PROBE = "a word, \U000f0000"  # The last of its characters is in no vocabulary.
_TOKENIZER_FILES = ("tokenizer.json", "vocab.txt", "vocab.json")
_LOG = logging.getLogger(__name__)


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
    family = transformer_config.family(fields, source, "text", _FAMILIES)
    positions = fields.get("position_embedding_type", "absolute")
    if positions != "absolute" or fields.get("is_decoder"):
      raise UserError(
        f"{source}: a decoder, or {positions} positions, are not supported; "
        "choose an encoder with absolute positions"
      )
    defaults = {"vocab_size": 50_265, "pad_token_id": 1}  # RoBERTa's.
    values = defaults if family == "roberta" else {}
    values |= json_files.known_fields(cls, fields, source)
    config = cls(**values)
    transformer_config.check(config, source, "hidden_act")
    if config.max_tokens < 2:
      raise UserError(
        f"{source}: max_position_embeddings = {config.max_position_embeddings} "
        "leaves no room for a text; is this file damaged?"
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
  """A transformer encoder over tokens; parameters are float32."""

  config: TextConfig
  dtype: Any = jnp.float32

  @nn.compact
  def __call__(
    self, tokens_BxT: jax.Array, lengths_B: jax.Array, train: bool = False
  ) -> dict[str, Any]:
    """Encodes texts of one segment.

    Args:
      tokens_BxT: ids of the checkpoint's tokenizer, anything after the end.
      lengths_B: tokens of each text.
      train: whether dropout is active, by the rng 'dropout'.

    Returns:
      `last_hidden_state` [B, T, D]; `hidden_states`, the embedding and the
      output of each layer, as a tuple; `mask` [B, T], true within a text.
    """
    mask_BxT = jnp.arange(tokens_BxT.shape[1])[None] < lengths_B[:, None]
    hidden_states = [self._embed(tokens_BxT, train)]
    for index in range(self.config.num_hidden_layers):
      layer = _Layer(self.config, self.dtype, name=f"encoder.layer.{index}")
      hidden_states.append(layer(hidden_states[-1], mask_BxT, train))
    return {
      "last_hidden_state": hidden_states[-1],
      "hidden_states": tuple(hidden_states),
      "mask": mask_BxT,
    }

  def _embed(self, tokens_BxT, train):
    """Token, position and segment."""
    config = self.config
    positions = jnp.arange(tokens_BxT.shape[1]) + config.first_position
    x_BxTxD = 0
    for rows, name, index in (
      (config.vocab_size, "word", tokens_BxT),
      (config.max_position_embeddings, "position", positions[None]),
      (config.type_vocab_size, "token_type", jnp.zeros((1, 1), int)),
    ):
      x_BxTxD += nn.Embed(
        rows,
        config.hidden_size,
        dtype=self.dtype,
        embedding_init=nn.initializers.normal(0.02),
        name=f"embeddings.{name}_embeddings",
      )(index)
    norm = layer_norm(config.layer_norm_eps, self.dtype, "embeddings.LayerNorm")
    return dropout(config.hidden_dropout_prob, train)(norm(x_BxTxD))


class _Layer(nn.Module):
  """Self-attention and feed-forward network, each normalised after it."""

  config: TextConfig
  dtype: Any

  @nn.compact
  def __call__(self, x_BxTxD, mask_BxT, train):
    config = self.config
    heads = (*x_BxTxD.shape[:2], config.num_attention_heads, -1)

    def project(name):
      name = f"attention.self.{name}"
      return dense(config.hidden_size, self.dtype, name)(x_BxTxD).reshape(heads)

    rate = config.attention_probs_dropout_prob
    y_BxTxHxK = attend(
      project("query"),
      project("key"),
      project("value"),
      mask_BxT,
      dropout_rate=rate,
      dropout_key=self.make_rng("dropout") if train and rate > 0 else None,
    )
    y_BxTxD = y_BxTxHxK.reshape(x_BxTxD.shape)
    x_BxTxD = self._add("attention.output", y_BxTxD, x_BxTxD, train)
    widen = dense(config.intermediate_size, self.dtype, "intermediate.dense")
    y_BxTxE = ACTIVATIONS[config.hidden_act](widen(x_BxTxD))
    return self._add("output", y_BxTxE, x_BxTxD, train)

  def _add(self, name, y_BxTxE, x_BxTxD, train):
    """Back to the width of the model, added to the input and normalised."""
    config = self.config
    y = dense(config.hidden_size, self.dtype, f"{name}.dense")(y_BxTxE)
    y = dropout(config.hidden_dropout_prob, train)(y)
    norm = layer_norm(config.layer_norm_eps, self.dtype, f"{name}.LayerNorm")
    return norm(x_BxTxD + y)


class Pretrained(NamedTuple):
  """A text encoder with its float32 weights; ids of texts with both marks."""

  config: TextConfig
  model: TextEncoder
  params: Any
  tokenizer: Callable[[list[str]], list[list[int]]]


def load(
  name: str, dtype: Any = jnp.float32, *, revision: str | None = None
) -> Pretrained:
  """Loads an encoder of the BERT or RoBERTa family.

  Args:
    name: a folder in the layout of Hugging Face, or a hub id.
    dtype: type of the computation, float32 or bfloat16.
    revision: branch, tag or commit of the hub's repository.

  Raises:
    UserError: nothing there, another architecture, damaged files, weights that
      do not fit the architecture, or no tokenizer.
  """
  folder = hub.folder(name, revision)
  fields = json_files.read_config(folder)
  config = TextConfig.from_json(fields, str(folder / "config.json"))
  model = TextEncoder(config, dtype)
  one_text = np.zeros((1, 2), np.int32), np.zeros(1, np.int32)
  shapes = jax.eval_shape(model.init, jax.random.key(0), *one_text)
  params = checkpoints.load_params(
    checkpoints.open_tensors(folder),
    shapes["params"],
    source=str(folder),
    family=f"{config.model_type}.",
    unused=_UNUSED,
  )
  return Pretrained(
    config, model, params, _tokenizer(folder, config.vocab_size)
  )


def _tokenizer(folder: pathlib.Path, size: int):
  # Without its files transformers makes one that knows no word.
  there = [f for f in _TOKENIZER_FILES if (folder / f).is_file()]
  if not there:
    raise UserError(
      f"{folder}: no tokenizer; expected one of {', '.join(_TOKENIZER_FILES)}"
    )
  first = folder / there[0]
  if why := files.instead(first):
    raise UserError(f"{first}: {why}")
  with tokenizing.explained(first):
    tokenize, vocabulary = _open_tokenizer(first)
    (ids,) = tokenize([_PROBE])
  if not ids:
    raise tokenizing.unusable(first, "it knows no word")
  if (last := max(*ids, *vocabulary)) >= size:
    why = f"it has the token {last}, the encoder {size} of them"
    raise tokenizing.unusable(first, why)
  return tokenize


def _open_tokenizer(first: pathlib.Path):
  """What makes ids of texts, by the tokenizer's first file; all its ids."""
  if first.name == "tokenizer.json":
    tokenizer = tokenizers.Tokenizer.from_str(json_files.text(first))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    ids = tokenizer.get_vocab().values()
    return (
      lambda texts: [made.ids for made in tokenizer.encode_batch(texts)],
      ids,
    )
  # Only where it is needed: it takes seconds, and imports PyTorch where that
  # is installed.
  from transformers import AutoTokenizer

  tokenizer = AutoTokenizer.from_pretrained(
    first.parent, local_files_only=True, trust_remote_code=False
  )
  ids = tokenizer.get_vocab().values()
  return lambda texts: tokenizer(texts, verbose=False)["input_ids"], ids


def vectors(
  encoder: Pretrained, texts: Sequence[str], batch_size: int
) -> Iterator[tuple[list[int], np.ndarray]]:
  """Yields the vectors of some texts at a time, the longest first.

  A text longer than the model's positions is cut, and the number of those is
  logged. Fewer than `batch_size` run together where they are very long.

  Yields:
    Indices of n texts, and the mean of each one's last hidden states: float32
    [n, D]; zeros where a text is empty.
  """
  limit = encoder.config.max_tokens
  tokens = _tokens(encoder, texts)

  def encode(batch):
    tokens_BxT = np.zeros((batch.rows, min(batch.length, limit)), np.int32)
    lengths_B = np.zeros(batch.rows, np.int32)
    for index, row in enumerate(batch.chosen):
      lengths_B[index] = len(tokens[row])
      tokens_BxT[index, : len(tokens[row])] = tokens[row]
    return _mean(encoder.model, encoder.params, tokens_BxT, lengths_B)

  return batching.vectors(
    [len(tokens[row]) if text.strip() else 0 for row, text in enumerate(texts)],
    encoder.config.hidden_size,
    batch_size,
    _TOKENS_TOGETHER,
    encode,
    "text encoder",
  )


def _tokens(encoder: Pretrained, texts: Sequence[str]) -> list[list[int]]:
  """Ids of each text, at most as many as the model has positions."""
  if not texts:
    return []
  limit = encoder.config.max_tokens
  tokens = encoder.tokenizer(list(texts))
  cut = [row for row, ids in enumerate(tokens) if len(ids) > limit]
  if cut:
    _LOG.warning(
      "%d of %d texts are cut to %d tokens", len(cut), len(texts), limit
    )
  for row in cut:
    tokens[row] = [*tokens[row][: limit - 1], tokens[row][-1]]
  return tokens


@functools.partial(jax.jit, static_argnames="model")
def _mean(
  model: TextEncoder, params, tokens_BxT: jax.Array, lengths_B: jax.Array
) -> jax.Array:
  outputs = model.apply({"params": params}, tokens_BxT, lengths_B)
  states_BxTxD = outputs["last_hidden_state"].astype(jnp.float32)
  weights_BxTx1 = outputs["mask"][..., None]
  total_BxD = jnp.where(weights_BxTx1, states_BxTxD, 0).sum(axis=1)
  return total_BxD / jnp.maximum(lengths_B, 1)[:, None]
