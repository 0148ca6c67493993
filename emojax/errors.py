"""The errors that a user is meant to see."""

import os

_LONGEST = 2_000  # Characters of a line.


class UserError(Exception):
  """Something that the user can mend: a path, a label, a config field.

  The message is one line that names the thing, the place and the mend. The
  entry points (`launch.py`, `python -m emojax`) print it without a traceback
  and exit with code 2. Everything else is a defect and keeps its traceback.
  """

  def __str__(self) -> str:
    return one_line(super().__str__())

  def _render_traceback_(self) -> list[str]:
    """What IPython, and so a notebook, shows instead of a traceback."""
    return [f"error: {self}"]


class Unreadable(Exception):
  """A file, by its path, that cannot be used, and why, in a few words.

  A corpus may go on without it.
  """

  def __init__(self, path: str | os.PathLike, why: str):
    super().__init__(os.fspath(path), why)
    self.path, self.why = self.args

  def __str__(self) -> str:
    return one_line(f"{self.path}: {self.why}")


def extra(name: str) -> str:
  """How to install what only some commands take: see pyproject.toml.

  Not by the name of the package alone: it is on no index yet.
  """
  return (
    f"install the extra {name}, in the checkout of emojax by pip install "
    f"'.[{name}]'"
  )


def one_line(text: str) -> str:
  """A text that quotes what is in a file, for a terminal.

  What does not print (line breaks, colours of a terminal) is escaped, and of a
  long text the middle is left out.
  """
  if not text.isprintable():
    text = "".join(
      c if c.isprintable() else c.encode("unicode_escape").decode()
      for c in text
    )
  if len(text) > _LONGEST:
    text = f"{text[: 2 * _LONGEST // 3]} … {text[-_LONGEST // 4 :]}"
  return text
