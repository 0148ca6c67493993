"""Errors for users are one line, whatever they quote."""

import pathlib

import pytest
from IPython.core.interactiveshell import InteractiveShell

from emojax.errors import Unreadable, UserError, one_line


@pytest.mark.parametrize(
  ("text", "line"),
  [
    ("a b.csv: no column «ü»", "a b.csv: no column «ü»"),
    ("found a\x0bb\nc", "found a\\x0bb\\nc"),
    ("\x1b[31mred\u2028", "\\x1b[31mred\\u2028"),
    ("bytes \udcff of a name", "bytes \\udcff of a name"),
  ],
)
def test_what_does_not_print_is_escaped(text, line):
  assert one_line(text) == line
  assert str(UserError(text)) == line
  assert str(Unreadable(pathlib.Path("x"), text)) == f"x: {line}"


def test_of_a_long_quotation_both_ends_are_there():
  line = str(UserError(f"PATH: label {'x' * 10**6}; known are sad"))
  assert len(line) <= 2_000
  assert line.startswith("PATH: label x") and line.endswith("; known are sad")


def test_in_a_notebook_it_is_one_line_as_well(capsys):
  shell = InteractiveShell()
  shell.history_manager.enabled = False
  shell.run_cell("from emojax.errors import UserError")
  shell.run_cell("raise UserError('mine.csv: no column label')")
  assert capsys.readouterr().out == "error: mine.csv: no column label\n"
