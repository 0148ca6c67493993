"""A run's summary as Markdown, and as a few lines for the terminal.

The summary is what `summary.json` holds: fractions 0..1, of which the tables
print percent. Rows are systems and columns are settings, in the order in which
they first appear; best means are bold.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from emojax.reports import markdown

Summary = Mapping[str, Any]
# {metric: {system: {setting: percent}}}
Published = Mapping[str, Mapping[str, Mapping[str, float]]]

DEMO = "demo corpus (synthetic)"
_ABBREVIATIONS = {
  "weighted_accuracy": "WA",
  "unweighted_accuracy": "UA",
  "macro_f1": "F1",
}


def report(
  summary: Summary,
  figures: Mapping[str, str],
  published: Published | None,
  notes: Sequence[str],
) -> str:
  """The whole of `report.md`.

  Args:
    summary: see `summary.json` in the README.
    figures: `{caption: file}`, the file relative to the report.
    published: the paper's numbers in percent, where the run reproduces a table.
    notes: paragraphs that say how to read it, in Markdown.

  Returns:
    Markdown; its first line says if the corpus is the synthetic demo.
  """
  sections = [f"**{DEMO}**"] if summary["demo"] else []
  sections += [f"# {summary['title']}", *notes]
  sections += ["## Results", results_table(summary, published)]
  if summary["comparisons"]:
    sections += ["## Comparisons", comparisons_table(summary)]
  if any("speaker_probe" in row for row in summary["rows"]):
    sections += ["## Speaker probe", speaker_probe_table(summary)]
  if any(row.get("oracle") for row in summary["rows"]):
    sections += ["## Oracle: not a result", oracle_table(summary)]
  sections += markdown.ending(summary, figures)
  return "\n\n".join(sections) + "\n"


def results_table(summary: Summary, published: Published | None = None) -> str:
  """One table for each metric, percent, the published numbers under ours.

  Args:
    summary: as above.
    published: as above; its systems without a row of ours come last.

  Returns:
    Markdown. Bold is the best mean of ours in a setting, at the precision that
    is printed.
  """
  tables = []
  for metric in summary["metrics"]:
    table = _grid(summary, lambda row, m=metric: row.get(m), bold=True)
    _insert_published(table, (published or {}).get(metric, {}))
    tables.append(
      f"### {markdown.title(metric)} (%)\n\n{markdown.table(table)}"
    )
  return "\n\n".join([*tables, _legend(summary)])


def oracle_table(summary: Summary) -> str:
  """The best epoch on the test set, which nobody could have chosen."""
  tables = []
  for metric in summary["metrics"]:
    table = _grid(summary, lambda row, m=metric: row.get("oracle", {}).get(m))
    tables.append(
      f"### Oracle: {markdown.title(metric)} (%)\n\n{markdown.table(table)}"
    )
  return "\n\n".join(
    [
      "Each run's best epoch **chosen on the test set itself**. These numbers "
      "are not results: they only bound what a better stopping rule could "
      "have given.",
      *tables,
    ]
  )


def comparisons_table(summary: Summary) -> str:
  """Paired differences in points, with interval and p-value."""
  header = ["Setting", "Comparison", "Metric", "Difference", "95 % CI", "p"]
  body = [
    [
      one["setting"],
      f"{one['a']} − {one['b']}",
      markdown.title(one["metric"]),
      f"{100 * one['difference']:+.1f}",
      markdown.interval(one["ci95"], "+.1f"),
      markdown.p_value(one["p_value"]),
    ]
    for one in summary["comparisons"]
  ]
  tests = ", ".join(
    dict.fromkeys(one["test"] for one in summary["comparisons"])
  )
  return (
    f"{markdown.table([header, *body], num_names=3)}\n\nDifferences in "
    "percentage points, the first minus the second. Test, over paired runs and "
    f"not corrected for the number of comparisons: {tests}."
  )


def speaker_probe_table(summary: Summary) -> str:
  """How well a linear probe names the speaker; less is more invariant."""
  table = _grid(summary, lambda row: row.get("speaker_probe"))
  return (
    f"### Speakers recognised (%)\n\n{markdown.table(table)}\n\nMean "
    "recall over the speakers of a logistic regression on the frozen "
    "representation, cross-validated by dialogue. Lower: less speaker identity "
    "is left."
  )


def terminal_table(summary: Summary) -> str:
  """The results in plain text, for the end of a training."""
  metrics = summary["metrics"]
  short = [
    _ABBREVIATIONS.get(metric, markdown.title(metric)) for metric in metrics
  ]
  table = [["", "", *short]]
  last_setting = None
  for row in summary["rows"]:
    setting = row["setting"] if row["setting"] != last_setting else ""
    last_setting = row["setting"]
    cells = [markdown.estimate(row.get(metric)) for metric in metrics]
    table.append([setting, row["system"], *cells])
  widths = [max(map(len, column)) for column in zip(*table, strict=True)]
  lines = [
    "  ".join(
      cell.ljust(width) for cell, width in zip(row, widths, strict=True)
    ).rstrip()
    for row in table
  ]
  title = f"{DEMO}: {summary['title']}" if summary["demo"] else summary["title"]
  return "\n".join([f"{title} (%)", *lines])


def _grid(
  summary: Summary,
  value: Callable[[Mapping[str, Any]], Mapping[str, Any] | None],
  bold: bool = False,
) -> list[list[str]]:
  """Header and rows, systems by settings, of `value(row)`."""
  rows = {(row["system"], row["setting"]): row for row in summary["rows"]}
  settings = _unique(row["setting"] for row in summary["rows"])
  systems = _unique(row["system"] for row in summary["rows"])
  table = [["System", *settings]]
  values_by_system = {
    system: [value(rows.get((system, setting), {})) for setting in settings]
    for system in systems
  }
  best = [
    max((one["mean"] for one in column if one), default=None)
    for column in zip(*values_by_system.values(), strict=True)
  ]
  for system, values in values_by_system.items():
    # Baselines have neither an oracle nor a representation to probe.
    if not any(values):
      continue
    cells = [markdown.estimate(one) for one in values]
    if bold:
      cells = [
        f"**{cell}**"
        if one and markdown.percent(one["mean"]) == markdown.percent(top)
        else cell
        for cell, one, top in zip(cells, values, best, strict=True)
      ]
    table.append([system, *cells])
  return table


def _insert_published(
  table: list[list[str]], published: Mapping[str, Mapping[str, float]]
) -> None:
  """Puts each published system's row under ours of that name, or last."""
  settings = table[0][1:]
  for system, numbers in published.items():
    cells = [
      f"*{numbers[setting]:.1f}*" if setting in numbers else markdown.NOTHING
      for setting in settings
    ]
    names = [row[0] for row in table]
    place = names.index(system) + 1 if system in names[1:] else len(table)
    table.insert(place, [f"*{system}, published*", *cells])


def _legend(summary: Summary) -> str:
  num_runs = _unique(
    str(len(row[metric]["runs"]))
    for row in summary["rows"]
    for metric in summary["metrics"]
    if len(row[metric]["runs"]) > 1
  )
  if not num_runs:
    return "One run each. Bold: the best of a setting."
  return (
    f"Mean ± standard deviation over {' or '.join(num_runs)} runs "
    f"{summary.get('selection', 'at the last epoch')}; without ±, a single "
    "run. Bold: the best mean of a setting."
  )


def _unique(items: Iterable[str]) -> list[str]:
  return list(dict.fromkeys(items))
