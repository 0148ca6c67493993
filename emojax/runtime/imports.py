"""Imports without what they bring along and nobody here uses."""

import contextlib
import sys
from collections.abc import Iterator


@contextlib.contextmanager
def without(module: str) -> Iterator[None]:
  """Hides a module not loaded yet (The Python Language Reference, 5.3.1).

  For packages that go on without it, where it takes long to import.
  """
  if module in sys.modules:
    yield
    return
  sys.modules[module] = None
  try:
    yield
  finally:
    del sys.modules[module]
