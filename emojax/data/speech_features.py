"""Features of recordings by pretrained speech encoders.

The mean over the frames of a recording, of the hidden states of an encoder: of
one layer, or of several side by side. Layer 0 is what enters the first
transformer layer, layer n what the n-th one gives.

B pieces of recordings, S samples, L layers, D features.
"""

import collections
import dataclasses
import functools
import hashlib
import json
import os
import pathlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Self

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np

from emojax import encoders
from emojax.audio import io
from emojax.corpora import recordings
from emojax.corpora.records import Utterance
from emojax.data import contents, store
from emojax.data.contents import SAMPLE_RATE, Extracted
from emojax.data.store import Vectors
from emojax.encoders import batching
from emojax.errors import UserError
from emojax.runtime.files import plain_name
from emojax.runtime.progress import progress
from emojax.weights import checkpoints, hub

_VERSION = 1  # Raise it with any change of what an encoder computes.
_LONGEST = 30 * SAMPLE_RATE  # Of a piece; Whisper takes no longer one.
# Of a batch, padding included.
_BATCH_SIZE, _SAMPLES_TOGETHER = 32, 120 * SAMPLE_RATE
_STEP = 2_048  # Samples: lengths of batches are multiples of it.
# Recordings that wait to be sorted by their length: 20 minutes.
_SAMPLES_WAITING = 1_200 * SAMPLE_RATE


@dataclasses.dataclass(frozen=True)
class FrameMeans:
  """Means of an encoder's hidden states.

  Attributes:
    layers: those that are used, in this order; all are kept.
  """

  source: encoders.Source
  layers: tuple[int, ...]

  @classmethod
  def find(cls, data: ml_collections.ConfigDict) -> Self:
    """Finds the encoder of a `config.data`; only its configs are downloaded.

    Raises:
      UserError: there is none, it has no pretrained weights, or no such layer.
    """
    name = data.audio_features
    source = encoders.find(name, data.audio_revision)
    if not source.checkpoint:
      raise UserError(
        f"config.data.audio_features = {name!r}: an encoder with random "
        "weights; name a pretrained one by its folder or hub id"
      )
    known = range(source.encoder.num_layers + 1)
    layers = tuple(data.audio_layers)
    are_known = all(type(one) is int and one in known for one in layers)
    if not are_known or len(set(layers)) < len(layers):
      raise UserError(
        f"config.data.audio_layers = {layers!r}: {source.label} has the layers "
        f"0 (what enters the first one) to {known[-1]}; name each once, or () "
        "for all of them"
      )
    return cls(source, layers or tuple(known))

  def kept(self, cache_dir: str | os.PathLike) -> Vectors:
    """Where they are: everything that changes a value is in its name."""
    described = [
      *(_VERSION, contents.VERSION, _LONGEST, jax.default_backend()),
      self.source.encoder.to_json(),
      store.digest(checkpoints.files_of(self._folder(), hub.CONFIG_FILES)),
    ]
    name = hashlib.sha256(json.dumps(described).encode()).hexdigest()[:16]
    label = plain_name(self.source.label)
    return Vectors(pathlib.Path(cache_dir, f"{label}-{name}"))

  def take(self, vector: np.ndarray) -> np.ndarray:
    """The layers that are used, [l * D], of all that are kept, [L * D]."""
    states_LxD = vector.reshape(self.source.encoder.num_layers + 1, -1)
    return states_LxD[list(self.layers)].reshape(-1)

  def run(
    self, jobs: Mapping[str, Utterance]
  ) -> Iterator[tuple[str, Extracted | str]]:
    """Yields the means of recordings, by digest, or why there are none.

    Some minutes of recordings are sorted by length at a time, so that there
    are few shapes of batches and little padding.

    Raises:
      UserError: the weights cannot be read.
    """
    if jobs:
      found = self._run(jobs)
      yield from progress(found, len(jobs), self.source.label, "recording")

  def _run(self, jobs):
    encode = _compiled(self.source.encoder, self.source.load())
    shortest = self.source.encoder.min_samples
    waiting, num_samples = {}, 0
    decoded = contents.ahead(jobs.values())
    for (digest, one), found in zip(jobs.items(), decoded, strict=True):
      if isinstance(found, io.UnreadableAudio):
        yield digest, found.why
      elif (length := len(found.samples)) < shortest:
        why = recordings.too_short(one.path, length, shortest, SAMPLE_RATE)
        yield digest, why.why
      else:
        waiting[digest] = found
        num_samples += length
      if num_samples >= _SAMPLES_WAITING:
        yield from self._encode(encode, waiting)
        waiting, num_samples = {}, 0
    yield from self._encode(encode, waiting)

  def _encode(self, encode: Callable, clips: Mapping[str, io.Recording]):
    """Yields the means of each recording when its last piece is done."""
    encoder = self.source.encoder
    longest = min(_LONGEST, encoder.max_samples or _LONGEST)
    pieces = [
      (digest, piece)
      for digest, clip in clips.items()
      for piece in _cut(clip.samples, longest)
    ]
    left = collections.Counter(digest for digest, _ in pieces)
    sums, frames = dict.fromkeys(clips, 0), dict.fromkeys(clips, 0)
    lengths = [len(piece) for _, piece in pieces]
    for batch in batching.by_length(lengths, _BATCH_SIZE, _SAMPLES_TOGETHER):
      chosen = np.resize(batch.chosen, batch.rows)  # What fills up is repeated.
      lengths_B = np.array(lengths, np.int32)[chosen]
      size = min(_round_up(int(lengths_B.max())), longest)
      inputs_BxS = np.zeros((batch.rows, size), np.int16)
      for place, row in enumerate(chosen):
        inputs_BxS[place, : lengths_B[place]] = pieces[row][1]
      found = np.asarray(encode(inputs_BxS, lengths_B))
      for place, row in enumerate(batch.chosen):
        digest, _ = pieces[row]
        sums[digest] += found[place]
        frames[digest] += encoder.num_frames(int(lengths_B[place]))
        left[digest] -= 1
        if not left[digest]:
          vector = (sums[digest] / frames[digest]).reshape(-1)
          clip = clips[digest]
          content = contents.of(clip.samples)
          yield digest, Extracted(vector, content, clip.notes)

  def _folder(self) -> pathlib.Path:
    return hub.folder(self.source.checkpoint, self.source.revision or None)


def _cut(samples: np.ndarray, longest: int) -> list[np.ndarray]:
  """The fewest pieces, of one length, without overlap: a frame counts once."""
  return np.array_split(samples, -(-len(samples) // longest))


def _round_up(num_samples: int) -> int:
  """To one of four lengths an octave: few shapes, little padding."""
  step = max(1 << num_samples.bit_length() >> 3, _STEP)
  return -(-num_samples // step) * step


def _compiled(encoder: encoders.Encoder, params: Any) -> Callable:
  """Samples int16 [B, S] and lengths to sums over frames, float32 [B, L, D]."""
  module = encoder.module(jnp.float32)

  @jax.jit
  def encode(params, inputs_BxS, lengths_B):
    audio_BxS = inputs_BxS.astype(jnp.float32) / io.FULL_SCALE
    audio_BxS = encoder.preprocess(audio_BxS, lengths_B)
    out = module.apply({"params": params}, audio_BxS, lengths_B)
    mask_BxTx1 = out["mask"][..., None]
    sums = [jnp.where(mask_BxTx1, x, 0).sum(1) for x in out["hidden_states"]]
    return jnp.stack(sums, axis=1)

  return functools.partial(encode, jax.device_put(params))
