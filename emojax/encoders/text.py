"""Pretrained text encoders of the BERT and RoBERTa families.

The vector of a text is the mean of its tokens (Reimers and Gurevych 2019).

  encoder = text.load("sentence-transformers/all-MiniLM-L6-v2")  # Or a folder.
  vectors_UxD = text.embed(encoder, texts, batch_size=32)
"""

import dataclasses
import functools
import logging
import pathlib
from collections.abc import Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from emojax.encoders import batching
from emojax.encoders.text_model import TextConfig, TextEncoder
from emojax.errors import UserError
from emojax.runtime.progress import progress
from emojax.weights import checkpoints, hub

_TOKENS_TOGETHER = 16_384  # In a batch of `embed`, padding included.
# Parts that only the pretraining or a fine-tuned task needs.
_HEADS = (
  r"^pooler\.",
  r"^cls\.",
  r"^lm_head\.",
  r"^classifier\.",
  r"^qa_outputs\.",
  r"^embeddings\.position_ids$",
)
_TOKENIZER_FILES = ("tokenizer.json", "vocab.txt", "vocab.json")
_log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Pretrained:
  """A text encoder with its weights.

  Attributes:
    config: the architecture.
    model: a `TextEncoder`.
    params: its parameters, float32.
    tokenizer: of transformers; it adds the marks of begin and end.
    revision: commit of the hub's repository; '' for a local folder.
  """

  config: TextConfig
  model: TextEncoder
  params: Any
  tokenizer: Any
  revision: str


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
  fields = checkpoints.read_config(folder)
  config = TextConfig.from_json(fields, str(folder / "config.json"))
  model = TextEncoder(config, dtype)
  shapes = jax.eval_shape(
    model.init,
    jax.random.key(0),
    jax.ShapeDtypeStruct((1, 2), jnp.int32),
    jax.ShapeDtypeStruct((1,), jnp.int32),
  )["params"]
  params = checkpoints.load_params(
    checkpoints.read_tensors(folder),
    shapes,
    source=str(folder),
    prefix=f"{config.model_type}.",
    ignored=_HEADS,
  )
  return Pretrained(
    config, model, params, _tokenizer(folder), hub.revision_of(folder)
  )


def _tokenizer(folder: pathlib.Path):
  # Without its files transformers makes one that knows no word.
  if not any((folder / file).exists() for file in _TOKENIZER_FILES):
    raise UserError(
      f"{folder}: no tokenizer; expected one of {', '.join(_TOKENIZER_FILES)}"
    )
  # Imported where it is needed: it takes seconds.
  from transformers import AutoTokenizer

  try:
    return AutoTokenizer.from_pretrained(folder)
  except (OSError, ValueError) as error:
    reason = str(error).strip().splitlines()[0]
    raise UserError(f"{folder}: no usable tokenizer ({reason})") from error


def vectors(
  encoder: Pretrained, texts: Sequence[str], batch_size: int
) -> Iterator[tuple[list[int], np.ndarray]]:
  """Yields the vectors of some texts at a time, the longest first.

  Texts of similar length run together, in few compiled shapes; a progress bar
  tells how far they are. A text longer than the model's positions is cut, and
  the number of those is logged.

  Args:
    encoder: as `load` gives it.
    texts: U texts.
    batch_size: how many run together; fewer where they are very long.

  Yields:
    Indices of n texts, and the mean of each one's last hidden states: float32
    [n, D]; zeros where a text is empty.
  """
  limit = encoder.config.max_tokens
  tokens = _tokens(encoder, texts)
  empty = [row for row, text in enumerate(texts) if not text.strip()]
  if empty:
    size = encoder.config.hidden_size
    yield empty, np.zeros((len(empty), size), np.float32)
  rows = [row for row, text in enumerate(texts) if text.strip()]
  batches = batching.by_length(
    [len(tokens[row]) for row in rows], batch_size, _TOKENS_TOGETHER
  )
  for batch in progress(batches, None, "text encoder", "batch"):
    tokens_BxT = np.zeros((batch.rows, min(batch.length, limit)), np.int32)
    lengths_B = np.zeros(batch.rows, np.int32)
    members = [rows[member] for member in batch.members]
    for index, row in enumerate(members):
      lengths_B[index] = len(tokens[row])
      tokens_BxT[index, : len(tokens[row])] = tokens[row]
    means = _mean(encoder.model, encoder.params, tokens_BxT, lengths_B)
    yield members, np.asarray(means)[: len(members)]


def embed(
  encoder: Pretrained, texts: Sequence[str], batch_size: int
) -> np.ndarray:
  """Gives float32 [U, D], the `vectors` of all texts in their order."""
  size = encoder.config.hidden_size
  return batching.in_order(
    vectors(encoder, texts, batch_size), len(texts), size
  )


def _tokens(encoder: Pretrained, texts: Sequence[str]) -> list[list[int]]:
  """Ids of each text, at most as many as the model has positions."""
  if not texts:
    return []
  limit = encoder.config.max_tokens
  tokens = encoder.tokenizer(list(texts), verbose=False)["input_ids"]
  cut = [row for row, ids in enumerate(tokens) if len(ids) > limit]
  if cut:
    _log.warning(
      "%d of %d texts are cut to %d tokens", len(cut), len(texts), limit
    )
  for row in cut:
    tokens[row] = encoder.tokenizer(
      texts[row], truncation=True, max_length=limit
    )["input_ids"]
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
