"""A trained selector applied to a training set: who stays, and who goes.

As the study's final selection: one pass in the random order of its key, which
retains those of probability 0.5 and more. RLPS-S judges its own training set
alone, by classifiers that each lack a part of it: what it found is read. N
examples that are judged, K classes.
"""

import collections
import csv
import dataclasses
import logging
import os
import pathlib
from collections.abc import Iterator, Sequence
from typing import Any

import jax
import numpy as np

from emojax import calibration
from emojax import summary as summaries
from emojax.corpora import labels, recordings
from emojax.errors import Unreadable, UserError
from emojax.inference import batched, training_sets
from emojax.inference.training_sets import Record, TrainingSet
from emojax.reports import selection_figures
from emojax.runtime import files, memory
from emojax.runtime.progress import progress
from emojax.systems import selectors, stored
from emojax.systems.faces import FaceSystem
from emojax.systems.selectors import Selector
from emojax.systems.speech import SpeechSystem

_LOG = logging.getLogger(__name__)

_AHEAD = 2 * (os.cpu_count() or 1)  # Examples decoded before they are needed.
_SHOWN = 24  # Examples of a figure.
_FIGURES = {
  "best": "The surest to stay",
  "worst": "The surest to go",
  "contested": "Contested: probabilities nearest to 0.5",
}
# Beside the columns of a row, in what stays and in what was removed.
_VERDICT = "probability", "rank"
_WHY = (*_VERDICT, "predicted", "label_probability", "reason")


@dataclasses.dataclass(frozen=True)
class Verdict:
  """What a selector makes of a training set.

  Attributes:
    judged_N: the rows that were, in their order.
    retained_N: bool, whether an example stays.
    probability_N: of staying, as the policy saw it in its turn.
    predicted_NxK: the probabilities of the classifier that the policy knows.
    label_N: the class of each.
    unreadable: why rows, by their number, could not be judged, and go.
  """

  judged_N: np.ndarray
  retained_N: np.ndarray
  probability_N: np.ndarray
  predicted_NxK: np.ndarray
  label_N: np.ndarray
  unreadable: dict[int, Unreadable]

  @property
  def rank_N(self) -> np.ndarray:
    """1 for the highest probability; the first of equals comes first."""
    order_N = np.argsort(-self.probability_N, kind="stable")
    rank_N = np.empty(len(order_N), int)
    rank_N[order_N] = np.arange(1, len(order_N) + 1)
    return rank_N


def clean(
  run: str | os.PathLike, data: str, corpus: str | None, output: str
) -> str:
  """Writes which rows of a training set stay, and pictures of its ends.

  Args:
    run: the folder of a finished run with a selector, or a hub id; without
      one a run of RLPS-S.
    data: see `training_sets.read`.
    corpus: as `data`.
    output: `kept.csv`; beside it come `kept-removed.csv` and three figures.

  Returns:
    How many stay, of all and of each class.

  Raises:
    UserError: no selector; whatever is wrong with the data.
  """
  target = pathlib.Path(output)
  folder = pathlib.Path(run).expanduser()
  has_selector = (folder / stored.FOLDER / selectors.FILES[0]).is_file()
  if not has_selector and (folder / selectors.JUDGED).is_file():
    system, _ = stored.load(run, FaceSystem, SpeechSystem)
    found = training_sets.read(system, data, corpus)
    verdict = recall(folder / selectors.JUDGED, found, data or corpus)
    classes = system.classes
  else:
    selector, weights = _load(run)
    found = training_sets.read(selector.classifier, data, corpus)
    verdict = judge(selector, weights, found, data or corpus)
    classes = selector.classes
  write(target, classes, found, verdict)
  return _counts(output, classes, verdict)


def judge(
  selector: Selector, weights: Any, found: TrainingSet, where: str
) -> Verdict:
  """Judges the training part; rows of other parts and labels are left alone.

  Raises:
    UserError: no row can be judged; the device has too little memory.
  """
  _, index = labels.parse_classes(selector.labels)
  class_U = labels.class_index([one.label for one in found.records], index)
  rows = _candidates(found, class_U, selector, where)
  unreadable: dict[int, Unreadable] = {}
  judged: list[int] = []

  def examples() -> Iterator[Any]:
    records = [found.records[row] for row in rows]
    loaded = recordings.ahead(found.load, records, _AHEAD)
    shown = progress(loaded, len(rows), "clean", "example")
    for row, one in zip(rows, shown, strict=True):
      if isinstance(one, Unreadable):
        _LOG.warning("removed %s", one)
        unreadable[row] = one
      else:
        judged.append(row)
        yield one

  variables = jax.device_put(weights["classifier"])

  def forward(inputs: Any) -> Any:
    return selector.forward(variables, inputs)

  size = selector.batch_size
  with memory.explained(
    "the load that other programs put on it, or set JAX_PLATFORMS=cpu"
  ):
    outputs = list(batched.outputs(forward, examples(), size, size))
    if not outputs:
      first = next(iter(unreadable.values()))
      raise UserError(
        f"none of {len(rows)} examples can be used; the first: {first}"
      )
    logits_NxK, features_NxD = map(np.stack, zip(*outputs, strict=True))
    selection, kept_N = selector.select(weights, features_NxD, class_U[judged])
  return Verdict(
    np.array(judged),
    np.asarray(kept_N),
    np.asarray(selection.probability_N),
    calibration.probabilities(logits_NxK),
    class_U[judged],
    unreadable,
  )


def recall(path: pathlib.Path, found: TrainingSet, where: str) -> Verdict:
  """What RLPS-S made of its training set; all other rows are left alone.

  Args:
    path: of `selectors.JUDGED`.
    found: the training set, or one that has rows of it.
    where: its name.

  Raises:
    UserError: a damaged file; no row was judged.
  """
  try:
    known = summaries.read_arrays(path)
    _, index = labels.parse_classes(str(known["labels"]))
    keys = zip(known["name"].tolist(), known["label"].tolist(), strict=True)
    place_of = {key: place for place, key in enumerate(keys)}
    results = [known[k] for k in ("retained", "probability", "log_probability")]
    if {len(one) for one in results} != {len(place_of)}:
      raise ValueError("of each example there has to be one")
  except (OSError, ValueError, KeyError, UserError) as error:
    raise UserError(f"{path}: damaged ({error}); train it again") from error
  class_U = labels.class_index([one.label for one in found.records], index)
  pairs = [
    (row, place_of[record.name, label])
    for row, (record, label) in enumerate(
      zip(found.records, class_U.tolist(), strict=True)
    )
    if found.part(record) == "train" and (record.name, label) in place_of
  ]
  if len(pairs) < len(place_of):
    message = (
      f"{where}: {len(place_of) - len(pairs)} of {len(place_of)} examples that "
      "the run was trained on are not there, or have another label; RLPS-S "
      "judges no others: give what its config.data.path is, written alike"
    )
    if not pairs:
      raise UserError(message)
    _LOG.warning("%s", message)
  row_n, place_n = np.array(pairs).T
  retained_n, probability_n, log_nxK = (one[place_n] for one in results)
  label_n = known["label"][place_n]
  return Verdict(row_n, retained_n, probability_n, np.exp(log_nxK), label_n, {})


def write(
  target: pathlib.Path,
  classes: Sequence[str],
  found: TrainingSet,
  verdict: Verdict,
) -> None:
  """Writes both lists and the figures, each whole or not at all."""
  for name, (title, places) in _ends(verdict).items():
    path = _beside(target, f"-{name}.png")
    with files.whole(path) as temporary:
      _figure(temporary, title, places, classes, found, verdict)
  kept, removed = [], []
  why = dict(_reasons(classes, verdict))
  gone = {*verdict.unreadable, *verdict.judged_N[~verdict.retained_N].tolist()}
  for row, record in enumerate(found.records):
    values = found.describe(record)
    values["path"] = _path(values["path"], target)
    (removed if row in gone else kept).append(values | why.get(row, {}))
  removed_path = _beside(target, "-removed.csv")
  for path, rows, more in (
    (removed_path, removed, _WHY),
    (target, kept, _VERDICT),
  ):
    _write_csv(path, (*found.columns, *more), rows)


def _load(run: str | os.PathLike) -> tuple[Selector, Any]:
  folder = pathlib.Path(run).expanduser()
  has_system = (folder / stored.FOLDER / stored.FILES[0]).is_file()
  description = folder / stored.FOLDER / selectors.FILES[0]
  if has_system and not description.is_file():
    raise UserError(
      f"{run}: has no selector ({description} is not there); only a study of "
      "configs/rlps.py with a system such as rlps (config.systems) leaves one, "
      "and one of rlps_s what it made of its training set, if no noise was "
      "added (config.data.noise)"
    )
  return stored.load(run, Selector, names=selectors.FILES)


def _candidates(
  found: TrainingSet, class_U: np.ndarray, selector: Selector, where: str
) -> list[int]:
  """The rows of the training part whose labels the selector knows."""
  train = [
    row for row, one in enumerate(found.records) if found.part(one) == "train"
  ]
  others = collections.Counter(
    found.records[row].label or "no label" for row in train if class_U[row] < 0
  )
  rows = [row for row in train if class_U[row] >= 0]
  named = ", ".join(f"{count} {name}" for name, count in others.items())
  if not rows:
    raise UserError(
      f"{where}: no example for training has a label that the selector knows "
      f"({selector.labels}); there are {named or 'none at all'}"
    )
  if others:
    _LOG.warning(
      "%s: %d of %d examples for training have no label that the selector "
      "knows (%s); they stay as they are, not judged",
      *(where, others.total(), len(train), named),
    )
  return rows


def _ends(verdict: Verdict) -> dict[str, tuple[str, np.ndarray]]:
  """Title and examples of each figure."""
  probability_N = verdict.probability_N
  orders = {
    "best": -probability_N,
    "worst": probability_N,
    "contested": np.abs(probability_N - 0.5),
  }
  return {
    name: (title, np.argsort(orders[name], kind="stable")[:_SHOWN])
    for name, title in _FIGURES.items()
  }


def _figure(
  path: pathlib.Path,
  title: str,
  places: np.ndarray,
  classes: Sequence[str],
  found: TrainingSet,
  verdict: Verdict,
) -> None:
  """Examples with their labels, what is seen in them, and whether they stay."""
  pictures, captions = [], []
  for place in places.tolist():
    record: Record = found.records[verdict.judged_N[place]]
    loaded = found.load(record)  # Again: all of them would fill the memory.
    if isinstance(loaded, Unreadable):
      continue
    pictures.append(found.picture(loaded))
    predicted_K = verdict.predicted_NxK[place]
    stays = "stays" if verdict.retained_N[place] else "goes"
    captions.append(
      f"{classes[verdict.label_N[place]]}\n"
      f"seen as {classes[predicted_K.argmax()]}\n"
      f"{stays}: {verdict.probability_N[place]:.2f} (rank "
      f"{verdict.rank_N[place]})"
    )
  selection_figures.grid(str(path), pictures, captions, title)


def _reasons(
  classes: Sequence[str], verdict: Verdict
) -> Iterator[tuple[int, dict[str, str]]]:
  """What is said of each row that was judged or could not be."""
  columns = (
    *(verdict.judged_N.tolist(), verdict.probability_N.tolist()),
    *(verdict.rank_N.tolist(), verdict.predicted_NxK, verdict.label_N),
  )
  for row, probability, rank, predicted_K, label in zip(*columns, strict=True):
    yield (
      row,
      {
        "probability": f"{probability:.6f}",
        "rank": str(rank),
        "predicted": classes[predicted_K.argmax()],
        "label_probability": f"{predicted_K[label]:.6f}",
        "reason": f"stays with {100 * probability:.1f} %, below 50 %",
      },
    )
  for row, error in verdict.unreadable.items():
    yield row, {"reason": f"can not be used: {error.why}"}


def _counts(output: str, classes: Sequence[str], verdict: Verdict) -> str:
  totals_K, kept_K = (
    np.bincount(label_n, minlength=len(classes))
    for label_n in (verdict.label_N, verdict.label_N[verdict.retained_N])
  )
  of_classes = ", ".join(
    f"{name} {kept} of {total}"
    for name, kept, total in zip(classes, kept_K, totals_K, strict=True)
  )
  line = f"{output}: {kept_K.sum()} of {totals_K.sum()} stay: {of_classes}"
  if verdict.unreadable:
    line += f"; {len(verdict.unreadable)} can not be used"
  return line


def _write_csv(
  path: pathlib.Path, columns: Sequence[str], rows: Sequence[dict[str, str]]
) -> None:
  with files.whole_table(path) as file:
    writer = csv.DictWriter(
      *(file, columns), extrasaction="ignore", lineterminator="\n"
    )
    writer.writeheader()
    writer.writerows(rows)


def _path(path: str, target: pathlib.Path) -> str:
  """Relative to the list where the file is below its folder, else absolute."""
  absolute, folder = os.path.abspath(path), os.path.abspath(target.parent)
  below = absolute.startswith(os.path.join(folder, ""))
  return os.path.relpath(absolute, folder) if below else absolute


def _beside(target: pathlib.Path, ending: str) -> pathlib.Path:
  return target.with_name(f"{target.stem}{ending}")
