"""Features of a frozen encoder: computed once, then read from disk.

A head trains on them in seconds. Everything that they depend on is in the name
of their folder.
"""

import hashlib
import json
from collections.abc import Iterator
from typing import Any

import flax
import jax
import jax.numpy as jnp
import numpy as np

from emojax.data import builders, feature_store, pipeline
from emojax.data.clips import Material
from emojax.data.feature_store import FeatureStore
from emojax.data.pipeline import Pieces
from emojax.models.speech_classifier import SpeechClassifier
from emojax.runtime import sharding
from emojax.runtime.compilation import cache_folder
from emojax.runtime.progress import progress
from emojax.systems import speech
from emojax.systems.speech import SpeechSystem

_VERSION = 1  # Raise it with any change of what an encoder computes.


def compute(
  system: SpeechSystem,
  encoder_params: Any,
  material: Material,
  pieces: Pieces,
  sizes: tuple[int, ...],
  batch_size: int,
  mesh: jax.sharding.Mesh,
) -> FeatureStore:
  """Gives what the head reads of each piece: [T, L, D].

  Args:
    system: the classifier.
    encoder_params: of its encoder, and its weighted layer sum has none here.
    material: the clips.
    pieces: windows of them.
    sizes: what pieces are filled up to, in samples.
    batch_size: pieces that are encoded at once.
    mesh: of devices.

  Raises:
    UserError: the cache cannot be written, or the disk is full.
  """
  model = system.model()

  @jax.jit
  def encode(params, batch):
    audio_BxS = speech.to_float(batch["inputs"])
    if system.normalise:
      audio_BxS = speech.normalise(audio_BxS, batch["length"])
    features, _ = model.apply(
      {"params": {"encoder": params}},
      audio_BxS,
      batch["length"],
      method=SpeechClassifier.encode,
    )
    return jnp.stack(features, axis=2).astype(speech.DTYPES[system.dtype])

  plan = pipeline.Plan(pieces.lengths_P, sizes, batch_size)
  reader = pipeline.Reader(material.audio, pieces, {})
  frames_P = system.num_frames(pieces.lengths_P)
  by_clip = jax.sharding.NamedSharding(mesh, sharding.DATA)
  params = sharding.place(encoder_params, mesh, sharding.REPLICATED)

  def computed() -> Iterator[tuple[int, np.ndarray]]:
    batches = pipeline.batches(plan, reader, by_clip)
    waiting = None
    for batch in progress(batches, len(plan), "encode", "batch"):
      # One batch late, so that the devices never wait for the disk.
      done, waiting = waiting, (batch, encode(params, batch))
      yield from _rows(done, frames_P)
    yield from _rows(waiting, frames_P)

  name = _name(system, encoder_params, pieces, material.digest_U)
  folder = cache_folder() / "encoded" / name
  return feature_store.open_or_create(folder, frames_P, computed)


def _rows(done, frames_P) -> Iterator[tuple[int, np.ndarray]]:
  if done is None:
    return
  batch, features = done
  values_BxTxLxD = np.asarray(features)
  weight_B, piece_B = np.asarray(batch["weight"]), np.asarray(batch["piece"])
  for values, weight, piece in zip(
    values_BxTxLxD, weight_B, piece_B, strict=True
  ):
    if weight:
      yield int(piece), values[: frames_P[piece]]


def _name(system, params, pieces, digest_U) -> str:
  content = hashlib.sha256()
  described = [
    _VERSION,
    str(builders.Recordings.VERSION),
    jax.default_backend(),
    system.encoder,
    system.normalise,
    system.weigh_layers,
    system.dtype,
  ]
  content.update(json.dumps(described).encode())
  for path, value in sorted(
    flax.traverse_util.flatten_dict(params, sep="/").items()
  ):
    content.update(path.encode())
    content.update(np.asarray(value).tobytes())
  for row in pieces.row_P:
    content.update(digest_U[row].encode())
  content.update(np.stack([pieces.start_P, pieces.stop_P]).tobytes())
  return content.hexdigest()[:24]
