"""ELMo: deep contextualized word representations (Peters et al. 2018).

The lexical feature of Lian et al. 2020, section 3.2: a mean over an
utterance's words, 1,024 values. `elmo_model` is the network, `elmo_files` its
published files; here is its way from text to features.
"""

import dataclasses
import functools
import os
import re
from collections.abc import Iterator, Mapping, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from emojax.encoders import batching, elmo_model
from emojax.encoders.elmo_model import BidirectionalLanguageModel, Config
from emojax.runtime.progress import progress
from emojax.weights import elmo_files

_WORDS_TOGETHER = 4096  # in a batch of `embed`, with its padding: 0.7 GB

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


@dataclasses.dataclass(frozen=True)
class Elmo:
  """A loaded ELMo.

  Attributes:
    config: the published options.
    model: the network; see `elmo_model.BidirectionalLanguageModel`.
    params: its parameters, float32.
  """

  config: Config
  model: BidirectionalLanguageModel
  params: Mapping


def load(path: str | os.PathLike) -> Elmo:
  """Loads published weights.

  Args:
    path: a folder with one `*options*.json` and one `*weights*.hdf5`.

  Raises:
    UserError: a file is missing, there are two of a kind, one is damaged or
      lacks something, or the weights are not those of the options.
  """
  config, params = elmo_files.read(path)
  return Elmo(config, BidirectionalLanguageModel(config), params)


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

  Args:
    sentences: B lists of words.
    max_characters_per_token: C, of the network's config.

  Returns:
    int32 [B, T + 2, C] for the longest sentence's T words, with the marks of
    begin and end of the sentence; and each sentence's number of words,
    int32 [B].
  """
  lengths = np.array([len(sentence) for sentence in sentences], np.int32)
  ids = np.full(
    (len(sentences), max(lengths, default=0) + 2, max_characters_per_token),
    elmo_model.PADDING,
    np.int32,
  )

  def spell(row: int, place: int, middle: Sequence[int]) -> None:
    spelt = [elmo_model.BEGIN_WORD, *middle, elmo_model.END_WORD]
    ids[row, place, : len(spelt)] = spelt

  for row, sentence in enumerate(sentences):
    spell(row, 0, [elmo_model.BEGIN_SENTENCE])
    for place, word in enumerate(sentence, start=1):
      code = word.encode("utf-8", "ignore")
      spell(row, place, code[: max_characters_per_token - 2])
    spell(row, len(sentence) + 1, [elmo_model.END_SENTENCE])
  return ids, lengths


def vectors(
  elmo: Elmo, texts: Sequence[str], batch_size: int
) -> Iterator[tuple[list[int], np.ndarray]]:
  """Yields the vectors of some texts at a time, the longest first.

  Texts of similar length run together, so that little is padding, in few
  compiled shapes; a progress bar tells how far they are.

  Args:
    elmo: as `load` gives it.
    texts: U utterances.
    batch_size: how many run together; fewer where they are very long.

  Yields:
    Indices of n texts, and the mean of each one's words over all layers:
    float32 [n, 2 P]; zeros where a text has no word.
  """
  sentences = [words(text) for text in texts]
  silent = [row for row, sentence in enumerate(sentences) if not sentence]
  size = 2 * elmo.config.projection_dim
  if silent:
    yield silent, np.zeros((len(silent), size), np.float32)
  spoken = [row for row, sentence in enumerate(sentences) if sentence]
  batches = batching.by_length(
    [len(sentences[row]) for row in spoken], batch_size, _WORDS_TOGETHER
  )
  for batch in progress(batches, None, "ELMo", "batch"):
    rows = [spoken[member] for member in batch.members]
    ids, lengths = characters(
      [sentences[row] for row in rows], elmo.config.max_characters_per_token
    )
    # Two more words: the marks of begin and end.
    more = np.subtract((batch.rows, batch.length + 2), ids.shape[:2])
    ids = np.pad(
      ids,
      ((0, more[0]), (0, more[1]), (0, 0)),
      constant_values=elmo_model.PADDING,
    )
    lengths = np.pad(lengths, (0, more[0]))
    means = _mean(elmo.model, elmo.params, ids, lengths)
    yield rows, np.asarray(means)[: len(rows)]


def embed(elmo: Elmo, texts: Sequence[str], batch_size: int) -> np.ndarray:
  """Gives float32 [U, 2 P], the `vectors` of all texts in their order."""
  size = 2 * elmo.config.projection_dim
  return batching.in_order(vectors(elmo, texts, batch_size), len(texts), size)


@functools.partial(jax.jit, static_argnames="model")
def _mean(
  model: BidirectionalLanguageModel,
  params: Mapping,
  characters_BxTxC: jax.Array,
  lengths_B: jax.Array,
) -> jax.Array:
  """Means over layers and words: float32 [B, 2 P]."""
  layers = model.apply({"params": params}, characters_BxTxC, lengths_B)[
    "hidden_states"
  ]
  total_BxH = sum(layer_BxTxH.sum(axis=1) for layer_BxTxH in layers)
  return total_BxH / (len(layers) * jnp.maximum(lengths_B, 1)[:, None])
