"""The grid of runs of a study: settings x systems x initialisations.

A study has one work folder, which one job at a time may use, and in it a
folder for each run. Of the processes of a job the first one writes there. What
is finished there is not computed again; what is begun goes on. Runs are trained
one after the other (`Grid.train`), or are an axis of one program (`positions`).
"""

import contextlib
import dataclasses
import functools
import itertools
import json
import operator
import os
import pathlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import ml_collections
import numpy as np

from emojax import checks, loop
from emojax import summary as summaries
from emojax.errors import UserError
from emojax.runtime import files, hosts, locks, process, tensors, trackers
from emojax.summary import Summary

_CONFIG, _LOCK = "config.json", ".lock"
_FIGURES, _HISTORY, _OUTPUTS = "figures.json", summaries.HISTORY, "outputs.npz"
_WEIGHTS = "weights.safetensors"
# Another machine may have others: no figure changes with them.
_FREE = {"config.data.num_workers", "config.trackers"}

Files = Mapping[str, Callable[[pathlib.Path], None]]


@dataclasses.dataclass(frozen=True)
class Run:
  """One training: on a split or noise, of a `System.id`, seeds from 0."""

  setting: str
  system: str
  seed: int

  def __str__(self) -> str:
    return f"{self.setting}, {self.system}, seed {self.seed}"


@dataclasses.dataclass(frozen=True)
class Result:
  """What a run leaves behind: what JSON can write, arrays, a tree of arrays."""

  figures: Mapping[str, Any]
  outputs: Mapping[str, np.ndarray] = dataclasses.field(default_factory=dict)
  weights: Any = None


@dataclasses.dataclass(frozen=True)
class Outcome:
  """A finished run: its `Result`, and the loop's records [rounds, ...]."""

  run: Run
  figures: Mapping[str, Any]
  outputs: Mapping[str, np.ndarray]
  history: loop.History
  folder: pathlib.Path

  @property
  def weights(self) -> Any:
    """The tree of arrays of `Result.weights`, read from disk."""
    return tensors.load(self.folder / _WEIGHTS)


class Grid:
  """The runs of a study in its work folder."""

  def __init__(
    self,
    workdir: pathlib.Path,
    config: ml_collections.ConfigDict,
    tracked: trackers.Trackers | None = None,
  ):
    """Of a whole config; nothing is written before the first training."""
    self.workdir = workdir
    self._config = config
    self._tracked = tracked

  def train(
    self, run: Run, study: loop.Study, num_rounds: int, unit: str = "epoch"
  ) -> Outcome:
    """Trains a run to its end, unless it has come there already.

    `study.summarize` gives a `Result`; all else is as in `loop.run`.
    """
    folder = self._folder(run)
    if not hosts.asked((folder / _FIGURES).exists):
      state, history = self.loop(study, folder, num_rounds, str(run), unit)
      result = study.summarize(state, history)
      hosts.asked(lambda: _write(folder, result, history))
    return _read(run, folder)

  def finished(self, run: Run) -> Outcome | None:
    """The outcome of a run that has come to its end."""
    folder = self._folder(run)
    is_finished = hosts.asked((folder / _FIGURES).exists)
    return _read(run, folder) if is_finished else None

  def loop(
    self,
    study: loop.Study,
    folder: pathlib.Path,
    num_rounds: int,
    description: str,
    unit: str = "epoch",
  ) -> tuple[loop.State, loop.History]:
    """`loop.run` in a folder of the study, which is claimed for its config."""
    hosts.asked(lambda: _claim(self.workdir, self._config))
    every = self._config.checkpoint_every
    others = [self._tracked.writer(folder)] if self._tracked else []
    return loop.run(study, folder, num_rounds, every, description, unit, others)

  def _folder(self, run: Run) -> pathlib.Path:
    parts = (run.setting, run.system, f"seed-{run.seed}")
    return self.workdir.joinpath("runs", *map(files.plain_name, parts))


def grid(
  settings: Sequence[str], systems: Sequence[str], num_seeds: int
) -> list[Run]:
  """All combinations, seeds last."""
  combinations = itertools.product(settings, systems, range(num_seeds))
  return list(itertools.starmap(Run, combinations))


def positions(runs: Sequence[Run], **fields: Any) -> np.ndarray:
  """Where those runs stand on a run axis that have these fields, int [r]."""
  return np.flatnonzero(
    [all(getattr(run, k) == v for k, v in fields.items()) for run in runs]
  )


def by_row(outcomes: Sequence[Outcome]) -> dict[tuple, list[Outcome]]:
  """Outcomes by (setting, system), in the order in which they come."""
  rows: dict[tuple[str, str], list[Outcome]] = {}
  for one in outcomes:
    rows.setdefault((one.run.setting, one.run.system), []).append(one)
  return rows


def histories(outcomes: Sequence[Outcome]) -> dict[str, np.ndarray]:
  """What a study's `history.npz` holds: [R, rounds, ...] by name."""
  return {
    summaries.history_name(*row, name): np.stack([o.history[name] for o in of])
    for row, of in by_row(outcomes).items()
    for name in of[0].history
  }


def complete(
  config: ml_collections.ConfigDict,
  workdir: str | os.PathLike,
  study: Callable[[Grid], tuple[Summary, Files]],
) -> Summary:
  """A whole study: its summary, from disk where the folder has it.

  Args:
    config: of the study.
    workdir: receives `config.json`, `runs/`, the files and `summary.json`.
    study: trains in the grid that it is given, and returns the summary and
      further files by name (`report.md`, figures), each as a function that
      writes it to a path.

  Raises:
    UserError: another process uses the folder; it holds a study of another
      config, or can not be written; whatever the study finds wrong.
    SystemExit: the job was asked to stop (`process.ENDING`); no file is left
      half-written, and the same command goes on.
  """
  workdir = pathlib.Path(workdir)
  finished = functools.partial(is_finished, workdir, config)
  if not hosts.asked(finished):
    with contextlib.ExitStack() as held:
      hosts.asked(lambda: held.enter_context(_locked(workdir)))
      held.enter_context(process.resumable())
      tracked = _trackers(workdir, config)
      held.enter_context(contextlib.closing(tracked))
      # The process that had the lock may have come to the end.
      if not hosts.asked(finished):
        summary, results = study(Grid(workdir, config, tracked))
        written = workdir, config, summary, results, tracked
        hosts.asked(lambda: _write_results(*written))
  return summaries.read(workdir)


def _write_results(workdir, config, summary, results: Files, tracked) -> None:
  _claim(workdir, config)
  for name, write in results.items():
    with files.whole(workdir / name) as path:
      write(path)
  tracked.summarize(_final_figures(summary))
  # Last: its presence says that the folder is finished.
  with files.whole(workdir / summaries.FILE) as path:
    summaries.write(path, summary)


def _trackers(workdir, config: ml_collections.ConfigDict) -> trackers.Trackers:
  named = checks.names(config.get("trackers", ""))
  if named:
    checks.choices(config, "trackers", trackers.NAMES)
    trackers.require(named)
  return trackers.Trackers(named, workdir, json.loads(config.to_json()))


def _final_figures(summary: Summary) -> dict[str, float]:
  return {
    f"summary/{row.setting}/{row.system}/{name}": estimate.mean
    for row in summary.rows
    for name, estimate in row.metrics.items()
  }


def settle(
  workdir: str | os.PathLike,
  config: ml_collections.ConfigDict,
  field: str,
  find: Callable[[], str],
) -> ml_collections.ConfigDict:
  """Fills in a field that the config leaves open, once for a whole study.

  What changes by itself, such as the newest commit of a repository, is looked
  up by `find` when the study begins; the folder's `config.json` keeps it. The
  field has a dotted name and is open where it is ''.
  """
  config = config.copy_and_resolve_references()
  if operator.attrgetter(field)(config):
    return config

  def settled() -> str:
    kept = _claimed(pathlib.Path(workdir))
    return find() if kept is None else kept.get(f"config.{field}", "")

  value = hosts.asked(settled)
  config.update_from_flattened_dict({field: value})
  return config


def is_finished(
  workdir: pathlib.Path, config: ml_collections.ConfigDict
) -> bool:
  """Whether this config's study in this folder has come to its end.

  Raises UserError where the folder holds another config's study, or is none.
  """
  if workdir.exists() and not workdir.is_dir():
    raise UserError(f"{workdir} is no folder: choose another --workdir")
  theirs = _claimed(workdir)
  if theirs is None:
    return False
  ours = dict(_flatten(json.loads(config.to_json())))
  for name in sorted((ours.keys() | theirs.keys()) - _FREE):
    here, there = ours.get(name, "nothing"), theirs.get(name, "nothing")
    if here != there:
      raise UserError(
        f"{workdir} holds a run of another config ({name} is {there!r} there "
        f"and {here!r} here): choose another folder (--workdir)"
      )
  return (workdir / summaries.FILE).exists()


def _claim(workdir: pathlib.Path, config: ml_collections.ConfigDict) -> None:
  """Makes the folder this config's own."""
  if not (workdir / _CONFIG).exists():
    with files.whole(workdir / _CONFIG) as path:
      text = config.to_json(sort_keys=True, indent=2)
      path.write_text(text + "\n", encoding="utf-8")


def _claimed(workdir: pathlib.Path) -> dict[str, Any] | None:
  """The fields of the config that the folder belongs to, if any."""
  path = workdir / _CONFIG
  if not path.exists():
    return None
  try:
    return dict(_flatten(json.loads(path.read_text(encoding="utf-8"))))
  except (OSError, ValueError, AttributeError) as error:
    raise UserError(
      f"{path} is damaged ({error}): choose another --workdir"
    ) from error


@contextlib.contextmanager
def _locked(workdir: pathlib.Path) -> Iterator[None]:
  """Keeps other processes out of the folder.

  The system takes the lock from a process that ends, however it ends. Folders
  that are made here and in which nothing was written are removed again.
  """
  made = [p for p in (workdir, *workdir.parents) if not p.exists()]
  with files.explained(workdir):
    workdir.mkdir(parents=True, exist_ok=True)
    lock = locks.take(workdir / _LOCK)
  if lock is None:
    raise UserError(
      f"{workdir} is in use by another process: wait for it, or choose "
      "another --workdir"
    )

  def release() -> None:
    locks.release(lock)
    with contextlib.suppress(OSError):  # Not empty.
      for folder in made:
        folder.rmdir()

  with process.undone(release):
    files.sweep(workdir)
    yield


def _write(folder: pathlib.Path, result: Result, history: loop.History) -> None:
  for name, arrays in ((_HISTORY, history), (_OUTPUTS, result.outputs)):
    with files.whole(folder / name) as path:
      np.savez_compressed(path, **arrays)
  if result.weights is not None:
    with files.whole(folder / _WEIGHTS) as path:
      tensors.save(path, result.weights)
  # Last: its presence says that the run is finished.
  with files.whole(folder / _FIGURES) as path:
    text = json.dumps(result.figures, indent=2, allow_nan=False)
    path.write_text(text + "\n", encoding="utf-8")


def _read(run: Run, folder: pathlib.Path) -> Outcome:
  try:
    outputs = summaries.read_arrays(folder / _OUTPUTS)
    history = summaries.read_arrays(folder / _HISTORY)
    figures = json.loads((folder / _FIGURES).read_text(encoding="utf-8"))
  except (OSError, ValueError) as error:
    raise UserError(
      f"{folder} is damaged ({error}): remove it and run the same command again"
    ) from error
  return Outcome(run, figures, outputs, history, folder)


def _flatten(tree: dict, prefix: str = "config") -> Iterator[tuple[str, Any]]:
  for name, value in tree.items():
    if isinstance(value, dict):
      yield from _flatten(value, f"{prefix}.{name}")
    else:
      yield f"{prefix}.{name}", value
