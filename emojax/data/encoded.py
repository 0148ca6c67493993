"""Features of clips by a frozen encoder: computed once, then read from disk.

A head trains on them in seconds. Everything that they depend on is in the name
of their folder. They are kept block by block, so that what was interrupted
goes on where it stopped. `BySpeaker` are the same as z-scores of each speaker.

B pieces of a batch, N of a block, P of all clips, T frames, L layers, D
features.
"""

import functools
import hashlib
import itertools
import json
import pathlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import flax
import jax
import jax.numpy as jnp
import numpy as np

from emojax import normalisation
from emojax.audio import io
from emojax.data import array_record, clips, pipeline, store
from emojax.data.clips import Clips
from emojax.data.pipeline import Pieces
from emojax.encoders import Encoder
from emojax.errors import UserError
from emojax.models.speech_classifier import states
from emojax.runtime import hosts, sharding
from emojax.runtime.files import cache_folder
from emojax.runtime.progress import progress

_VERSION = 3  # Raise it with any change of what is computed.
_BLOCK = 256  # Pieces that are kept together, as soon as they are there.


class Kept(NamedTuple):
  """What is kept of an encoder's states; see `speech_classifier.states`.

  Attributes:
    dtype: theirs, and that of the computation.
  """

  dtype: Any
  all_layers: bool
  averaged_frames: int


class Features(Sequence):
  """The states of each piece, [T, L, D], read from the disk by index."""

  def __init__(
    self, lengths: np.ndarray, places: Sequence[tuple[store.Sequences, int]]
  ):
    """Takes T of each piece, and where in which store it is."""
    self.lengths = lengths
    self._places = places

  def __len__(self) -> int:
    return len(self._places)

  def __getitem__(self, index: int) -> np.ndarray:
    block, place = self._places[index]
    return block[place]


def features(
  encoder: Encoder,
  params: Any,
  kept: Kept,
  data: Clips,
  sizes: tuple[int, ...],
  batch_size: int,
) -> Features:
  """Gives the encoder's states of each of `clips.pieces`.

  Pieces are filled up to `sizes`, in samples. Of several hosts each computes a
  share of what is missing, and the rest if they have no cache in common.

  Raises:
    UserError: the cache cannot be written, or the disk is full.
  """
  encode = _compiled(encoder, kept)
  mesh = sharding.local_mesh()
  placed = sharding.place(params, mesh, sharding.REPLICATED)
  by_clip = jax.sharding.NamedSharding(mesh, sharding.DATA)
  pieces = clips.pieces(data, sizes[-1])
  frames_P = -(-encoder.num_frames(pieces.lengths_P) // kept.averaged_frames)

  def outputs(piece_N: np.ndarray) -> Iterator[tuple[Any, jax.Array]]:
    """Batches of these pieces, and their states [B, T, L, D]."""
    of_block = Pieces(*(values[piece_N] for values in pieces))
    plan = pipeline.Plan(of_block.lengths_P, sizes, batch_size)
    reader = pipeline.Reader(data.audio, of_block, {})
    for batch in pipeline.batches(plan, reader, by_clip):
      yield batch, encode(placed, batch)

  described = [encoder.to_json(), jnp.dtype(kept.dtype).name, *kept[1:]]
  common = _digest(described, params)
  # Blocks of one length as far as it goes, and the longest first.
  order_P = np.argsort(-pieces.lengths_P, kind="stable")
  blocks = {}
  for start in range(0, len(order_P), _BLOCK):
    piece_N = order_P[start : start + _BLOCK]
    name = _name(common, pieces, piece_N, data.digest_U)
    blocks[cache_folder() / "encoded" / name] = piece_N

  def create(folders: Sequence[pathlib.Path]) -> None:
    shown = progress(folders, description="encode", unit="block")
    for folder in shown if folders else ():
      piece_N = blocks[folder]
      compute = functools.partial(_write, outputs(piece_N), frames_P[piece_N])
      store.create(folder, compute)

  missing = _missing(blocks)
  hosts.wait()  # All have looked before one writes.
  create(hosts.share(missing))
  hosts.wait()
  create(_missing(blocks))
  places = [None] * len(frames_P)
  for folder, piece_N in blocks.items():
    block = store.Sequences(store.read(folder), frames_P[piece_N])
    for place, piece in enumerate(piece_N.tolist()):
      places[piece] = block, place
  return Features(frames_P, places)


def _missing(folders: Iterable[pathlib.Path]) -> list[pathlib.Path]:
  return [folder for folder in folders if not store.is_there(folder)]


class BySpeaker(Sequence):
  """Features [T, L, D] of pieces, as z-scores of their speakers.

  Mean and standard deviation are those of all frames of the speaker. No label
  is read; but the statistics are of all that the speaker says, the test clips
  of test speakers among it.
  """

  def __init__(
    self, features: Features, speaker_U: np.ndarray, row_P: np.ndarray
  ):
    """Reads all features once; `row_P` are the clips of the pieces.

    Raises:
      UserError: a speaker has one clip only, which would be told apart from
        itself.
    """
    alone = speaker_U[normalisation.alone(speaker_U)]
    if len(alone):
      raise UserError(
        f"speaker {alone[0]} has one clip, and z-scores by speaker take two: "
        "leave speaker_normalised out of config.baselines, or the speaker "
        "out of the data"
      )
    self.lengths, self._features = features.lengths, features
    self._speaker_P = speaker_U[row_P]
    self._statistics = {}
    for speaker in np.unique(speaker_U).tolist():
      own_N = np.flatnonzero(self._speaker_P == speaker)
      # All frames of a speaker may be tens of gigabytes.
      found = normalisation.statistics_of(features[piece] for piece in own_N)
      self._statistics[speaker] = [x.astype(np.float32) for x in found]

  def __len__(self) -> int:
    return len(self.lengths)

  def __getitem__(self, index: int) -> np.ndarray:
    """float32."""
    mean_LxD, std_LxD = self._statistics[self._speaker_P[index]]
    return (self._features[index].astype(np.float32) - mean_LxD) / std_LxD


def _compiled(encoder: Encoder, kept: Kept) -> Callable:
  """Parameters and a batch to states [B, T, L, D]."""
  module = encoder.module(kept.dtype)

  @jax.jit
  def encode(params, batch):
    audio_BxS = batch["inputs"].astype(jnp.float32) / io.FULL_SCALE
    audio_BxS = encoder.preprocess(audio_BxS, batch["length"])
    outputs = module.apply({"params": params}, audio_BxS, batch["length"])
    found, _ = states(outputs, kept.all_layers, kept.averaged_frames)
    return found.astype(kept.dtype)

  return encode


def _write(
  outputs: Iterator[tuple[Any, jax.Array]],
  frames_N: np.ndarray,
  writer: store.Writer,
) -> Mapping[str, np.ndarray]:
  """Writes the pieces of a block, without what fills their batches up."""
  starts_N = np.cumsum(frames_N) - frames_N
  # One batch late, so that the devices never wait for the disk.
  waiting = next(outputs)
  for following in itertools.chain(outputs, [None]):
    batch, values_BxTxLxD = waiting
    arrays = map(np.asarray, (values_BxTxLxD, batch["weight"], batch["piece"]))
    for values, weight, piece in zip(*arrays, strict=True):
      if weight:
        writer.put(starts_N[piece], values[: frames_N[piece]])
    waiting = following
  return {}


def _digest(described: list, params: Any) -> str:
  """Of all that the states of every piece depend on."""
  content = hashlib.sha256()
  versions = [_VERSION, str(array_record.CorpusBuilder.VERSION)]
  described = [*versions, jax.default_backend(), *described]
  content.update(json.dumps(described).encode())
  flat = flax.traverse_util.flatten_dict(params, sep="/")
  for path, value in sorted(flat.items()):
    content.update(path.encode())
    content.update(np.asarray(value).tobytes())
  return content.hexdigest()


def _name(common: str, pieces: Pieces, piece_N, digest_U) -> str:
  """Of the folder of a block."""
  row_N, start_N, stop_N = (values[piece_N].tolist() for values in pieces)
  digests = [digest_U[row] for row in row_N]
  content = json.dumps([common, digests, start_N, stop_N])
  return hashlib.sha256(content.encode()).hexdigest()[:24]
