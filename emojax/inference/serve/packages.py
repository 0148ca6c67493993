"""What only the page needs."""

import importlib.util

from emojax.errors import UserError

_NEEDED = ("starlette", "uvicorn", "websockets")


def require() -> None:
  """Raises a UserError where a package is not installed."""
  missing = [name for name in _NEEDED if not importlib.util.find_spec(name)]
  if missing:
    raise UserError(
      f"the page takes {', '.join(missing)}: pip install 'emojax[live]'"
    )
