"""Lexical features of utterances.

`hashing`: hashed words and pairs of words (Weinberger et al. 2009), 1,024
values, no download. `bert`: the mean token of a BERT or RoBERTa encoder.
`elmo`: the mean word of ELMo, 1,024 values, as in Lian et al. 2020.
"""

import functools
import hashlib
import itertools
import json
import logging
import os
import pathlib
import re
from collections.abc import Sequence

import numpy as np

from emojax.data import store
from emojax.data.store import Vectors
from emojax.errors import UserError

_LOG = logging.getLogger(__name__)

_VERSION = 1  # Raise it with any change of what an encoder computes.
HASHED_WORDS = 1024
NAMES = ("hashing", "bert", "elmo")
_BATCH_SIZE = 32
_WORDS = re.compile(r"\b\w\w+\b")  # Of two letters or more.
_MASK = (1 << 32) - 1


def extract(
  texts: Sequence[str],
  name: str,
  encoder: str,
  revision: str,
  cache_dir: str | os.PathLike,
) -> np.ndarray:
  """Gives the features of U transcripts, float32 [U, D], in their order.

  Those of a pretrained encoder are kept in `cache_dir` under the text and the
  content of the encoder's files, batch by batch.

  Args:
    texts: '' where there is none.
    name: one of `NAMES`.
    encoder: a folder or, for `bert`, a hub id; `hashing` has none.
    revision: of the hub's repository; '' is its main branch.
    cache_dir: made if it is missing.

  Raises:
    UserError: no encoder where one is needed, or one that does not load.
  """
  _warn_silent(texts)
  if name == "hashing":
    return hashed_words(texts)
  if not encoder:
    example = "such as sentence-transformers/all-MiniLM-L6-v2, or a folder"
    if name == "elmo":
      example = "a folder with the published options.json and weights.hdf5"
    raise UserError(
      f"config.data.text_features = {name!r}: name its weights in "
      f"config.data.text_encoder ({example})"
    )
  folder = pathlib.Path(encoder).expanduser()
  if name == "bert":
    from emojax.weights import hub

    folder = hub.folder(encoder, revision or None)
  kept = _kept(name, folder, cache_dir)
  digests = {text: hashlib.sha256(text.encode()).hexdigest() for text in texts}
  vectors = {text: kept.get(digest) for text, digest in digests.items()}
  pending = [text for text, vector in vectors.items() if vector is None]
  if pending:
    kept.make()
    # Only here: it starts JAX and transformers, and the workers of the audio
    # features import this module too.
    from emojax.encoders import elmo
    from emojax.encoders import text as bert

    module = {"bert": bert, "elmo": elmo}[name]
    loaded = module.load(str(folder))
    for rows, found in module.vectors(loaded, pending, _BATCH_SIZE):
      for row, vector in zip(rows, found, strict=True):
        vectors[pending[row]] = vector
        kept.put(digests[pending[row]], vector)
  return np.stack([vectors[text] for text in texts])


def _kept(
  name: str, folder: pathlib.Path, cache_dir: str | os.PathLike
) -> Vectors:
  """Where they are: everything that changes a value is in its name."""
  # Only here, as `extract` does.
  import jax

  from emojax.encoders import elmo_files
  from emojax.weights import checkpoints, hub

  if name == "elmo":
    paths = elmo_files.find(folder)
  else:
    patterns = (*hub.CONFIG_FILES, *hub.TOKENIZER_FILES)
    paths = checkpoints.files_of(folder, patterns)
  described = [_VERSION, jax.default_backend(), store.digest(paths)]
  digest = hashlib.sha256(json.dumps(described).encode()).hexdigest()[:16]
  return Vectors(pathlib.Path(cache_dir, f"{name}-{digest}"))


def _warn_silent(texts: Sequence[str]) -> None:
  if silent := sum(not text for text in texts):
    _LOG.warning(
      "config.data.text_features: no text for %d of %d utterances; their "
      "features are those of no words",
      *(silent, len(texts)),
    )


def hashed_words(texts: Sequence[str]) -> np.ndarray:
  """Hashes words and pairs of words: float32 [U, 1024] of unit length.

  What scikit-learn's `HashingVectorizer` gives for `ngram_range=(1, 2)`: its
  import takes longer than the hashing of ten thousand utterances.
  """
  counts_UxH = np.zeros((len(texts), HASHED_WORDS), np.float32)
  for row, text in enumerate(texts):
    words = _WORDS.findall(text.lower())
    for token in (*words, *map(" ".join, itertools.pairwise(words))):
      key = _murmur(token)
      counts_UxH[row, abs(key) % HASHED_WORDS] += 1 if key >= 0 else -1
  norms_U = np.sqrt((counts_UxH.astype(np.float64) ** 2).sum(1))
  return (counts_UxH / np.maximum(norms_U, 1e-9)[:, None]).astype(np.float32)


@functools.lru_cache(maxsize=1 << 18)
def _murmur(token: str) -> int:
  """MurmurHash3 (Appleby 2011) with the seed 0: a signed number of 32 bits."""

  def mixed(block: bytes) -> int:
    value = int.from_bytes(block, "little") * 0xCC9E2D51 & _MASK
    return _rotated(value, 15) * 0x1B873593 & _MASK

  data, value = token.encode(), 0
  whole = len(data) // 4 * 4
  for start in range(0, whole, 4):
    value = _rotated(value ^ mixed(data[start : start + 4]), 13)
    value = value * 5 + 0xE6546B64 & _MASK
  value ^= mixed(data[whole:]) ^ len(data)
  for shift, factor in ((16, 0x85EBCA6B), (13, 0xC2B2AE35), (16, 1)):
    value = (value ^ value >> shift) * factor & _MASK
  return value - (value >> 31 << 32)


def _rotated(value: int, count: int) -> int:
  return (value << count | value >> 32 - count) & _MASK


def commit(name: str, encoder: str) -> str:
  """The encoder's commit as of today; '' where no hub is involved.

  Raises:
    UserError: no such encoder.
  """
  if name != "bert" or not encoder:
    return ""
  from emojax.weights import hub

  return hub.revision_of(hub.folder(encoder))
