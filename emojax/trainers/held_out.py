"""Which trained system of DANN's study is kept, and how sure it may be.

Test labels are for the tables. The system that others will use is chosen, and
its probabilities are calibrated, on labelled speakers: in turn some of them are
held out, and all systems are trained on the others, beside the study's runs.

R runs, U utterances of the corpus, C emotions.
"""

import logging
from collections.abc import Sequence
from typing import Any

import ml_collections
import numpy as np

from emojax import calibration
from emojax.data import conversations, splits
from emojax.data.batches import Evaluation
from emojax.data.conversations import Conversations
from emojax.reports.dann import Kept
from emojax.summary import System
from emojax.systems import conversations as systems
from emojax.systems.conversations import FEATURE_FIELDS, ConversationSystem
from emojax.trainers.run_axis import Cohort, States, Training

_LOG = logging.getLogger(__name__)

_FOLDS = 5  # At most; one a session where there are several.


def folds(
  config: ml_collections.ConfigDict, corpus: Conversations, cohort: Cohort
) -> list[Cohort]:
  """The systems of a cohort, each time with some labelled speakers held out.

  None where nobody can be held out.
  """
  name = cohort.setting.name
  split = conversations.learnable(corpus, name)
  if len(set(corpus.table.speaker[split.parts["labelled"]].tolist())) < 2:
    _LOG.warning(
      "%s: one speaker is labelled, so that nobody can be held out: the system "
      "in the folder model is the last one, and its probabilities are not "
      "calibrated",
      name,
    )
    return []
  method = cohort.setting.normalisation
  return [
    Cohort(
      conversations.prepare(
        config, corpus, f"{name}, held out {n}", fold, method
      ),
      cohort.recipes,
      1,
    )
    for n, fold in enumerate(
      splits.inner_folds(split, corpus.names, _FOLDS), start=1
    )
  ]


def choose(
  corpus: Conversations,
  cohort: Cohort,
  trained: Sequence[Cohort],
  training: Training,
  states: States,
) -> Kept:
  """The system with the best mean weighted accuracy on who is held out.

  Of equal ones the first.

  Args:
    corpus: the study's.
    cohort: the one of which a system is kept.
    trained: its `folds`.
    training, states: at the end, with the folds among its cohorts.
  """
  if not trained:
    return Kept(cohort.setting.name, [*cohort.recipes][-1], 1.0, {})
  logits: dict[System, list[np.ndarray]] = {s: [] for s in cohort.recipes}
  labels: dict[System, list[np.ndarray]] = {s: [] for s in cohort.recipes}
  accuracy: dict[System, list[float]] = {s: [] for s in cohort.recipes}
  for fold in trained:
    target_U = fold.setting.task.target_U
    rows = np.flatnonzero(target_U >= 0)
    logits_RxUxC, _ = training.outputs(
      states,
      fold,
      Evaluation(corpus.dialogues, fold.setting.plan.shape.row_length),
      (),
    )
    for system in cohort.recipes:
      for logits_UxC in logits_RxUxC[fold.positions(system)]:
        logits[system].append(logits_UxC[rows])
        labels[system].append(target_U[rows])
        hits = logits_UxC[rows].argmax(1) == target_U[rows]
        accuracy[system].append(float(hits.mean()))
  means = {system: float(np.mean(a)) for system, a in accuracy.items()}
  best = max(means, key=means.get)
  return Kept(
    cohort.setting.name,
    best,
    calibration.temperature(
      np.concatenate(logits[best]), np.concatenate(labels[best])
    ),
    {system.id: mean for system, mean in means.items()},
  )


def described(
  config: ml_collections.ConfigDict,
  corpus: Conversations,
  cohort: Cohort,
  kept: Kept,
  params: Any,
) -> tuple[ConversationSystem, Any]:
  """The kept system, and its weights from the parameters of one run."""
  method = cohort.setting.normalisation
  is_table = config.data.corpus == "table"
  features = corpus.table.features
  system = ConversationSystem(
    classes=corpus.classes,
    features={} if is_table else {n: config.data[n] for n in FEATURE_FIELDS},
    widths={name: values.shape[1] for name, values in features.items()},
    normalisation=method,
    hidden=config.model.hidden,
    num_heads=config.model.num_heads,
    scale_attention=config.model.scale_attention,
    temperature=kept.temperature,
  )
  model = {k: v for k, v in params.items() if k != "domain_classifier"}
  if method != "train":
    return system, {"model": model}
  labelled_U = cohort.setting.task.label_U >= 0
  statistics = systems.statistics(features, labelled_U)
  return system, {"model": model, "statistics": statistics}
