"""Parsing, errors and exit codes of the entry points, in this process."""

import functools
import importlib
import logging
import pathlib
import re
import shlex
import subprocess
import sys
import tomllib

import jax
import jax.numpy as jnp
import pytest
from absl import flags
from ml_collections import config_flags

import emojax
from configs import speech
from emojax import __main__ as entry
from emojax import cli
from emojax.errors import UserError

# ml_collections loads config files with it.
pytestmark = pytest.mark.filterwarnings("ignore:the load_module")

ROOT = pathlib.Path(__file__).parents[1]
TABLE_2 = "--config=configs/dann.py:table2"


@pytest.fixture
def parse(monkeypatch):
  """Parses a command line as `launch.py` does, with flags of its own."""
  monkeypatch.chdir(ROOT)

  def parse(*arguments):
    argv = ["launch.py", *arguments]
    values = flags.FlagValues()
    holder = config_flags.DEFINE_config_file("config", flag_values=values)
    flags.DEFINE_string("workdir", None, "", flag_values=values)
    monkeypatch.setattr(flags, "FLAGS", values)
    monkeypatch.setattr(sys, "argv", argv)
    return cli.parse_config(argv, holder, "how to use it")

  return parse


def test_a_config_from_python_is_that_of_the_command_line(parse):
  config = emojax.config("dann:table2")
  assert config == parse(TABLE_2)
  assert config.is_locked
  mine = str(ROOT / "configs" / "dann.py:table2")
  assert emojax.config(mine) == config


@pytest.mark.parametrize("variant", speech._CHANGES)
def test_a_pretrained_encoder_forgets_nothing_in_a_config_of_ours(variant):
  """Whichever is named: one that is drawn anew has the rate of the head."""
  config = emojax.config(f"speech:{variant}")
  assert config.optimizer.encoder_learning_rate <= 1e-4


@pytest.mark.parametrize(
  ("name", "said"),
  [
    ("dan", "no config 'dan': there are dann, rlps, speech"),
    ("dann:table4", "dann:table4: no config 'table4': demo, ravdess"),
    ("mine.py", "mine.py: .*No such file"),
  ],
)
def test_a_config_that_is_none(name, said):
  with pytest.raises(UserError, match=said):
    emojax.config(name)


@pytest.mark.parametrize(
  ("line", "said"),
  [
    ("import nowhere", "No module named 'nowhere'"),
    ("from configs import nothing", "cannot import name 'nothing'"),
  ],
)
def test_a_config_that_can_not_be_imported(parse, tmp_path, line, said):
  file = tmp_path / "mine.py"
  file.write_text(f"{line}\n", encoding="utf-8")
  with pytest.raises(UserError, match=f"imported: {said}") as caught:
    parse(f"--config={file}")
  assert str(file) in str(caught.value)
  with pytest.raises(UserError, match=f"imported: {said}") as caught:
    emojax.config(str(file))
  assert str(caught.value).startswith(str(file))


def test_fields_take_the_types_of_the_config(parse):
  config = parse(
    TABLE_2,
    "--config.num_epochs=7",
    "--config.lambdas=(0.5,2)",
    "--config.split.labelled_sessions=('1234','23')",
    "--config.stabilised.enabled=False",
    "--config.optimizer.learning_rate=1e-3",
    "--config.data.path=/some/folder",
    "--workdir=here",
  )
  assert config.num_epochs == 7
  assert config.lambdas == (0.5, 2)
  assert config.split.labelled_sessions == ("1234", "23")
  assert config.stabilised.enabled is False
  assert config.optimizer.learning_rate == 1e-3
  assert config.data.path == "/some/folder"
  with pytest.raises(AttributeError):
    config.data.pth = "locked"


@pytest.mark.parametrize("name", ["demo", "ravdess", "table2", "table3"])
def test_every_config_of_dann(parse, name):
  assert parse(f"--config=configs/dann.py:{name}").trainer == "dann"


def test_demo_is_the_default(parse):
  config = parse("--config=configs/dann.py")
  assert config.data.corpus == "demo"


@pytest.mark.parametrize(
  ("arguments", "what"),
  [
    ([], "--config is missing"),
    (["--workdir=here"], "--config is missing"),
    (["--config=configs/nothing.py"], f"from the current folder, {ROOT}"),
    (["--config=configs/dann.py:table4"], "no config 'table4': demo, ravdess"),
    ([TABLE_2, "--config.data.corpsu=iemocap"], "corpsu"),
    ([TABLE_2, "--config.epochs=3"], "epochs"),
    ([TABLE_2, "--config.num_epochs=many"], "many"),
    ([TABLE_2, "--config.num_epochs=1.5"], "num_epochs"),
    ([TABLE_2, "--config.lambdas=(0,1"], "lambdas"),
    ([TABLE_2, "--config.stabilised.enabled=perhaps"], "perhaps"),
    ([TABLE_2, "--config.optimizer.learning_rate=small"], "small"),
    ([TABLE_2, "--config.data=3"], "data"),
    ([TABLE_2, "--confg.num_epochs=3"], "confg"),
    ([TABLE_2, "--unknown=3"], "unknown"),
    ([TABLE_2, "--workdir"], "workdir"),
    ([TABLE_2, "epochs=3"], "unexpected argument 'epochs=3'"),
    ([TABLE_2, "--config.num_epochs 3"], "Could not parse 'num_epochs 3'"),
    ([TABLE_2, "-kers #"], "(in --config=configs/dann.py:table2 -kers #)"),
    ([TABLE_2, "--config.seed[0]=3"], "does not support integer indexing"),
    ([TABLE_2, "--config.seed.x=3"], "'int'>.x does not exist"),
    ([TABLE_2, "--config.lambdas.x=3"], "must be integers or slices"),
    ([TABLE_2, "--config.num_epochs=a\nb"], "--config.num_epochs=a\\nb: "),
  ],
)
def test_a_command_line_that_is_wrong(parse, arguments, what):
  with pytest.raises(UserError) as caught:
    parse(*arguments)
  assert what in str(caught.value)
  assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
  "name", ["typo", "", "fit", "no.such.module", "json.tool", "no/such/file.py"]
)
def test_a_trainer_that_is_none(parse, name):
  """It has ended in a traceback of the import."""
  config = parse(TABLE_2, f"--config.trainer={name}")
  with pytest.raises(UserError) as caught:
    cli.trainer(config)
  assert f"config.trainer = {name!r}: no such trainer" in str(caught.value)
  assert "\n" not in str(caught.value)


def test_a_trainer_of_ones_own_need_not_audit(parse, tmp_path, monkeypatch):
  monkeypatch.setattr(sys, "path", sys.path[:])
  path = tmp_path / "my_own_trainer.py"
  path.write_text("def train(config, workdir): pass")
  config = parse(TABLE_2, f"--config.trainer={path}")
  assert cli.trainer(config).__name__ == "my_own_trainer"
  with pytest.raises(UserError, match="with a function audit"):
    cli.trainer(config, "audit")


@pytest.mark.parametrize("help_", ["-h", "--help"])
def test_help(parse, help_, capsys):
  with pytest.raises(SystemExit) as caught:
    parse(help_)
  assert caught.value.code == 0
  assert capsys.readouterr().out == "how to use it\n"


@pytest.fixture
def run(cache, monkeypatch):
  """`cli.run` without its lasting effects."""
  root = logging.getLogger()
  handlers, level = root.handlers[:], root.level
  levels = {
    n: logging.getLogger(n).level
    for n in ("emojax", "absl", "asyncio", "matplotlib")
  }
  yield cli.run
  root.handlers[:] = handlers
  root.setLevel(level)
  for name, value in levels.items():
    logging.getLogger(name).setLevel(value)


def test_exit_codes(run, capsys):
  def wrong(argv):
    raise UserError(f"{argv[0]} is wrong: mend it")

  assert run(lambda argv: None, ["x"]) == 0
  assert capsys.readouterr() == ("", "")
  assert run(wrong, ["x"]) == 2
  assert capsys.readouterr() == ("", "error: x is wrong: mend it\n")


def test_the_home_folder_as_the_shell_leaves_it(run, monkeypatch):
  monkeypatch.setenv("HOME", "/home/me")
  argv = ["x", "--workdir=~/run", "--config.data.path=~", "--a=b=~x", "a~/b"]
  run(lambda argv: None, argv)
  assert argv == [
    *("x", "--workdir=/home/me/run", "--config.data.path=/home/me"),
    *("--a=b=~x", "a~/b"),
  ]


def test_too_little_memory_is_one_line_wherever(run, capsys):
  def large(argv):
    jax.jit(lambda: jnp.zeros((2**20, 2**25)))()

  assert run(large, ["x"]) == 2
  said = capsys.readouterr().err
  assert said.count("\n") == 1
  assert "the device has too little memory" in said
  assert "lower what is worked on at once (config.batch_size" in said


def test_a_defect_of_ours_keeps_its_traceback(run):
  def defect(argv):
    raise KeyError("ours")

  with pytest.raises(KeyError, match="ours"):
    run(defect, ["x"])


@pytest.mark.parametrize(
  ("file", "expected"),
  [
    ("configs/dann.py:table2", "runs/dann-table2"),
    ("configs/dann.py", "runs/dann"),
    ("/elsewhere/mine.py:a", "runs/mine-a"),
  ],
)
def test_the_default_work_folder(file, expected):
  assert cli.default_workdir(file) == pathlib.Path(expected)


def test_commands(capsys):
  for argv in ([], ["--help"], ["-h"]):
    entry.main(["emojax", *argv])
    shown = capsys.readouterr().out
    assert "  audit         Prints who is in which part" in shown
  with pytest.raises(UserError, match="no command 'trian': there are audit"):
    entry.main(["emojax", "trian"])
  with pytest.raises(UserError, match="usage: emojax import-table"):
    entry.main(["emojax", "import-table", "one.pkl"])
  with pytest.raises(UserError, match=r"nowhere\.pkl: No such file"):
    entry.main(["emojax", "import-table", "nowhere.pkl", "out.npz"])


@pytest.mark.parametrize("command", entry._COMMANDS)
def test_help_of_a_command(capsys, command):
  entry.main(["emojax", command, "--help"])
  first, empty, usage, *_ = capsys.readouterr().out.splitlines()
  assert first.endswith(".") and not empty
  assert usage.startswith(f"emojax {command} ")


def test_help_takes_no_time():
  """Neither JAX nor NumPy is imported for it."""
  code = (
    "import sys; from emojax import console;"
    "sys.argv = ['emojax', 'predict', '--help'];"
    "sys.exit = lambda code: None; console.main();"
    "assert not {'jax', 'numpy', 'flax'} & sys.modules.keys(), 'slow'"
  )
  done = subprocess.run(
    [sys.executable, "-c", code], capture_output=True, text=True, timeout=60
  )
  assert done.returncode == 0, done.stderr
  assert "emojax predict RUN" in done.stdout


def test_configs_by_name(monkeypatch):
  monkeypatch.setattr(sys, "path", sys.path[:])
  path, variant = cli.shipped("speech:ravdess").rsplit(":", 1)
  assert pathlib.Path(path) == ROOT / "configs" / "speech.py"
  assert variant == "ravdess" and sys.path[0] == str(ROOT)
  assert cli.shipped("mine.py:a") == "mine.py:a"
  with pytest.raises(UserError, match="'speach': there are dann, rlps, speech"):
    cli.shipped("speach")
  for argv in (["train"], ["train", "--workdir=x"]):
    with pytest.raises(UserError, match="usage: emojax train CONFIG"):
      entry.main(["emojax", *argv])


def test_the_wheel_has_every_package():
  """They are listed, so that the configs can be among them."""
  project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
  listed = project["tool"]["setuptools"]["packages"]
  found = {
    ".".join(path.parent.relative_to(ROOT).parts)
    for path in (ROOT / "emojax").rglob("*.py")
  }
  assert sorted({*found, "emojax.shipped.configs"}) == sorted(listed)
  for name in found:
    assert (ROOT.joinpath(*name.split(".")) / "__init__.py").is_file()


def test_help_of_a_config_names_its_variants(capsys):
  entry.main(["emojax", "train", "speech", "--help"])
  said = capsys.readouterr().out
  for name in ("speech.py:own", "speech.py:whisper", "--distributed"):
    assert name in said


def test_the_version_is_said(capsys):
  entry.main(["emojax", "--version"])
  project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
  said = capsys.readouterr().out
  assert project["project"]["version"] in said and jax.__version__ in said


@pytest.mark.parametrize(
  ("arguments", "what"),
  [
    (["predict"], "predict needs more arguments"),
    (["predict", "run"], "predict needs more arguments"),
    (["predict", "run", "a.wav", "--outptu=x"], "outptu"),
    (["predict", "nowhere", "a.wav"], "nowhere: no finished run"),
    # Whatever the hub has under that name.
    (["predict", "runs/speech", "a.wav"], "from the current folder"),
    (["predict", "run", "a.wav", "--output=."], "is a folder"),
    (["fetch"], "usage: emojax fetch CORPUS FOLDER; there are crema"),
    (["fetch", "ravdes", "here"], "'ravdes': nothing to download"),
    (["fetch", "meld", "here"], "meld: can not be downloaded by code"),
    (["fetch", "ferplus", "here"], "ferplus: can not be downloaded by code"),
    (["audit", "--config.data.path=x", "dann"], "takes a config first"),
    (["audit", "--config.data.path=x"], "takes a config first"),
    (["features", "x.npz"], "takes a config first"),
  ],
)
def test_a_command_that_is_wrong(tmp_path, monkeypatch, arguments, what):
  monkeypatch.chdir(tmp_path)
  with pytest.raises(UserError) as caught:
    entry.main(["emojax", *arguments])
  assert what in str(caught.value)
  assert "\n" not in str(caught.value)
  assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
  ("corpus", "field"),
  [
    (
      "ravdess",
      "speech:whisper --config.data.corpus=ravdess --config.data.path=",
    ),
    ("emodb", "speech:own --config.data.corpus=emodb --config.data.path="),
    (
      "musan",
      "speech:live --config.augment.background_probability=0.5 "
      "--config.augment.background_path=",
    ),
  ],
)
@pytest.mark.parametrize("name", ["data", "my data; x"])
def test_fetch_says_what_is_next(tmp_path, capsys, corpus, field, name):
  folder = tmp_path / name / corpus
  folder.mkdir(parents=True)  # Downloaded before.
  entry.main(["emojax", "fetch", corpus, str(tmp_path / name)])
  *_, line = capsys.readouterr().out.splitlines()
  path = shlex.quote(str(folder))
  # The demo has runs/speech, where this would be another config.
  assert line == f"emojax train {field}{path} --workdir=runs/{corpus}"
  study = line.split()[2]
  for name in re.findall(r"--config\.([\w.]+)=", line):
    functools.reduce(getattr, name.split("."), emojax.config(study))


@pytest.mark.parametrize(
  ("name", "asked"),
  [("dann", "--config=configs/dann.py"), ("speech", "speech:demo")],
)
def test_the_audit_is_that_of_the_trainer(monkeypatch, capsys, name, asked):
  trainer = importlib.import_module(f"emojax.trainers.{name}")
  assert callable(trainer.audit)
  configs = []

  def audit(config):
    configs.append(config)
    return {"a setting": "its parts"}

  monkeypatch.setattr(trainer, "audit", audit)
  monkeypatch.chdir(ROOT)
  monkeypatch.setattr(sys, "path", sys.path[:])
  argv = ["emojax", "audit", asked]
  monkeypatch.setattr(flags, "FLAGS", flags.FlagValues())
  monkeypatch.setattr(
    config_flags,
    "DEFINE_config_file",
    functools.partial(config_flags.DEFINE_config_file, flag_values=flags.FLAGS),
  )
  monkeypatch.setattr(sys, "argv", argv)
  entry.main(argv)
  assert configs[0].trainer == name
  assert "a setting\nits parts\n" in capsys.readouterr().out


@pytest.mark.parametrize(
  "begin",
  [
    "from emojax import console; console.main()",
    "runpy.run_module('emojax', run_name='__main__')",
    "runpy.run_path('launch.py', run_name='__main__')",
  ],
)
def test_windows_is_one_line(begin):
  script = (
    "import runpy, signal, sys; del signal.SIGHUP; sys.platform = 'win32';"
    f"sys.modules['fcntl'] = None; {begin}"
  )
  done = subprocess.run(
    [sys.executable, "-c", script], capture_output=True, text=True, cwd=ROOT
  )
  assert done.returncode == 2 and "WSL" in done.stderr
  assert done.stderr.count("\n") == 1
