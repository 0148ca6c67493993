"""What every system's config starts from."""

import ml_collections


def get_config() -> ml_collections.ConfigDict:
  """Fields that the loop and every trainer read."""
  config = ml_collections.ConfigDict()
  config.title = ""  # First line of the report.
  config.seed = 0  # Of everything random.
  config.checkpoint_every = 10  # Rounds (epochs) between two checkpoints.
  return config
