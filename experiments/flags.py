"""What the flags of the experiments' programs share."""

import argparse
from collections.abc import Callable, Iterable


def some_of(known: Iterable[str]) -> Callable[[str], list[str]]:
  """The `type` of a flag with names between commas, each one of `known`.

  Raises:
    argparse.ArgumentTypeError: by what it returns, of another name.
  """
  known = list(known)

  def parse(text: str) -> list[str]:
    names = [name for name in text.split(",") if name]
    for name in names:
      if name not in known:
        raise argparse.ArgumentTypeError(
          f"{name!r} is none of {', '.join(known)}"
        )
    return names

  return parse
