"""Figures of a summary in Markdown: fractions 0..1 are printed in percent."""

from collections.abc import Sequence

NOTHING = "–"


def table(rows: Sequence[Sequence[str]], num_names: int = 1) -> str:
  """A table; its first row is the header.

  Args:
    rows: of cells, plain text.
    num_names: of the columns that are text; the others are numbers.
  """
  header, *body = ([cell.replace("|", r"\|") for cell in row] for row in rows)
  rule = ["---"] * num_names + ["---:"] * (len(header) - num_names)
  return "\n".join(f"| {' | '.join(row)} |" for row in [header, rule, *body])


def title(metric: str) -> str:
  """`Macro F1` for `macro_f1`."""
  words = metric.replace("_", " ")
  return (words[0].upper() + words[1:]).replace("f1", "F1")


def interval(ci95: Sequence[float] | None, form: str = ".1f") -> str:
  """`70.1 to 73.9`; each end has the format `form`."""
  if ci95 is None:
    return NOTHING
  low, high = ci95
  return f"{100 * low:{form}} to {100 * high:{form}}"


def p_value(value: float | None) -> str:
  """Three digits, or that it is smaller."""
  if value is None:
    return NOTHING
  return "< 0.001" if value < 0.001 else f"{value:.3f}"
