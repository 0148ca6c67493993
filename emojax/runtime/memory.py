"""What to do when a device has too little memory."""

import contextlib
from collections.abc import Iterator

import jax

from emojax.errors import UserError


@contextlib.contextmanager
def explained(fields: str) -> Iterator[None]:
  """Turns what XLA says of a lack of memory into a line for the user.

  Raises:
    UserError: the devices have too little memory; lower `fields`.
  """
  try:
    yield
  except jax.errors.JaxRuntimeError as error:
    reason = str(error)
    if "RESOURCE_EXHAUSTED" not in reason and "Out of memory" not in reason:
      raise
    first = reason.splitlines()[0][:200]
    raise UserError(
      f"the device has too little memory ({first}): lower {fields}"
    ) from error
