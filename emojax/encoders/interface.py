"""What the house asks of a speech encoder, and the registry of encoders.

An encoder is a frozen dataclass of plain values, which JSON can write; it
makes a Flax module and says what has to be known of it. The rest of the code
never asks which one it is.

B clips, S samples, T frames, D features.
"""

import abc
import dataclasses
import pathlib
from collections.abc import Mapping
from typing import Any, ClassVar, NamedTuple, Self

import jax
import jax.numpy as jnp
from flax import linen as nn

from emojax.audio.settings import SAMPLE_RATE
from emojax.encoders import transformer_config
from emojax.errors import UserError
from emojax.runtime import files
from emojax.weights import hub, json_files


@dataclasses.dataclass(frozen=True)
class Encoder(abc.ABC):
  """A speech encoder but for its weights.

  Attributes:
    kinds: what `kind` may be: in `system.json`, and `model_type` of published
      checkpoints.
    sample_rate: of its input, samples a second.
    max_samples: the longest clip that is taken; None where any length is.
    num_layers: transformer layers, of which a study may train the last ones.
    masks: whether spans of its features can be hidden in training.
    pads: whether clips can be filled up with silence to `max_samples`.
    training_only: parameters (the first names of their paths) that do nothing
      but in training, so that a checkpoint may lack them.
  """

  kinds: ClassVar[tuple[str, ...]]
  sample_rate = SAMPLE_RATE
  max_samples: ClassVar[int | None] = None
  num_layers = 0
  masks = False
  pads = False
  training_only: ClassVar[tuple[str, ...]] = ()

  @property
  def kind(self) -> str:
    """One of `kinds`."""
    return self.kinds[0]

  @abc.abstractmethod
  def module(self, dtype: Any, remat: bool = False) -> nn.Module:
    """Gives the module: `(audio_BxS, lengths_B, train) -> outputs`.

    The outputs are `last_hidden_state` [B, T, D], `hidden_states` (a tuple of
    such) and `mask` [B, T], true for the frames of the clip itself. What is
    random while it trains draws from the rng 'dropout'. It computes in `dtype`
    with float32 parameters, and with `remat` layers again in the backward pass.
    """

  @abc.abstractmethod
  def num_frames(self, num_samples):
    """T of a clip by its length, or of an integer array of clips."""

  @property
  @abc.abstractmethod
  def samples_per_frame(self) -> int:
    """Samples from one frame to the next."""

  @property
  @abc.abstractmethod
  def min_samples(self) -> int:
    """The shortest clip that is taken: what one frame stands for."""

  def layer_of(self, path: tuple[str, ...]) -> int | None:
    """The layer, 0..`num_layers` - 1, of the module's parameter, or None."""
    del path

  def preprocess(self, audio_BxS: jax.Array, lengths_B: jax.Array) -> jax.Array:
    """What the module reads, of audio with full scale at 1.

    Here each clip with zero mean and unit variance, as the preprocessors of
    published encoders do; on the device, so that it comes after augmentation.
    """
    return normalise(audio_BxS, lengths_B)

  def masked(self, time_share: float, channel_share: float) -> Self:
    """The same with such shares of frames and of features hidden in training.

    Only where it `masks`.
    """
    raise NotImplementedError

  def padded(self) -> Self:
    """The same with clips that are filled up. Only where it `pads`."""
    raise NotImplementedError

  def without_dropout(self) -> Self:
    """The same with nothing random in training but masks."""
    return self

  @classmethod
  def read(cls, folder: pathlib.Path, fields: Mapping[str, Any]) -> Self:
    """Reads the encoder of a published checkpoint, with this `config.json`.

    Raises:
      UserError: something in it is damaged or not supported.
    """
    raise NotImplementedError

  def load(self, folder: pathlib.Path) -> Any:
    """Reads the weights of a published checkpoint; raises as `read` does."""
    raise NotImplementedError

  @classmethod
  def from_json(cls, fields: Mapping[str, Any]) -> Self:
    """Reads what `to_json` gives, without the kind."""
    return cls(
      **{k: tuple(v) if isinstance(v, list) else v for k, v in fields.items()}
    )

  def to_json(self) -> dict[str, Any]:
    return {"kind": self.kind, **dataclasses.asdict(self)}


class Source(NamedTuple):
  """Where an encoder and its weights come from.

  Attributes:
    id, label: such as `hubert-base-ls960`; the label is for people.
    checkpoint: a folder or a hub id; '' where weights are drawn at random.
    revision: commit of the hub's repository; '' where there is none.
  """

  id: str
  label: str
  encoder: Encoder
  checkpoint: str = ""
  revision: str = ""

  def load(self) -> Any:
    """Its pretrained weights, downloaded if they are not there."""
    return self.encoder.load(hub.folder(self.checkpoint, self.revision or None))


_SOURCES: dict[str, Source] = {}
_KINDS: dict[str, type[Encoder]] = {}


def register(name: str, encoder: Encoder, label: str) -> None:
  """Adds an encoder with random weights, for `config.model.encoder`.

  A config file is the place for it; see `docs/adding.md`. Checkpoints and
  trained systems know its class from then on. What was registered from outside
  under this name before is replaced.

  Raises:
    ValueError: an encoder of the house has this name.
  """
  known = _SOURCES.get(name)
  if known and type(known.encoder).__module__.startswith("emojax."):
    raise ValueError(f"there is an encoder called {name!r}")
  _SOURCES[name] = Source(name, label, encoder)
  register_kind(type(encoder))


def register_kind(encoder_class: type[Encoder]) -> None:
  """Makes an encoder known that is in checkpoints alone."""
  _KINDS.update(dict.fromkeys(encoder_class.kinds, encoder_class))


def names() -> list[str]:
  """The encoders that are registered."""
  return sorted(_SOURCES)


def find(name: str, revision: str = "") -> Source:
  """Finds an encoder; of a checkpoint only the configs are downloaded.

  Args:
    name: one of `names`, or a checkpoint: a folder or a hub id.
    revision: branch, tag or commit of the hub's repository; '' for its newest.

  Raises:
    UserError: there is none, or of an architecture that emojax does not have,
      or for clips of another rate.
  """
  if name in _SOURCES:
    return _SOURCES[name]
  folder = hub.folder(name, revision or None, hub.CONFIG_FILES)
  fields = json_files.read_config(folder)
  source = str(folder / "config.json")
  kind = transformer_config.family(fields, source, "speech", _KINDS)
  encoder = _KINDS[kind].read(folder, fields)
  if encoder.sample_rate != SAMPLE_RATE:
    raise UserError(
      f"{name}: takes {encoder.sample_rate} Hz, and clips have {SAMPLE_RATE}; "
      "choose another encoder"
    )
  label = pathlib.PurePath(name).name
  revision = hub.revision_of(folder)
  return Source(files.plain_name(label), label, encoder, name, revision)


def from_json(fields: Mapping[str, Any]) -> Encoder:
  """Reads what `Encoder.to_json` gives.

  Raises:
    ValueError: the kind is not registered, or fields do not fit.
  """
  rest = dict(fields)
  kind = rest.pop("kind")
  if kind not in _KINDS:
    raise ValueError(
      f"no encoder {kind!r}; the file that registers it has to be imported"
    )
  return _KINDS[kind].from_json(rest)


def normalise(audio_BxS: jax.Array, lengths_B: jax.Array) -> jax.Array:
  """Each clip with zero mean and unit variance, and zeros after its end."""
  mask_BxS = jnp.arange(audio_BxS.shape[1])[None] < lengths_B[:, None]
  count_Bx1 = jnp.maximum(lengths_B, 1)[:, None].astype(jnp.float32)

  def mean(x_BxS):
    return jnp.where(mask_BxS, x_BxS, 0).sum(-1, keepdims=True) / count_Bx1

  centred_BxS = jnp.where(mask_BxS, audio_BxS - mean(audio_BxS), 0)
  variance_Bx1 = mean(jnp.square(centred_BxS))
  return centred_BxS * jax.lax.rsqrt(variance_Bx1 + 1e-7)
