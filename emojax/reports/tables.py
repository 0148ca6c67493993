"""A study's summary as Markdown, and as a few lines for the terminal.

Figures are fractions in the summary and percent in the tables. A metric is a
table with systems in rows and settings in columns; where the summary has
recalls of classes, a setting is a table of the classes and all metrics, as
papers on faces print it. Best means are bold.
"""

import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from emojax import markdown
from emojax.summary import SPEAKERS, Comparison, Estimate, Row, Summary

# {setting: {system id: {metric: fraction, or group: {name: fraction}}}}
Published = Mapping[str, Mapping[str, Mapping[str, Any]]]
# What a cell shows: (setting, `metrics`, `oracle` or a group, name).
Cell = tuple[str, str, str]

DEMO = "demo corpus (synthetic)"
CLASS_RECALL = "class_recall"
_TITLES = {"weighted_accuracy": "WA", "unweighted_accuracy": "UA"}
_TITLES |= {"macro_f1": "F1"}
# Groups of further figures: what their section is called, and says.
_GROUPS = {
  SPEAKERS: (
    "Test speakers",
    "Unweighted accuracy (%) on what each of them says.",
  ),
  "retention": (
    "What is retained",
    "Share of the training examples (%) that the final, deterministic "
    "selection retains.",
  ),
  "class_retention": (
    "What is retained of each class",
    "The same share by the class that an example is labelled with.",
  ),
  "noise_detection": (
    "How well noise is found",
    "All in percent. AUC: how often a noisy example has a lower retention "
    "probability, or score, than another one; 50 is chance. Precision: noise "
    "among the removed; recall: removed among the noise; removed: of all "
    "training examples.",
  ),
}
# How to read what not everybody knows.
_MEANINGS = {
  "f1_of_averages": "*F1 of averages* is the harmonic mean of the mean recall "
  "and the mean precision (Li & Xu 2020, Eq. 7), *macro F1* the mean of the F1 "
  "of each class, *unweighted accuracy* the mean recall.",
  "speaker_probe": "How well the frozen representation names the speaker: mean "
  "recall over the speakers of a logistic regression, cross-validated by "
  "dialogue. Lower: less speaker identity is left.",
  "calibration_error_before": "Expected calibration error on the test part (15 "
  "bins), before and after the logits are divided by the temperature that the "
  "validation part has chosen. Lower is better.",
  "coverage": "*Coverage* is the share of the test clips of which the system "
  "is sure enough: its confidence is not below the threshold, under which it "
  "was wrong more often than right on the validation part. *Kept accuracy* is "
  "the share of them that is right.",
}
# What the terminal shows of groups, where a row has it.
_TERMINAL = {
  ("retention", "all"): "Retained",
  ("noise_detection", "auc"): "Noise AUC",
}


def report(
  summary: Summary,
  figures: Mapping[str, str],
  published: Published,
  notes: Sequence[str],
) -> str:
  """The whole of `report.md`; its first line says if the data are synthetic.

  `figures` are `{caption: file}`, the files relative to the report, and `notes`
  paragraphs that say how to read it, in Markdown.
  """
  sections = [f"**{DEMO}**"] if summary.demo else []
  sections += [f"# {summary.title}", *notes]
  sections += ["## Results", results_tables(summary, published)]
  if summary.comparisons:
    table = comparisons_tables(summary.comparisons, summary.label)
    sections += ["## Comparisons", table]
  if further := further_tables(summary, published):
    sections += ["## Further figures", further]
  for name in dict.fromkeys(n for row in summary.rows for n in row.groups):
    if name != CLASS_RECALL:
      title, note = _GROUPS.get(name, (markdown.title(name), "In percent."))
      table = group_tables(summary, name, published)
      of_group = [row.groups.get(name, {}).values() for row in summary.rows]
      runs = _runs(summary, itertools.chain(*of_group))
      sections += [f"## {title}", table, f"{note} {runs}"]
  if any(row.oracle for row in summary.rows):
    sections += ["## Oracle: not a result", oracle_tables(summary)]
  sections += ["## Figures"] if figures else []
  sections += [f"![{text}]({file})\n\n{text}" for text, file in figures.items()]
  versions = ", ".join(f"{k} {v}" for k, v in summary.versions.items())
  sections += ["## Made with", f"{summary.device}; {versions}"]
  return "\n\n".join(sections) + "\n"


def results_tables(summary: Summary, published: Published) -> str:
  """The metrics of every system in every setting, the published under ours.

  Bold is the best mean of ours in a setting, at the precision that is printed.
  """
  tables = []
  if any(CLASS_RECALL in row.groups for row in summary.rows):
    for setting in summary.settings:
      cells = [(setting, CLASS_RECALL, name) for name in summary.classes]
      cells += [(setting, "metrics", name) for name in summary.metrics]
      lines = _lines(summary, published, cells, bold=True)
      titles = [markdown.title(name) for _, _, name in cells]
      table = markdown.table([["System", *titles], *lines])
      tables += [f"### {setting} (%)", table]
    tables.append("Recall of each class, and then the means.")
  else:
    tables = _by_metric(summary, published, summary.metrics, bold=True)
  meanings = [_MEANINGS[m] for m in summary.metrics if m in _MEANINGS]
  runs = _runs(summary, _shown(summary, summary.metrics))
  legend = f"{runs} Bold: the best mean of a setting."
  if published:
    legend += " *In italics*: as published."
  return "\n\n".join([*tables, " ".join([legend, *meanings])])


def further_tables(summary: Summary, published: Published) -> str:
  """What rows have beside the study's metrics, such as the speaker probe."""
  names = list(dict.fromkeys(n for row in summary.rows for n in row.metrics))
  names = [name for name in names if name not in summary.metrics]
  if not names:
    return ""
  tables = _by_metric(summary, published, names)
  meanings = [_MEANINGS[name] for name in names if name in _MEANINGS]
  runs = _runs(summary, _shown(summary, names))
  return "\n\n".join([*tables, runs, *meanings])


def oracle_tables(summary: Summary) -> str:
  """The best epoch on the test set, which nobody could have chosen."""
  what = (
    "Each run's best epoch **chosen on the test set itself**. These numbers "
    "are not results: they only bound what a better stopping rule could give."
  )
  tables = _by_metric(summary, {}, summary.metrics, "oracle")
  return "\n\n".join([what, *tables])


def group_tables(summary: Summary, group: str, published: Published) -> str:
  """One group of figures, such as `retention`; settings alike share a table."""
  settings: dict[tuple[str, ...], list[str]] = {}
  for setting in summary.settings:
    rows = [row for row in summary.rows if row.setting == setting]
    names = dict.fromkeys(n for row in rows for n in row.groups.get(group, {}))
    if names:
      settings.setdefault(tuple(names), []).append(setting)
  tables = []
  for names, alike in settings.items():
    titles = list(names)
    if group != SPEAKERS:  # Names of people stay what they are.
      titles = [_TITLES.get(name, markdown.title(name)) for name in names]
    table = [["Setting", "System", *titles]]
    for setting in alike:
      cells = [(setting, group, name) for name in names]
      table += [[setting, *line] for line in _lines(summary, published, cells)]
    tables.append(markdown.table(table, num_names=2))
  return "\n\n".join(tables)


def comparisons_tables(
  comparisons: Sequence[Comparison], label: Callable[[str], str]
) -> str:
  """Differences in points, with interval and p-value; a table for each test.

  `label` is what people call a system, by what `Comparison` has of it.
  """
  header = ["Setting", "Comparison", "Metric", "Difference", "95 % CI", "p"]
  tables = []
  for test in dict.fromkeys(one.test for one in comparisons):
    body = [
      [
        one.setting,
        f"{label(one.a)} − {label(one.b)}",
        markdown.title(one.metric),
        f"{100 * one.difference:+.1f}",
        markdown.interval(one.ci95, "+.1f"),
        markdown.p_value(one.p_value),
      ]
      for one in comparisons
      if one.test == test
    ]
    tables += [markdown.table([header, *body], num_names=3), f"Test: {test}."]
  what = (
    "Differences in percentage points, the first minus the second; p is not "
    "corrected for the number of comparisons."
  )
  return "\n\n".join([*tables, what])


def terminal_table(summary: Summary) -> str:
  """The results in plain text, for the end of a training."""
  columns = [("metrics", metric) for metric in summary.metrics]
  columns += [c for c in _TERMINAL if any(_ours(r, *c) for r in summary.rows)]
  titles = [
    _TERMINAL.get(column) or _TITLES.get(column[1], markdown.title(column[1]))
    for column in columns
  ]
  table = [["", "", *titles]]
  for setting in summary.settings:
    rows = [row for row in summary.rows if row.setting == setting]
    for name, row in itertools.zip_longest([setting], rows, fillvalue=""):
      cells = [estimate(_ours(row, *column)) for column in columns]
      table.append([name, summary.label(row.system), *cells])
  title = f"{DEMO}: {summary.title}" if summary.demo else summary.title
  lines = markdown.plain_table(table, num_names=len(table[0]))
  return f"{title} (%)\n{lines}"


def estimate(value: Estimate | None) -> str:
  """Mean ± standard deviation, in percent."""
  if value is None:
    return markdown.NOTHING
  if len(value.runs) < 2:
    return markdown.percent(value.mean)
  return f"{markdown.percent(value.mean)} ± {markdown.percent(value.std)}"


def _by_metric(
  summary: Summary,
  published: Published,
  names: Iterable[str],
  part: str = "metrics",
  bold: bool = False,
) -> list[str]:
  """A table for each metric, systems by settings."""
  tables = []
  for name in names:
    cells = [(setting, part, name) for setting in summary.settings]
    lines = _lines(summary, published, cells, bold)
    title = ("Oracle: " if part == "oracle" else "") + markdown.title(name)
    table = markdown.table([["System", *summary.settings], *lines])
    tables += [f"### {title} (%)", table]
  return tables


def _lines(
  summary: Summary,
  published: Published,
  cells: Sequence[Cell],
  bold: bool = False,
) -> list[list[str]]:
  """A line for each system that has any of the cells, published under ours."""
  systems = dict.fromkeys(system.id for system in summary.systems)
  systems |= dict.fromkeys(row.system for row in summary.rows)
  systems |= dict.fromkeys(s for rows in published.values() for s in rows)
  ours = {
    system: [_ours(summary.row(setting, system), *of) for setting, *of in cells]
    for system in systems
  }
  best = [
    max((markdown.percent(v.mean) for v in column if v), key=float, default="")
    for column in zip(*ours.values(), strict=True)
  ]
  lines = []
  for system, values in ours.items():
    label = summary.label(system)
    if any(values):
      texts = [
        f"**{estimate(value)}**"
        if bold and value and markdown.percent(value.mean) == top
        else estimate(value)
        for value, top in zip(values, best, strict=True)
      ]
      lines.append([label, *texts])
    numbers = [_theirs(published, system, cell) for cell in cells]
    if any(number is not None for number in numbers):
      texts = [
        markdown.NOTHING if n is None else f"*{markdown.percent(n)}*"
        for n in numbers
      ]
      lines.append([f"*{label}, published*", *texts])
  return lines


def _ours(row: Row | None, part: str, name: str) -> Estimate | None:
  if row is None:
    return None
  parts = {"metrics": row.metrics, "oracle": row.oracle, **row.groups}
  return parts.get(part, {}).get(name)


def _theirs(published: Published, system: str, cell: Cell) -> float | None:
  setting, part, name = cell
  entry = published.get(setting, {}).get(system, {})
  return (entry if part == "metrics" else entry.get(part, {})).get(name)


def _shown(summary: Summary, names: Sequence[str]) -> list[Estimate]:
  """The estimates of these metrics, of all rows that have them."""
  return [r.metrics[n] for r in summary.rows for n in names if n in r.metrics]


def _runs(summary: Summary, shown: Iterable[Estimate | None]) -> str:
  """Over how many runs means are that are shown, and when they were measured.

  Each table has its own: some figures are of a part of the runs.
  """
  counts = {len(value.runs) for value in shown if value}
  several = " or ".join(str(count) for count in sorted(counts) if count > 1)
  if not several:
    return f"One run each, {summary.selection}."
  end = "; without ±, a single run." if 1 in counts else "."
  return (
    f"Mean ± standard deviation over {several} runs, {summary.selection}{end}"
  )
