"""Trains a system.

  python launch.py --config=CONFIG[:VARIANT] [--workdir=RUN] [--config.FIELD=…]

For example:

  python launch.py --config=configs/dann.py
  python launch.py --config=configs/dann.py:ravdess --config.data.path=RAVDESS

The config files say what each field means. Without --workdir, the run is kept
in runs/CONFIG-VARIANT. The same command on the same folder goes on where it
stopped; on a finished folder it prints the result.
"""

import sys

from emojax.runtime import process

if __name__ == "__main__":
  process.begin()  # What comes next takes seconds.

from absl import flags
from ml_collections import config_flags

from emojax import cli
from emojax.runtime import environment

_CONFIG = config_flags.DEFINE_config_file("config")
_WORKDIR = flags.DEFINE_string("workdir", None, "Folder of the run.")


def main(argv: list[str]) -> None:
  config = cli.parse_config(argv, _CONFIG, __doc__)
  file = config_flags.get_config_filename(flags.FLAGS["config"])
  workdir = _WORKDIR.value or cli.default_workdir(file)
  trainer = cli.trainer(config)
  environment.require_devices()
  trainer.train(config, workdir)


if __name__ == "__main__":
  sys.exit(cli.run(main, sys.argv))
