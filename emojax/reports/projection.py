"""Representations in the plane, to look at."""

import numpy as np
import threadpoolctl
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE


def project(representations_NxD: np.ndarray, seed: int) -> np.ndarray:
  """t-SNE of the first 50 principal components.

  As van der Maaten & Hinton, "Visualizing data using t-SNE" (2008), section
  4.2, do it; started from the first two components. Deterministic. 500 points
  take about 3 s.

  Returns:
    float32 `[N, 2]`, of no unit.

  Raises:
    ValueError: fewer than four points.
  """
  num_points, dimension = representations_NxD.shape
  if num_points < 4:
    raise ValueError(f"a projection needs four points, got {num_points}")
  reduction = PCA(min(50, num_points, dimension), svd_solver="full")
  embedding = TSNE(
    perplexity=min(30.0, (num_points - 1) / 3),
    init="pca" if min(num_points, dimension) >= 2 else "random",
    random_state=seed,
  )
  # One thread gives the same points on any number of cores, and does not wait
  # in turns for others on a shared machine (seen: 20 s in place of 1 s).
  with threadpoolctl.threadpool_limits(1):
    components = reduction.fit_transform(representations_NxD)
    return embedding.fit_transform(components.astype(np.float32))
