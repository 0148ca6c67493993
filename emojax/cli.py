"""What the entry points share: parsing, logging, errors and exit codes."""

import ast
import importlib
import importlib.util
import inspect
import logging
import os
import pathlib
import re
import runpy
import sys
import tomllib
import types
from collections.abc import Callable, Mapping, Sequence
from importlib import metadata
from typing import Any

import ml_collections
from absl import flags

from emojax.errors import UserError, one_line
from emojax.runtime import memory, process

_PACKAGE = pathlib.Path(__file__).parent
# The folder `configs/` lies in the wheel, or beside the package in a checkout.
_HOMES = (_PACKAGE / "shipped", _PACKAGE.parent)
_HOME = re.compile(r"(?<==)~(?=/|$)")
# Where it is not known what asked for too much memory.
_WHATEVER = (
  "what is worked on at once (config.batch_size, config.num_replicates), or "
  "the load that other programs put on it"
)


class LineFormatter(logging.Formatter):
  """One line for each warning, also where a name in it holds a line break."""

  def formatMessage(self, record: logging.LogRecord) -> str:
    return one_line(super().formatMessage(record))


def run(main: Callable[[list[str]], None], argv: list[str]) -> int:
  """Runs `main` and returns the exit code.

  0 is success; 2 an error that the user can mend, printed as one line; 128 and
  the number of a signal that stopped it; see `process.exit_code`, too.
  """
  logging.basicConfig(level=logging.WARNING, force=True)
  logging.getLogger().handlers[0].setFormatter(LineFormatter())
  logging.getLogger("emojax").setLevel(logging.INFO)
  # Orbax logs tracebacks of errors that are told in one line here, Matplotlib
  # where it keeps its list of fonts.
  for name in ("absl", "asyncio", "matplotlib"):
    logging.getLogger(name).setLevel(logging.CRITICAL)
  # `--workdir=~/run` is no path to the shell. In place: ml_collections reads
  # `sys.argv`.
  argv[:] = [_HOME.sub(lambda _: os.path.expanduser("~"), one) for one in argv]
  code = 0
  try:
    with memory.explained(_WHATEVER):
      main(argv)
  except UserError as error:
    print(f"error: {error}", file=sys.stderr)
    code = 2
  except SystemExit as stop:
    code = stop.code or 0
  return process.exit_code(code)


def require_devices() -> None:
  """See `environment.require_devices`: JAX takes a second to import."""
  from emojax.runtime import environment

  environment.require_devices()


def parse_config(
  argv: list[str], holder: flags.FlagHolder, usage: str
) -> ml_collections.ConfigDict:
  """Parses all flags and returns the config, locked.

  The command line begins with the program; `usage` is printed for `--help`.

  Raises:
    UserError: an unknown flag or field, a value of another type, no such
      config, or one that can not be imported.
    SystemExit: help was asked for.
  """
  if {"-h", "--help"} & set(argv):
    print(usage)
    raise SystemExit(0)
  if not any(a == "--config" or a.startswith("--config=") for a in argv):
    raise UserError("--config is missing: name one, such as configs/dann.py")
  try:
    rest = flags.FLAGS(argv)[1:]
    # Of a file that did not load, ml_collections gives a stand-in that raises.
    config = holder.value.lock()
  except (flags.Error, OSError) as error:
    text = str(error)
    for argument in argv:  # That may hold a line break itself.
      text = text.replace(argument, one_line(argument))
    # A config file's own error is the last line of what ml_collections says.
    *_, line = (line for line in text.split("\n") if line.strip())
    line = line.strip().removeprefix("ValueError: ")
    if not any(argument in line for argument in map(one_line, argv[1:])):
      line += f" (in {one_line(' '.join(argv[1:]))})"
    if "No such file" in line:
      line += f" (from the current folder, {os.getcwd()})"
    raise UserError(line) from error
  except ImportError as error:
    raise UserError(
      f"the config file can not be imported: {one_line(str(error))} "
      f"(in {one_line(' '.join(argv[1:]))})"
    ) from error
  except AttributeError as error:
    # ml_collections wraps the KeyError of a field that the config lacks, which
    # says what was meant.
    (reason,) = error.args
    text = reason.args[0] if isinstance(reason, KeyError) else str(reason)
    text = "; ".join(map(str.strip, text.strip().splitlines()))
    raise UserError(f"the config has no field {text}") from error
  except (LookupError, TypeError, ValueError) as error:
    # Of a field that is none: "num_epochs 3" in one argument, "seed[0]".
    raise UserError(f"a field of the config: {error.args[0]}") from error
  if rest:
    raise UserError(f"unexpected argument {rest[0]!r}: options start with --")
  return config


def options(
  argv: list[str], known: Mapping[str, tuple[type, Any]], least: int = 0
) -> tuple[list[str], types.SimpleNamespace]:
  """What a command is given: arguments, at `least` so many, and options.

  `known` has the type (str, int, float or bool) and the default of each.

  Raises:
    UserError: an unknown option, a value of another type, too few arguments.
  """
  define = {
    str: flags.DEFINE_string,
    int: flags.DEFINE_integer,
    float: flags.DEFINE_float,
    bool: flags.DEFINE_boolean,
  }
  values = flags.FlagValues()
  holders = {
    name: define[kind](name, default, "", flag_values=values)
    for name, (kind, default) in known.items()
  }
  values.set_gnu_getopt()
  try:
    arguments = values(argv)[1:]
  except flags.Error as error:
    names = ", ".join(f"--{name}" for name in known)
    raise UserError(f"{error}; there is {names}") from error
  if len(arguments) < least:
    raise UserError(
      f"{argv[0]} needs more arguments: see emojax {argv[0]} --help"
    )
  given = {name: holder.value for name, holder in holders.items()}
  return arguments, types.SimpleNamespace(**given)


def trainer(
  config: ml_collections.ConfigDict, needed: str = "train"
) -> types.ModuleType:
  """The module that `config.trainer` names.

  It has `train(config, workdir)`; those of this package also `audit(config)`
  and `AUDITED`. A plain name is one of `emojax.trainers`; a dotted one, or a
  file, is from outside.

  Raises:
    UserError: there is no such trainer, or none with the function `needed`.
  """
  name = config.trainer
  if name.endswith(".py"):
    path = pathlib.Path(name).expanduser().absolute()
    name = path.stem
    if str(path.parent) not in sys.path:
      sys.path.insert(0, str(path.parent))  # As for a script of that folder.
  elif "." not in name:
    name = f"emojax.trainers.{name}"
  try:
    found = importlib.util.find_spec(name)
  except (ImportError, ValueError):  # A package of the dotted name is missing.
    found = None
  module = importlib.import_module(name) if found else None
  if not hasattr(module, needed):
    raise UserError(
      f"config.trainer = {config.trainer!r}: no such trainer; there are dann, "
      "rlps, speech, or name a module (my.trainer) or a file (my/trainer.py) "
      f"with a function {needed}"
    )
  return module


def default_workdir(config_file: str) -> pathlib.Path:
  """`runs/dann-table2` for `configs/dann.py:table2`."""
  file, _, variant = config_file.partition(":")
  name = pathlib.Path(file).stem
  return pathlib.Path("runs", f"{name}-{variant}" if variant else name)


def overview(begin: str, commands: Mapping[str, Callable]) -> str:
  """What `emojax` prints: the first line of each command."""
  width = max(map(len, commands)) + 2
  lines = [
    f"  {name:<{width}}{inspect.getdoc(command).splitlines()[0]}"
    for name, command in commands.items()
  ]
  return "\n".join([begin, *lines, "\nemojax COMMAND --help says more."])


def version() -> str:
  """What a report of a fault has to say; of a checkout its own number."""
  try:
    ours = metadata.version("emojax")
  except metadata.PackageNotFoundError:
    project = _PACKAGE.parent / "pyproject.toml"
    text = project.read_text(encoding="utf-8")
    ours = f"{tomllib.loads(text)['project']['version']} (a checkout)"
  python = ".".join(map(str, sys.version_info[:3]))
  jax = metadata.version("jax")
  return f"emojax {ours}, JAX {jax}, Python {python}, {sys.platform}"


def config_help(named: Sequence[str]) -> str:
  """What the first config that is named says of itself, and where all are."""
  said = f"\nThe config files: {config_folder()}"
  for name in named:
    if not name.startswith("-"):
      file = pathlib.Path(shipped(name).partition(":")[0]).expanduser()
      if file.is_file():
        tree = ast.parse(file.read_text(encoding="utf-8"))
        said += f"\n\n{file.name}: {ast.get_docstring(tree) or ''}"
  return said


def config_folder() -> pathlib.Path:
  """Where the configs are that come with the package."""
  folders = [home / "configs" for home in _HOMES]
  return next(folder for folder in folders if folder.is_dir())


def load_config(name: str) -> ml_collections.ConfigDict:
  """The config that `emojax train` knows by that name, locked.

  Raises:
    UserError: there is no such config, or variant of it; a module that it
      imports is missing.
  """
  file, _, variant = shipped(name).partition(":")
  try:
    get_config = runpy.run_path(file)["get_config"]
    return get_config(*filter(None, [variant])).lock()
  except (OSError, ValueError) as error:  # No such file, no such variant.
    raise UserError(f"{name}: {error}") from error
  except ImportError as error:
    raise UserError(f"{name} can not be imported: {error}") from error


def shipped(name: str) -> str:
  """What `--config=` takes for `speech` or `speech:ravdess`.

  A file of the user's own stays what it is. Configs import one another, and
  such files import them, so their folder's home comes into Python's path.

  Raises:
    UserError: there is no such config.
  """
  stem, colon, variant = name.partition(":")
  if stem.endswith(".py"):
    # Last: `configs` may be a package of the user's own.
    sys.path.append(str(config_folder().parent))
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
