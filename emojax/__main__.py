"""emojax: emotion recognition in JAX.

usage: emojax COMMAND …, or python -m emojax COMMAND …
"""

import inspect
import logging
import pathlib
import shlex
import sys
import types

from emojax.runtime import process

if __name__ == "__main__":
  process.begin()  # What comes next takes seconds.

from emojax import cli
from emojax.errors import UserError

_LOG = logging.getLogger("emojax")


def main(argv: list[str]) -> None:
  """Runs the command that the command line names, or prints what there is."""
  if len(argv) < 2 or argv[1] in ("-h", "--help", "--version"):
    asked = "--version" in argv[1:]
    print(cli.version() if asked else cli.overview(__doc__, _COMMANDS))
    return
  if argv[1] not in _COMMANDS:
    names = ", ".join(sorted(_COMMANDS))
    raise UserError(f"no command {argv[1]!r}: there are {names}")
  command = _COMMANDS[argv[1]]
  if {"-h", "--help"} & set(argv):
    print(inspect.getdoc(command))
    if command is _train:
      print(cli.config_help(argv[2:3]))
    return
  command(argv[1:])


def _train(argv: list[str]) -> None:
  """Trains a system, or goes on with it.

  emojax train CONFIG[:VARIANT] [--workdir=RUN] [--config.FIELD=…] \\
      [--distributed [--coordinator=HOST:PORT --process_id=I --num_processes=N]]

  CONFIG: dann, speech, rlps, or a file of your own, which says what each field
  means; with --help also which variants there are. In a checkout the same as
  `python launch.py --config=configs/CONFIG.py[:VARIANT]`.
  """
  from emojax import training

  if len(argv) < 2 or argv[1].startswith("-"):
    raise UserError("usage: emojax train CONFIG[:VARIANT] [--config.FIELD=…]")
  config = f"--config={cli.shipped(argv[1])}"
  training.main([argv[0], config, *argv[2:]], inspect.getdoc(_train))


def _fetch(argv: list[str]) -> None:
  """Downloads a corpus that its authors give to everybody.

  emojax fetch CORPUS FOLDER
  """
  from emojax.corpora import downloads, faces, speech

  if len(argv) != 3:
    names = ", ".join(downloads.names())
    raise UserError(f"usage: emojax fetch CORPUS FOLDER; there are {names}")
  _, corpus, folder = argv
  found = (one for one in (speech, faces) if corpus in one.names())
  fetch = next(found, downloads).fetch
  with process.resumable():
    path = shlex.quote(str(fetch(corpus, folder)))
  configs = {"musan": "speech:live", "ravdess": "speech:whisper"}
  fields = f"--config.data.corpus={corpus} --config.data.path={path}"
  if corpus == "musan":
    fields = (
      "--config.augment.background_probability=0.5 "
      f"--config.augment.background_path={path}"
    )
  print(f"{corpus} is in {path}; to train with it:")
  config = configs.get(corpus, "speech:own")
  print(f"emojax train {config} {fields} --workdir=runs/{corpus}")


def _import_table(argv: list[str]) -> None:
  """Turns a pickle of features into a feature table; nothing in it runs.

  emojax import-table FILE.pkl OUT.npz
  """
  from emojax.data.import_table import import_pickle
  from emojax.inference import results

  if len(argv) != 3:
    raise UserError("usage: emojax import-table FILE.pkl OUT.npz")
  results.require_writable(argv[2], argv[1:2])
  _tell(argv[2], import_pickle(*argv[1:]))


def _features(argv: list[str]) -> None:
  """Writes the features that a config's study reads, as a feature table.

  emojax features dann:ravdess --config.data.path=… \\
      --config.data.audio_features=FOLDER OUT.npz

  The config as in emojax train.
  """
  from emojax.data import conversations, table
  from emojax.inference import results

  *argv, target = argv
  if not target.endswith(".npz"):
    raise UserError(
      "usage: emojax features CONFIG[:VARIANT] --config.data.…=… OUT.npz"
    )
  config = _config(argv)
  if "audio_features" not in config.data:
    raise UserError(
      "features are those of a study of conversations: take a config such as "
      "configs/dann.py"
    )
  conversations.check(config)
  results.require_writable(target, [config.data.path])
  cli.require_devices()
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

  if len(argv) > 1 and not argv[1].startswith("-"):
    argv = [argv[0], f"--config={cli.shipped(argv[1])}", *argv[2:]]
  elif not any(one.split("=")[0] == "--config" for one in argv):
    usage = "CONFIG[:VARIANT] (such as dann:ravdess), then --config.FIELD=…"
    raise UserError(f"emojax {argv[0]} takes a config first: {usage}")
  holder = config_flags.DEFINE_config_file("config")
  return cli.parse_config(argv, holder, __doc__)


def _audit(argv: list[str]) -> None:
  """Prints who is in which part of a config's splits, and checks them.

  emojax audit CONFIG[:VARIANT] --config.data.path=…
  emojax audit --folds=FOLDER_OF_EMOBOX_OR_FILE.csv

  The config as in emojax train.
  """
  if any(argument.split("=")[0] == "--folds" for argument in argv):
    _audit_folds(argv)
    return
  config = _config(argv)
  trainer = cli.trainer(config, "audit")
  cli.require_devices()
  for setting, parts in trainer.audit(config).items():
    print(f"{setting}\n{parts}\n")
  print(trainer.AUDITED)


def _audit_folds(argv: list[str]) -> None:
  """Prints who is on both sides of folds of others, and refuses these."""
  from emojax.data import fold_audit

  rest, given = cli.options(argv, {"folds": (str, None)})
  if rest or not given.folds:
    raise UserError("usage: emojax audit --folds=FOLDER or FILE.csv")
  folds = []
  for fold in fold_audit.audit(given.folds):
    said = "; ".join(fold.leaks) or fold.unknown or fold_audit.AUDITED
    print(f"{fold.name}\n{fold.table}\n\n{said}\n")
    folds.append(fold)
  print(fold_audit.summarise(given.folds, folds))


def _report(argv: list[str]) -> None:
  """Compares finished runs: a table, tests between them, and figures.

  emojax report RUN RUN … [--output=comparison]
  """
  from emojax.reports import report

  folders, given = cli.options(argv, {"output": (str, "comparison")})
  print(report.report(folders, given.output))


def _predict(argv: list[str]) -> None:
  """Says which emotion recordings, faces or utterances of dialogues have.

  emojax predict RUN FILES_OR_FOLDERS … [--output=FILE.csv] [--detect]
  emojax predict RUN DIALOGUES.csv … [--output=FILE.csv]
  emojax predict RUN FILES_OR_FOLDERS … --timeline=FILE.csv [LISTENING]

  RUN: the folder of a finished run, or the hub id of a published system. Of the
  speech study: recordings of any type and length. Of DANN: a CSV with the
  columns path, text (as the system needs), speaker, dialogue, turn; or a
  feature table (.npz). Of faces: an image is one face; with --detect images
  are searched, and each face has a row.

  A timeline has a row for each second. LISTENING: --window=5 and --hop=1 are
  seconds; --asr= names who transcribes: a Whisper or CTC checkpoint,
  faster-whisper:SIZE, none, or '' for the run's own Whisper; --language=en.
  """
  from emojax.inference import predict, results

  options = {
    "output": (str, None),
    "timeline": (str, None),
    "detect": (bool, False),
    **_LISTENING,
  }
  (run, *paths), given = cli.options(argv, options, 2)
  if given.timeline is not None:
    if given.detect:
      raise UserError("--detect is of faces, --timeline of recordings")
    _timeline(run, paths, given)
    return
  for name, (_, default) in _LISTENING.items():
    if getattr(given, name) != default:
      raise UserError(f"--{name} is of a timeline: give --timeline=FILE.csv")
  if given.output is not None:
    results.require_writable(given.output, paths)
  cli.require_devices()
  predictions = predict.load(run).predict(paths, given.detect)
  if given.output is None:
    print(results.table(predictions))
  else:
    results.write_csv(given.output, predictions)
  used, skipped = len(predictions), len(predictions.skipped)
  where = "" if given.output is None else f"{given.output}: "
  _LOG.info("%s%d predicted, %d skipped", where, used, skipped)


def _clean(argv: list[str]) -> None:
  """Says who stays in a training set of faces or clips, by a trained selector.

  emojax clean RUN DATA [--output=kept.csv] [--corpus=NAME]

  RUN: of configs/rlps.py, with a policy, or with rlps_s, whose DATA is that on
  which it was trained. DATA: of faces a folder of LABEL/IMAGE or
  PART/LABEL/IMAGE, or a CSV file (path,label,part); of clips a manifest
  (path,label,speaker); or with --corpus what that corpus is read from.
  kept.csv has the rows that stay, for config.data.corpus=manifest; beside it
  are kept-removed.csv, with why, and pictures of the best, the worst and the
  contested.
  """
  from emojax.inference import results

  options = {"output": (str, "kept.csv"), "corpus": (str, None)}
  (run, *data), given = cli.options(argv, options, 1)
  if len(data) > 1 or not (data or given.corpus):
    raise UserError(
      "usage: emojax clean RUN DATA [--output=kept.csv] [--corpus=NAME]"
    )
  results.require_writable(given.output, data)
  cli.require_devices()
  from emojax.inference import clean

  print(clean.clean(run, "".join(data), given.corpus, given.output))


def _timeline(run: str, paths: list[str], given: types.SimpleNamespace) -> None:
  """Writes the emotion over time of recordings of any length."""
  from emojax.inference import results, timeline

  if given.output is not None:
    raise UserError("give --output or --timeline, not both")
  results.require_writable(given.timeline, paths)
  used, total = timeline.write(_listener(run, given), paths, given.timeline)
  _LOG.info("%s: %d of %d recordings heard", given.timeline, used, total)


def _live(argv: list[str]) -> None:
  """Listens to a microphone, a file or standard input.

  emojax live RUN [--input=FILE|-] [--device=NAME] [--rate=16000] [--fast] \\
      [--output=FOLDER] [LISTENING]

  --input=- is raw 16-bit PCM, mono, of --rate samples a second. --fast: as
  fast as possible, nothing is left out. LISTENING: see emojax predict --help.
  """
  from emojax.inference import live, results, terminal
  from emojax.inference.session import Session

  options = {
    "input": (str, ""),
    "device": (str, ""),
    "rate": (int, 16_000),
    "fast": (bool, False),
    "output": (str, None),
    **_LISTENING,
  }
  (run, *rest), given = cli.options(argv, options, 1)
  if rest:
    raise UserError(f"unexpected argument {rest[0]!r}: recordings are --input=")
  if given.device and given.input:
    raise UserError("--device is a microphone's: leave out it or --input")
  if given.fast and not given.input:
    raise UserError("--fast is for --input=FILE, or -, not for a microphone")
  if given.output is not None:
    results.require_writable(pathlib.Path(given.output, "session.json"))
  listener = _listener(run, given)
  classes = listener.system.classes
  view, session = terminal.View(classes), Session(classes, listener.hop)
  how = given.input, given.device, given.rate, given.fast
  try:
    live.listen(listener, session, view.show, *how)
  finally:  # Also what was heard before an error.
    if given.output is not None:
      session.write(given.output)
    if session.windows:
      _LOG.info("%s", session.line())


def _push(argv: list[str]) -> None:
  """Publishes the trained system of a run on the Hugging Face hub.

  emojax push RUN USER/NAME [--private]

  Its description, its weights and a model card go there, nothing else. Then
  emojax.load("USER/NAME") and emojax predict USER/NAME … take it from there.
  """
  from emojax.publishing import push

  (run, *rest), given = cli.options(argv, {"private": (bool, False)}, 2)
  if len(rest) > 1:
    raise UserError("usage: emojax push RUN USER/NAME [--private]")
  print(push.push(run, rest[0], given.private))


def _robustness(argv: list[str]) -> None:
  """Tests a run of the speech study in noise, rooms, channels, short pieces.

  emojax robustness RUN [--data=FOLDER] [--noise=FOLDER] [--output=FOLDER]
  """
  from emojax.inference import robustness
  from emojax.reports import robustness as reports

  options = {
    "data": (str, None),
    "noise": (str, None),
    "output": (str, "robustness"),
  }
  (run, *rest), given = cli.options(argv, options, 1)
  if rest:
    raise UserError(
      "usage: emojax robustness RUN [--data=FOLDER] "
      "[--noise=FOLDER] [--output=FOLDER]"
    )
  reports.require_free(given.output)
  cli.require_devices()
  summary = robustness.measure(run, given.data, given.noise)
  print(reports.write(given.output, summary))


def _export(argv: list[str]) -> None:
  """Writes a trained system as a program that runs without emojax.

  emojax export RUN OUT [--format=stablehlo|onnx]

  OUT is a folder: the program, a card, and a script that runs it by jax
  (stablehlo) or by onnxruntime (onnx), without emojax.
  """
  from emojax.exporting import export

  options = {"format": (str, "stablehlo")}
  (run, *rest), given = cli.options(argv, options, 2)
  if len(rest) > 1:
    raise UserError(f"unexpected argument {rest[1]!r}: usage: export RUN OUT")
  export.check(rest[0], given.format)
  cli.require_devices()
  card = export.export(run, rest[0], given.format)
  largest = card["largest_difference"]["probabilities"]
  print(
    f"{rest[0]}: {given.format}, probabilities within {largest:.1e} of the "
    f"system's; python {rest[0]}/run.py runs it"
  )


def _serve(argv: list[str]) -> None:
  """Shows a page that listens, in browsers.

  emojax serve RUN [--host=127.0.0.1] [--port=8000] [LISTENING]

  Only this machine sees it, unless --host says otherwise. LISTENING: see
  emojax predict --help.
  """
  from emojax.inference.serve import packages

  options = {"host": (str, "127.0.0.1"), "port": (int, 8000), **_LISTENING}
  (run, *rest), given = cli.options(argv, options, 1)
  if rest:
    raise UserError(f"unexpected argument {rest[0]!r}: the page takes one run")
  packages.require()
  from emojax.inference.serve import server

  with server.listening(given.host, given.port) as bound:
    server.serve(_listener(run, given), run, given.host, bound)


# What `live`, `serve` and the timeline of `predict` have in common.
_LISTENING = {
  "window": (float, None),
  "hop": (float, 1.0),
  "asr": (str, ""),
  "language": (str, ""),
}


def _listener(run: str, given: types.SimpleNamespace):
  from emojax.inference import listener

  cli.require_devices()
  return listener.load(run, given.window, given.hop, given.asr, given.language)


_COMMANDS = {
  "train": _train,
  "predict": _predict,
  "clean": _clean,
  "live": _live,
  "serve": _serve,
  "export": _export,
  "robustness": _robustness,
  "push": _push,
  "report": _report,
  "audit": _audit,
  "fetch": _fetch,
  "features": _features,
  "import-table": _import_table,
}


if __name__ == "__main__":
  sys.exit(cli.run(main, sys.argv))
