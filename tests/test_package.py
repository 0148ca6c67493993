"""The wheel: what is in it, and that it runs without the checkout."""

import email.parser
import os
import pathlib
import shutil
import subprocess
import sys
import zipfile

import pytest
from packaging.requirements import Requirement

ROOT = pathlib.Path(__file__).parent.parent
SOURCES = ("emojax", "configs")
HIDDEN = ("__pycache__", ".*")


def files_of(folder: pathlib.Path) -> set[str]:
  return {
    str(path.relative_to(folder))
    for path in folder.rglob("*")
    if path.is_file()
  }


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> zipfile.ZipFile:
  """As `pip install .` makes it; of a copy, for it leaves things behind."""
  source = tmp_path_factory.mktemp("source")
  for name in SOURCES:
    ignore = shutil.ignore_patterns(*HIDDEN)
    shutil.copytree(ROOT / name, source / name, ignore=ignore)
  for name in ("pyproject.toml", "requirements.txt", "README.md", "LICENSE"):
    shutil.copy(ROOT / name, source)
  target = tmp_path_factory.mktemp("wheel")
  options = ["--no-deps", "--no-build-isolation", f"--wheel-dir={target}"]
  command = [sys.executable, "-m", "pip", "wheel", *options, str(source)]
  done = subprocess.run(command, capture_output=True, text=True)
  assert done.returncode == 0, done.stdout + done.stderr
  (path,) = target.iterdir()
  return zipfile.ZipFile(path)


def test_it_holds_every_file_of_the_package_and_the_configs(wheel):
  """Also pages, templates and the mark of a typed package."""
  found = {name for name in wheel.namelist() if ".dist-info/" not in name}
  package = {f"emojax/{name}" for name in files_of(ROOT / "emojax")}
  configs = {
    f"emojax/shipped/configs/{name}" for name in files_of(ROOT / "configs")
  }
  expected = {n for n in package | configs if "__pycache__" not in n}
  assert found == expected
  for name in (
    "emojax/py.typed",
    "emojax/inference/serve/page/index.html",
    "emojax/reports/templates/misclassified.html",
    "emojax/shipped/configs/speech.py",
  ):
    assert name in found


def test_what_pip_is_told_of_it(wheel):
  (folder,) = {
    name.split("/")[0] for name in wheel.namelist() if ".dist-info/" in name
  }
  text = wheel.read(f"{folder}/METADATA").decode()
  about = email.parser.Parser().parsestr(text, headersonly=True)
  required = map(Requirement, about.get_all("Requires-Dist"))
  listed = (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines()
  listed = [line for line in listed if line and not line.startswith("#")]
  expected = {str(Requirement(line)) for line in listed}
  assert {str(one) for one in required if not one.marker} == expected
  assert "live" in about.get_all("Provides-Extra")
  assert about["License-Expression"] == "Apache-2.0"
  scripts = wheel.read(f"{folder}/entry_points.txt").decode()
  assert "emojax = emojax.console:main" in scripts


_CONFIG = """
import pathlib
import emojax
from emojax import cli

file, variant = cli.shipped("speech:ravdess").rsplit(":", 1)
from configs import speech

assert pathlib.Path(file).samefile(speech.__file__), file
assert emojax.config("speech:ravdess") == speech.get_config(variant).lock()
print(speech.__file__, speech.get_config(variant).data.corpus)
"""


@pytest.fixture(scope="module")
def site(wheel, tmp_path_factory) -> pathlib.Path:
  """Where the wheel is installed."""
  folder = tmp_path_factory.mktemp("site")
  wheel.extractall(folder)
  return folder


def run(site, folder, program, *arguments) -> subprocess.CompletedProcess:
  """Nothing of the checkout is in Python's path."""
  return subprocess.run(
    [sys.executable, "-c", program, *arguments],
    cwd=folder,
    env=os.environ | {"PYTHONPATH": str(site)},
    capture_output=True,
    text=True,
  )


def test_it_reads_its_own_configs(site, tmp_path):
  done = run(site, tmp_path, _CONFIG)
  assert done.returncode == 0, done.stderr
  config = site / "emojax" / "shipped" / "configs" / "speech.py"
  assert done.stdout.split() == [str(config), "ravdess"]


_COMMAND = "from emojax import console; console.main()"
_MINE = """
from configs import speech
{more}

def get_config():
  return speech.get_config("demo")
"""


@pytest.mark.parametrize(
  ("more", "said"),
  [
    ("", "error: the config has no field "),  # So it has been loaded.
    ("import nowhere", "error: the config file can not be imported: No module"),
  ],
)
def test_a_config_of_ones_own_imports_those_of_the_wheel(
  site, tmp_path, more, said
):
  """As docs/adding.md has it."""
  (tmp_path / "mine.py").write_text(_MINE.format(more=more), encoding="utf-8")
  command = ("train", "mine.py", "--config.epoch=1")
  done = run(site, tmp_path, _COMMAND, *command)
  assert done.returncode == 2, done.stderr
  assert done.stderr.startswith(said)
  assert done.stderr.count("\n") == 1, done.stderr


def test_a_config_of_ones_own_from_python(site, tmp_path):
  (tmp_path / "mine.py").write_text(_MINE.format(more=""), encoding="utf-8")
  program = "import emojax; assert emojax.config('mine.py').data.corpus"
  done = run(site, tmp_path, program)
  assert done.returncode == 0, done.stderr
