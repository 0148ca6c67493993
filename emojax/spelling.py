"""Names as people mean them: two spellings of one name are one name.

Spreadsheets, archives and file systems change the bytes of a name: the Unicode
form of an umlaut (NFC, NFD), a capital, a blank at the end.
"""

import logging
import re
import unicodedata
from collections.abc import Callable, Iterable

_LOG = logging.getLogger(__name__)

_NAMED = 12  # Spellings that a warning names.
_NUMBER = re.compile(r"([0-9]+)(\.0*)?")


def key(name: str) -> str:
  """Equal for two spellings of one name: Unicode form, case and blanks.

  Characters that nobody sees, such as a mark of the order of bytes, do not
  count either.
  """
  if not name.isascii():
    # Folding the case can leave what has another form again.
    folded = unicodedata.normalize("NFKC", name).casefold()
    name = "".join(
      letter
      for letter in unicodedata.normalize("NFKC", folded)
      if unicodedata.category(letter) != "Cf"
    )
  return " ".join(name.casefold().split())


def unify(
  names: Iterable[str],
  what: str,
  plain: Callable[[str], str] = str,
  differ: str = "case, blanks or Unicode form",
) -> dict[str, str]:
  """Maps each name to the spelling that it is known by: the first one met.

  A warning names both spellings where there are two; `what` says whose names
  they are, such as 'PATH: speaker'. `plain` gives what else is not told apart,
  and `differ` says it.
  """
  first: dict[str, str] = {}
  known: dict[str, str] = {}
  for name in names:
    if name not in known:
      known[name] = first.setdefault(key(plain(name)), name)
  others = [(name, taken) for name, taken in known.items() if name != taken]
  shown = ", ".join(
    f"{name!r} for {taken!r}" for name, taken in others[:_NAMED]
  )
  if others:
    _LOG.warning(
      "%s: taken as one, for they differ only in %s: %s%s",
      *(what, differ, shown, ", …" if len(others) > _NAMED else ""),
    )
  return known


def without_points(names: Iterable[str]) -> list[str]:
  """The names as they were before pandas made '3.0' of 3.

  That is where a column has numbers alone, or nothing; '' stays.
  """
  names = list(names)
  found = [_NUMBER.fullmatch(name) for name in names]
  if not all(
    match or not name for match, name in zip(found, names, strict=True)
  ):
    return names
  return [match[1] if match else "" for match in found]
