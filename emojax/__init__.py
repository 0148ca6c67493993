"""emojax: emotion recognition in JAX, from conversations, speech and faces."""

from __future__ import annotations

import os
import typing

if typing.TYPE_CHECKING:
  import ml_collections

  from emojax.inference.predict import Predictor
  from emojax.summary import Summary


def config(name: str) -> ml_collections.ConfigDict:
  """The config of a study, to be changed and trained: see `train`.

  Args:
    name: `dann`, `speech:ravdess`, or a file of your own, `mine.py:VARIANT`.

  Returns:
    The config, locked: a field that it does not have can not be set.

  Raises:
    UserError: no such config, or variant of it.
  """
  from emojax import cli

  return cli.load_config(name)


def train(
  config: ml_collections.ConfigDict, workdir: str | os.PathLike
) -> Summary:
  """Trains what a config says, or goes on with it: `emojax train` in Python.

  ```python
  config = emojax.config("speech")
  config.num_epochs = 3
  summary = emojax.train(config, "runs/short")
  ```

  Args:
    config: see `emojax.config`.
    workdir: the folder of the run; a finished one is only read.

  Raises:
    UserError: something in the config, the data or the folder is wrong.
    SystemExit: the training was interrupted; the same call goes on.
  """
  from emojax import cli

  trainer = cli.trainer(config)
  cli.require_devices()
  return trainer.train(config, workdir)


def load(name: str | os.PathLike) -> Predictor:
  """Loads a trained system: `emojax.load(RUN).predict(paths)`.

  Args:
    name: the folder of a finished run, or the hub id of a published system.

  Raises:
    UserError: no finished run, or a damaged one.
  """
  from emojax.inference import predict  # JAX takes a second to import.

  return predict.load(name)
