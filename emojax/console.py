"""The command `emojax`, as `pip install` makes it."""

import sys


def main() -> None:
  """Runs one of the commands of `python -m emojax`."""
  from emojax.runtime import process

  process.begin()  # What comes next takes seconds.
  from emojax import __main__ as commands
  from emojax import cli

  sys.exit(cli.run(commands.main, sys.argv))
