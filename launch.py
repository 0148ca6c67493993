"""Trains a system.

  python launch.py --config=CONFIG[:VARIANT] [--workdir=RUN] [--config.FIELD=…]

For example:

  python launch.py --config=configs/dann.py
  python launch.py --config=configs/dann.py:ravdess --config.data.path=RAVDESS

One of several processes, see docs/clusters.md: --distributed, and outside of a
cluster --coordinator=HOST:PORT --process_id=I --num_processes=N.

The config files say what each field means. Without --workdir, the run is kept
in runs/CONFIG-VARIANT. The same command on the same folder goes on where it
stopped; on a finished folder it prints the result.
"""

import sys

from emojax.runtime import process

if __name__ == "__main__":
  process.begin()  # What comes next takes seconds.

from emojax import cli, training


def main(argv: list[str]) -> None:
  training.main(argv, __doc__)


if __name__ == "__main__":
  sys.exit(cli.run(main, sys.argv))
