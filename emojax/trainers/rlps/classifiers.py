"""What the selector asks of a classifier, and three that give it.

An *item* is what a classifier takes at once: an image, a clip, a conversation.
It holds one or more *examples*, each with a label: an image and a clip are one,
a conversation has an example for each utterance. The selector chooses among
examples.

Letters in names: B items, E examples of an item, K classes, D features.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from emojax.models import image_classifiers
from emojax.models.dann import Dann
from emojax.models.sa_gru import Packing
from emojax.systems import speech
from emojax.systems.speech import SpeechSystem

Variables = Any
Inputs = Any


@dataclasses.dataclass(frozen=True)
class Classifier:
  """Features and logits of examples, from whatever model.

  Attributes:
    name: in tables.
    init: `(key, inputs of one item) -> variables`: a dict with `params`, and
      with whatever else the model keeps.
    apply: `(variables, inputs, train, key) -> (logits [B * E, K], features
      [B * E, D], changed variables)`, float32; examples in the order of their
      items. The key is of dropout and random views.
  """

  name: str
  init: Callable[[jax.Array, Inputs], Variables]
  apply: Callable[
    [Variables, Inputs, bool, jax.Array],
    tuple[jax.Array, jax.Array, Variables],
  ]


def of_images(name: str, model: nn.Module, crop: int = 0) -> Classifier:
  """A classifier of uint8 images [B, H, W, C].

  Args:
    name: in tables.
    model: see `emojax.models.image_classifiers`.
    crop: trains on random squares of this size, half of them mirrored, and
      averages over ten views otherwise; 0: the image as it is.
  """

  def init(key, images):
    if crop:
      images = images[:, :crop, :crop]
    return model.init(key, _centred(images))

  def apply(variables, images, train, key):
    if not train and crop:
      views = image_classifiers.ten_views(images, crop)
      logits, out = model.apply(
        variables, _centred(views.reshape(-1, *views.shape[2:]))
      )
      shape = views.shape[:2]
      return (
        logits.reshape(*shape, -1).mean(0),
        out["features"].reshape(*shape, -1).mean(0),
        {},
      )
    if not train:
      logits, out = model.apply(variables, _centred(images))
      return logits, out["features"], {}
    view_key, dropout_key = jax.random.split(key)
    if crop:
      images = image_classifiers.random_views(view_key, images, crop)
    (logits, out), changed = model.apply(
      variables,
      _centred(images),
      train=True,
      mutable=["batch_stats"],
      rngs={"dropout": dropout_key},
    )
    return logits, out["features"], changed

  return Classifier(name, init, apply)


def of_speech(name: str, system: SpeechSystem) -> Classifier:
  """The speech study's classifier.

  Its inputs: `audio` int16 [B, S] with zeros after the end, `length` int32 [B].
  Its features are the pooled states of the encoder.
  """
  model = system.model()

  def prepare(inputs):
    audio_BxS = speech.to_float(inputs["audio"])
    if system.normalise:
      audio_BxS = speech.normalise(audio_BxS, inputs["length"])
    return audio_BxS, inputs["length"]

  def init(key, inputs):
    return model.init(key, *prepare(inputs))

  def apply(variables, inputs, train, key):
    logits, out = model.apply(
      variables,
      *prepare(inputs),
      train,
      train_encoder=train,
      rngs={"dropout": key},
    )
    return logits, out["pooled"], {}

  return Classifier(name, init, apply)


def of_conversations(name: str, model: Dann) -> Classifier:
  """The DANN study's classifier.

  Its inputs: `features`, the model's, [B, E, D_m] each, with anything after a
  conversation's end; `length` int32 [B], the conversations' utterances. Its
  features are those of the SA-GRU. The adversary is not trained.
  """

  def arguments(inputs):
    features = inputs["features"]
    batch, size = next(iter(features.values())).shape[:2]
    mask_BxE = jnp.arange(size)[None] < inputs["length"][:, None]
    position_BxE = jnp.arange(batch * size).reshape(batch, size)
    packing = Packing(
      jnp.where(mask_BxE, position_BxE, batch * size),
      mask_BxE.astype(jnp.int32),
    )
    flat = {k: v.reshape(batch * size, -1) for k, v in features.items()}
    return flat, packing, 0.0

  def init(key, inputs):
    return model.init(key, *arguments(inputs))

  def apply(variables, inputs, train, key):
    logits, out = model.apply(
      variables, *arguments(inputs), train, rngs={"dropout": key}
    )
    return logits, out["representation"], {}

  return Classifier(name, init, apply)


def _centred(images_BxHxWxC: jax.Array) -> jax.Array:
  """uint8 as float32 from -1 to 1."""
  return images_BxHxWxC.astype(jnp.float32) / 127.5 - 1
