"""An emotion classifier of faces from its description.

Letters in names: B images, H and W pixels, C channels, K classes, D features, V
views.
"""

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Self

import jax
import jax.numpy as jnp
from flax import linen as nn

from emojax.models import image_classifiers
from emojax.models.image_classifiers import CNN, Dcnn, Vgg
from emojax.systems import speech

# The smallest image that the poolings of each classifier leave a pixel of.
SMALLEST = {"dcnn": 16, "vgg19": 32, "cnn": 16}

_LARGEST = 4096  # Pixels a side: a description is not to fill the memory.


@dataclasses.dataclass(frozen=True)
class FaceSystem:
  """All of an emotion classifier of faces but its variables."""

  kind: ClassVar[str] = "faces"

  classes: tuple[str, ...]
  classifier: str  # One of `SMALLEST`.
  widths: tuple[int, ...]  # Of the convolutions of dcnn.
  hidden: int  # Units of the first dense layer of dcnn.
  dropout: float  # Of vgg19 and cnn.
  crop: int  # The mean of ten squares of this size; 0: the whole image.
  image_size: tuple[int, int]  # Height and width of its input.
  channels: int  # 1 is grey, 3 is RGB.
  dtype: str = "float32"  # Of the computation, of `speech.DTYPES`.
  # By which logits are divided before the softmax; fitted on validation.
  temperature: float = 1.0

  def model(self) -> nn.Module:
    """The classifier as a Flax module."""
    dtype = speech.DTYPES[self.dtype]
    num_classes = len(self.classes)
    if self.classifier == "vgg19":
      return Vgg(num_classes, dropout=self.dropout, dtype=dtype)
    if self.classifier == "cnn":
      return cnn(num_classes, self.dropout, dtype)
    return Dcnn(num_classes, self.widths, self.hidden, dtype)

  def init(self, key: jax.Array) -> Any:
    """Draws all variables at random."""
    size = (self.crop, self.crop) if self.crop else self.image_size
    return self.model().init(key, jnp.zeros((1, *size, self.channels)))

  def shapes(self) -> Any:
    """The shapes and types of all variables."""
    return jax.eval_shape(self.init, jax.random.key(0))

  def apply(
    self, variables: Any, images_BxHxWxC: jax.Array
  ) -> tuple[jax.Array, jax.Array]:
    """Logits [B, K] and features [B, D] of uint8 images, see `evaluate`."""
    return evaluate(self.model(), variables, images_BxHxWxC, self.crop)

  @functools.cached_property
  def forward(self) -> Callable:
    """Compiled: variables, uint8 [B, H, W, C] to float32 logits [B, K]."""
    return jax.jit(lambda variables, images: self.apply(variables, images)[0])

  @classmethod
  def from_json(cls, fields: Mapping[str, Any]) -> Self:
    """Reads what `to_json` gives.

    Raises:
      ValueError: a value out of its range; and whatever else values raise that
        make no system.
    """
    names = ("classes", "widths", "image_size")
    system = cls(**{**fields, **{name: tuple(fields[name]) for name in names}})
    whole = (*system.widths, *system.image_size, system.hidden, system.crop)
    if not all(type(value) is int for value in whole):
      raise ValueError("sizes have to be whole numbers")
    least, size = SMALLEST[system.classifier], min(system.image_size)
    if not least <= (system.crop or size) <= size:
      raise ValueError(f"images have to have {least} pixels, and hold a crop")
    if len(system.image_size) != 2 or max(system.image_size) > _LARGEST:
      raise ValueError(f"image_size is height, width, of {_LARGEST} at most")
    if system.channels not in (1, 3):
      raise ValueError("channels have to be 1 or 3")
    if not 0 <= system.dropout <= 1:
      raise ValueError("dropout has to be within 0 and 1")
    system.model()  # Finds what is missing or of another type.
    return system

  def to_json(self) -> dict[str, Any]:
    return dataclasses.asdict(self)


def cnn(num_classes: int, dropout: float, dtype: Any = jnp.float32) -> Vgg:
  """A CNN that a few thousand images do for: regularised at every pooling."""
  return Vgg(num_classes, CNN, dropout, dropout / 2, dtype)


def evaluate(
  model: nn.Module, variables: Any, images_BxHxWxC: jax.Array, crop: int
) -> tuple[jax.Array, jax.Array]:
  """Logits [B, K] and features [B, D], float32, as they are without training.

  Of uint8 images: with a `crop` the means over ten squares of this size, see
  `image_classifiers.ten_views`; 0: the image as it is.
  """
  if crop:
    views = image_classifiers.ten_views(images_BxHxWxC, crop)
  else:
    views = images_BxHxWxC[None]
  logits, out = model.apply(
    variables, centred(views.reshape(-1, *views.shape[2:]))
  )
  of_views = logits, out["features"]
  return tuple(x.reshape(*views.shape[:2], -1).mean(0) for x in of_views)


def centred(images_BxHxWxC: jax.Array) -> jax.Array:
  """uint8 as float32 from -1 to 1."""
  return images_BxHxWxC.astype(jnp.float32) / 127.5 - 1
