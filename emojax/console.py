"""The command `emojax`, as `pip install` makes it."""

import sys

from emojax.runtime import process


def main() -> None:
  """Runs one of the commands of `python -m emojax`."""
  process.begin()  # What comes next takes seconds.
  from emojax import __main__ as commands
  from emojax import cli

  sys.exit(cli.run(commands.main, sys.argv))
