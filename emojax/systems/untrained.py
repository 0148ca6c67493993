"""A speech emotion classifier before its training, and its first weights."""

import dataclasses
import functools
import logging
from collections.abc import Callable
from typing import Any, Self

import flax
import jax
import jax.numpy as jnp
import ml_collections

from emojax import encoders
from emojax.errors import UserError
from emojax.runtime import sharding
from emojax.systems import stored
from emojax.systems.speech import SpeechSystem

_LOG = logging.getLogger(__name__)


# The classifier of `config.model`, on features of a frozen encoder as z-scores
# of each speaker: a baseline with this name.
BY_SPEAKER = "speaker_normalised"


@dataclasses.dataclass(frozen=True)
class Untrained:
  """A classifier before its training."""

  id: str
  label: str  # For people.
  system: SpeechSystem
  encoder_params: Any  # Pretrained, None to draw them.
  trained_layers: int | None  # Of the encoder, the last ones; None: all of it.
  start: str = ""  # The folder of a run whose weights it starts from, or ''.
  by_speaker: bool = False  # Whether it reads z-scores of each speaker.
  # What an adversary tells apart, so that the encoder forgets it; or "none".
  forgets: str = "none"

  @property
  def draws_encoder(self) -> bool:
    """Whether its encoder knows nothing yet."""
    return self.encoder_params is None and not self.start

  def with_domains(self, num_domains: int) -> Self:
    """The same with an adversary that tells so many domains apart."""
    system = dataclasses.replace(self.system, num_domains=num_domains)
    return dataclasses.replace(self, system=system)

  def init(self, key: jax.Array) -> tuple[Any, Any]:
    """The first weights: those that are trained, and the others.

    What is not pretrained is drawn from the key.

    Raises:
      UserError: the run to start from does not fit.
    """
    params = self._draw(key, self.encoder_params or {})
    if self.start:
      params = _start_from(self.start, self.system, params)
    parts = ({}, {})
    for path, value in flax.traverse_util.flatten_dict(params).items():
      parts[0 if self._is_trained(path) else 1][path] = value
    return tuple(flax.traverse_util.unflatten_dict(part) for part in parts)

  @functools.cached_property
  def _draw(self) -> Callable[[jax.Array, Any], dict[str, Any]]:
    """All parameters, from a key and those of the encoder already trained."""

    def draw(key, pretrained):
      params = self.system.init(key)
      # A checkpoint may hold more than its config uses, and lack what only
      # training needs.
      encoder = params["encoder"].items()
      known = {name: pretrained.get(name, part) for name, part in encoder}
      return {**params, "encoder": known}

    return jax.jit(draw, compiler_options=sharding.RUNS_ONCE)

  def _is_trained(self, path: tuple[str, ...]) -> bool:
    if path[0] != "encoder" or self.trained_layers is None:
      return True
    encoder = self.system.encoder
    first = encoder.num_layers - self.trained_layers
    layer = encoder.layer_of(path[1:])
    return layer is not None and layer >= first


def make(
  config: ml_collections.ConfigDict, name: str, classes: tuple[str, ...]
) -> Untrained:
  """Makes a classifier of the config: that of `config.model`, or a baseline.

  The name is an encoder's, or `BY_SPEAKER`. An encoder that is not
  `config.model.encoder` is trained as a whole.

  Raises:
    UserError: whatever is wrong with a pretrained encoder; more layers to
      train than it has; a random encoder that is frozen, or a pretrained one
      that is to be trained and would not be; longer clips than it takes.
  """
  by_speaker = name == BY_SPEAKER
  if by_speaker:
    name = config.model.encoder
  is_main = name == config.model.encoder
  found = encoders.find(name, config.model.revision)
  is_frozen = is_main and config.freeze_encoder
  trained_layers = config.unfreeze_last_n_layers if is_frozen else None
  if is_frozen:
    _check_frozen(config, found)
  system = SpeechSystem(
    encoder=_encoder(config, found, is_main, trained_layers),
    classes=classes,
    window_seconds=config.data.buckets[-1],
    pooling=config.model.pooling,
    # Of random weights the last layer is as good as any.
    weigh_layers=config.model.weigh_layers and bool(found.checkpoint),
    averaged_frames=config.model.averaged_frames if is_main else 1,
    hidden=config.model.hidden,
    dropout=config.model.dropout,
    dtype=config.dtype,
  )
  classifier = Untrained(
    id=f"{found.id}_{BY_SPEAKER}" if by_speaker else found.id,
    label=f"{found.label}, z-scored by speaker" if by_speaker else found.label,
    system=system,
    encoder_params=found.load() if found.checkpoint else None,
    trained_layers=trained_layers,
    start=config.pretrained_weights if is_main else "",
    by_speaker=by_speaker,
    forgets=config.adversary.domain if is_main else "none",
  )
  if trained_layers != 0 and not (
    classifier.draws_encoder or config.optimizer.encoder_learning_rate
  ):
    raise UserError(
      f"config.optimizer.encoder_learning_rate = 0: the {found.label} would "
      "not be trained; set config.freeze_encoder=True, without "
      "config.unfreeze_last_n_layers"
    )
  return classifier


def _check_frozen(config, found: encoders.Source) -> None:
  if not (found.checkpoint or config.pretrained_weights):
    raise UserError(
      f"config.freeze_encoder: the {found.label} has random weights; train "
      "it (False), or name a run in config.pretrained_weights"
    )
  if config.unfreeze_last_n_layers > found.encoder.num_layers:
    raise UserError(
      f"config.unfreeze_last_n_layers = {config.unfreeze_last_n_layers}: "
      f"{config.model.encoder} has {found.encoder.num_layers} layers"
    )


def _encoder(config, found: encoders.Source, is_main, trained_layers):
  """The encoder as the config wants it."""
  encoder = found.encoder
  longest = encoder.max_samples
  window_samples = config.data.buckets[-1] * encoder.sample_rate
  if longest is not None and window_samples > longest:
    raise UserError(
      f"config.data.buckets = {tuple(config.data.buckets)}: the {found.label} "
      f"takes {longest / encoder.sample_rate:g} s at most; let the last one be "
      "as long as that or shorter (longer recordings are cut in windows)"
    )
  if is_main and config.model.pad_clips:
    if not encoder.pads:
      raise UserError(
        f"config.model.pad_clips: the {found.label} takes clips of any length; "
        "set it False"
      )
    encoder = encoder.padded()
  shares = masked_shares(config)
  if encoder.masks:
    encoder = encoder.masked(*shares)
  elif is_main and any(shares):
    raise UserError(
      f"config.augment.feature_time_share, feature_channel_share: a "
      f"{found.label} has no such features; see time_mask_probability"
    )
  return encoder.without_dropout() if trained_layers == 0 else encoder


def masked_shares(config) -> tuple[float, float]:
  """Of the encoder's frames and features, those that training hides."""
  augment = config.augment
  return augment.feature_time_share, augment.feature_channel_share


def merge(frozen: Any, trained: Any) -> Any:
  """All parameters of the model from the two parts."""
  flat = flax.traverse_util.flatten_dict
  return flax.traverse_util.unflatten_dict({**flat(frozen), **flat(trained)})


def _start_from(run: str, system: SpeechSystem, params: Any) -> Any:
  """Weights of another run, in the place of all that have the same shape."""
  where = f"config.pretrained_weights = {run!r}"
  other, theirs = stored.load(run, SpeechSystem)
  if other.encoder.kind != system.encoder.kind:
    raise UserError(
      f"{where}: its encoder is a {other.encoder.kind}, ours a "
      f"{system.encoder.kind}"
    )
  ours = flax.traverse_util.flatten_dict(params)
  theirs = flax.traverse_util.flatten_dict(theirs)
  kept, drawn = {}, []
  for path, value in ours.items():
    found = theirs.get(path)
    if path[0] == "output" and other.classes != system.classes:
      found = None  # Of the same shape perhaps, but of another meaning.
    if found is not None and found.shape == value.shape:
      kept[path] = jnp.asarray(found)
      continue
    if path[0] == "encoder" and path[1] not in system.encoder.training_only:
      shape = "missing" if found is None else f"of shape {found.shape}"
      raise UserError(
        f"{where}: {'/'.join(path)} is {shape} there, and {value.shape} here"
      )
    drawn.append("/".join(path))
  if drawn:
    _LOG.info("%s has no fitting %s: drawn anew", run, ", ".join(drawn))
  return flax.traverse_util.unflatten_dict({**ours, **kept})
