"""A config, its trainer and a run's folder: `launch.py` and `emojax train`."""

from absl import flags
from ml_collections import config_flags

from emojax import cli

_CONFIG = config_flags.DEFINE_config_file("config")
_WORKDIR = flags.DEFINE_string("workdir", None, "Folder of the run.")


def main(argv: list[str], usage: str) -> None:
  """Trains what the command line says; `usage` is printed for `--help`."""
  config = cli.parse_config(argv, _CONFIG, usage)
  file = config_flags.get_config_filename(flags.FLAGS["config"])
  workdir = _WORKDIR.value or cli.default_workdir(file)
  trainer = cli.trainer(config)
  cli.require_devices()
  trainer.train(config, workdir)
