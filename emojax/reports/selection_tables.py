"""A selection study's summary as Markdown: Tables 2 to 5 of Li & Xu (2020).

The summary is what `summary.json` holds: fractions 0..1, of which all tables
print percent. A table of the paper is a setting, a line of it is a system, and
in italics under ours stands what was published, where anything was.
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any

from emojax.reports import markdown, tables

Summary = Mapping[str, Any]
# An estimate {"mean", "std", "ci95", "runs"}, or a published number.
Values = Mapping[str, Any]

_MEANS = {
  "macro_recall": "Average accuracy",
  "macro_f1": "Macro F1",
  "total_accuracy": "Total accuracy",
}
_FURTHER_MEANS = {
  "macro_precision": "Macro precision",
  "f1": "Mean F1 of the classes",
}
_RANKING = {
  "auc": "AUC",
  "precision": "Precision",
  "recall": "Recall",
  "removed": "Removed",
}


def report(
  summary: Summary, figures: Mapping[str, str], notes: Sequence[str]
) -> str:
  """The whole of `report.md`.

  Args:
    summary: of a selection study, see `summary.json` in the README.
    figures: `{caption: file}`, the file relative to the report.
    notes: paragraphs that say how to read it, in Markdown.

  Returns:
    Markdown; its first line says if the corpus is the synthetic demo.
  """
  sections = [f"**{tables.DEMO}**"] if summary["demo"] else []
  sections += [f"# {summary['title']}", *notes]
  sections += ["## Results", results_tables(summary)]
  if summary["comparisons"]:
    sections += ["## Comparisons", tables.comparisons_table(summary)]
  if any("retention" in row for row in summary["rows"]):
    sections += ["## What is retained", retention_tables(summary)]
  if any("removal" in row for row in summary["rows"]):
    sections += ["## How well noise is found", ranking_table(summary)]
  sections += markdown.ending(summary, figures)
  return "\n\n".join(sections) + "\n"


def results_tables(summary: Summary) -> str:
  """Tables 2 to 4: recall of each class, and the means, for each setting.

  Then the means that the paper does not print. Bold is the best mean of ours in
  a setting, at the precision that is printed.
  """
  columns = {name: markdown.title(name) for name in summary["classes"]} | _MEANS
  sections = []
  for setting in _settings(summary):
    lines = _lines(summary, [setting], columns, _recalls_and_means, columns)
    header = ["System", *columns.values()]
    body = [line[1:] for line in lines]
    sections += [f"### {setting} (%)", markdown.table([header, *body])]
  further = _lines(
    summary, _settings(summary), _FURTHER_MEANS, lambda entry: entry
  )
  header = ["Setting", "System", *_FURTHER_MEANS.values()]
  return "\n\n".join(
    [
      *sections,
      "Recall of each class; their mean, the *average accuracy* (macro "
      "recall); *macro F1* of the mean recall and the mean precision (Li & Xu "
      "2020, Eq. 7). "
      f"{_runs(summary)} Bold: the best mean of a setting. *In italics*: as "
      "published.",
      "### Other means (%)",
      markdown.table([header, *further], num_names=2),
    ]
  )


def retention_tables(summary: Summary) -> str:
  """Table 5: the share retained of each group of training images.

  Settings whose images fall into the same groups share a table. A row's
  `class_retention`, if any has it, is a table for itself.
  """
  sections = []
  for part in ("retention", "class_retention"):
    found = [row for row in summary["rows"] if part in row]
    for groups in dict.fromkeys(tuple(row[part]) for row in found):
      settings = dict.fromkeys(
        row["setting"] for row in found if tuple(row[part]) == groups
      )
      lines = _lines(
        summary, settings, groups, lambda entry, p=part: entry.get(p, {})
      )
      header = ["Setting", "System", *map(markdown.title, groups)]
      sections.append(markdown.table([header, *lines], num_names=2))
  return "\n\n".join(
    [
      *sections,
      "Share of the training examples (%) that the final, deterministic "
      f"selection retains. {_runs(summary)}",
    ]
  )


def ranking_table(summary: Summary) -> str:
  """How well the selection finds the noise, where the truth is known."""
  lines = _lines(
    summary,
    _settings(summary),
    _RANKING,
    lambda entry: entry.get("removal", {}),
  )
  header = ["Setting", "System", *_RANKING.values()]
  return "\n\n".join(
    [
      markdown.table([header, *lines], num_names=2),
      "All in percent. AUC: how often a noisy example has a lower retention "
      "probability than another one; 50 is chance. Precision: noise among the "
      "removed; recall: removed among the noise; removed: of all training "
      f"examples. {_runs(summary)}",
    ]
  )


def terminal_table(summary: Summary) -> str:
  """The results in plain text, for the end of a training."""
  rows = [
    {
      "setting": row["setting"],
      "system": row["system"],
      **{title: row[metric] for metric, title in _MEANS.items()},
      "Retained": row.get("retention", {}).get("all"),
      "Noise AUC": row.get("removal", {}).get("auc"),
    }
    for row in summary["rows"]
  ]
  shown = [*_MEANS.values()]
  shown += [t for t in ("Retained", "Noise AUC") if any(row[t] for row in rows)]
  return tables.terminal_table({**summary, "metrics": shown, "rows": rows})


def _lines(
  summary: Summary,
  settings: Iterable[str],
  columns: Iterable[str],
  pick: Callable[[Mapping[str, Any]], Values],
  bold: Collection[str] = (),
) -> list[list[str]]:
  """Setting, system and a cell for each column, published under ours.

  Args:
    summary: of the study.
    settings: which of them.
    columns: names of what `pick` finds.
    pick: the values of a row of the summary, or of a published system.
    bold: columns in which the best of a setting is set in bold.
  """
  lines = []
  for setting in settings:
    ours = {
      row["system"]: pick(row)
      for row in summary["rows"]
      if row["setting"] == setting
    }
    published = {
      system: pick(entry)
      for system, entry in summary.get("published", {}).get(setting, {}).items()
    }
    best = {column: _best(ours.values(), column) for column in bold}
    for system in dict.fromkeys([*ours, *published]):
      if ours.get(system):
        values = [ours[system].get(column) for column in columns]
        cells = [
          f"**{markdown.estimate(value)}**"
          if value and markdown.percent(value["mean"]) == best.get(column)
          else markdown.estimate(value)
          for column, value in zip(columns, values, strict=True)
        ]
        lines.append([setting, system, *cells])
      numbers = published.get(system, {})
      cells = [
        f"*{markdown.percent(numbers[column])}*"
        if column in numbers
        else markdown.NOTHING
        for column in columns
      ]
      if set(cells) != {markdown.NOTHING}:
        lines.append([setting, f"*{system}, published*", *cells])
  return lines


def _best(rows: Iterable[Values], column: str) -> str | None:
  means = [row[column]["mean"] for row in rows if row.get(column)]
  return markdown.percent(max(means)) if means else None


def _recalls_and_means(entry: Mapping[str, Any]) -> Values:
  return {**entry, **entry.get("class_recall", {})}


def _settings(summary: Summary) -> list[str]:
  return list(dict.fromkeys(row["setting"] for row in summary["rows"]))


def _runs(summary: Summary) -> str:
  counts = {len(row["macro_recall"]["runs"]) for row in summary["rows"]}
  several = " or ".join(str(count) for count in sorted(counts) if count > 1)
  if not several:
    return "One run each."
  return f"Mean ± standard deviation over {several} runs."
