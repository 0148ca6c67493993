"""ELMo: deep contextualized word representations (Peters et al. 2018).

The lexical feature of Lian et al. 2020, section 3.2: a mean over an
utterance's words, 1,024 values. A character CNN, then LSTM language models in
both directions. Sources besides Peters et al., section 3: Kim et al. 2016,
"Character-aware neural language models", section 2 (characters, highways);
Jozefowicz et al. 2016, "Exploring the limits of language modeling" (sizes); Sak
et al. 2014, "Long short-term memory recurrent neural network architectures for
large scale acoustic modeling", section 2.2 (recurrent projection). What these
leave open follows the code that trained the published weights, allenai/bilm-tf.

B sentences of T words; C characters of a word, D wide; N words of a batch; F
filters in all; K cells of an LSTM and P values of its projection.
"""

import functools
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from emojax.encoders import batching, elmo_files
from emojax.encoders.elmo_files import Config

_WORDS_TOGETHER = 4096  # In a batch, with its padding: 0.7 GB.
# A character is a byte of UTF-8 or one of these five marks.
_BEGIN_SENTENCE, _END_SENTENCE, _BEGIN_WORD, _END_WORD, _PADDING = range(
  256, 261
)
_NUM_CHARACTERS = 261

# The rules for English of the Moses tokenizer, which split the corpus of the
# published weights (Koehn et al. 2007; allenai/allennlp, issue 1933), without
# its list of abbreviations.
_WORDS = re.compile(
  r"""
    (?<=[^\W\d_])'[^\W\d_]\w*  # 't of don't, 's of it's
  | (?<=\d)'s\b  # of 1990's
  | (?:[^\W\d_]\.){2,}  # U.S., a.m.
  | (?:Mr|Mrs|Ms|Dr)\.
  | \w+(?:[-.]\w+|(?<=\d),(?=\d)\w+)*  # well-known, 3.5, 5,300
  | \.{2,}
  | -+
  | [^\w\s]
  """,
  re.VERBOSE,
)


class BidirectionalLanguageModel(nn.Module):
  """ELMo's layers for sentences of words; Peters et al. 2018, section 3.2.

  Parameters carry the names of the published data sets, and have their shapes.
  Nobody trains them here: they start as zeros.

  Every sentence starts from states of zeros, so it has the same vectors each
  time. AllenNLP and bilm-tf carry the states of a batch into the next one, as
  in training: theirs differ a little from call to call ("Notes on statefulness
  and non-determinism" in AllenNLP's tutorial of ELMo).
  """

  config: Config

  @nn.compact
  def __call__(
    self, characters_BxTxC: jax.Array, lengths_B: jax.Array
  ) -> dict[str, jax.Array | tuple[jax.Array, ...]]:
    """Runs the language models of both directions on what `characters` gives.

    Returns:
      'hidden_states': the character layer, twice side by side, then each LSTM
        layer, forward beside backward: float32 [B, T, 2 P], without the marks;
        zero in the padding.
      'mask': bool [B, T], true at words.
    """
    batch, length, num_characters = characters_BxTxC.shape
    words_NxP = self._encode_characters(
      characters_BxTxC.reshape(batch * length, num_characters)
    )
    forward = backward = words_NxP.reshape(batch, length, -1)
    marked_BxT = jnp.arange(length)[None] < lengths_B[:, None] + 2
    mask_BxT = jnp.arange(length - 2)[None] < lengths_B[:, None]
    hidden_states = []
    for i in range(self.config.n_layers + 1):
      if i > 0:
        forward = self._lstm(0, i - 1, forward, marked_BxT)
        backward = self._lstm(1, i - 1, backward, marked_BxT)
      both_BxTxH = jnp.concatenate([forward, backward], axis=-1)[:, 1:-1]
      hidden_states.append(jnp.where(mask_BxT[..., None], both_BxTxH, 0))
    return {"hidden_states": tuple(hidden_states), "mask": mask_BxT}

  def _weight(self, name, *shape):
    return self.param(name, nn.initializers.zeros_init(), shape)

  def _dense(self, group, name, x_NxI, size):
    kernel = self._weight(f"{group}/W_{name}", x_NxI.shape[-1], size)
    return x_NxI @ kernel + self._weight(f"{group}/b_{name}", size)[None]

  def _encode_characters(self, characters_NxC):
    """Words from their characters, one by one, without context: [N, P].

    The padding of a word is a character like any other: it was in training.
    """
    config = self.config
    dim = config.embedding_dim
    table = self._weight("char_embed", _NUM_CHARACTERS, dim)
    x_NxCxD = table[characters_NxC]
    pooled = []
    for i, (width, filters) in enumerate(config.filters):
      kernel = self._weight(f"CNN/W_cnn_{i}", 1, width, dim, filters)
      bias = self._weight(f"CNN/b_cnn_{i}", filters)
      pooled.append(_convolve(x_NxCxD, kernel[0]) + bias[None])
    x_NxF = jnp.concatenate(pooled, axis=-1)
    x_NxF = nn.relu(x_NxF) if config.activation == "relu" else jnp.tanh(x_NxF)
    size = x_NxF.shape[-1]
    # Highway layers (Srivastava et al. 2015). The published weights call the
    # gate "carry", yet it opens the way through the transformation.
    for i in range(config.n_highway):
      carry = nn.sigmoid(self._dense(f"CNN_high_{i}", "carry", x_NxF, size))
      made = nn.relu(self._dense(f"CNN_high_{i}", "transform", x_NxF, size))
      x_NxF = carry * made + (1 - carry) * x_NxF
    return self._dense("CNN_proj", "proj", x_NxF, config.projection_dim)

  def _lstm(self, direction, i, x_BxTxP, mask_BxT):
    """One direction of an LSTM layer, clipped: [B, T, P].

    The gates stand in TensorFlow's order: input, new value, forget, output. Its
    cell adds 1 to the forget gate; the stored bias does not have it. The state
    begins with zeros and stays zero in the padding, wherever that stands: a
    sentence begins afresh in both directions.
    """
    config = self.config
    cells, projection = config.dim, config.projection_dim
    name = f"RNN_{direction}/RNN/MultiRNNCell/Cell{i}/LSTMCell"
    kernel = self._weight(f"{name}/W_0", 2 * projection, 4 * cells)
    input_kernel, recurrent_kernel = jnp.split(kernel, 2)
    bias = self._weight(f"{name}/B", 4 * cells)
    projection_kernel = self._weight(f"{name}/W_P_0", cells, projection)

    def step(state, inputs):
      cell_BxK, output_BxP = state
      gates, keep_Bx1 = inputs
      gates += output_BxP @ recurrent_kernel
      enter, new, forget, leave = jnp.split(gates, 4, axis=-1)
      cell_BxK = nn.sigmoid(forget + 1) * cell_BxK
      cell_BxK += nn.sigmoid(enter) * jnp.tanh(new)
      cell_BxK = keep_Bx1 * _clip(cell_BxK, config.cell_clip)
      hidden_BxK = nn.sigmoid(leave) * jnp.tanh(cell_BxK)
      output_BxP = hidden_BxK @ projection_kernel
      output_BxP = keep_Bx1 * _clip(output_BxP, config.proj_clip)
      return (cell_BxK, output_BxP), output_BxP

    # All words at once, outside of the recurrence: nearly half of the work.
    gates_TxBxG = jnp.swapaxes(x_BxTxP, 0, 1) @ input_kernel
    keep_TxBx1 = mask_BxT.T[..., None].astype(x_BxTxP.dtype)
    start = tuple(jnp.zeros((len(x_BxTxP), n)) for n in (cells, projection))
    inputs = gates_TxBxG + bias[None, None], keep_TxBx1
    _, output_TxBxP = jax.lax.scan(step, start, inputs, reverse=direction == 1)
    output_BxTxP = jnp.swapaxes(output_TxBxP, 0, 1)
    if i > 0 and config.use_skip_connections:
      output_BxTxP += x_BxTxP
    return output_BxTxP


def _convolve(x_NxCxD, kernel_WxDxF):
  """Convolution over a word's characters and maximum over its places: [N, F].

  One place after the other: a convolution that keeps the values of all places
  until the maximum needs 44 times the memory, 0.7 GB for the widest filters and
  4,096 words, and took 2.7 times as long on a CPU.
  """
  num_words, num_characters, dim = x_NxCxD.shape
  width, _, filters = kernel_WxDxF.shape
  kernel = kernel_WxDxF.reshape(width * dim, filters)
  x = x_NxCxD.reshape(num_words, num_characters * dim)

  def take_maximum(maximum, place):
    window = jax.lax.dynamic_slice_in_dim(x, place * dim, width * dim, axis=1)
    return jnp.maximum(maximum, window @ kernel), None

  lowest = jnp.full((num_words, filters), -jnp.inf, x.dtype)
  places = jnp.arange(num_characters - width + 1)
  return jax.lax.scan(take_maximum, lowest, places)[0]


def _clip(x, bound):
  return x if bound is None else jnp.clip(x, -bound, bound)


class Elmo(NamedTuple):
  """A network with its published options and its float32 weights."""

  config: Config
  model: BidirectionalLanguageModel
  params: Mapping[str, jax.Array]


def load(path: str | os.PathLike) -> Elmo:
  """Loads the `*options*.json` and the `*weights*.hdf5` of a folder.

  Raises:
    UserError: a file is missing, there are two of a kind, one is damaged or
      lacks something, or the weights are not those of the options.
  """
  options, weights = elmo_files.find(path)
  config = elmo_files.read_options(options)
  model = BidirectionalLanguageModel(config)
  shapes = jax.eval_shape(model.init, jax.random.key(0), *characters([[]]))
  return Elmo(config, model, elmo_files.read_weights(weights, shapes["params"]))


def words(text: str) -> list[str]:
  """Splits a text into words and marks: "It's Dr. Who!" has five.

  Case stays, for ELMo reads it. An utterance of several sentences stays one.
  """
  return _WORDS.findall(text.replace("’", "'"))


def characters(
  sentences: Sequence[Sequence[str]], max_characters_per_token: int = 50
) -> tuple[np.ndarray, np.ndarray]:
  """Spells words for the network, as allenai/bilm-tf does.

  A word is its bytes of UTF-8 between the marks of begin and end, cut where
  these would not fit. AllenNLP's ids are one higher, with 0 for what is no
  word; here that is a word of padding, and the lengths tell.

  Returns:
    int32 [B, T + 2, C] for B sentences of up to T words, with the marks of
    begin and end of the sentence; and the number of words of each, int32 [B].
  """
  lengths = np.array([len(sentence) for sentence in sentences], np.int32)
  places = max(lengths, default=0) + 2
  shape = len(sentences), places, max_characters_per_token
  ids = np.full(shape, _PADDING, np.int32)

  def spell(row: int, place: int, middle: Sequence[int]) -> None:
    spelt = [_BEGIN_WORD, *middle, _END_WORD]
    ids[row, place, : len(spelt)] = spelt

  for row, sentence in enumerate(sentences):
    spell(row, 0, [_BEGIN_SENTENCE])
    for place, word in enumerate(sentence, start=1):
      code = word.encode("utf-8", "ignore")
      spell(row, place, code[: max_characters_per_token - 2])
    spell(row, len(sentence) + 1, [_END_SENTENCE])
  return ids, lengths


def vectors(
  elmo: Elmo, texts: Sequence[str], batch_size: int
) -> Iterator[tuple[list[int], np.ndarray]]:
  """Yields the vectors of some texts at a time, the longest first.

  Fewer than `batch_size` run together where they are very long.

  Yields:
    Indices of n texts, and the mean of each one's words over all layers:
    float32 [n, 2 P]; zeros where a text has no word.
  """
  sentences = [words(text) for text in texts]

  def encode(batch):
    ids, lengths = characters(
      [sentences[row] for row in batch.chosen],
      elmo.config.max_characters_per_token,
    )
    # Two more words: the marks of begin and end.
    more = np.subtract((batch.rows, batch.length + 2), ids.shape[:2])
    more_ids = (0, more[0]), (0, more[1]), (0, 0)
    ids = np.pad(ids, more_ids, constant_values=_PADDING)
    return _mean(elmo.model, elmo.params, ids, np.pad(lengths, (0, more[0])))

  return batching.vectors(
    [len(sentence) for sentence in sentences],
    2 * elmo.config.projection_dim,
    batch_size,
    _WORDS_TOGETHER,
    encode,
    "ELMo",
  )


@functools.partial(jax.jit, static_argnames="model")
def _mean(
  model: BidirectionalLanguageModel,
  params: Mapping[str, jax.Array],
  characters_BxTxC: jax.Array,
  lengths_B: jax.Array,
) -> jax.Array:
  """Means over layers and words: float32 [B, 2 P]."""
  outputs = model.apply({"params": params}, characters_BxTxC, lengths_B)
  layers = outputs["hidden_states"]
  total_BxH = sum(layer_BxTxH.sum(axis=1) for layer_BxTxH in layers)
  return total_BxH / (len(layers) * jnp.maximum(lengths_B, 1)[:, None])
