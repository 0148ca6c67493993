"""The house itself: floors, sizes, names, and nothing that is dead.

Read from the syntax trees; the layout is in the README ("How it is built").
"""

import ast
import collections
import functools
import pathlib
import re

ROOT = pathlib.Path(__file__).parent.parent
# A room imports only from floors below its own.
FLOORS = (
  {"errors"},
  {"calibration", "checks", "kernels", "losses", "markdown", "metrics"}
  | {
    "normalisation",
    "ops",
    "runtime",
    "spectral",
    "spelling",
    "statistics",
    "summary",
  },
  {"audio", "models", "synthetic", "weights"},
  {"corpora", "encoders"},
  {"data", "loop", "reports", "runs", "systems"},
  {"exporting", "inference", "publishing", "trainers"},
  {"__main__", "cli", "console", "training"},
)
# But for neighbours that lean on one another, in this direction only.
BESIDE = {
  ("__main__", "cli"),
  ("__main__", "training"),
  ("console", "__main__"),
  ("console", "cli"),
  ("training", "cli"),
  ("runs", "loop"),
  ("kernels", "runtime"),
  ("runtime", "spelling"),
  ("spectral", "runtime"),
  ("summary", "metrics"),
  ("summary", "statistics"),
}
# What is found by a name in the config, not by its own.
CONTRACTS = {
  "console": {"main"},  # Of pyproject.toml.
  "corpora": {"read", "read_text", "speaker_of"}
  | {"LAYOUT", "LICENCE", "SOURCE"},
  "encoders": {"load", "vectors"},
  "exporting": {"load"},  # Of an exported system's program.py.
  "trainers": {"train", "audit", "AUDITED"},
}
LONGEST_FUNCTION = 60
LONGEST_FILE = collections.defaultdict(lambda: 450, trainers=600)
# Several things had these names; the field has words for them.
TAKEN = re.compile(
  "material|evidence|exhibit|member|fitting|credit|cleaning", re.IGNORECASE
)
FUNCTIONS = ast.FunctionDef | ast.AsyncFunctionDef


@functools.cache
def trees() -> dict[str, ast.Module]:
  """Syntax trees of the package, its entry and its configs, by module."""
  files = [ROOT / "launch.py"]
  for folder in ("emojax", "configs"):
    files += sorted((ROOT / folder).rglob("*.py"))
  return {
    module_of(path): ast.parse(path.read_text(encoding="utf-8"))
    for path in files
  }


def module_of(path: pathlib.Path) -> str:
  parts = path.relative_to(ROOT).with_suffix("").parts
  return ".".join(part for part in parts if part != "__init__")


def file_of(module: str) -> pathlib.Path:
  path = ROOT / module.replace(".", "/")
  return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


def room_of(module: str) -> str:
  """`kernels` of `emojax.kernels.gru`, `loop` of `emojax.loop`."""
  return module.split(".")[1] if "." in module else ""


def package() -> dict[str, ast.Module]:
  return {
    name: tree for name, tree in trees().items() if name.startswith("emojax.")
  }


@functools.cache
def aliases(tree: ast.Module) -> dict[str, str]:
  """Full names by the names that imports give them."""
  found = {}
  for node in ast.walk(tree):
    if isinstance(node, ast.ImportFrom):
      for alias in node.names:
        found[alias.asname or alias.name] = f"{node.module}.{alias.name}"
    elif isinstance(node, ast.Import):
      for alias in node.names:
        if alias.asname:
          found[alias.asname] = alias.name
        else:
          top = alias.name.partition(".")[0]
          found[top] = top
  return found


@functools.cache
def imports(module: str) -> set[str]:
  """Modules of the house that a module imports."""
  found = set()
  for name in aliases(trees()[module]).values():
    while name not in trees() and "." in name:
      name = name.rpartition(".")[0]
    if name in trees() and name not in ("emojax", module):
      found.add(name)
  return found


def test_rooms_import_from_floors_below_their_own():
  floor = {room: i for i, rooms in enumerate(FLOORS) for room in rooms}
  wrong = []
  for module in package():
    here = room_of(module)
    assert here in floor, f"{here} is on no floor"
    for name in imports(module):
      there = room_of(name)
      beside = here == there or (here, there) in BESIDE
      if floor.get(there, len(FLOORS)) >= floor[here] and not beside:
        wrong.append(f"{module} imports {name}")
  assert not wrong, "\n".join(wrong)


def test_no_modules_import_one_another_in_a_circle():
  done = set()

  def visit(way):
    for name in imports(way[-1]):
      # A package's own file imports what is in it.
      assert name not in way or way[-1].startswith(name), " > ".join(
        (*way, name)
      )
      if name not in done and name not in way:
        visit((*way, name))
    done.add(way[-1])

  for module in package():
    visit((module,))


def test_files_and_functions_are_short():
  wrong = []
  for module, tree in package().items():
    text = file_of(module).read_text(encoding="utf-8")
    lines = len(text.splitlines())
    if lines > LONGEST_FILE[room_of(module)]:
      wrong.append(f"{module} has {lines} lines")
    for node in ast.walk(tree):
      if isinstance(node, FUNCTIONS):
        lines = node.end_lineno - node.lineno + 1
        if lines > LONGEST_FUNCTION:
          wrong.append(f"{module}.{node.name} has {lines} lines")
  assert not wrong, "\n".join(wrong)


def test_text_files_name_their_encoding():
  """Where ruff does not see what they are, too."""
  wrong = []
  for module, tree in trees().items():
    for node in ast.walk(tree):
      if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
        # The `read_text` of a corpus reader takes a path.
        most = {"read_text": 0, "write_text": 1}.get(node.func.attr, -1)
        named = any(keyword.arg == "encoding" for keyword in node.keywords)
        if len(node.args) == most and not named:
          wrong.append(f"{module}:{node.lineno}")
  assert not wrong, "\n".join(wrong)


def test_names_that_stood_for_several_things_are_gone():
  wrong = [name for name in trees() if TAKEN.search(name.rpartition(".")[2])]
  for module, tree in trees().items():
    wrong += [
      f"{module}.{node.name}"
      for node in ast.walk(tree)
      if isinstance(node, ast.ClassDef) and TAKEN.search(node.name)
    ]
  assert not wrong, "\n".join(wrong)


def defined(tree: ast.Module) -> dict[str, ast.stmt]:
  """Functions, classes and constants at the top of a module."""
  found = {}
  for node in tree.body:
    if isinstance(node, FUNCTIONS | ast.ClassDef):
      found[node.name] = node
    elif isinstance(node, ast.Assign | ast.AnnAssign):
      targets = getattr(node, "targets", None) or [node.target]
      for target in targets:
        if isinstance(target, ast.Name):
          found[target.id] = node
  return found


def full_name(node: ast.expr, known: dict[str, str]) -> str:
  """`emojax.runtime.files.whole` of `files.whole`; '.whole' of `x().whole`."""
  if isinstance(node, ast.Name):
    return origin(known.get(node.id, ""))
  if isinstance(node, ast.Attribute):
    return origin(f"{full_name(node.value, known)}.{node.attr}")
  return ""


def origin(name: str) -> str:
  """Where a name is from that a room hands on as its own."""
  module, _, last = name.rpartition(".")
  return aliases(trees()[module]).get(last, name) if module in trees() else name


def uses() -> tuple[set[str], set[str]]:
  """Full names, and names of attributes and keywords, that are made use of."""
  names, attributes = set(), set()
  for module, tree in trees().items():
    own = {name: f"{module}.{name}" for name in defined(tree)}
    known = own | aliases(tree)
    for statement in tree.body:
      found = set()
      for node in ast.walk(statement):
        if isinstance(node, ast.Attribute):
          found.add(full_name(node, known))
          attributes.add(node.attr)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load):
          found.add(full_name(node, known))
        elif isinstance(node, ast.keyword):
          attributes.add(node.arg)
      # A function that calls itself is not in use.
      names |= found - {own.get(getattr(statement, "name", None))}
  return names, attributes


def test_nothing_is_dead():
  """Every name at the top of a module, and every part of a class, has a use.

  Other than in tests; what the documentation shows is for its readers. Parts
  that a decorator registers, or that a class of another package calls, are left
  out.
  """
  names, attributes = uses()
  shown = "".join(
    page.read_text(encoding="utf-8")
    for page in (ROOT / "README.md", *(ROOT / "docs").rglob("*.md"))
  )
  wrong = []
  for module, tree in package().items():
    ours = set(defined(tree)) | {
      name for name, full in aliases(tree).items() if full.startswith("emojax.")
    }
    for name, node in defined(tree).items():
      if not (
        f"{module}.{name}" in names
        or name in CONTRACTS.get(room_of(module), ())
        or name.startswith("__")
        or f"{module.rpartition('.')[2]}.{name}(" in shown
        or registered(node)
      ):
        wrong.append(f"{module}.{name}")
      if isinstance(node, ast.ClassDef) and all(
        isinstance(base, ast.Name) and base.id in ours for base in node.bases
      ):
        wrong += [
          f"{module}.{name}.{part}"
          for part in parts(node)
          if not (
            part in attributes or part.startswith("__") or f".{part}(" in shown
          )
        ]
  assert not wrong, "\n".join(wrong)


def registered(node: ast.stmt) -> bool:
  """Whether a decorator such as `@gelu.defjvp` takes a function to itself."""
  return any(
    isinstance(decorator, ast.Attribute)
    and decorator.attr in ("defjvp", "def_vmap", "defvjp")
    for decorator in getattr(node, "decorator_list", ())
  )


def parts(node: ast.ClassDef) -> list[str]:
  """Methods and annotated fields of a class."""
  found = [part.name for part in node.body if isinstance(part, FUNCTIONS)]
  return found + [
    part.target.id for part in node.body if isinstance(part, ast.AnnAssign)
  ]


def test_nothing_dead_is_found_where_it_is(monkeypatch):
  """The test above does find things."""
  module = ast.parse("def used(): pass\ndef dead(): dead()\nused()\n")
  monkeypatch.setitem(trees(), "emojax.errors", module)
  names, _ = uses()
  assert "emojax.errors.used" in names and "emojax.errors.dead" not in names
