"""What is done with data and with trained runs.

python -m emojax import-table FILE.pkl OUT.npz
python -m emojax audit --config=configs/dann.py:ravdess --config.data.path=…
python -m emojax report RUN RUN … [--output=FOLDER]
"""

import sys

from absl import flags
from ml_collections import config_flags

from emojax import cli
from emojax.errors import UserError


def main(argv: list[str]) -> None:
  commands = {"import-table": _import_table, "audit": _audit, "report": _report}
  if len(argv) < 2 or argv[1] in ("-h", "--help"):
    print(__doc__)
    return
  if argv[1] not in commands:
    raise UserError(
      f"no command {argv[1]!r}: there are {', '.join(sorted(commands))}"
    )
  commands[argv[1]](argv[1:])


def _import_table(argv: list[str]) -> None:
  """Turns a pickle of features into a feature table; nothing in it runs."""
  from emojax.data.import_table import import_pickle

  if len(argv) != 3:
    raise UserError("usage: python -m emojax import-table FILE.pkl OUT.npz")
  table = import_pickle(*argv[1:])
  sizes = ", ".join(f"{k} {v.shape[1]}" for k, v in table.features.items())
  print(
    f"{argv[2]}: {len(table)} utterances, "
    f"{len(set(table.dialogue))} dialogues, "
    f"{len(set(table.speaker))} speakers; features: {sizes}"
  )


def _audit(argv: list[str]) -> None:
  """Prints who is in which part of a config's splits, and checks them."""
  from emojax.data import loading

  holder = config_flags.DEFINE_config_file("config")
  config = cli.parse_config(argv, holder, __doc__)
  for setting, parts in loading.audit(config).items():
    print(f"{setting}\n{parts}\n")
  print("no speaker and no identical recording is in two parts")


def _report(argv: list[str]) -> None:
  """Compares finished runs: a table, tests between them, and figures."""
  from emojax.reports import compare

  if {"-h", "--help"} & set(argv):
    print(__doc__)
    return
  options = flags.FlagValues()
  output = flags.DEFINE_string(
    "output", "comparison", "Folder to write to.", flag_values=options
  )
  # Options may stand behind the runs.
  options.set_gnu_getopt()
  try:
    folders = options(argv)[1:]
  except flags.Error as error:
    raise UserError(f"{error}; there is --output=FOLDER") from error
  print(compare.compare(folders, output.value))


if __name__ == "__main__":
  sys.exit(cli.run(main, sys.argv))
