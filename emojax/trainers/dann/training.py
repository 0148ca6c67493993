"""Training of all runs of a DANN study: epochs and evaluations on the mesh.

R runs, U utterances of the corpus, N utterances of a batch, C emotions, E
epochs, H size of the representation.
"""

import dataclasses
import functools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np

from emojax.data import batches
from emojax.models.dann import Dann
from emojax.runtime import sharding
from emojax.runtime.sharding import REPLICA, REPLICATED
from emojax.trainers.dann import step
from emojax.trainers.dann.step import Recipe, Runs, State, Task


@dataclasses.dataclass(frozen=True)
class Group:
  """Runs that share batches: a training setting with one normalisation.

  Runs are ordered by recipe, then by seed.
  """

  name: str
  setting: str
  task: Task
  plan: batches.Plan
  evaluation: batches.Evaluation
  recipes: tuple[Recipe, ...]
  num_replicates: int

  def runs_of(self, system: str) -> slice:
    """The runs of a system on the run axis."""
    index = [recipe.system for recipe in self.recipes].index(system)
    return slice(index * self.num_replicates, (index + 1) * self.num_replicates)

  def runs(self) -> Runs:
    """All runs, as NumPy arrays [R]."""
    rows = [
      (seed, *dataclasses.astuple(recipe)[1:])
      for recipe in self.recipes
      for seed in range(self.num_replicates)
    ]
    seed, *rest = zip(*rows, strict=True)
    return Runs(np.array(seed), *(np.array(r, np.float32) for r in rest))


class Training:
  """All runs of some training settings: the functions that the loop needs.

  A state is a `State` for each group, by the group's name.
  """

  def __init__(
    self,
    config: ml_collections.ConfigDict,
    num_emotions: int,
    num_speakers: int,
    groups: Sequence[Group],
  ):
    """Places the data on the devices.

    Args:
      config: a whole config.
      num_emotions: C.
      num_speakers: domains.
      groups: training settings and their runs.
    """
    model = Dann(num_emotions, num_speakers, **config.model)
    tx = step.optimizer(config.optimizer.l2)
    averages = any(r.averaging for group in groups for r in group.recipes)
    features = groups[0].task.features
    widths = tuple((name, x.shape[1]) for name, x in features.items())
    self.groups = groups
    self._mesh = mesh = sharding.make_mesh()
    self._key = self._share(jax.random.key(config.seed))
    # Groups have arrays in common; each goes to the devices once.
    leaves = {id(x): x for g in groups for x in jax.tree.leaves(g.task)}
    placed = {name: self._share(x) for name, x in leaves.items()}
    self._tasks = {
      group.name: jax.tree.map(lambda x: placed[id(x)], group.task)
      for group in groups
    }
    self._runs = {group.name: self._spread(group) for group in groups}
    states = State(REPLICATED, REPLICA, REPLICA, REPLICA)
    self._init = sharding.mapped(
      functools.partial(step.init_runs, model, tx, widths, averages),
      mesh,
      (REPLICA, REPLICATED),
      states,
      compiler_options=sharding.RUNS_ONCE,
    )
    self._step = sharding.mapped(
      functools.partial(step.train_step, model, tx),
      mesh,
      (states, REPLICA, *(REPLICATED,) * 3),
      (states, REPLICA),
      donate_argnums=(0,),
    )
    self._evaluate = sharding.mapped(
      functools.partial(step.evaluate_batch, model, num_emotions),
      mesh,
      (REPLICA, REPLICATED, REPLICATED),
      REPLICA,
    )
    self._forward = sharding.mapped(
      functools.partial(step.forward, model),
      mesh,
      (REPLICA, REPLICATED, REPLICATED),
      REPLICA,
    )

  def init(self) -> dict[str, State]:
    """The state before training."""
    return {
      group.name: self._init(self._runs[group.name].seed, self._key)
      for group in self.groups
    }

  def round(self, states: dict[str, State], epoch: int):
    """An epoch of every group; records mean losses of every system."""
    states, record = dict(states), {}
    for group in self.groups:
      name, steps = group.name, []
      for batch in group.plan.epoch(epoch):
        states[name], metrics = self._step(
          states[name],
          self._runs[name],
          batch,
          self._tasks[name],
          self._key,
        )
        steps.append(metrics)
      record |= _system_means(_layout(group), _mean(steps))
    return states, record

  def evaluate(self, states: dict[str, State]):
    """Records test metrics of every system, and confusion matrices of runs."""
    record = {}
    for group in self.groups:
      collections = [
        self._evaluate(
          step.evaluated_params(states[group.name]),
          batch,
          self._tasks[group.name],
        )
        for batch in group.evaluation.batches()
      ]
      values = _merge(collections)
      record[confusion_name(group)] = values.pop("confusion_matrix")
      record |= _system_means(_layout(group), values)
    return record

  def outputs(self, states: dict[str, State], group: Group, evaluation):
    """Predictions and representations of every run after training.

    Args:
      states: by group.
      group: one of the groups.
      evaluation: of any conversations.

    Yields:
      For each batch: the utterances [N], predicted emotions [R, N] and
      representations [R, N, H].
    """
    for batch in evaluation.batches():
      logits, representation = self._forward(
        step.evaluated_params(states[group.name]),
        batch,
        self._tasks[group.name],
      )
      count, runs = int(batch.count), len(group.recipes) * group.num_replicates
      yield (
        batch.utterances_N[:count],
        np.asarray(logits)[:runs, :count].argmax(-1),
        np.asarray(representation)[:runs, :count],
      )

  def _share(self, tree):
    return sharding.place(tree, self._mesh, REPLICATED)

  def _spread(self, group: Group) -> Runs:
    runs = group.runs()
    index = sharding.spread(len(runs.seed), self._mesh)
    return sharding.place(
      Runs(*(values[index] for values in runs)), self._mesh, REPLICA
    )


def confusion_name(group: Group) -> str:
  """Where the history keeps confusion matrices [E, R or more, C, C]."""
  return f"{group.name}/confusion_matrix"


def _layout(group: Group) -> tuple[tuple[str, int, int], ...]:
  slices = ((r.system, group.runs_of(r.system)) for r in group.recipes)
  return tuple((f"{group.name}/{s}", i.start, i.stop) for s, i in slices)


@functools.partial(jax.jit, static_argnums=0)
def _system_means(layout, values):
  """Means over the runs of each system, named for TensorBoard."""
  return {
    f"{system}/{name}": value[start:stop].mean()
    for system, start, stop in layout
    for name, value in values.items()
  }


@jax.jit
def _mean(steps):
  return jax.tree.map(lambda *values: jnp.stack(values).mean(0), *steps)


@jax.jit
def _merge(collections):
  merged = functools.reduce(lambda a, b: a.merge(b), collections)
  return jax.vmap(lambda collection: collection.compute())(merged)
