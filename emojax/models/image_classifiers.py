"""Classifiers of face images: DCNN, VGG19 as for FER2013, and a smaller one.

Letters in names: B images, H and W pixels, C channels, K classes, D features.
"""

from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from emojax.kernels import winograd

DCNN_WIDTHS = (64, 128, 256, 256, 512, 512)
_DCNN_POOLS = (0, 1, 3, 5)  # After these convolutions.
# Width and depth of blocks.
VGG19 = ((64, 2), (128, 2), (256, 4), (512, 4), (512, 4))
CNN = ((32, 2), (64, 2), (128, 2), (256, 2))


class Dcnn(nn.Module):
  """Six convolutions, four poolings, two dense layers.

  Li & Xu 2020, "Deep reinforcement learning for robust emotional classification
  in facial expression recognition", Fig. 3; the figure does not give the
  widths.

  Attributes:
    hidden: D, units of the first dense layer, which the selector sees.
    dtype: of the computation; parameters are float32.
  """

  num_classes: int
  widths: tuple[int, ...] = DCNN_WIDTHS
  hidden: int = 128
  dtype: Any = jnp.float32

  @nn.compact
  def __call__(
    self,
    images_BxHxWxC: jax.Array,
    train: bool = False,
    counts_B: jax.Array | None = None,
  ) -> tuple[jax.Array, dict[str, jax.Array]]:
    """float32 logits [B, K], and `features` [B, D], of images from -1 to 1.

    They are at least 16 pixels high and wide; nothing else makes a difference.
    """
    del train, counts_B
    x = images_BxHxWxC.astype(self.dtype)
    for index, width in enumerate(self.widths):
      x = _convolution(width, self.dtype, name=f"conv_{index}")(x)
      x = nn.relu(x)
      if index in _DCNN_POOLS:
        x = max_pool(x)
    x_BxD = nn.Dense(
      self.hidden,
      dtype=self.dtype,
      kernel_init=nn.initializers.he_normal(),
      name="hidden_layer",
    )(x.reshape(x.shape[0], -1))
    x_BxD = nn.relu(x_BxD).astype(jnp.float32)
    return nn.Dense(self.num_classes, name="output")(x_BxD), {"features": x_BxD}


class Vgg(nn.Module):
  """Blocks of convolutions with batch normalisation, and one dense layer.

  With `VGG19`: as in the public repository
  WuJie1010/Facial-Expression-Recognition.Pytorch, which the paper takes for
  FER2013. Its only dense layer gives the logits, so the features are what that
  layer reads, before dropout. With `CNN`: half as deep and half as wide.

  Parameters and statistics are float32.

  Attributes:
    blocks: width and depth of each; the maps are pooled after it.
    dropout: of the features.
    map_dropout: of what each pooling gives.
  """

  num_classes: int
  blocks: tuple[tuple[int, int], ...] = VGG19
  dropout: float = 0.5
  map_dropout: float = 0.0
  dtype: Any = jnp.float32

  @nn.compact
  def __call__(
    self,
    images_BxHxWxC: jax.Array,
    train: bool = False,
    counts_B: jax.Array | None = None,
  ) -> tuple[jax.Array, dict[str, jax.Array]]:
    """As `Dcnn`; the poolings have to leave a pixel of an image.

    With `train`, statistics are the batch's own (the collection `batch_stats`
    changes), of images that count, or of all without `counts_B`; and dropout
    draws from the rng 'dropout'.
    """
    x = images_BxHxWxC.astype(self.dtype)
    mask = None if counts_B is None else counts_B[:, None, None, None]
    for block, (width, depth) in enumerate(self.blocks):
      for layer in range(depth):
        x = _convolution(width, self.dtype, name=f"conv_{block}_{layer}")(x)
        x = nn.BatchNorm(
          use_running_average=not train,
          momentum=0.9,
          dtype=self.dtype,
          name=f"norm_{block}_{layer}",
        )(x, mask=mask)
        x = nn.relu(x)
      x = max_pool(x)
      x = nn.Dropout(self.map_dropout, deterministic=not train)(x)
    features_BxD = x.reshape(x.shape[0], -1).astype(jnp.float32)
    x_BxD = nn.Dropout(self.dropout, deterministic=not train)(features_BxD)
    logits_BxK = nn.Dense(self.num_classes, name="output")(x_BxD)
    return logits_BxK, {"features": features_BxD}


def max_pool(x_BxHxWxC: jax.Array) -> jax.Array:
  """Maxima of 2 x 2 pixels; an odd last row or column is dropped.

  On CPUs the gradient is three times faster than `nn.max_pool`'s.
  """
  batch, height, width, channels = x_BxHxWxC.shape
  x = x_BxHxWxC[:, : height // 2 * 2, : width // 2 * 2]
  x = x.reshape(batch, height // 2, 2, width // 2, 2, channels)
  return x.max((2, 4))


def random_views(
  key: jax.Array, images_BxHxWxC: jax.Array, size: int
) -> jax.Array:
  """A random square of each image, half mirrored: [B, size, size, C]."""
  batch, height, width, channels = images_BxHxWxC.shape
  top_key, left_key, mirror_key = jax.random.split(key, 3)
  top_B = jax.random.randint(top_key, (batch,), 0, height - size + 1)
  left_B = jax.random.randint(left_key, (batch,), 0, width - size + 1)
  mirrored_B = jax.random.bernoulli(mirror_key, shape=(batch,))

  def view(image, top, left, mirrored):
    start = (top, left, 0)
    square = jax.lax.dynamic_slice(image, start, (size, size, channels))
    return jnp.where(mirrored, square[:, ::-1], square)

  return jax.vmap(view)(images_BxHxWxC, top_B, left_B, mirrored_B)


def ten_views(images_BxHxWxC: jax.Array, size: int) -> jax.Array:
  """Four corners and the centre, also of the mirror image, as torchvision.

  Returns [10, B, size, size, C].
  """
  _, height, width, _ = images_BxHxWxC.shape
  bottom, right = height - size, width - size
  centre = round(bottom / 2), round(right / 2)
  places = (0, 0), (0, right), (bottom, 0), (bottom, right), centre
  views = [
    images[:, top : top + size, left : left + size]
    for images in (images_BxHxWxC, images_BxHxWxC[:, :, ::-1])
    for top, left in places
  ]
  return jnp.stack(views)


def _convolution(width: int, dtype: Any, name: str) -> nn.Conv:
  return nn.Conv(
    width,
    (3, 3),
    padding=1,
    dtype=dtype,
    kernel_init=nn.initializers.he_normal(),
    conv_general_dilated=winograd.conv_general_dilated,
    name=name,
  )
