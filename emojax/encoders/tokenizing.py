"""What tokenizers raise where their files are damaged, in one line."""

import contextlib
import pathlib
from collections.abc import Iterator

from emojax.errors import UserError


def unusable(where: pathlib.Path, why: str) -> UserError:
  """The error about a tokenizer that would not give the right numbers."""
  return UserError(f"{where}: no usable tokenizer ({why})")


@contextlib.contextmanager
def explained(where: pathlib.Path) -> Iterator[None]:
  """Raises a `UserError` for all that a tokenizer of others raises."""
  try:
    yield
  # `tokenizers` raises bare Exceptions, and transformers whatever the file
  # makes of its code.
  except Exception as error:
    reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
    raise unusable(where, reason) from error
