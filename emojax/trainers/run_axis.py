"""Runs as an axis of one program: many small trainings for the price of few.

All runs on one split of a corpus with one normalisation share their batches and
stand side by side in every array, so that what they do to the features is one
large product. The replicas of the mesh take a share of the runs each.

R runs, P runs with those that fill up the mesh, S seeds, E epochs, U utterances
of the corpus, N utterances of a batch, H size of a representation.
"""

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from clu import values

from emojax import loop, metrics, runs
from emojax.data.batches import Evaluation
from emojax.data.conversations import Setting
from emojax.runtime import sharding
from emojax.runtime.sharding import REPLICA, REPLICATED
from emojax.summary import System, history_name

States = dict[str, Any]


class Program(NamedTuple):
  """What a method does, written for R runs on one device."""

  draw: Callable  # (seeds_S, key) -> weights [S, ...].
  # (weights, seeds_R) -> state; all leaves but `step` lead with the run axis.
  start: Callable
  # (state, seeds_R, recipes, batch, task, key) -> (state, losses [R] by name).
  step: Callable
  evaluate: Callable  # (state, batch, task) -> clu metric, leaves [R, ...].
  # (state, batch, task) -> logits [R, N, C], representations [R, N, H].
  outputs: Callable
  specs: Any  # How a state is cut over the mesh.


@dataclasses.dataclass(frozen=True)
class Cohort:
  """Runs that share batches."""

  setting: Setting
  recipes: Mapping[System, Any]  # Of each system, a named tuple of numbers.
  num_seeds: int  # Initialisations of each system.
  program: str = ""  # By which of the training's programs.

  @property
  def name(self) -> str:
    """Tells the cohorts of a study apart."""
    name = f"{self.setting.name}, {self.setting.normalisation}"
    return f"{name}, {self.program}" if self.program else name

  @functools.cached_property
  def runs(self) -> list[runs.Run]:
    """In the order of the run axis: by system, then by seed."""
    ids = [system.id for system in self.recipes]
    return runs.grid([self.setting.name], ids, self.num_seeds)

  def positions(self, system: System) -> np.ndarray:
    """Where the runs of a system stand on the run axis."""
    return runs.positions(self.runs, system=system.id)

  def axis(self) -> tuple[np.ndarray, Any]:
    """The seed and the recipe of each run, NumPy arrays [R]."""
    recipes = {system.id: recipe for system, recipe in self.recipes.items()}
    rows = [recipes[run.system] for run in self.runs]
    columns = np.array(rows, np.float32).T
    return np.array([run.seed for run in self.runs]), type(rows[0])(*columns)

  def recorded(
    self, system: System, history: loop.History
  ) -> dict[str, np.ndarray]:
    """What the history has of a system's runs, [R, E, ...] by name."""
    prefix, positions = f"{self.name}/", self.positions(system)
    return {
      name.removeprefix(prefix): values[:, positions].swapaxes(0, 1)
      for name, values in history.items()
      if name.startswith(prefix)
    }


class _Compiled(NamedTuple):
  """A program, mapped over the devices; its weights are drawn on one."""

  draw: Callable
  start: Callable
  step: Callable
  evaluate: Callable
  outputs: Callable


@functools.cache
def _compile(program: Program, mesh: jax.sharding.Mesh) -> _Compiled:
  """Once: what JAX has traced for one training serves the others.

  The rungs of a search and the study itself are trainings of one program.
  """
  specs = program.specs
  mapped = functools.partial(sharding.mapped, mesh=mesh)
  of_state = (specs, REPLICATED, REPLICATED)
  return _Compiled(
    draw=jax.jit(program.draw, compiler_options=sharding.RUNS_ONCE),
    start=mapped(
      program.start,
      in_specs=(REPLICATED, REPLICA),
      out_specs=specs,
      compiler_options=sharding.RUNS_ONCE,
    ),
    step=mapped(
      program.step,
      in_specs=(specs, REPLICA, REPLICA, *(REPLICATED,) * 3),
      out_specs=(specs, REPLICA),
      donate_argnums=(0,),
    ),
    evaluate=mapped(program.evaluate, in_specs=of_state, out_specs=REPLICA),
    outputs=mapped(program.outputs, in_specs=of_state, out_specs=REPLICA),
  )


@functools.cache
def _cut(mesh: jax.sharding.Mesh) -> Callable:
  """(tree [P, ...], R) -> [R, ...]: without the runs that fill up the mesh."""
  return jax.jit(
    lambda tree, num_runs: jax.tree.map(lambda x: x[:num_runs], tree),
    static_argnums=1,
    out_shardings=jax.sharding.NamedSharding(mesh, REPLICATED),
  )


class Training:
  """The runs of some cohorts, with a state for each cohort by its name."""

  def __init__(
    self,
    programs: Mapping[str, Program],
    cohorts: Sequence[Cohort],
    seed: int,
    first_epoch: int = 0,
    aside: Sequence[Cohort] = (),
  ):
    """Places the data on the devices; the first round is `first_epoch`.

    `programs` are by what cohorts call theirs. Cohorts `aside` are trained as
    well; nothing of them is recorded.
    """
    self._cohorts, self._aside = cohorts, aside
    cohorts = (*cohorts, *aside)
    self._seed, self._first_epoch = seed, first_epoch
    self._mesh = sharding.make_mesh()
    self._key = self._share(jax.random.key(seed))
    # Cohorts have arrays in common; each goes to the devices once.
    tasks = {cohort.name: cohort.setting.task for cohort in cohorts}
    leaves = {id(x): x for x in jax.tree.leaves(tasks)}
    placed = {name: self._share(x) for name, x in leaves.items()}
    self._tasks = jax.tree.map(lambda x: placed[id(x)], tasks)
    self._axes = {
      cohort.name: self._spread(cohort.axis(), np.arange(len(cohort.runs)))
      for cohort in cohorts
    }
    self._compiled = {
      name: _compile(program, self._mesh) for name, program in programs.items()
    }
    # Records are small, and of every run but those that fill the mesh up.
    self._cut = _cut(self._mesh)

  def init(self) -> States:
    """The states before training: the same weights for the same seed."""
    cohorts = (*self._cohorts, *self._aside)
    seeds_S = np.arange(max(cohort.num_seeds for cohort in cohorts))
    states = {}
    for name, program in self._compiled.items():
      weights = self._share(program.draw(seeds_S, jax.random.key(self._seed)))
      for cohort in cohorts:
        if cohort.program == name:
          seeds_R, _ = self._axes[cohort.name]
          states[cohort.name] = program.start(weights, seeds_R)
    return states

  def carry_over(self, cohorts: Sequence[Cohort], states: States) -> States:
    """The states of these runs, out of those of the same cohorts with more."""
    carried = {}
    for old, new in zip(cohorts, self._cohorts, strict=True):
      state = states[old.name]
      index_R = np.array([old.runs.index(run) for run in new.runs])
      per_run = self._spread(state.replace(step=None), index_R)
      carried[new.name] = per_run.replace(step=jnp.copy(state.step))
    return carried

  def adapt(self, states: States) -> States:
    """The states that another number of devices has left behind."""
    adapted = {}
    for cohort in (*self._cohorts, *self._aside):
      state, runs_R = states[cohort.name], np.arange(len(cohort.runs))
      per_run = self._spread(state.replace(step=None), runs_R)
      adapted[cohort.name] = per_run.replace(step=state.step)
    return adapted

  def study(self, init: Callable[[], States]) -> loop.Study:
    """What the loop takes; `init` gives the first states."""
    return loop.Study(
      init=init,
      round=self.round,
      evaluate=self.evaluate,
      summarize=lambda states, history: (states, history),
      adapt=self.adapt,
    )

  def pictures(self, arrays: loop.History) -> dict[str, values.Value]:
    """The confusion matrix of each system, over all its runs."""
    pictures = {}
    for cohort in self._cohorts:
      counts_RxCxC = arrays[f"{cohort.name}/confusion_matrix"]
      for system in cohort.recipes:
        counts_CxC = counts_RxCxC[cohort.positions(system)].sum(0)
        name = history_name(cohort.setting.name, system.id, "confusion_matrix")
        pictures[name] = metrics.confusion_picture(counts_CxC)
    return pictures

  def round(self, states: States, round_: int) -> tuple[States, loop.Record]:
    """An epoch of every cohort; records the mean losses of its steps."""
    states, record = dict(states), {}
    for cohort in self._cohorts:
      states[cohort.name], total = self._epoch(states, cohort, round_)
      means = _divide(total, cohort.setting.plan.num_steps)
      record |= _record(cohort, self._cut(means, len(cohort.runs)))
    for cohort in self._aside:
      states[cohort.name], _ = self._epoch(states, cohort, round_)
    return states, record

  def _epoch(self, states: States, cohort: Cohort, round_: int):
    """The next state of a cohort, and the sums of its steps' losses."""
    name, total = cohort.name, None
    state = states[name]
    for batch in cohort.setting.plan.epoch(self._first_epoch + round_):
      state, losses = self._compiled[cohort.program].step(
        state, *self._axes[name], batch, self._tasks[name], self._key
      )
      total = losses if total is None else _add(total, losses)
    return state, total

  def evaluate(self, states: States) -> loop.Record:
    """Records the metrics and the confusion matrices of the test part."""
    record = {}
    for cohort in self._cohorts:
      total = None
      for batch in cohort.setting.evaluation.batches():
        of_batch = self._compiled[cohort.program].evaluate(
          states[cohort.name], batch, self._tasks[cohort.name]
        )
        total = _merge(total, of_batch) if total else of_batch
      values_P = _compute(total)
      record |= _record(cohort, self._cut(values_P, len(cohort.runs)))
    return record

  def outputs(
    self,
    states: States,
    cohort: Cohort,
    evaluation: Evaluation,
    kept: Sequence[int],
  ) -> tuple[np.ndarray, np.ndarray]:
    """What the runs of a cohort make of any conversations.

    Returns:
      Logits [R, U, C], and representations [Q, U, H] of the runs that are
      `kept`; zeros for an utterance that is in none of the conversations.
    """
    task, num_runs = self._tasks[cohort.name], len(cohort.runs)
    outputs = self._compiled[cohort.program].outputs
    num_utterances = len(task.target_U)
    logits_RxUxC = kept_QxUxH = None
    for batch in evaluation.batches():
      logits, representation = sharding.fetch(
        outputs(states[cohort.name], batch, task)
      )
      if logits_RxUxC is None:
        of_run = num_utterances, logits.shape[-1]
        logits_RxUxC = np.zeros((num_runs, *of_run), np.float32)
        of_run = num_utterances, representation.shape[-1]
        kept_QxUxH = np.zeros((len(kept), *of_run), np.float32)
      count = int(batch.count)
      rows = batch.utterances_N[:count]
      logits_RxUxC[:, rows] = logits[:num_runs, :count]
      kept_QxUxH[:, rows] = representation[np.array(kept, int), :count]
    return logits_RxUxC, kept_QxUxH

  def _share(self, tree):
    return sharding.place(tree, self._mesh, REPLICATED)

  def _spread(self, tree, index_R: np.ndarray):
    """These runs of a tree [R, ...], and those that fill up the mesh."""
    index_P = index_R[sharding.spread(len(index_R), self._mesh)]
    return sharding.place(_take(tree, index_P), self._mesh, REPLICA)


# Each is compiled once, however many steps or batches an epoch has.
_take = jax.jit(lambda tree, index: jax.tree.map(lambda x: x[index], tree))
_add = jax.jit(lambda one, other: jax.tree.map(jnp.add, one, other))
_divide = jax.jit(lambda total, count: jax.tree.map(lambda x: x / count, total))
_merge = jax.jit(lambda one, other: one.merge(other))
_compute = jax.jit(jax.vmap(lambda total: total.compute()))


def _record(cohort: Cohort, values_R: Mapping[str, jax.Array]) -> loop.Record:
  """What the loop keeps of the runs, and means by system for TensorBoard."""
  kept = {f"{cohort.name}/{name}": value for name, value in values_R.items()}
  layout = tuple(
    (f"{cohort.setting.name}/{one.id}", tuple(cohort.positions(one).tolist()))
    for one in cohort.recipes
  )
  scalars = {k: v for k, v in values_R.items() if v.ndim == 1}
  return kept | _means(layout, scalars)


@functools.partial(jax.jit, static_argnums=0)
def _means(layout, values_R):
  return {
    f"{system}/{name}": value[np.array(positions)].mean()
    for system, positions in layout
    for name, value in values_R.items()
  }
