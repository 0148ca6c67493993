"""From the config to a classifier, its first weights, and which are trained."""

import dataclasses
import functools
import logging
import pathlib
from collections.abc import Callable
from typing import Any

import flax
import jax
import jax.numpy as jnp
import ml_collections
import numpy as np

from emojax.encoders import speech as encoders
from emojax.encoders.speech_config import SpeechConfig
from emojax.errors import UserError
from emojax.runtime import sharding
from emojax.systems import speech
from emojax.systems.speech import SpeechSystem

_LOG = logging.getLogger(__name__)

SMALL, LOG_MEL = "small", "log_mel"
SAMPLE_RATE = 16_000

# An encoder of the wav2vec 2.0 family that trains from scratch on two cores:
# few and narrow layers, 20 ms a frame, ReLU instead of GELU.
_SMALL = SpeechConfig(
  hidden_size=96,
  num_hidden_layers=2,
  num_attention_heads=4,
  intermediate_size=192,
  feat_extract_norm="group",
  feat_extract_activation="relu",
  conv_dim=(32, 64, 64, 96),
  conv_kernel=(20, 8, 8, 4),
  conv_stride=(10, 4, 4, 2),
  conv_bias=True,
  num_conv_pos_embeddings=16,
  num_conv_pos_embedding_groups=4,
  layerdrop=0.0,
)
_LOG_MEL_CHANNELS = (128, 128, 128)


@dataclasses.dataclass(frozen=True)
class Blueprint:
  """A system before training.

  Attributes:
    name: in tables.
    system: the classifier.
    encoder_params: pretrained weights of the encoder, None to draw them.
    trained_layers: how many of the encoder's last layers are trained; None:
      all of the encoder.
    start: the folder of a run whose weights it starts from; '' for none.
  """

  name: str
  system: SpeechSystem
  encoder_params: Any
  trained_layers: int | None
  start: str

  @property
  def trains_encoder(self) -> bool:
    """Whether any parameter of the encoder is trained."""
    return self.trained_layers != 0

  def with_domains(self, num_domains: int) -> "Blueprint":
    """The same with an adversary."""
    system = dataclasses.replace(self.system, num_domains=num_domains)
    return dataclasses.replace(self, system=system)

  def init(self, key: jax.Array) -> tuple[Any, Any]:
    """The first weights: those that are trained, and the others.

    Args:
      key: of what is not pretrained.

    Raises:
      UserError: the run to start from does not fit.
    """
    params, names = self._draw(key), self._encoder_names
    if self.encoder_params is not None:
      encoder = {**self.encoder_params, **params["encoder"]}
      params = {**params, "encoder": {name: encoder[name] for name in names}}
    if self.start:
      params = _start_from(self.start, self.system, params)
    parts = ({}, {})
    for path, value in flax.traverse_util.flatten_dict(params).items():
      parts[0 if self._is_trained(path) else 1][path] = value
    return tuple(flax.traverse_util.unflatten_dict(part) for part in parts)

  @property
  def _example(self) -> tuple[jax.Array, jax.Array]:
    num_samples = 4 * self.system.min_samples
    return jnp.zeros((1, num_samples)), jnp.full(1, num_samples)

  @functools.cached_property
  def _encoder_names(self) -> list[str]:
    """The encoder's parts; a checkpoint may hold more than its config uses."""
    model = self.system.model()
    shapes = jax.eval_shape(model.init, jax.random.key(0), *self._example)
    return list(shapes["params"]["encoder"])

  @functools.cached_property
  def _draw(self) -> Callable[[jax.Array], Any]:
    """Draws the parameters that are not pretrained, from a key."""
    model, pretrained = self.system.model(), self.encoder_params or {}

    def draw(key):
      params = model.init(key, *self._example)["params"]
      # Not all checkpoints have the embedding of masked frames.
      encoder = {
        name: part
        for name, part in params["encoder"].items()
        if name not in pretrained
      }
      return {**params, "encoder": encoder}

    return jax.jit(draw, compiler_options=sharding.RUNS_ONCE)

  def _is_trained(self, path: tuple[str, ...]) -> bool:
    if path[0] != "encoder" or self.trained_layers is None:
      return True
    if path[1] != "encoder" or not path[2].startswith("layers_"):
      return False
    first = self.system.num_layers - self.trained_layers
    return int(path[2].removeprefix("layers_")) >= first


def blueprint(
  config: ml_collections.ConfigDict, encoder: str, classes: tuple[str, ...]
) -> Blueprint:
  """Makes a system of the config, with an encoder.

  Args:
    config: a whole config.
    encoder: `SMALL`, `LOG_MEL`, or a pretrained encoder's folder or hub id.
    classes: names of the emotions.

  Raises:
    UserError: whatever is wrong with the pretrained encoder; more layers to
      train than it has; a random encoder that is frozen.
  """
  trained_layers, params, normalise = None, None, True
  # A baseline is trained as a whole, whatever the main system's encoder is.
  is_main = encoder == config.model.encoder
  if config.freeze_encoder and is_main:
    trained_layers = config.unfreeze_last_n_layers
    is_random = encoder in (SMALL, LOG_MEL)
    if is_random and not config.pretrained_weights:
      raise UserError(
        f"config.freeze_encoder: the {system_name(encoder)} has random "
        "weights; train it (False), or name a run in config.pretrained_weights"
      )
  if encoder == LOG_MEL:
    fields = speech.log_mel_encoder(_LOG_MEL_CHANNELS)
  elif encoder == SMALL:
    fields = speech.speech_encoder(_masked(config, _SMALL, trained_layers))
  else:
    pretrained = encoders.load(encoder, revision=config.model.revision or None)
    if pretrained.preprocess.sampling_rate != SAMPLE_RATE:
      raise UserError(
        f"config.model.encoder = {encoder!r} takes "
        f"{pretrained.preprocess.sampling_rate} Hz, and the study's clips have "
        f"{SAMPLE_RATE}; choose another encoder"
      )
    fields = speech.speech_encoder(
      _masked(config, pretrained.config, trained_layers)
    )
    normalise = pretrained.preprocess.do_normalize
    params = pretrained.params
  system = SpeechSystem(
    encoder=fields,
    classes=classes,
    sample_rate=SAMPLE_RATE,
    normalise=normalise,
    window_seconds=config.data.buckets[-1],
    pooling=config.model.pooling,
    weigh_layers=config.model.weigh_layers,
    hidden=config.model.hidden,
    dropout=config.model.dropout,
    dtype=config.dtype,
  )
  if (trained_layers or 0) > system.num_layers:
    raise UserError(
      f"config.unfreeze_last_n_layers = {trained_layers}: {encoder} has "
      f"{system.num_layers} layers"
    )
  start = config.pretrained_weights if is_main else ""
  return Blueprint(system_name(encoder), system, params, trained_layers, start)


def system_name(encoder: str) -> str:
  """How a system is called in tables."""
  return {SMALL: "small encoder", LOG_MEL: "log-mel CNN"}.get(
    encoder, pathlib.PurePath(encoder).name
  )


def masks_features(config: ml_collections.ConfigDict) -> bool:
  """Whether spans of the encoder's features are hidden in training."""
  augment = config.augment
  return augment.feature_time_share > 0 or augment.feature_channel_share > 0


def run_key(config: ml_collections.ConfigDict, seed: int) -> jax.Array:
  """The root of everything random in one initialisation."""
  return jax.random.fold_in(jax.random.key(config.seed), seed)


def round_name(config: ml_collections.ConfigDict) -> str:
  """What a round of training is called."""
  return "round" if config.steps_per_round else "epoch"


def class_weights(
  labels_N: np.ndarray, num_classes: int, balanced: bool
) -> np.ndarray:
  """Weights of the classes in the loss, float32 [C].

  Args:
    labels_N: of the training part.
    num_classes: C.
    balanced: N / (C count), scikit-learn's 'balanced', or 1 for all.
  """
  if not balanced:
    return np.ones(num_classes, np.float32)
  counts_C = np.bincount(labels_N, minlength=num_classes)
  return (len(labels_N) / (num_classes * counts_C)).astype(np.float32)


def _masked(
  config, encoder: SpeechConfig, trained_layers: int | None
) -> SpeechConfig:
  """The encoder with the config's masks; without dropout if it is frozen."""
  rates = {}
  if trained_layers == 0:
    rates = {
      field.name: 0.0
      for field in dataclasses.fields(encoder)
      if field.name.endswith("_dropout") or field.name == "layerdrop"
    }
  return dataclasses.replace(
    encoder,
    apply_spec_augment=True,
    mask_time_prob=config.augment.feature_time_share,
    mask_feature_prob=config.augment.feature_channel_share,
    **rates,
  )


def _start_from(folder: str, system: SpeechSystem, params):
  """Weights of another run, in the place of all that have the same shape.

  Raises:
    UserError: the run is not there or of another study, or its encoder is
      another one.
  """
  where = f"config.pretrained_weights = {folder!r}"
  other, theirs = speech.load(speech.find(pathlib.Path(folder)))
  if other.encoder["kind"] != system.encoder["kind"]:
    raise UserError(
      f"{where}: its encoder is a {other.encoder['kind']}, ours a "
      f"{system.encoder['kind']}"
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
    if path[0] == "encoder" and path[1] != "masked_spec_embed":
      shape = "missing" if found is None else f"of shape {found.shape}"
      raise UserError(
        f"{where}: {'/'.join(path)} is {shape} there, and {value.shape} here"
      )
    drawn.append("/".join(path))
  if drawn:
    _LOG.info("%s has no fitting %s: drawn anew", folder, ", ".join(drawn))
  return flax.traverse_util.unflatten_dict({**ours, **kept})
