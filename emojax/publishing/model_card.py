"""The model card of a published system, from what its run has left.

After Mitchell et al. 2019, "Model cards for model reporting".
"""

import dataclasses
import re
from collections.abc import Mapping
from typing import Any

from emojax import markdown
from emojax.data import splits
from emojax.reports import folds, tables
from emojax.summary import Estimate, Summary
from emojax.systems.stored import System

_TASKS = {
  "speech": "audio-classification",
  "faces": "image-classification",
}
_INPUTS = {
  "speech": "recordings of speech",
  "conversations": "the utterances of dialogues",
  "faces": "images of faces",
}
_EXAMPLES = {
  "speech": '["a.wav", "recordings"]',
  "conversations": '"dialogues.csv"',
  "faces": '["a.png", "faces"]',
}
_USE = """\
```python
import emojax

predictions = emojax.load("{hub_id}").predict({example})
predictions.emotions
```"""
_MUST_NOT = """\
What people show is not what they feel: the labels are what actors were told or
annotators saw. The system must not be used

- to decide about people: hiring, grading, credit, insurance, police, borders;
- at work or in education to infer emotions of the people there, which the
  European Union's AI Act forbids (Article 5(1)(f)), or of anybody in secret;
- for a diagnosis, or wherever an error harms somebody;
- on people, languages, ages or recording conditions unlike those of the data
  above without a test on them: the intervals over speakers say how much it
  differs between people who are alike."""


def write(
  hub_id: str,
  system: System,
  summary: Summary,
  licences: Mapping[str, str],
  split: Mapping[str, Any],
) -> str:
  """The card as Markdown, which names no speaker.

  `licences` are of the data, by corpus, '' unknown; `split` is the config's.
  """
  if splits.may_name_people(split):
    summary = _anonymous(summary)
  versions = ", ".join(f"{k} {v}" for k, v in summary.versions.items())
  sections = [
    _front_matter(system),
    f"# {summary.title}",
    f"**{tables.DEMO}**" if summary.demo else "",
    f"Says which emotion {_INPUTS[system.kind]} have: "
    f"{', '.join(system.classes)}. {summary.model}",
    _USE.format(hub_id=hub_id, example=_EXAMPLES[system.kind]),
    "## Data",
    *_data(licences),
    "Who is in which part, as it was checked before training:",
    *(
      f"**{setting}**\n\n{_without_names(audit)}"
      for setting, audit in summary.audit.items()
    ),
    "## Results",
    *_results(summary),
    "## Calibration",
    _calibration(system.temperature),
    "## Further figures",
    tables.further_tables(summary, {}),
    "## What it must not be used for",
    _MUST_NOT,
    "## Made with",
    f"{summary.date}, {summary.device}; {versions}",
  ]
  return "\n\n".join(filter(None, sections)) + "\n"


def _front_matter(system: System) -> str:
  lines = ["library_name: emojax", "license: other", "tags:"]
  lines += [f"- {tag}" for tag in ("emotion-recognition", "jax", "flax")]
  if task := _TASKS.get(system.kind):
    lines.append(f"pipeline_tag: {task}")
  return "\n".join(["---", *lines, "---"])


def _calibration(temperature: float) -> str:
  if temperature == 1:
    return "Probabilities are those of the training: they were not calibrated."
  return (
    f"Probabilities are softmax(logits / {temperature:.3f}). The temperature "
    "was fitted on examples on which the system was neither trained nor tested."
  )


def _data(licences: Mapping[str, str]) -> list[str]:
  rows = [
    [corpus, licence or "not stated: its owner's"]
    for corpus, licence in licences.items()
  ]
  return [
    markdown.table([["Corpus", "Licence"], *rows], num_names=2),
    "The weights come from these data: what their licences forbid is forbidden "
    "with the weights, too. The code is under Apache 2.0.",
  ]


def _results(summary: Summary) -> list[str]:
  """Each row with its interval over initialisations and over speakers."""
  header = ["Setting", "System"]
  header += [f"{markdown.title(name)} (%)" for name in summary.metrics]
  lines = [
    [
      row.setting,
      summary.label(row.system),
      *(_with_intervals(row.metrics.get(name)) for name in summary.metrics),
    ]
    for row in summary.rows
  ]
  return [
    markdown.table([header, *lines], num_names=2),
    f"Mean ± standard deviation of the initialisations, {summary.selection}; "
    "in brackets the 95 % interval over test speakers where these are known, "
    "else of the mean over initialisations.",
  ]


def _with_intervals(value: Estimate | None) -> str:
  text = tables.estimate(value)
  if value is None or not (bounds := value.ci95_speakers or value.ci95):
    return text
  return f"{text} [{markdown.interval(bounds)}]"


def _anonymous(summary: Summary) -> Summary:
  """With settings that may be named after people called otherwise."""
  called = _called_otherwise(summary)
  if not called:
    return summary
  # The longest first: one name may begin with another.
  names = map(re.escape, sorted(called, key=len, reverse=True))
  # As the sentences of the studies have it: what stands alone may be a number.
  setting = re.compile(f"(, | of )({'|'.join(names)})(?=, )")
  return dataclasses.replace(
    summary,
    rows=tuple(
      dataclasses.replace(row, setting=called.get(row.setting, row.setting))
      for row in summary.rows
    ),
    audit={called.get(name, name): t for name, t in summary.audit.items()},
    model=setting.sub(lambda m: m[1] + called[m[2]], summary.model),
  )


def _called_otherwise(summary: Summary) -> dict[str, str]:
  """New names by the old ones of the settings."""
  found = {}
  for setting in dict.fromkeys([*summary.settings, *summary.audit]):
    who, added = setting, ""
    if summary.study == "rlps":  # What was done to the data ends its names.
      who, comma, added = setting.rpartition(", ")
      added = comma + added
    if who and setting != folds.ALL:
      found[setting] = who, added
  known = list(dict.fromkeys(who for who, _ in found.values()))
  numbers = {who: f" ({i} of {len(known)})" for i, who in enumerate(known, 1)}
  if len(known) == 1:
    numbers = dict.fromkeys(known, "")
  return {
    setting: f"{splits.UNSEEN}speakers{numbers[who]}{added}"
    for setting, (who, added) in found.items()
  }


def _without_names(audit: str) -> str:
  """An audit without what comes after colons: who they are."""
  table, *notes = audit.split("\n\n")
  lines = []
  for line in table.splitlines():
    cells = re.split(r"(?<!\\)\|", line.strip("|"))
    is_rule = set(line) <= set("|-: ")
    shown = cells if is_rule else [cell.split(":")[0].strip() for cell in cells]
    lines.append([cell.strip() for cell in shown])
  shown = markdown.table([lines[0], *lines[2:]], num_names=len(lines[0]))
  return "\n\n".join([shown, *(note.split(":")[0] for note in notes)])
