"""For which platform a program is written down: this process's, or any."""

import contextlib
import contextvars
from collections.abc import Iterator

import jax

_PORTABLE = contextvars.ContextVar("portable", default=False)


@contextlib.contextmanager
def portable() -> Iterator[None]:
  """What is traced in it takes plain forms, which every platform has.

  For programs that leave this process, whose shapes need not be known yet.
  """
  token = _PORTABLE.set(True)
  try:
    yield
  finally:
    _PORTABLE.reset(token)


def platform() -> str:
  """`cpu`, `gpu` or `tpu`; `any` of what is `portable`."""
  return "any" if _PORTABLE.get() else jax.default_backend()
