"""What a selector asks of a classifier, and two that give it.

Letters in names: B examples, K classes, D features.
"""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import ml_collections
from flax import linen as nn

from emojax import checks, encoders
from emojax.errors import UserError
from emojax.models import image_classifiers
from emojax.systems import faces, speech
from emojax.systems.faces import FaceSystem
from emojax.systems.speech import SpeechSystem

SPEECH = "log_mel"  # The one that takes clips.
# In tables.
_NAMES = {
  SPEECH: "log-mel CNN",
  "dcnn": "DCNN",
  "vgg19": "VGG19",
  "cnn": "CNN",
}


@dataclasses.dataclass(frozen=True)
class Classifier:
  """Features and logits of examples, from whatever model."""

  name: str  # In tables.
  # (key, inputs of one example) -> variables: a dict with `params`, and with
  # whatever else the model keeps.
  init: Callable[[jax.Array, Any], Any]
  # (variables, inputs, train, key, weight_B) -> (logits [B, K], features
  # [B, D], changed variables), float32. The key is of dropout and random views;
  # what has weight 0 only fills the batch up, and without weights nothing does.
  apply: Callable[..., tuple[jax.Array, jax.Array, Any]]


def describe(
  config: ml_collections.ConfigDict, classes: Sequence[str]
) -> SpeechSystem | FaceSystem:
  """The system of a whole config of RLPS, which `check` has seen."""
  model = config.model
  if model.classifier == SPEECH:
    return SpeechSystem(
      encoder=encoders.find(SPEECH).encoder,
      classes=tuple(classes),
      window_seconds=config.data.max_seconds,
      pooling="attention",
      weigh_layers=False,
      averaged_frames=1,
      hidden=model.hidden,
      dropout=model.dropout,
      dtype=config.dtype,
    )
  return FaceSystem(
    classes=tuple(classes),
    classifier=model.classifier,
    widths=tuple(model.widths),
    hidden=model.hidden,
    dropout=model.dropout,
    crop=model.crop,
    image_size=tuple(config.data.image_size),
    channels=config.data.channels,
    dtype=config.dtype,
  )


@functools.cache
def of(system: SpeechSystem | FaceSystem) -> Classifier:
  """The classifier that a system describes: one, so that it compiles once."""
  if isinstance(system, SpeechSystem):
    return of_speech(_NAMES[SPEECH], system)
  return of_images(_NAMES[system.classifier], system.model(), system.crop)


def check(config: ml_collections.ConfigDict) -> None:
  """Checks the fields of `config.model`, and the form of its inputs."""
  checks.choice(config, "model.classifier", (*faces.SMALLEST, SPEECH))
  checks.choice(config, "dtype", speech.DTYPES)
  checks.choice(config, "data.channels", (1, 3))
  checks.positive(config, "model.hidden", "model.widths", "data.image_size")
  checks.positive(config, "data.max_seconds")
  checks.not_negative(config, "model.crop")
  checks.fraction(config, "model.dropout")
  model, size = config.model, config.data.image_size
  if len(model.widths) != 6:
    raise UserError(
      f"config.model.widths = {model.widths}: DCNN has six convolutions"
    )
  if len(size) != 2:
    raise UserError(f"config.data.image_size = {size}: give height, width")
  if model.classifier == SPEECH and model.crop:
    raise UserError(
      f"config.model.crop = {model.crop}: clips have no squares; set it 0"
    )
  least = faces.SMALLEST.get(model.classifier, 0)
  if model.crop > min(size) or (model.crop or min(size)) < least:
    raise UserError(
      f"config.data.image_size = {size}, config.model.crop = {model.crop}: "
      f"{model.classifier} takes {least} pixels or more, and a crop is no "
      "larger than the image"
    )


def of_images(name: str, model: nn.Module, crop: int = 0) -> Classifier:
  """A classifier of uint8 images [B, H, W, C].

  With a `crop` it trains on random squares of this size, half of them mirrored,
  and averages over ten views otherwise; 0: the image as it is.
  """

  def init(key, images):
    if crop:
      images = images[:, :crop, :crop]
    return model.init(key, faces.centred(images))

  def apply(variables, images, train, key, weight_B=None):
    if not train:
      return (*faces.evaluate(model, variables, images, crop), {})
    view_key, dropout_key = jax.random.split(key)
    if crop:
      images = image_classifiers.random_views(view_key, images, crop)
    counts = {} if weight_B is None else {"counts_B": weight_B > 0}
    (logits, out), changed = model.apply(
      variables,
      faces.centred(images),
      train=True,
      mutable=["batch_stats"],
      rngs={"dropout": dropout_key},
      **counts,
    )
    return logits, out["features"], changed

  return Classifier(name, init, apply)


def of_speech(name: str, system: SpeechSystem) -> Classifier:
  """The speech study's classifier.

  Its inputs: `audio` int16 [B, S] with zeros after the end, `length` int32 [B].
  Its features are the pooled states of the encoder.
  """
  model = system.model()

  def init(key, inputs):
    audio_BxS = system.prepare(inputs["audio"], inputs["length"])
    return model.init(key, audio_BxS, inputs["length"])

  def apply(variables, inputs, train, key, weight_B=None):
    del weight_B  # No clip knows of the others.
    logits, out = system.apply(
      *(model, variables["params"], inputs["audio"], inputs["length"], train),
      train_encoder=train,
      rngs={"dropout": key},
    )
    return logits, out["pooled"], {}

  return Classifier(name, init, apply)
