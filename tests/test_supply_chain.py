"""What is installed with the house, and what its own code never does."""

import ast
import pathlib
import re
import tomllib

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from docs import licences

ROOT = pathlib.Path(__file__).parent.parent
LISTS = ("requirements.txt", "tests/requirements.txt", "docs/requirements.txt")
# Alternatives and parts of what packages say; all of them allow any use.
FREE = re.compile(
  r"Apache-2\.0|MIT|MIT-0|MIT-CMU|BSD|BSD-[23]-Clause|0BSD|ISC|Zlib|CC0-1\.0"
  r"|PSF-2\.0|PSF-based \(matplotlib licence\)|MPL-2\.0|LGPL-2\.1-or-later"
  r"|CNRI-Python|AFL-2\.1|Apache-2\.0 WITH LLVM-exception"
)
# Computes the features of DANN's demo and of published comparisons; nothing
# else does. The page says so first.
RESTRICTED = {"opensmile"}
# Their names alone are one: modules, and functions.
DANGERS = {
  *("cloudpickle", "dill", "joblib", "marshal", "pickle", "pickletools"),
  *("shelve", "eval", "exec", "builtins.eval", "builtins.exec"),
  *("pandas.read_pickle", "torch.load", "yaml.load"),
}
# Module: what of the above it has, and why it may.
ALLOWED = {
  # Names of opcodes, to carry out by itself those that build containers.
  "emojax.weights.plain_pickle": {"pickletools"},
  # Writes hostile files, for the readers to refuse.
  "experiments.robustness.tables": {"pickle", "allow_pickle=True"},
}


def listed(name: str) -> list[Requirement]:
  lines = (ROOT / name).read_text(encoding="utf-8").splitlines()
  lines = [line for line in lines if line and not line.startswith(("#", "-r "))]
  return list(map(Requirement, lines))


def extras() -> list[Requirement]:
  project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
  found = project["project"]["optional-dependencies"].values()
  return [Requirement(line) for lines in found for line in lines]


def test_versions_have_bounds_on_both_sides():
  every = extras() + [one for name in LISTS for one in listed(name)]
  for one in every:
    operators = sorted(part.operator for part in one.specifier)
    assert operators in (["<", ">="], ["=="]), str(one)


def test_extras_are_tested_within_their_bounds():
  tested = {one.name: one.specifier for one in listed(LISTS[1])}
  for one in extras():
    if one.marker is None:  # Of a newer Python than the tests' oldest.
      assert tested[one.name] == one.specifier, one.name


def locked() -> dict[str, str]:
  """Versions by name; a line is nothing else, so there is no host in it."""
  text = (ROOT / "tests" / "locked.txt").read_text(encoding="utf-8")
  lines = [line for line in text.splitlines() if not line.startswith("#")]
  pairs = [re.fullmatch(r"([\w.-]+)==([\w.]+)", line) for line in lines]
  assert all(pairs), lines
  return {canonicalize_name(one[1]): one[2] for one in pairs}


def test_the_lock_has_all_that_is_required():
  versions = locked()
  assert len(versions) > 150
  for name in LISTS:
    for one in listed(name):
      version = versions[canonicalize_name(one.name)]
      assert one.specifier.contains(version), f"{one}, locked {version}"


def test_licences_of_all_that_runs_are_listed_and_free():
  text = licences.PAGE.read_text(encoding="utf-8")
  rows = dict(re.findall(r"^\| ([\w.-]+) \| (.*?) \| .* \|$", text, re.M))
  assert len(rows) > 100
  for wanted in licences.requirements().values():
    for name in licences.closure(wanted):
      assert rows.get(name) == licences.licence(name), (
        f"{name}: run python -m docs.licences, and read what is new"
      )
  for name, said in rows.items():
    if name != "package" and name != "---":
      assert is_free(said) == (name not in RESTRICTED), f"{name}: {said}"
  assert "openSMILE may not be used commercially" in text


def is_free(licence: str) -> bool:
  """Whether each part of a licence, or one of its alternatives, is known."""
  return all(
    any(FREE.fullmatch(one) for one in part.split(" OR "))
    for part in re.split(" AND | and ", licence)
  )


@pytest.mark.parametrize(
  ("licence", "free"),
  [
    ("MIT", True),
    ("Apache-2.0 OR BSD-2-Clause", True),
    ("MIT OR GPL-3.0-only", True),
    ("BSD-2-Clause AND Apache-2.0 WITH LLVM-exception", True),
    ("GPL-3.0-only", False),
    ("AGPL-3.0-or-later", False),
    ("MIT AND GPL-2.0-only", False),
    ("CC-BY-NC-4.0", False),
    ("", False),
  ],
)
def test_which_licences_are_free(licence, free):
  assert is_free(licence) == free


def dangers(tree: ast.Module) -> set[str]:
  """What of a module could run what it is given: pickles, code, a shell."""
  found = set()
  for node in ast.walk(tree):
    if isinstance(node, ast.Import):
      found |= {alias.name.partition(".")[0] for alias in node.names}
    elif isinstance(node, ast.ImportFrom):
      found.add((node.module or "").partition(".")[0])
      found |= {f"{node.module}.{alias.name}" for alias in node.names}
    elif isinstance(node, ast.Call):
      found.add(ast.unparse(node.func))
      found |= {f"{one.arg}={ast.unparse(one.value)}" for one in node.keywords}
  return {one for one in found if _is_danger(one)}


def _is_danger(name: str) -> bool:
  return (
    name in DANGERS
    or re.fullmatch(r"(os|subprocess)\.(system|popen|get\w*output)", name)
    or re.fullmatch(r"(shell|allow_pickle)=(?!False$).*", name) is not None
  )


def sources() -> list[pathlib.Path]:
  folders = ("emojax", "configs", "experiments")
  found = [path for name in folders for path in (ROOT / name).rglob("*.py")]
  return [*found, ROOT / "launch.py"]


def test_nothing_runs_what_it_is_given():
  wrong = {}
  for path in sources():
    module = ".".join(path.relative_to(ROOT).with_suffix("").parts)
    found = dangers(ast.parse(path.read_text(encoding="utf-8")))
    if found != ALLOWED.get(module, set()):
      wrong[module] = found
  assert not wrong


@pytest.mark.parametrize(
  "code",
  [
    "import pickle",
    "from pickle import loads",
    "import joblib.externals",
    "exec(text)",
    "print(eval('1'))",
    "os.system(line)",
    "from os import system",
    "subprocess.run(line, shell=True)",
    "subprocess.getoutput(line)",
    "np.load(path, allow_pickle=flag)",
    "torch.load(path)",
  ],
)
def test_what_would_be_found(code):
  assert dangers(ast.parse(code))
  assert not dangers(ast.parse("np.load(p, allow_pickle=False); model.eval()"))
