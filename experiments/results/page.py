"""What all sections of the page of results are made of: numbers as text.

Every number is read from a committed JSON file; sections are Markdown.
"""

import dataclasses
import functools
import json
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from emojax import markdown, summary
from emojax.reports import tables
from emojax.summary import Comparison, Estimate, Summary

ROOT = pathlib.Path(__file__).parents[2]
EXPERIMENTS = ROOT / "experiments"


@dataclasses.dataclass(frozen=True)
class Headline:
  """A line of the README's table.

  Attributes:
    task: data and protocol, in a few words; empty where they are those of the
      line before.
    system: whose number it is.
    estimate: the number.
    beside: what stands beside it, published or measured.
  """

  task: str
  system: str
  estimate: Estimate
  beside: str

  def cells(self) -> list[str]:
    """Of the README's table; in italics where it is over initialisations."""
    bounds = markdown.interval(interval(self.estimate))
    if self.estimate.ci95_speakers is None:
      bounds = f"*{bounds}*"
    ours = tables.estimate(self.estimate)
    return [self.task, self.system, ours, bounds, self.beside]


@dataclasses.dataclass(frozen=True)
class Section:
  """A question, and what was measured.

  Attributes:
    title: of the section.
    folder: of the experiment, in `experiments/`.
    protocol: who trains, who chooses and who is tested; Markdown.
    command: what gives the JSON.
    body: tables, comparisons and their reading, Markdown.
    headlines: for the README.
  """

  title: str
  folder: str
  protocol: str
  command: str
  body: Sequence[str]
  headlines: Sequence[Headline] = ()

  def text(self) -> str:
    """The section as Markdown."""
    what = f"[experiments/{self.folder}](../experiments/{self.folder})"
    command = "\n".join(
      [
        '```bash title="Not run by the tests: takes minutes to hours"',
        self.command,
        "```",
      ]
    )
    parts = [f"## {self.title}", f"{self.protocol} {what}", command]
    return "\n\n".join([*parts, *self.body])


@functools.cache
def study(folder: str) -> Summary:
  """The committed summary of an experiment."""
  return summary.read(EXPERIMENTS / folder)


def numbers(path: str) -> Mapping[str, Any]:
  """A committed JSON file of `experiments/`."""
  return json.loads((EXPERIMENTS / path).read_text(encoding="utf-8"))


def interval(estimate: Estimate) -> tuple[float, float] | None:
  """Over the test speakers where it was computed, else over runs."""
  return estimate.ci95_speakers or estimate.ci95


def estimate(
  found: Summary, setting: str, system: str, metric: str
) -> Estimate:
  """One number.

  Raises:
    KeyError: the summary has none of that name.
  """
  row = found.row(setting, system)
  if row is None or metric not in row.metrics:
    raise KeyError(f"{found.title}: {setting}, {system}, {metric}")
  return row.metrics[metric]


def systems(
  found: Summary,
  setting: str,
  metrics: Sequence[str],
  chosen: Sequence[str] = (),
  published: Sequence[tuple[str, float]] = (),
) -> str:
  """A table of systems with their intervals, published ones below.

  Args:
    found: the study's summary.
    setting: of its rows.
    metrics: a column each; the interval is the first one's.
    chosen: ids of systems, all by default.
    published: names, and the first metric in percent.
  """
  of_setting = [row for row in found.rows if row.setting == setting]
  rows = [row for row in of_setting if not chosen or row.system in chosen]
  best = max(markdown.percent(row.metrics[metrics[0]].mean) for row in rows)
  firsts = [row.metrics[metrics[0]] for row in rows]
  over_speakers = {bool(one.ci95_speakers) for one in firsts if interval(one)}
  is_mixed = len(over_speakers) > 1
  of_what = (
    "over test speakers" if any(over_speakers) else "over initialisations"
  )
  if is_mixed:
    of_what = "over test speakers, *or initialisations*"
  first, *others = (f"{markdown.title(name)} (%)" for name in metrics)
  body = [["System", first, f"95 % {of_what}", *others]]
  for row in rows:
    values = [row.metrics.get(name) for name in metrics]
    texts = [tables.estimate(value) for value in values]
    if markdown.percent(values[0].mean) == best:
      texts[0] = f"**{texts[0]}**"
    of_row = markdown.interval(interval(values[0]))
    if is_mixed and values[0].ci95 and not values[0].ci95_speakers:
      of_row = f"*{of_row}*"
    texts.insert(1, of_row)
    body.append([found.label(row.system), *texts])
  for name, percent in published:
    rest = [""] * len(metrics)
    body.append([f"*{name}*", f"*{percent:.1f}*", *rest])
  return markdown.table(body)


def comparisons(
  found: Summary, setting: str, metric: str, pairs: Sequence[tuple[str, str]]
) -> str:
  """A table of differences, the first minus the second."""
  body = [["Difference of", "over", "points", "95 %", "p"]]
  for a, b in pairs:
    for one in compared(found, setting, metric, a, b):
      body.append(
        [
          f"{found.label(a)} − {found.label(b)}",
          # "paired … over test speakers, each with the mean of all runs"
          one.test.partition(" over ")[2].partition(",")[0],
          f"{100 * one.difference:+.1f}",
          markdown.interval(one.ci95, "+.1f"),
          markdown.p_value(one.p_value),
        ]
      )
  return markdown.table(body, num_names=2)


def compared(
  found: Summary, setting: str, metric: str, a: str, b: str
) -> list[Comparison]:
  """All tests of a pair, turned so that it is a minus b.

  Raises:
    KeyError: the pair was not compared.
  """
  alike = [
    one
    for one in found.comparisons
    if (one.setting, one.metric) == (setting, metric)
    and {one.a, one.b} == {a, b}
  ]
  if not alike:
    raise KeyError(f"{found.title}: {setting}, {a} against {b}, {metric}")
  return [one if one.a == a else _turned(one) for one in alike]


def _turned(one: Comparison) -> Comparison:
  ends = one.ci95 and (-one.ci95[1], -one.ci95[0])
  return dataclasses.replace(
    one, a=one.b, b=one.a, difference=-one.difference, ci95=ends
  )
