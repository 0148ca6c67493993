"""3 x 3 convolutions with fewer multiplications, for CPUs.

Lavin & Gray 2016, "Fast algorithms for convolutional neural networks": tiles of
the output are computed from tiles of the input, transformed so that the
convolution becomes a product at each of a tile's points. XLA has no such thing
on CPUs, where training a CNN with it is 2.4 times faster
(`experiments/benchmarks/rlps.json`); on a GPU cuDNN chooses for itself.

Letters in names: B images, H and W pixels, C channels in, K channels out, T
tiles, P points of a transformed tile.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from emojax.kernels import target

FEWEST_CHANNELS = 32  # With fewer it gains nothing.


class Transforms(NamedTuple):
  """Of tiles in one dimension: A^T, G, B^T of Lavin & Gray, Eq. (8)."""

  output: np.ndarray  # Points to pixels of the output.
  kernel: np.ndarray  # The three weights to points.
  input: np.ndarray  # Pixels of the input to points.


# By the pixels of an output tile's side. The inputs overlap by two.
_TRANSFORMS = {
  2: Transforms(
    output=np.array([[1, 1, 1, 0], [0, 1, -1, -1]]),
    kernel=np.array([[2, 0, 0], [1, 1, 1], [1, -1, 1], [0, 0, 2]]) / 2,
    input=np.array([[1, 0, -1, 0], [0, 1, 1, 0], [0, -1, 1, 0], [0, 1, 0, -1]]),
  ),
  4: Transforms(
    output=np.array(
      [
        [1, 1, 1, 1, 1, 0],
        [0, 1, -1, 2, -2, 0],
        [0, 1, 1, 4, 4, 0],
        [0, 1, -1, 8, -8, 1],
      ]
    ),
    kernel=np.array(
      [[6, 0, 0], [-4, -4, -4], [-4, 4, -4], [1, 2, 4], [1, -2, 4], [0, 0, 24]]
    )
    / 24,
    input=np.array(
      [
        [4, 0, -5, 0, 1, 0],
        [0, -4, -4, 1, 1, 0],
        [0, 4, -4, -1, 1, 0],
        [0, -2, -1, 2, 1, 0],
        [0, 2, -1, -2, 1, 0],
        [0, 4, 0, -5, 0, 1],
      ]
    ),
  ),
}


def conv_general_dilated(
  x_BxHxWxC: jax.Array, kernel_3x3xCxK: jax.Array, *args, **kwargs
) -> jax.Array:
  """As `jax.lax.conv_general_dilated`, for `nn.Conv`: stride 1, padding 1.

  Rounding is that of float32, times about ten.
  """

  def plain(x, kernel):
    return jax.lax.conv_general_dilated(x, kernel, *args, **kwargs)

  is_float32 = x_BxHxWxC.dtype == kernel_3x3xCxK.dtype == jnp.float32
  few = x_BxHxWxC.shape[-1] < FEWEST_CHANNELS
  if not is_float32 or few or target.platform() == "any":
    return plain(x_BxHxWxC, kernel_3x3xCxK)
  return jax.lax.platform_dependent(
    x_BxHxWxC, kernel_3x3xCxK, cpu=convolution, default=plain
  )


@jax.custom_vjp
def convolution(x_BxHxWxC: jax.Array, kernel_3x3xCxK: jax.Array) -> jax.Array:
  """A float32 convolution of stride 1 that keeps height and width."""
  return _forward(x_BxHxWxC, kernel_3x3xCxK)[0]


def _forward(x_BxHxWxC, kernel_3x3xCxK):
  transforms = _best(*x_BxHxWxC.shape[1:3])
  input_PxTxC = _to_points(transforms, x_BxHxWxC)
  kernel_PxCxK = _transform(transforms.kernel, kernel_3x3xCxK)
  output_PxTxK = jnp.einsum("ptc,pck->ptk", input_PxTxC, kernel_PxCxK)
  output_BxHxWxK = _to_pixels(transforms, output_PxTxK, x_BxHxWxC.shape[:3])
  return output_BxHxWxK, (input_PxTxC, kernel_3x3xCxK)


def _backward(saved, gradient_BxHxWxK):
  input_PxTxC, kernel_3x3xCxK = saved
  transforms = _best(*gradient_BxHxWxK.shape[1:3])
  # Of the input: the convolution with the kernel turned by half a circle.
  turned_3x3xKxC = kernel_3x3xCxK[::-1, ::-1].swapaxes(2, 3)
  gradient_BxHxWxC, _ = _forward(gradient_BxHxWxK, turned_3x3xKxC)
  # Of the kernel: each transform backwards is its transpose.
  side = len(transforms.output)
  tiles = _padded(gradient_BxHxWxK, side, before=0, after=0)
  batch, height, width, channels = tiles.shape
  tiles = tiles.reshape(
    batch, height // side, side, width // side, side, channels
  ).transpose(2, 4, 0, 1, 3, 5)
  tiles_QxTxK = tiles.reshape(side * side, -1, channels)
  gradient_PxTxK = _transform(transforms.output.T, tiles_QxTxK)
  gradient_PxCxK = jnp.einsum("ptc,ptk->pck", input_PxTxC, gradient_PxTxK)
  gradient_9xCxK = _transform(transforms.kernel.T, gradient_PxCxK)
  return gradient_BxHxWxC, gradient_9xCxK.reshape(kernel_3x3xCxK.shape)


convolution.defvjp(_forward, _backward)


def _best(height: int, width: int) -> Transforms:
  """The one with the fewest products; the more accurate if they are equal."""

  def products(side):
    return -(-height // side) * -(-width // side) * (side + 2) ** 2

  return _TRANSFORMS[min(_TRANSFORMS, key=products)]


def _transform(matrix, x):
  """Transforms both axes of tiles, which are flattened, or the first two."""
  both = np.kron(matrix, matrix).astype(np.float32)
  return (both @ x.reshape(both.shape[1], -1)).reshape(len(both), *x.shape[-2:])


def _to_points(transforms, x_BxHxWxC):
  """Cuts into overlapping tiles and transforms them: [P, T, C]."""
  side, points = transforms.output.shape
  x = _padded(x_BxHxWxC, side, before=1, after=1)
  height, width, channels = x.shape[1:]
  # The pixel at each place of a tile, for all tiles.
  tiles = [
    x[:, top : height - points + top + 1 : side][
      :, :, left : width - points + left + 1 : side
    ].reshape(-1, channels)
    for top in range(points)
    for left in range(points)
  ]
  return _transform(transforms.input, jnp.stack(tiles))


def _to_pixels(transforms, output_PxTxK, shape):
  """The inverse transform, and the tiles side by side."""
  side = len(transforms.output)
  batch, height, width = shape
  channels = output_PxTxK.shape[-1]
  tiles = _transform(transforms.output, output_PxTxK)
  rows, columns = -(-height // side), -(-width // side)
  tiles = tiles.reshape(side, side, batch, rows, columns, channels)
  image = tiles.transpose(2, 3, 0, 4, 1, 5)
  image = image.reshape(batch, rows * side, columns * side, channels)
  return image[:, :height, :width]


def _padded(x_BxHxWxC, side, before, after):
  """Zeros around images, so that whole tiles fit."""
  height, width = x_BxHxWxC.shape[1:3]
  below, right = (after + -size % side for size in (height, width))
  return jnp.pad(x_BxHxWxC, ((0, 0), (before, below), (before, right), (0, 0)))
