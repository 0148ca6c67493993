"""The projection keeps neighbours together and is the same each time."""

import numpy as np
import pytest
from sklearn.neighbors import KNeighborsClassifier

from emojax.reports.projection import project


def clusters(size: int = 120, dimension: int = 80):
  rng = np.random.default_rng(0)
  label = np.arange(size) % 4
  centres = rng.normal(scale=4.0, size=(4, dimension))
  return rng.normal(size=(size, dimension)) + centres[label], label


def test_clusters_stay_together():
  representations, label = clusters()
  points = project(representations, seed=0)
  assert points.shape == (120, 2) and np.isfinite(points).all()
  neighbours = KNeighborsClassifier(3).fit(points[:60], label[:60])
  assert neighbours.score(points[60:], label[60:]) == 1.0


def test_deterministic():
  representations, _ = clusters()
  first, second = (project(representations, seed=3) for _ in range(2))
  np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize(("size", "dimension"), [(4, 3), (20, 1), (9, 200)])
def test_small_shapes(size, dimension):
  points = project(clusters(size, dimension)[0], seed=0)
  assert points.shape == (size, 2) and np.isfinite(points).all()


def test_too_few_points():
  with pytest.raises(ValueError, match="needs four points, got 3"):
    project(np.eye(3), seed=0)
