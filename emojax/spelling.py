"""Names as people mean them: two spellings of one name are one name.

Spreadsheets, archives and file systems change the bytes of a name: the Unicode
form of an umlaut (NFC, NFD), a capital, a blank at the end.
"""

import logging
import unicodedata
from collections.abc import Iterable

_LOG = logging.getLogger(__name__)


def key(name: str) -> str:
  """Equal for two spellings of one name: Unicode form, case and blanks."""
  return " ".join(unicodedata.normalize("NFKC", name).casefold().split())


def unify(names: Iterable[str], what: str) -> dict[str, str]:
  """Maps each name to the spelling that it is known by: the first one met.

  A warning names both spellings where there are two; `what` says whose names
  they are, such as 'PATH: speaker'.
  """
  first: dict[str, str] = {}
  known: dict[str, str] = {}
  for name in names:
    if name not in known:
      known[name] = first.setdefault(key(name), name)
      if known[name] != name:
        _LOG.warning(
          "%s %r is taken for %r, which differs only in case, blanks or "
          "Unicode form",
          *(what, name, known[name]),
        )
  return known
