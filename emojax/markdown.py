"""Tables and figures as text: fractions 0..1 are printed in percent."""

from collections.abc import Sequence

NOTHING = "–"


def table(rows: Sequence[Sequence[str]], num_names: int = 1) -> str:
  """A Markdown table, aligned as it stands; the first row is its header.

  After `num_names` columns of text come numbers.
  """
  escaped = [[cell.replace("|", r"\|") for cell in row] for row in rows]
  header, *body = _aligned(escaped, num_names, least=3)
  rule = [
    "-" * len(cell) if index < num_names else "-" * (len(cell) - 1) + ":"
    for index, cell in enumerate(header)
  ]
  return "\n".join(f"| {' | '.join(row)} |" for row in [header, rule, *body])


def plain_table(rows: Sequence[Sequence[str]], num_names: int) -> str:
  """The same in aligned columns, without lines: for a terminal."""
  return "\n".join("  ".join(row).rstrip() for row in _aligned(rows, num_names))


def title(metric: str) -> str:
  """`Macro F1` for `macro_f1`, `AUC` for `auc`."""
  words = metric.replace("_", " ").replace("auc", "AUC").replace("f1", "F1")
  return words[0].upper() + words[1:]


def interval(ci95: tuple[float, float] | None, form: str = ".1f") -> str:
  """`70.1 to 73.9`; each end has the format `form`."""
  if ci95 is None:
    return NOTHING
  return " to ".join(f"{100 * end:{form}}" for end in ci95)


def p_value(value: float | None) -> str:
  """Three digits, or that it is smaller."""
  if value is None:
    return NOTHING
  return "< 0.001" if value < 0.001 else f"{value:.3f}"


def percent(fraction: float) -> str:
  """One digit, without the sign."""
  return f"{100 * fraction:.1f}"


def _aligned(
  rows: Sequence[Sequence[str]], num_names: int, least: int = 0
) -> list[list[str]]:
  """Cells as wide as their column: names to the left, numbers to the right."""
  columns = zip(*rows, strict=True)
  widths = [max(least, *map(len, column)) for column in columns]
  return [
    [
      cell.ljust(width) if index < num_names else cell.rjust(width)
      for index, (cell, width) in enumerate(zip(row, widths, strict=True))
    ]
    for row in rows
  ]
