"""A CNN that a CPU trains in minutes on a few thousand faces."""

import jax
from flax import linen as nn

from emojax.kernels import winograd
from emojax.models.image_classifiers import max_pool

_DROPOUT = 0.25


class SmallCnn(nn.Module):
  """Three convolutions with batch normalisation and pooling, a dense layer.

  The first, of 5 x 5 pixels, goes in steps of two. As
  `emojax.models.image_classifiers.Vgg` of images of at least 15 pixels.
  """

  num_classes: int

  @nn.compact
  def __call__(
    self, images_BxHxWxC: jax.Array, train: bool = False
  ) -> tuple[jax.Array, dict[str, jax.Array]]:
    """Logits [B, K], and `features` [B, D], of images from -1 to 1."""
    he_normal = nn.initializers.he_normal()
    convolutions = (
      nn.Conv(32, (5, 5), 2, 2, kernel_init=he_normal, name="conv_0"),
      *(
        nn.Conv(
          width,
          (3, 3),
          padding=1,
          kernel_init=he_normal,
          conv_general_dilated=winograd.conv_general_dilated,
          name=f"conv_{layer}",
        )
        for layer, width in ((1, 64), (2, 192))
      ),
    )
    x = images_BxHxWxC
    for layer, convolution in enumerate(convolutions):
      norm = nn.BatchNorm(not train, momentum=0.9, name=f"norm_{layer}")
      x = max_pool(nn.relu(norm(convolution(x))))
    features_BxD = x.reshape(x.shape[0], -1)
    x_BxD = nn.Dropout(_DROPOUT, deterministic=not train)(features_BxD)
    logits_BxK = nn.Dense(self.num_classes, name="output")(x_BxD)
    return logits_BxK, {"features": features_BxD}
