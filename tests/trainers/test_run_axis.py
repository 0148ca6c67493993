"""Runs as an axis: what is recorded, compiled, and carried over."""

import contextlib
import dataclasses
from collections.abc import Iterator

import jax
import numpy as np
import pytest

from configs import dann as dann_config
from emojax.data import conversations
from emojax.data import table as tables
from emojax.summary import System
from emojax.trainers import dann
from emojax.trainers.run_axis import Cohort, Training

SYSTEMS = [System(name, name.upper()) for name in ("a", "b", "c")]


@dataclasses.dataclass
class Case:
  config: object
  corpus: conversations.Conversations
  setting: conversations.Setting

  def cohort(self, *systems) -> Cohort:
    recipes = {s: dann.Recipe(0.1 * i, 1e-2) for i, s in enumerate(SYSTEMS)}
    recipes = {s: recipes[s] for s in systems or SYSTEMS}
    return Cohort(self.setting, recipes, num_seeds=2)

  def training(self, *systems) -> tuple[Cohort, Training]:
    cohort = self.cohort(*systems)
    program = dann.make_program(self.config, self.corpus, averages=False)
    return cohort, Training({"": program}, [cohort], seed=0)


@pytest.fixture(scope="module")
def case(tmp_path_factory, make_table) -> Case:
  config = dann_config.get_config("table2")
  config.split.labelled_sessions = ("1234",)
  config.data.corpus = "table"
  config.data.path = str(tmp_path_factory.mktemp("table") / "table.npz")
  config.model.hidden, config.model.num_heads = 8, 2
  config.batch_size, config.num_epochs = 4, 2
  tables.save(config.data.path, make_table())
  corpus = conversations.read(config)
  ((name, split),) = corpus.splits.items()
  setting = conversations.prepare(config, corpus, name, split, "train")
  return Case(config, corpus, setting)


@contextlib.contextmanager
def compilations() -> Iterator[list[str]]:
  """What JAX traces, lowers or compiles meanwhile."""
  found = []
  jax.monitoring.register_event_duration_secs_listener(
    lambda name, *_, **__: found.append(name) if "compile" in name else None
  )
  try:
    yield found
  finally:
    jax.monitoring.clear_event_listeners()


class Repeated:
  """The batches of a plan or an evaluation, several times."""

  def __init__(self, packed, times: int):
    self._packed, self._times = packed, times

  @property
  def num_steps(self) -> int:
    return self._times * self._packed.num_steps

  def epoch(self, epoch):
    return self._times * self._packed.epoch(epoch)

  def batches(self):
    return self._times * self._packed.batches()


def test_compilation_does_not_grow_with_the_epoch(case):
  """Means over steps were one program of all steps, and so of the batches."""
  cohort, training = case.training()
  plan, evaluation = cohort.setting.plan, cohort.setting.evaluation
  states = training.init()

  def train(states, times):
    setting = dataclasses.replace(
      cohort.setting,
      plan=Repeated(plan, times),
      evaluation=Repeated(evaluation, times),
    )
    object.__setattr__(cohort, "setting", setting)
    states, record = training.round(states, 0)
    return states, record | training.evaluate(states)

  for _ in range(2):  # Once for a new state, once for its heirs.
    states, _ = train(states, times=2)
  with compilations() as compiled:
    _, record = train(states, times=5)
  assert not compiled
  confusion = record[f"{cohort.name}/confusion_matrix"]
  assert (confusion.sum((1, 2)) == 5 * 12).all()


def test_what_one_training_has_compiled_serves_the_next(case):
  """The rungs of a search, and the study, are trainings of one program."""

  def train():
    _, training = case.training()
    states, _ = training.round(training.init(), 0)
    return training.evaluate(states)

  expected = train()
  with compilations() as compiled:
    found = train()
  assert not compiled
  jax.tree.map(np.testing.assert_array_equal, found, expected)


def test_what_is_recorded_are_means_over_steps(case):
  cohort, training = case.training()
  states = training.init()
  found, record = training.round(states, 0)
  states, expected = training.init(), []
  for batch in cohort.setting.plan.epoch(0):
    name = cohort.name
    states[name], losses = training._compiled[""].step(
      states[name],
      *training._axes[name],
      batch,
      training._tasks[name],
      training._key,
    )
    expected.append(np.asarray(losses["emotion_loss"]))
  mean_R = np.mean(expected, axis=0)
  np.testing.assert_allclose(
    record[f"{cohort.name}/emotion_loss"], mean_R, rtol=1e-6
  )
  of_b = record["TS 1234/b/emotion_loss"]
  np.testing.assert_allclose(of_b, mean_R[cohort.positions(SYSTEMS[1])].mean())
  jax.tree.map(np.testing.assert_array_equal, found, states)


def test_runs_that_are_carried_over_go_on_as_before(case):
  """The second and the third system, without the first."""
  before, training = case.training()
  states, _ = training.round(training.init(), 0)
  after, fewer = case.training(*SYSTEMS[1:])
  carried = fewer.carry_over([before], states)
  rows = np.concatenate([before.positions(s) for s in SYSTEMS[1:]])
  carried, _ = fewer.round(carried, 1)
  states, _ = training.round(states, 1)
  assert carried[after.name].step == states[before.name].step
  jax.tree.map(
    lambda one, other: np.testing.assert_allclose(
      one, np.asarray(other)[rows], rtol=1e-4, atol=1e-5
    ),
    carried[after.name].params,
    states[before.name].params,
  )
