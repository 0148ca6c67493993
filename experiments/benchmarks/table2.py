"""Table 2 of Lian et al. as the study trains it, on random features.

IEMOCAP's shape: 151 conversations, 5,531 utterances, 6,373 + 1,024 features,
five settings, C1 and DANN as published, 20 initialisations, 200 epochs.
"""

import dataclasses

import jax
import numpy as np

from configs import dann as dann_config
from emojax.corpora import labels
from emojax.data import conversations, splits
from emojax.data import table as tables
from emojax.data.conversations import Conversations
from emojax.data.table import FeatureTable
from emojax.trainers import dann, run_axis
from experiments.benchmarks import dann as benchmark


@dataclasses.dataclass(frozen=True)
class Study:
  """All trainings, side by side."""

  training: run_axis.Training
  cohorts: list[run_axis.Cohort]
  num_epochs: int

  @property
  def num_trainings(self) -> int:
    return sum(len(cohort.runs) for cohort in self.cohorts)

  @property
  def num_steps(self) -> int:
    """Of an epoch of all settings."""
    return sum(cohort.setting.plan.num_steps for cohort in self.cohorts)

  def epoch(self, states, number: int, evaluates: bool = True):
    """One epoch of all trainings, to its end; the next states."""
    states, record = self.training.round(states, number)
    if evaluates:
      record = {**record, **self.training.evaluate(states)}
    jax.block_until_ready((states, record))
    return states


def make_study(tiny: bool) -> Study:
  """The study; tiny: two epochs of two runs, one setting, narrow features."""
  config = dann_config.get_config("table2")
  config.stabilised.enabled = False
  config.baselines = ()
  widths = benchmark.WIDTHS
  if tiny:
    config.num_replicates, config.num_epochs = 1, 2
    config.split.labelled_sessions = ("23",)
    widths = {"audio": 64, "text": 16}
  corpus = make_corpus(config, widths)
  cohorts = dann.make_cohorts(config, corpus, ())
  conversations.share_shapes([cohort.setting for cohort in cohorts])
  program = dann.make_program(config, corpus, averages=False)
  training = run_axis.Training({"": program}, cohorts, config.seed)
  return Study(training, cohorts, config.num_epochs)


def make_corpus(config, widths) -> Conversations:
  """Random features and labels; two speakers take turns in a conversation."""
  rng = np.random.default_rng(0)
  lengths = benchmark.make_lengths(rng)
  counts = [count for _, count in benchmark.SESSIONS]
  session_U = np.repeat(np.repeat(np.arange(1, 6), counts), lengths)
  turn_U = np.concatenate([np.arange(length) for length in lengths])
  classes, index = labels.parse_classes(config.data.labels)
  names = np.array(["angry", "happy", "neutral", "sad"])
  table = FeatureTable(
    {
      name: rng.normal(size=(len(turn_U), width)).astype(np.float32)
      for name, width in widths.items()
    },
    label=names[rng.integers(0, len(names), len(turn_U))],
    speaker=np.char.add(
      session_U.astype(str), np.array(["F", "M"])[turn_U % 2]
    ),
    dialogue=np.repeat(np.arange(len(lengths)), lengths).astype(str),
    turn=turn_U,
    session=session_U.astype(str),
  )
  class_U = labels.class_index(table.label, index)
  corpus = Conversations(
    table, classes, class_U, tables.dialogues(table), splits={}, audit={}
  )
  parts = splits.make(config.split, corpus.names, validates=False)
  return dataclasses.replace(corpus, splits=parts)
