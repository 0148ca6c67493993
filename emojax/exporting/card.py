"""What is said of an exported system, for programs and for people."""

import contextlib
import json
import pathlib
from importlib import metadata
from typing import Any, NamedTuple

from emojax import markdown
from emojax.exporting.signatures import Array, Signature
from emojax.runtime import environment
from emojax.systems.stored import System
from emojax.weights import json_files

FILE = "card.json"


class _Script(NamedTuple):
  """What `run.py` takes."""

  needs: tuple[str, ...]
  arguments: str


_SCRIPTS = {
  "conversations": _Script((), "TABLE.npz"),
  "faces": _Script(("pillow",), "IMAGE …"),
  "speech": _Script(("soundfile",), "RECORDING …"),
}


def make(
  system: System,
  signature: Signature,
  format_: str,
  needs: tuple[str, ...],
) -> dict[str, Any]:
  """The card; `needs` are the packages that run the program."""
  versions = environment.describe()["versions"]
  for name in ("emojax", *needs):
    with contextlib.suppress(metadata.PackageNotFoundError):  # A checkout.
      versions[name] = metadata.version(name)
  return {
    "format": format_,
    "kind": system.kind,
    "classes": list(system.classes),
    "temperature": system.temperature,
    "inputs": _described(signature.inputs),
    "outputs": _described(signature.outputs),
    "bounds": signature.bounds,
    **signature.details,
    "computes_in": getattr(system, "dtype", "float32"),
    "needs": [*needs, "numpy", *_SCRIPTS[system.kind].needs],
    "versions": versions,
    "license": {
      "code": "Apache-2.0",
      "weights": "as the data and the pretrained encoder they come from allow",
    },
  }


def origin_of(folder: pathlib.Path) -> dict[str, Any]:
  """What the run around a system's folder says of where it comes from."""
  path = folder.parent / "config.json"
  model = json_files.read(path).get("model", {}) if path.is_file() else {}
  names = ("encoder", "revision", "classifier")
  found = {name: model[name] for name in names if model.get(name)}
  if pathlib.PurePath(found.get("encoder", "")).is_absolute():
    found["encoder"] = pathlib.PurePath(found["encoder"]).name
  return {"trained_as": found} if found else {}


def write(folder: pathlib.Path, card: dict[str, Any]) -> None:
  """Writes `card.json`."""
  text = json.dumps(card, indent=2, ensure_ascii=False) + "\n"
  (folder / FILE).write_text(text, encoding="utf-8")


def _described(arrays: dict[str, Array]) -> dict[str, Any]:
  return {
    name: {"dtype": array.dtype, "shape": array.dims, "about": array.about}
    for name, array in arrays.items()
  }


def write_page(folder: pathlib.Path, card: dict[str, Any]) -> None:
  """Writes the same for people."""
  rows = [("", "type", "shape", "")]
  for name, about in {**card["inputs"], **card["outputs"]}.items():
    shape = ", ".join(map(str, about["shape"]))
    rows.append((name, about["dtype"], f"[{shape}]", about["about"]))
  bounds = [
    f"{name} from {least}" + ("" if most is None else f" to {most}")
    for name, (least, most) in card["bounds"].items()
  ]
  difference = card["largest_difference"]["probabilities"]
  text = f"""# An emotion recognition system of {card["kind"]}, as a program

Classes: {", ".join(card["classes"])}.

    pip install {" ".join(card["needs"])}
    python run.py {_SCRIPTS[card["kind"]].arguments}

`program.py` loads the program as a function of named arrays, `run.py` shows how
it is used. Everything about it is in `{FILE}`.

{markdown.table(rows, num_names=4)}

Sizes: {"; ".join(bounds)}.

Its probabilities differed by at most {difference:.1e} from those of the system
that it was made from, computed in {card["computes_in"]}, on
{card["compared_on"]}.
"""
  (folder / "README.md").write_text(text, encoding="utf-8")
