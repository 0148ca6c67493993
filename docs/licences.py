"""Writes the table of docs/licences.md: what is needed at run time.

  python -m docs.licences

Of the packages that requirements.txt and the extras name, and of those that
these need, as they are installed here: see tests/locked.txt for the versions.
"""

import pathlib
import tomllib
from collections.abc import Iterable, Iterator
from importlib import metadata

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = pathlib.Path(__file__).parent.parent
PAGE = ROOT / "docs" / "licences.md"
# Where metadata quote a whole text, or say what is not so.
_SAID = {
  "matplotlib": "PSF-based (matplotlib licence)",
  "opensmile": "audEERING Research License: **no commercial use**",
}
_SHORT = {
  "3-Clause BSD License": "BSD-3-Clause",
  "Apache License": "Apache-2.0",
  "Apache Software License": "Apache-2.0",
  "Apache 2.0": "Apache-2.0",
  "Apache 2.0 License": "Apache-2.0",
  "BSD License": "BSD",
  "ISC License (ISCL)": "ISC",
  "MIT License": "MIT",
  "Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0",
  "Python Software Foundation License": "PSF-2.0",
}


def requirements() -> dict[str, list[Requirement]]:
  """What is required, by the extra; '' is what everybody needs."""
  lines = (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines()
  project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
  extras = project["project"]["optional-dependencies"]
  found = {"": [line for line in lines if line and line[0] != "#"], **extras}
  return {name: list(map(Requirement, of)) for name, of in found.items()}


def closure(wanted: Iterable[Requirement]) -> Iterator[str]:
  """Names of the installed packages that fulfil them, and of all they need."""
  seen = set()
  waiting = [one for one in wanted if _applies(one, {""})]
  while waiting:
    one = waiting.pop()
    extras = {"", *one.extras}
    key = canonicalize_name(one.name), frozenset(extras)
    if key in seen:
      continue
    seen.add(key)
    yield key[0]
    needs = map(Requirement, metadata.requires(one.name) or ())
    waiting += [need for need in needs if _applies(need, extras)]


def licence(name: str) -> str:
  """What a package says of its licence, as short as it can be said."""
  about = metadata.metadata(name)
  kinds = about.get_all("Classifier", [])
  kinds = [kind for kind in kinds if kind.startswith("License :: ")]
  kinds = [kind.rpartition(" :: ")[2] for kind in kinds]
  kinds = [_SHORT.get(kind, kind) for kind in kinds if kind != "OSI Approved"]
  text = (about.get("License") or "").strip()
  if "\n" in text or text == "UNKNOWN":
    text = text.partition("\n")[0] if not kinds else ""
  said = about.get("License-Expression") or " and ".join(kinds) or text
  return _SAID.get(name) or _SHORT.get(said, said)


def page(text: str) -> str:
  """The page with a new table; what stands above it stays."""
  needed: dict[str, list[str]] = {}
  for extra, wanted in requirements().items():
    for name in dict.fromkeys(closure(wanted)):
      needed.setdefault(name, []).append(extra)
  lines = [
    f"| {name} | {licence(name)} | {_of(extras)} |"
    for name, extras in sorted(needed.items())
  ]
  return "\n".join(
    [text.partition(_HEAD)[0] + _HEAD + lines[0], *lines[1:], ""]
  )


_HEAD = "| package | licence | needed by |\n| --- | --- | --- |\n"


def _of(extras: list[str]) -> str:
  return "everybody" if "" in extras else ", ".join(f"`{e}`" for e in extras)


def _applies(need: Requirement, extras: set[str]) -> bool:
  return not need.marker or any(
    need.marker.evaluate({"extra": extra}) for extra in extras
  )


if __name__ == "__main__":
  PAGE.write_text(page(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
