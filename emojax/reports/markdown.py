"""Figures of a summary in Markdown: fractions 0..1 are printed in percent."""

from collections.abc import Mapping, Sequence
from typing import Any

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


def percent(fraction: float) -> str:
  """One digit, without the sign."""
  return f"{100 * fraction:.1f}"


def estimate(value: Mapping[str, Any] | None) -> str:
  """Mean ± standard deviation of `{"mean", "std", "runs"}`, in percent."""
  if value is None:
    return NOTHING
  if len(value["runs"]) < 2:
    return percent(value["mean"])
  return f"{percent(value['mean'])} ± {percent(value['std'])}"


def ending(summary: Mapping[str, Any], figures: Mapping[str, str]) -> list[str]:
  """The last sections of a report: its figures, and what it was made with.

  Args:
    summary: see `summary.json` in the README.
    figures: `{caption: file}`, the file relative to the report.
  """
  sections = ["## Figures"] if figures else []
  for caption, file in figures.items():
    sections.append(f"![{caption}]({file})\n\n{caption}")
  versions = ", ".join(f"{k} {v}" for k, v in summary["versions"].items())
  return [*sections, "## Made with", f"{summary['device']}; {versions}"]
