"""Errors for users are one line, whatever they quote."""

import pathlib

import pytest

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
