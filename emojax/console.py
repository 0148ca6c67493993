"""The command `emojax`, as `pip install` makes it."""

import sys


def main() -> None:
  """Runs one of the commands of `python -m emojax`."""
  if sys.platform == "win32":
    print("error: not on Windows itself: use WSL there", file=sys.stderr)
    sys.exit(2)
  from emojax.runtime import process  # Windows lacks some of its signals.

  process.begin()  # What comes next takes seconds.
  from emojax import __main__ as commands
  from emojax import cli

  sys.exit(cli.run(commands.main, sys.argv))
