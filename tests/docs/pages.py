"""The pages of the documentation, and the blocks of code in them."""

import pathlib
import re
from typing import NamedTuple

ROOT = pathlib.Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
_FENCE = re.compile(
  r'^```(\w*)(?: title="([^"\n]*)")?\n(.*?)^```$', re.DOTALL | re.MULTILINE
)


class Block(NamedTuple):
  """A block of code in a page."""

  where: str  # Page and line.
  language: str
  title: str
  code: str


def name(page: pathlib.Path) -> str:
  return str(page.relative_to(ROOT))


def blocks(page: pathlib.Path) -> list[Block]:
  """All of a page, in their order."""
  text = page.read_text(encoding="utf-8")
  found = []
  for match in _FENCE.finditer(text):
    line = text.count("\n", 0, match.start()) + 1
    language, title, code = match.groups(default="")
    found.append(Block(f"{name(page)}:{line}", language, title, code))
  fences = len(re.findall(r"^ *```", text, re.MULTILINE))
  assert fences == 2 * len(found), f"{name(page)}: a fence that is not read"
  return found


def without_code(page: pathlib.Path) -> str:
  return _FENCE.sub("", page.read_text(encoding="utf-8"))
