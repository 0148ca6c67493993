"""What `summary.json` holds: typed, written and read here alone.

Every figure is a fraction, 0..1; tables and figures print percent. Systems
and settings are referred to by what identifies them (`dann_s`, `TS 1234`);
labels are for people.
"""

import datetime
import hashlib
import itertools
import json
import os
import pathlib
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Self

import numpy as np

from emojax import metrics, statistics
from emojax.errors import UserError

SCHEMA = 2
FILE, HISTORY = "summary.json", "history.npz"
SIGN_FLIPS = "paired sign-flip permutation over initialisations"
OVER_SPEAKERS = (
  "paired sign-flip permutation over test speakers, each with the mean of all "
  "initialisations"
)
# The group of a row: its unweighted accuracy on each test speaker.
SPEAKERS = "speaker_accuracy"
# Of fewer clusters a bootstrap's interval is far too narrow.
FEWEST_SPEAKERS = 5
# Of five pairs an exact test gives 0.0625 at least.
_FEWEST_PAIRS = 6
LAST_EPOCH = "at the last epoch"
BEST_EPOCH = "at the epoch that was best on the validation part"

# What all studies report, from counts [..., C, C].
METRICS: Mapping[str, Callable[[np.ndarray], np.ndarray]] = {
  "weighted_accuracy": metrics.weighted_accuracy,
  "unweighted_accuracy": metrics.unweighted_accuracy,
  "macro_f1": metrics.macro_f1,
}

Interval = statistics.Interval | None

# What a file does to its parser that is no summary, or not a whole one.
_DAMAGED = (
  *(AttributeError, KeyError, OverflowError, RecursionError),
  *(TypeError, ValueError),
)


@dataclass(frozen=True)
class System:
  """A row of the tables, by the name that identifies it and by one to read."""

  id: str
  label: str


@dataclass(frozen=True)
class Estimate:
  """A figure over runs.

  Attributes:
    std: with R - 1; 0 for one run.
    ci95: Student's t interval of the mean; None below three runs.
    runs: in the order of seeds.
    ci95_speakers: bootstrap interval over the test speakers, of the mean run;
      None where it was not computed.
  """

  mean: float
  std: float
  ci95: Interval
  runs: tuple[float, ...]
  ci95_speakers: Interval = None

  @classmethod
  def of(cls, values_R: Sequence[float]) -> Self:
    """The estimate of one figure from its value in each run."""
    mean, std, interval = statistics.t_interval(values_R)
    return cls(mean, std, interval, tuple(float(v) for v in values_R))


Group = Mapping[str, Estimate | None]


@dataclass(frozen=True)
class Row:
  """One system (`System.id`) in one setting.

  Attributes:
    metrics: estimates by name.
    oracle: the same at each run's best epoch on the test part: a bound, never
      a result. Empty where the test part was looked at once.
    groups: estimates of parts of a metric, such as `class_recall` by class;
      None where one is undefined.
  """

  setting: str
  system: str
  metrics: Mapping[str, Estimate]
  oracle: Mapping[str, Estimate] = field(default_factory=dict)
  groups: Mapping[str, Group] = field(default_factory=dict)


@dataclass(frozen=True)
class Comparison:
  """One metric of system a minus that of system b (`System.id`s).

  The interval of the difference of means is None below three pairs, the p-value
  for one; it is two-sided, not corrected for the number of comparisons.
  """

  setting: str
  a: str
  b: str
  metric: str
  difference: float
  ci95: Interval
  p_value: float | None
  test: str


@dataclass(frozen=True)
class Summary:
  """Every final figure of a study (`dann`, `speech`, `rlps`, …).

  Attributes:
    demo: whether the data are synthetic.
    selection: which epoch the figures are of, `LAST_EPOCH` or `BEST_EPOCH`.
    metrics, systems: what is printed, in this order.
    runs: figures of each single run, with `setting`, `system` and `seed`.
    details: what this study alone has.
    curve: the metric of the learning curves; `history.npz` has it as
      `SETTING/SYSTEM/CURVE`, [R, E].
    unit: what E are: epochs, or rounds of another length.
    test_digest: equal for the same test examples; '' where unknown.
    model: which system the run's folder `model` has, and why, in a sentence.
    audit: who is in which part, by setting: Markdown tables, as checked before
      training.
    date: of the end, ISO 8601.
  """

  study: str
  title: str
  demo: bool
  classes: tuple[str, ...]
  selection: str
  metrics: tuple[str, ...]
  systems: tuple[System, ...]
  rows: tuple[Row, ...]
  comparisons: tuple[Comparison, ...]
  versions: Mapping[str, str]
  device: str
  runs: tuple[Mapping[str, Any], ...] = ()
  details: Mapping[str, Any] = field(default_factory=dict)
  curve: str = ""
  unit: str = "epoch"
  test_digest: str = ""
  model: str = ""
  audit: Mapping[str, str] = field(default_factory=dict)
  date: str = field(default_factory=lambda: str(datetime.date.today()))

  def label(self, system: str) -> str:
    """What people call the system; its id where it is none of these."""
    return {one.id: one.label for one in self.systems}.get(system, system)

  @property
  def settings(self) -> list[str]:
    """Their names, in the order of the rows."""
    return list(dict.fromkeys(row.setting for row in self.rows))

  def row(self, setting: str, system: str) -> Row | None:
    """The row of a system in a setting, if there is one."""
    found = (r for r in self.rows if (r.setting, r.system) == (setting, system))
    return next(found, None)


def history_name(setting: str, system: str, name: str) -> str:
  """Where `history.npz` keeps an array [R, E, ...] of a system's runs."""
  return f"{setting}/{system}/{name}"


def digest(examples: Mapping[str, Sequence[str]]) -> str:
  """`Summary.test_digest`: one name for the same test examples, by setting.

  An example is known by what is equal wherever it is the same.
  """
  content = [[setting, *examples[setting]] for setting in sorted(examples)]
  return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:16]


def read_arrays(path: pathlib.Path) -> dict[str, np.ndarray]:
  """Reads a whole `.npz` file.

  Raises OSError where there is none, ValueError where it is damaged, or holds
  what would have to be unpickled.
  """
  try:
    # Opened here: NumPy leaves the file of a damaged archive open.
    with path.open("rb") as file, np.load(file) as content:
      return dict(content)
  except (EOFError, zipfile.BadZipFile) as error:
    raise ValueError(str(error)) from error


def row(setting: str, system: str, confusion_RxCxC: np.ndarray) -> Row:
  """A row of `METRICS` from the counts of each run."""
  estimates = {n: Estimate.of(f(confusion_RxCxC)) for n, f in METRICS.items()}
  return Row(setting, system, estimates)


def over_speakers(
  found: Row,
  hits_RxU: np.ndarray,
  labels_U: np.ndarray,
  speakers_U: np.ndarray,
) -> Row:
  """Adds to `row` its `SPEAKERS`, where there are several.

  And from five on intervals over them. `hits_RxU` says whether each run is
  right on each test example.
  """
  names = np.unique(speakers_U)
  if len(names) < 2:
    return found
  estimates = dict(found.metrics)
  of_class_UxC = labels_U[:, None] == np.unique(labels_U)
  hits_RxUxC = hits_RxU[..., None] * of_class_UxC
  for name, statistic in _BY_SPEAKERS.items():
    if len(names) < FEWEST_SPEAKERS:
      break
    interval = statistics.cluster_bootstrap(
      statistic, speakers_U, hits_RxUxC.mean(0), of_class_UxC
    )
    estimates[name] = replace(estimates[name], ci95_speakers=interval)
  by_speaker = {}
  for name in names.tolist():
    of_one = speakers_U == name
    hits_RxC = hits_RxUxC[:, of_one].sum(1)
    by_speaker[str(name)] = Estimate.of(
      _mean_recall(hits_RxC, of_class_UxC[of_one].sum(0))
    )
  groups = {**found.groups, SPEAKERS: by_speaker}
  return replace(found, metrics=estimates, groups=groups)


def _mean_recall(hits_BxC: np.ndarray, counts_BxC: np.ndarray) -> np.ndarray:
  """Over the classes that there are, [B]; counts may be of all, [C]."""
  with np.errstate(invalid="ignore"):  # 0 / 0, of a class that is not there.
    return np.nanmean(hits_BxC / counts_BxC, axis=1)


# From sums of hits and of examples [B, C] of resampled speakers, [B].
_BY_SPEAKERS: Mapping[str, Callable[..., np.ndarray]] = {
  "weighted_accuracy": lambda hits, counts: hits.sum(1) / counts.sum(1),
  "unweighted_accuracy": _mean_recall,
}


def oracle(confusion_ExRxCxC: np.ndarray) -> dict[str, Estimate]:
  """`METRICS` at each run's best epoch, chosen on the test part itself."""
  figures = {name: f(confusion_ExRxCxC) for name, f in METRICS.items()}
  return {name: Estimate.of(of.max(0)) for name, of in figures.items()}


def compare(
  rows: Sequence[Row],
  pairs: Sequence[tuple[str, str]],
  names: Sequence[str],
) -> tuple[Comparison, ...]:
  """Paired comparisons a minus b of systems within each setting.

  Run by run, of the metrics called `names`: what a setting lacks of one of the
  two, or has of another number of runs, is left out. And speaker by speaker,
  see `over_same_speakers`.
  """
  found = {(row.setting, row.system): row for row in rows}
  settings = dict.fromkeys(row.setting for row in rows)
  comparisons = []
  for setting, (a, b) in itertools.product(settings, pairs):
    if (setting, a) not in found or (setting, b) not in found:
      continue
    sides = found[setting, a], found[setting, b]
    for name in names:
      runs = [side.metrics[name].runs for side in sides if name in side.metrics]
      if len(set(map(len, runs))) == 1 and len(runs) == 2:
        figures = statistics.paired_difference(*runs)
        one = Comparison(setting, a, b, name, *figures, SIGN_FLIPS)
        comparisons.append(one)
    comparisons += over_same_speakers(*sides, a, b)
  return tuple(comparisons)


def over_same_speakers(
  row_a: Row, row_b: Row, a: str, b: str
) -> tuple[Comparison, ...]:
  """Compares the unweighted accuracy of two rows, speaker by speaker.

  It says how far the difference would hold for other speakers, which no number
  of initialisations can; systems that are trained once have it, too. `a` and
  `b` are what the comparison calls the two. Empty where the rows were not
  tested on the same six speakers or more: of fewer no result is rare.
  """
  of_a, of_b = (row.groups.get(SPEAKERS, {}) for row in (row_a, row_b))
  if len(of_a) < _FEWEST_PAIRS or of_a.keys() != of_b.keys():
    return ()
  means = ([of[name].mean for name in of_a] for of in (of_a, of_b))
  figures = statistics.paired_difference(*means)
  name = "unweighted_accuracy"
  return (Comparison(row_a.setting, a, b, name, *figures, OVER_SPEAKERS),)


def write(path: pathlib.Path, summary: Summary) -> None:
  """Writes `summary.json`; raises ValueError where a figure is not finite."""
  content = {"schema": SCHEMA, **asdict(summary)}
  text = json.dumps(content, indent=2, allow_nan=False)
  path.write_text(text + "\n", encoding="utf-8")


def read(folder: str | os.PathLike) -> Summary:
  """Reads the summary of a finished run.

  Raises UserError where the folder holds none, one of an earlier version, or a
  damaged one.
  """
  path = pathlib.Path(folder, FILE)
  try:
    content = json.loads(path.read_text(encoding="utf-8"))
    version = content.pop("schema", None) if isinstance(content, dict) else None
    if version != SCHEMA:
      raise UserError(
        f"{path} is of another version of emojax (schema {version}, here "
        f"{SCHEMA}): train again in another --workdir"
      )
    return _parse(content)
  except OSError as error:
    reason = f"is no folder of a finished run: it has no {FILE}"
    if path.with_name("config.json").is_file():
      reason = (
        "holds a run that has not finished: the command that began it goes on "
        "with it"
      )
    raise UserError(f"{folder} {reason}") from error
  except _DAMAGED as error:
    raise UserError(
      f"{path} is damaged ({type(error).__name__}: {error}): remove it and run "
      "the training again"
    ) from error


def _parse(content: dict[str, Any]) -> Summary:
  for name in ("classes", "metrics", "runs"):
    content[name] = tuple(content[name])
  content["systems"] = tuple(System(**one) for one in content["systems"])
  content["rows"] = tuple(_parse_row(**one) for one in content["rows"])
  content["comparisons"] = tuple(
    Comparison(**{**one, "ci95": _pair(one["ci95"])})
    for one in content["comparisons"]
  )
  found = Summary(**content)
  texts = [found.study, found.title, found.device, found.curve, found.date]
  texts += [*found.classes, *found.metrics, found.model, found.unit]
  texts += [*found.audit, *found.audit.values()]
  texts += [text for one in found.systems for text in (one.id, one.label)]
  texts += [text for row in found.rows for text in (row.setting, row.system)]
  if not all(isinstance(text, str) for text in texts):
    raise TypeError("a name or a title that is no text")
  return found


def _parse_row(setting, system, metrics, oracle, groups) -> Row:
  def estimates(group):
    return {k: value and _parse_estimate(**value) for k, value in group.items()}

  if None in metrics.values():
    raise ValueError(f"no figure for {system} in {setting}")
  return Row(
    setting,
    system,
    estimates(metrics),
    estimates(oracle),
    {name: estimates(group) for name, group in groups.items()},
  )


def _parse_estimate(mean, std, ci95, runs, ci95_speakers) -> Estimate:
  pairs = _pair(ci95), _pair(ci95_speakers)
  for value in (mean, std, *runs, *(pairs[0] or ()), *(pairs[1] or ())):
    # NaN fails, too.
    if type(value) not in (int, float) or not abs(value) < 1e300:
      raise ValueError(f"a figure {value!r}")
  if not runs:
    raise ValueError("an estimate of no runs")
  return Estimate(mean, std, pairs[0], tuple(runs), pairs[1])


def _pair(values: Sequence[float] | None) -> Interval:
  if values is None:
    return None
  low, high = values
  return float(low), float(high)
