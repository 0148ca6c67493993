"""What a test in noise, rooms, channels and short pieces leaves behind."""

import os
import pathlib
from collections.abc import Mapping, Sequence

import matplotlib
import numpy as np

from emojax import markdown
from emojax import summary as summaries
from emojax.errors import UserError
from emojax.reports import style, tables
from emojax.runtime import files
from emojax.summary import Estimate, Row, Summary

CLEAN = "clean"
LENGTHS = (0.5, 1.0, 2.0, 3.0, 4.0, 5.0)  # Of pieces, in seconds.
_METRIC = "unweighted_accuracy"
_STUDY = "robustness"
_ASIDE = 0.11  # Of a line, between one summary's point and the next.
_ABOUT = (
  "Unweighted accuracy (%) on the test clips of the run, and its 95 % interval "
  "over their speakers; the change against the clips as they are is in points, "
  "paired by speaker. Confidence: the mean of the largest calibrated "
  "probability. Coverage: clips whose confidence is not below the threshold; "
  "kept: how many of them are right. Pieces are of the middle of what is said; "
  "shorter clips stay as they are. All in percent, but the mean length in s."
)


def piece(seconds: float) -> str:
  """The name of the condition that hears so much of a clip."""
  return f"piece of {seconds:g} s"


def require_free(output: str | os.PathLike) -> None:
  """Raises UserError now, not after the work, where other results are."""
  folder = pathlib.Path(output)
  if folder.exists() and not folder.is_dir():
    raise UserError(f"{folder} is no folder: choose another --output")
  is_taken = (folder / summaries.FILE).exists()
  is_begun = (folder / "config.json").exists()
  if is_begun or (is_taken and summaries.read(folder).study != _STUDY):
    raise UserError(
      f"{folder} holds a run, whose files would be overwritten: choose another "
      "--output"
    )


def write(output: str | os.PathLike, summary: Summary) -> str:
  """Writes `summary.json`, `robustness.md` and its figure; gives the table.

  Raises UserError where the disk is full, or the folder takes no file.
  """
  folder, text = pathlib.Path(output), table(summary)
  title = f"{summary.title}, {tables.DEMO}" if summary.demo else summary.title
  versions = ", ".join(f"{k} {v}" for k, v in summary.versions.items())
  parts = [f"# {title}", text, _ABOUT, _noise(summary)]
  parts += [f"![{_METRIC}](robustness.png)"]
  parts += [f"{summary.date}; {summary.device}; {versions}"]
  with files.whole(folder / "robustness.png") as path:
    label = summary.systems[0].label
    figure(path, {label: summary}, title)
  with files.whole(folder / "robustness.md") as path:
    path.write_text("\n\n".join(parts) + "\n", encoding="utf-8")
  with files.whole(folder / summaries.FILE) as path:
    summaries.write(path, summary)
  return f"{title}\n\n{text}\n\nWritten to {folder}: robustness.md"


def table(summary: Summary) -> str:
  """A line for each condition, in Markdown."""
  titles = ["Condition", "UA (%)", "95 % CI", "Change", "95 % CI", "p"]
  titles += ["Confidence", "Coverage", "Kept", "Seconds"]
  changes = {one.setting: one for one in summary.comparisons}
  lines = [titles]
  for row in summary.rows:
    accuracy, change = row.metrics[_METRIC], changes.get(row.setting)
    cells = [markdown.percent(accuracy.mean)]
    cells += [markdown.interval(accuracy.ci95_speakers)]
    cells += (
      [
        *(
          f"{100 * change.difference:+.1f}",
          markdown.interval(change.ci95, "+.1f"),
        ),
        markdown.p_value(change.p_value),
      ]
      if change
      else 3 * [markdown.NOTHING]
    )
    cells += [
      tables.estimate(row.metrics.get(name))
      for name in ("mean_confidence", "coverage", "kept_accuracy")
    ]
    seconds = summary.details["seconds"][row.setting]
    lines.append([row.setting, *cells, f"{seconds:.1f}"])
  return markdown.table(lines)


def _noise(summary: Summary) -> str:
  what, at = summary.details["noise"], summary.details["threshold"]
  threshold = "none" if at is None else f"{100 * at:.1f} %"
  return f"Noise: {what}. Threshold: {threshold}."


@matplotlib.rc_context(style.STYLE)
def figure(
  path: str | os.PathLike, summaries: Mapping[str, Summary], title: str
) -> None:
  """Unweighted accuracy with intervals over speakers, by condition and length.

  A colour is one of `summaries`, by its key; the clips as they are stand first,
  and as a dotted line.
  """
  pieces = {piece(seconds): seconds for seconds in LENGTHS}
  names = [
    row.setting
    for row in next(iter(summaries.values())).rows
    if row.setting not in pieces
  ]
  height = 0.5 + (0.2 + 0.08 * len(summaries)) * len(names)
  drawn = style.new_figure(8.0, height)
  left, right = drawn.subplots(1, 2, width_ratios=(1, 1))
  looks = {}
  for index, (label, summary) in enumerate(summaries.items()):
    look = {"color": style.line_style(index)["color"]}
    looks[label] = {**look, "marker": "o", "markersize": 4, "ls": ""}
    rows = {row.setting: row for row in summary.rows}
    places = np.arange(len(names)) + _ASIDE * (2 * index + 1 - len(summaries))
    values_N, ends_2xN = _points([rows[name] for name in names])
    left.errorbar(values_N, places, xerr=ends_2xN, **looks[label])
    values_N, ends_2xN = _points([rows[name] for name in pieces])
    curve = {**looks[label], "ls": "-", "lw": 1.0}
    right.errorbar(list(pieces.values()), values_N, ends_2xN, **curve)
    for line in (left.axvline, right.axhline):
      line(100 * rows[CLEAN].metrics[_METRIC].mean, **look, lw=0.8, ls=":")
  left.set_yticks(range(len(names)), names)
  left.set_ylim(len(names) - 0.5, -0.5)
  limits = (*left.get_xlim(), *right.get_ylim())
  left.set_xlim(min(limits), max(limits))
  right.set_ylim(min(limits), max(limits))
  left.set_xlabel("unweighted accuracy (%)")
  right.set_xlabel("longest piece that is heard (s)")
  right.set_ylabel("unweighted accuracy (%)")
  style.add_legend(drawn, style.handles(looks))
  style.save(drawn, path, title)


def _points(rows: Sequence[Row]) -> tuple[np.ndarray, np.ndarray]:
  """Percent, and how far the interval reaches below and above: [N], [2, N]."""
  estimates: list[Estimate] = [row.metrics[_METRIC] for row in rows]
  values_N = 100 * np.array([one.mean for one in estimates])
  # Of one speaker there is no interval.
  ends_Nx2 = 100 * np.array(
    [one.ci95_speakers or (one.mean, one.mean) for one in estimates]
  )
  return values_N, np.abs(ends_Nx2.T - values_N[None])
