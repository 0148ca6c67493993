"""A speech emotion classifier before its training, and its first weights."""

import dataclasses
import functools
import logging
import pathlib
from collections.abc import Callable
from typing import Any, Self

import flax
import jax
import jax.numpy as jnp
import ml_collections

from emojax import encoders
from emojax.errors import UserError
from emojax.runtime import sharding
from emojax.systems import speech
from emojax.systems.speech import SpeechSystem

_LOG = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Untrained:
  """A classifier before its training."""

  source: encoders.Source  # Of its encoder.
  system: SpeechSystem
  encoder_params: Any  # Pretrained, None to draw them.
  trained_layers: int | None  # Of the encoder, the last ones; None: all of it.
  start: str  # The folder of a run whose weights it starts from, or ''.

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
  """Makes a classifier of the config, with the encoder of that name.

  One that is not `config.model.encoder` is a baseline, and trained as a whole.

  Raises:
    UserError: whatever is wrong with a pretrained encoder; more layers to
      train than it has; a random encoder that is frozen.
  """
  is_main, trained_layers = name == config.model.encoder, None
  found = encoders.find(name, config.model.revision)
  encoder = found.encoder
  if is_main and config.freeze_encoder:
    trained_layers = config.unfreeze_last_n_layers
    if not (found.checkpoint or config.pretrained_weights):
      raise UserError(
        f"config.freeze_encoder: the {found.label} has random weights; train "
        "it (False), or name a run in config.pretrained_weights"
      )
    if trained_layers > encoder.num_layers:
      raise UserError(
        f"config.unfreeze_last_n_layers = {trained_layers}: {name} has "
        f"{encoder.num_layers} layers"
      )
  shares = masked_shares(config)
  if encoder.masks:
    encoder = encoder.masked(*shares)
  elif is_main and any(shares):
    raise UserError(
      f"config.augment.feature_time_share, feature_channel_share: a "
      f"{found.label} has no such features; see time_mask_probability"
    )
  if trained_layers == 0:
    encoder = encoder.without_dropout()
  system = SpeechSystem(
    encoder=encoder,
    classes=classes,
    window_seconds=config.data.buckets[-1],
    pooling=config.model.pooling,
    weigh_layers=config.model.weigh_layers,
    hidden=config.model.hidden,
    dropout=config.model.dropout,
    dtype=config.dtype,
  )
  params = found.load() if found.checkpoint else None
  start = config.pretrained_weights if is_main else ""
  return Untrained(found, system, params, trained_layers, start)


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
  other, theirs = speech.load(pathlib.Path(run))
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
