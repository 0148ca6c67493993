"""A config, its trainer and a run's folder: `launch.py` and `emojax train`."""

import pathlib
import sys

from absl import flags
from ml_collections import config_flags

from emojax import cli
from emojax.errors import UserError

_CONFIG = config_flags.DEFINE_config_file("config")
_WORKDIR = flags.DEFINE_string("workdir", None, "Folder of the run.")

_PACKAGE = pathlib.Path(__file__).parent
# The folder `configs/` lies in the wheel, or beside the package in a checkout.
_HOMES = (_PACKAGE / "shipped", _PACKAGE.parent)


def main(argv: list[str], usage: str) -> None:
  """Trains what the command line says; `usage` is printed for `--help`."""
  config = cli.parse_config(argv, _CONFIG, usage)
  file = config_flags.get_config_filename(flags.FLAGS["config"])
  workdir = _WORKDIR.value or cli.default_workdir(file)
  trainer = cli.trainer(config)
  cli.require_devices()
  trainer.train(config, workdir)


def shipped(name: str) -> str:
  """What `--config=` takes for `speech` or `speech:ravdess`.

  A file of the user's own stays what it is. Configs import one another, so
  their folder's home comes into Python's path.

  Raises:
    UserError: there is no such config.
  """
  stem, colon, variant = name.partition(":")
  if stem.endswith(".py"):
    return name
  known: set[str] = set()
  for home in _HOMES:
    for path in (home / "configs").glob("*.py"):
      if path.stem == stem:
        sys.path.insert(0, str(home))
        return f"{path}{colon}{variant}"
      known |= {path.stem} - {"__init__", "common"}
  raise UserError(
    f"no config {stem!r}: there are {', '.join(sorted(known))}, each with "
    "variants (speech:ravdess), or name a file of your own (mine.py)"
  )
