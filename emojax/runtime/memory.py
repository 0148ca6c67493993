"""What to do when a device has too little memory."""

import contextlib
from collections.abc import Iterator

from emojax.errors import UserError


@contextlib.contextmanager
def explained(fields: str) -> Iterator[None]:
  """Raises a `UserError`, to lower `fields`, where XLA lacks memory."""
  try:
    yield
  except RuntimeError as error:  # JAX's is one, and need not be imported.
    reason = str(error)
    if "RESOURCE_EXHAUSTED" not in reason and "Out of memory" not in reason:
      raise
    first = reason.splitlines()[0][:200]
    raise UserError(
      f"the device has too little memory ({first}): lower {fields}"
    ) from error
