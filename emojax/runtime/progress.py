"""Progress of a long loop, readable on a terminal and in a log file alike."""

import sys
import time
from collections.abc import Iterable, Iterator, Sized
from typing import TypeVar

import tqdm

from emojax.runtime import process

T = TypeVar("T")

SECONDS_BETWEEN_LINES = 30.0
_LINE = "{desc}{n_fmt}/{total_fmt} [{elapsed}<{remaining}, {rate_fmt}]"
_LINE_WITHOUT_TOTAL = "{desc}{n_fmt} [{elapsed}, {rate_fmt}]"


def progress(
  iterable: Iterable[T],
  total: int | None = None,
  description: str = "",
  unit: str = "it",
) -> Iterator[T]:
  """Yields from `iterable` and shows on stderr how far it is.

  On a terminal this is a bar, and in a notebook, which prints stderr as if it
  were errors, one on stdout. Where stderr is neither (Slurm, CI, a redirect) a
  bar would fill the log with carriage returns: there it is one plain line at
  most every 30 s, and one when the loop ends, early or not. `total` is for
  what does not know its length.
  """
  if total is None and isinstance(iterable, Sized):
    total = len(iterable)
  # All of it was kept from an earlier run, or another process shows it.
  if total == 0 or process.is_quiet():
    yield from iterable
    return
  is_notebook = type(sys.stderr).__module__.startswith("ipykernel.")
  if sys.stderr.isatty() or is_notebook:
    yield from tqdm.tqdm(
      *(iterable, description or None, total),
      file=sys.stdout if is_notebook else sys.stderr,
      unit=unit,
      dynamic_ncols=True,
    )
    return
  start = last = time.monotonic()
  count = 0

  def write() -> None:
    line = tqdm.tqdm.format_meter(
      count,
      total,
      time.monotonic() - start,
      prefix=f"{description}: " if description else "",
      unit=unit,
      bar_format=_LINE if total else _LINE_WITHOUT_TOTAL,
    )
    print(line, file=sys.stderr, flush=True)

  try:
    for item in iterable:
      yield item
      count += 1
      if time.monotonic() - last >= SECONDS_BETWEEN_LINES and count != total:
        last = time.monotonic()
        write()
  finally:
    write()
