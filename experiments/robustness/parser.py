"""What a parser is to the fuzzing: its inputs, and how they are read."""

import dataclasses
import pathlib
from collections.abc import Callable
from typing import Any

from hypothesis import strategies as st

from experiments.robustness.edits import Files


@dataclasses.dataclass(frozen=True)
class Parser:
  """A parser of the house.

  Attributes:
    name: of the row in the table.
    share: of all inputs, beside the shares of the others.
    good: an input that is read.
    inputs: those that are not as they should be.
    read: takes the folder of an input; raises a `ContractError` where what is
      read is not what the reader promises.
    named: one of these a refusal has to name, if not the folder.
  """

  name: str
  share: int
  good: Files
  inputs: st.SearchStrategy[Files]
  read: Callable[[pathlib.Path], Any]
  named: tuple[str, ...] = ()


def write(folder: pathlib.Path, files: Files) -> None:
  """Lays the files of an input into an empty folder."""
  folder.mkdir(parents=True)
  for name, content in files.items():
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    if content is None:
      path.mkdir()
    else:
      path.write_bytes(content)
