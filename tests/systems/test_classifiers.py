"""What a selector asks of a classifier: features and logits of examples."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from emojax.models import image_classifiers
from emojax.systems import classifiers


class Pixels(nn.Module):
  """Its features are what it sees."""

  @nn.compact
  def __call__(self, images, train=False):
    features = images.reshape(len(images), -1)
    return nn.Dense(3)(features), {"features": features}


def test_random_views_in_training_and_ten_of_them_otherwise():
  rng = np.random.default_rng(0)
  pictures = rng.integers(0, 256, (8, 6, 6, 1), np.uint8)
  classifier = classifiers.of_images("pixels", Pixels(), crop=4)
  images = jnp.asarray(pictures)
  key = jax.random.key(0)
  variables = classifier.init(key, images[:1])
  apply = jax.jit(classifier.apply, static_argnums=2)
  views = np.asarray(image_classifiers.ten_views(pictures / 127.5 - 1, 4))
  views = views.reshape(10, 8, 16)
  logits, features, changed = apply(variables, images, False, key)
  assert not changed
  np.testing.assert_allclose(features, views.mean(0), atol=1e-5)
  weights = jax.device_get(variables["params"]["Dense_0"])
  one_by_one = views @ weights["kernel"] + weights["bias"]
  np.testing.assert_allclose(logits, one_by_one.mean(0), atol=1e-5)
  _, seen, _ = apply(variables, images, True, key)
  _, others, _ = apply(variables, images, True, jax.random.key(1))
  assert (np.asarray(seen) != others).any()
  pixels = pictures / 127.5 - 1
  for image, view in zip(pixels, np.asarray(seen), strict=True):
    crops = [
      image[top : top + 4, left : left + 4][:, ::sense].ravel()
      for top, left, sense in itertools.product(range(3), range(3), (1, -1))
    ]
    assert min(np.abs(crop - view).max() for crop in crops) < 1e-5
