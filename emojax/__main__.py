"""What is done with data and with trained runs.

python -m emojax fetch CORPUS FOLDER
python -m emojax import-table FILE.pkl OUT.npz
python -m emojax features --config=configs/dann.py:ravdess \
    --config.data.path=… --config.data.audio_features=FOLDER OUT.npz
python -m emojax audit --config=configs/dann.py:ravdess --config.data.path=…
python -m emojax audit --folds=FOLDER_OF_EMOBOX_OR_FILE.csv
python -m emojax report RUN RUN … [--output=FOLDER]
python -m emojax predict RUN FILES_OR_FOLDERS … [--output=FILE.csv]
python -m emojax robustness RUN [--data=FOLDER] [--noise=FOLDER] \
    [--output=FOLDER]
"""

import logging
import sys

from emojax.runtime import process

if __name__ == "__main__":
  process.begin()  # What comes next takes seconds.

from absl import flags

from emojax import cli
from emojax.errors import UserError
from emojax.runtime import environment

_LOG = logging.getLogger("emojax")


def main(argv: list[str]) -> None:
  """Runs the command that the command line names, or prints what there is."""
  commands = {"fetch": _fetch, "import-table": _import_table}
  commands |= {"features": _features, "audit": _audit}
  commands |= {"report": _report, "predict": _predict}
  commands |= {"robustness": _robustness}
  if len(argv) < 2 or {"-h", "--help"} & set(argv):
    print(__doc__)
    return
  if argv[1] not in commands:
    names = ", ".join(sorted(commands))
    raise UserError(f"no command {argv[1]!r}: there are {names}")
  commands[argv[1]](argv[1:])


def _fetch(argv: list[str]) -> None:
  """Downloads a corpus that its authors give to everybody."""
  from emojax.corpora import downloads, speech

  if len(argv) != 3:
    names = ", ".join(downloads.names())
    raise UserError(
      f"usage: python -m emojax fetch CORPUS FOLDER; there are {names}"
    )
  _, corpus, folder = argv
  fetch = speech.fetch if corpus in speech.names() else downloads.fetch
  with process.resumable():
    path = fetch(corpus, folder)
  fields = f"--config.data.corpus={corpus} --config.data.path={path}"
  if corpus == "musan":
    fields = f"--config.augment.background_path={path}"
  print(
    f"{corpus} is in {path}; to train with it:\n"
    f"python launch.py --config=configs/speech.py {fields}"
  )


def _import_table(argv: list[str]) -> None:
  """Turns a pickle of features into a feature table; nothing in it runs."""
  from emojax.data.import_table import import_pickle

  if len(argv) != 3:
    raise UserError("usage: python -m emojax import-table FILE.pkl OUT.npz")
  table = import_pickle(*argv[1:])
  _tell(argv[2], table)


def _features(argv: list[str]) -> None:
  """Writes the features that a config's study reads, as a feature table."""
  from emojax.data import conversations, table
  from emojax.inference import results

  *argv, target = argv
  if not target.endswith(".npz"):
    raise UserError(
      "usage: python -m emojax features --config=… --config.data.…=… OUT.npz"
    )
  config = _config(argv)
  if "audio_features" not in config.data:
    raise UserError(
      "features are those of a study of conversations: take a config such as "
      "configs/dann.py"
    )
  conversations.check(config)
  results.require_writable(target)
  environment.require_devices()
  with process.resumable():
    found = conversations.load(config.data)
  table.save(target, found)
  _tell(target, found)


def _tell(path: str, table) -> None:
  """Prints what is in a feature table that was written."""
  from emojax.data import table as tables

  sizes = ", ".join(f"{k} {v.shape[1]}" for k, v in table.features.items())
  dialogues, speakers = len(tables.dialogues(table)), len(set(table.speaker))
  print(
    f"{path}: {len(table)} utterances, {dialogues} dialogues, {speakers} "
    f"speakers; features: {sizes}"
  )


def _config(argv: list[str]):
  from ml_collections import config_flags

  holder = config_flags.DEFINE_config_file("config")
  return cli.parse_config(argv, holder, __doc__)


def _audit(argv: list[str]) -> None:
  """Prints who is in which part of a config's splits, and checks them."""
  if any(argument.split("=")[0] == "--folds" for argument in argv):
    _audit_folds(argv)
    return
  config = _config(argv)
  trainer = cli.trainer(config)
  environment.require_devices()
  for setting, parts in trainer.audit(config).items():
    print(f"{setting}\n{parts}\n")
  print(trainer.AUDITED)


def _audit_folds(argv: list[str]) -> None:
  """Prints who is on both sides of folds of others, and refuses these."""
  from emojax.data import fold_audit

  rest, path = _arguments(argv, None, "--folds=FOLDER or FILE.csv", 0, "folds")
  if rest or not path:
    raise UserError("usage: python -m emojax audit --folds=FOLDER or FILE.csv")
  folds = []
  for fold in fold_audit.audit(path):
    said = "; ".join(fold.leaks) or fold.unknown or fold_audit.AUDITED
    print(f"{fold.name}\n{fold.table}\n\n{said}\n")
    folds.append(fold)
  print(fold_audit.summarise(path, folds))


def _report(argv: list[str]) -> None:
  """Compares finished runs: a table, tests between them, and figures."""
  from emojax.reports import report

  folders, output = _arguments(argv, "comparison", "--output=FOLDER")
  print(report.report(folders, output))


def _predict(argv: list[str]) -> None:
  """Says which emotion recordings have, by a run of the speech study."""
  from emojax.inference import predict, results

  (run, *paths), output = _arguments(argv, None, "--output=FILE.csv", 2)
  if output is not None:
    results.require_writable(output)
  environment.require_devices()
  predictions = predict.predict(run, paths)
  if output is None:
    print(results.table(predictions))
  else:
    results.write_csv(output, predictions)
  used, skipped = len(predictions.paths), len(predictions.skipped)
  where = "" if output is None else f"{output}: "
  _LOG.info("%s%d of %d recordings predicted", where, used, used + skipped)


def _robustness(argv: list[str]) -> None:
  """Tests a run of the speech study in noise, rooms, channels, short pieces."""
  from emojax.inference import robustness
  from emojax.reports import robustness as reports

  options = dict.fromkeys(("data", "noise", "output"), "FOLDER")
  (run, *rest), given = _options(argv, options, 1)
  if rest:
    raise UserError(
      "usage: python -m emojax robustness RUN [--data=FOLDER] "
      "[--noise=FOLDER] [--output=FOLDER]"
    )
  output = given["output"] or "robustness"
  reports.require_free(output)
  environment.require_devices()
  summary = robustness.measure(run, given["data"], given["noise"])
  print(reports.write(output, summary))


def _arguments(
  argv: list[str],
  default: str | None,
  option: str,
  least: int = 0,
  name: str = "output",
) -> tuple[list[str], str | None]:
  """What a command is given, at `least` so many, and its option `name`.

  `default` is meant where none is given; an error says that there is `option`.
  """
  arguments, given = _options(argv, {name: option.partition("=")[2]}, least)
  return arguments, default if given[name] is None else given[name]


def _options(
  argv: list[str], options: dict[str, str], least: int
) -> tuple[list[str], dict[str, str | None]]:
  """What a command is given, at `least` so many, and its options by name.

  What `options` says of each, such as FOLDER, is for an error to tell; one that
  is not given is None.
  """
  values = flags.FlagValues()
  holders = {
    name: flags.DEFINE_string(name, None, what, flag_values=values)
    for name, what in options.items()
  }
  values.set_gnu_getopt()
  try:
    arguments = values(argv)[1:]
  except flags.Error as error:
    known = ", ".join(f"--{name}={what}" for name, what in options.items())
    raise UserError(f"{error}; there is {known}") from error
  if len(arguments) < least:
    raise UserError(
      f"{argv[0]} needs more arguments: see python -m emojax --help"
    )
  return arguments, {name: holder.value for name, holder in holders.items()}


if __name__ == "__main__":
  sys.exit(cli.run(main, sys.argv))
