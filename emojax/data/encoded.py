"""Features of clips by a frozen encoder: computed once, then read from disk.

A head trains on them in seconds. Everything that they depend on is in the name
of their folder.

B pieces of a batch, P of all clips, T frames, L layers, D features.
"""

import hashlib
import json
from collections.abc import Callable, Mapping
from typing import Any

import flax
import jax
import jax.numpy as jnp
import numpy as np

from emojax.audio import io
from emojax.data import array_record, clips, pipeline, store
from emojax.data.clips import Clips
from emojax.data.pipeline import Pieces
from emojax.encoders import Encoder
from emojax.runtime import sharding
from emojax.runtime.files import cache_folder
from emojax.runtime.progress import progress

_VERSION = 2  # Raise it with any change of what an encoder computes.


def features(
  encoder: Encoder,
  params: Any,
  dtype: Any,
  all_layers: bool,
  data: Clips,
  sizes: tuple[int, ...],
  batch_size: int,
  mesh: jax.sharding.Mesh,
) -> store.Sequences:
  """Gives the encoder's hidden states of each of `clips.pieces`, [T, L, D].

  All layers, or the last one, in `dtype`, which is that of the computation,
  too. Pieces are filled up to `sizes`, in samples.

  Raises:
    UserError: the cache cannot be written, or the disk is full.
  """
  encode = _compiled(encoder, dtype, all_layers)
  pieces = clips.pieces(data, sizes[-1])
  plan = pipeline.Plan(pieces.lengths_P, sizes, batch_size)
  frames_P = encoder.num_frames(pieces.lengths_P)
  starts_P = np.cumsum(frames_P) - frames_P
  by_clip = jax.sharding.NamedSharding(mesh, sharding.DATA)
  placed = sharding.place(params, mesh, sharding.REPLICATED)

  def compute(writer: store.Writer) -> Mapping[str, np.ndarray]:
    reader = pipeline.Reader(data.audio, pieces, {})
    batches = pipeline.batches(plan, reader, by_clip)
    waiting = None
    for batch in progress(batches, len(plan), "encode", "batch"):
      # One batch late, so that the devices never wait for the disk.
      done, waiting = waiting, (batch, encode(placed, batch))
      if done is not None:
        _put(writer, starts_P, frames_P, *done)
    _put(writer, starts_P, frames_P, *waiting)
    return {}

  described = [encoder.to_json(), jnp.dtype(dtype).name, all_layers]
  name = _name(described, params, pieces, data.digest_U)
  found = store.open_or_create(cache_folder() / "encoded" / name, compute)
  return store.Sequences(found, frames_P)


def _compiled(encoder: Encoder, dtype: Any, all_layers: bool) -> Callable:
  """Parameters and a batch to hidden states [B, T, L, D]."""
  module = encoder.module(dtype)

  @jax.jit
  def encode(params, batch):
    audio_BxS = batch["inputs"].astype(jnp.float32) / io.FULL_SCALE
    audio_BxS = encoder.preprocess(audio_BxS, batch["length"])
    out = module.apply({"params": params}, audio_BxS, batch["length"])
    last = (out["last_hidden_state"],)
    layers = out["hidden_states"] if all_layers else last
    return jnp.stack(layers, axis=2).astype(dtype)

  return encode


def _put(writer, starts_P, frames_P, batch, values_BxTxLxD) -> None:
  """Writes the pieces of a batch, without what fills it up."""
  arrays = map(np.asarray, (values_BxTxLxD, batch["weight"], batch["piece"]))
  for values, weight, piece in zip(*arrays, strict=True):
    if weight:
      writer.put(starts_P[piece], values[: frames_P[piece]])


def _name(described: list, params: Any, pieces: Pieces, digest_U) -> str:
  content = hashlib.sha256()
  versions = [_VERSION, str(array_record.CorpusBuilder.VERSION)]
  described = [*versions, jax.default_backend(), *described]
  content.update(json.dumps(described).encode())
  flat = flax.traverse_util.flatten_dict(params, sep="/")
  for path, value in sorted(flat.items()):
    content.update(path.encode())
    content.update(np.asarray(value).tobytes())
  for row in pieces.row_P:
    content.update(digest_U[row].encode())
  content.update(np.stack([pieces.start_P, pieces.stop_P]).tobytes())
  return content.hexdigest()[:24]
