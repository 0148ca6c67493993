"""From the config to a classifier, its first weights, and which are trained."""

import dataclasses
import logging
import pathlib
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
DTYPES = {"float32": jnp.float32, "bfloat16": jnp.bfloat16}

# An encoder of the wav2vec 2.0 family that trains from scratch on two cores:
# the convolutions of layer-norm models, 20 ms a frame.
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
_LOG_MEL_CHANNELS = (32, 64, 64, 64)


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
    model = self.system.model()
    audio_BxS = jnp.zeros((1, 4 * self.system.min_samples))
    lengths_B = jnp.full(1, audio_BxS.shape[1])
    init = jax.jit(model.init, compiler_options=sharding.RUNS_ONCE)
    params = init(key, audio_BxS, lengths_B)["params"]
    if self.encoder_params is not None:
      # Not all checkpoints have the embedding of masked frames.
      drawn = params["encoder"]
      pretrained = {k: self.encoder_params.get(k, drawn[k]) for k in drawn}
      params = {**params, "encoder": pretrained}
    if self.start:
      params = _start_from(self.start, self.system, params)
    parts = ({}, {})
    for path, value in flax.traverse_util.flatten_dict(params).items():
      parts[0 if self._is_trained(path) else 1][path] = value
    return tuple(flax.traverse_util.unflatten_dict(part) for part in parts)

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
  if config.freeze_encoder and encoder != LOG_MEL:
    trained_layers = config.unfreeze_last_n_layers
  if encoder == LOG_MEL:
    fields = speech.log_mel_encoder(_LOG_MEL_CHANNELS)
  elif encoder == SMALL:
    if config.freeze_encoder and not config.pretrained_weights:
      raise UserError(
        "config.freeze_encoder: the small encoder has random weights; train it "
        "(False), or name a run in config.pretrained_weights"
      )
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
  )
  if (trained_layers or 0) > system.num_layers:
    raise UserError(
      f"config.unfreeze_last_n_layers = {trained_layers}: {encoder} has "
      f"{system.num_layers} layers"
    )
  start = config.pretrained_weights if encoder != LOG_MEL else ""
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
