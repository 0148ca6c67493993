"""Groups of runs: what is trained on which split of a corpus."""

import dataclasses
import functools

import ml_collections
import numpy as np

from emojax.corpora import labels
from emojax.data import batches, loading, normalisation, splits
from emojax.data import table as tables
from emojax.data.splits import Split
from emojax.data.table import FeatureTable
from emojax.errors import UserError
from emojax.trainers.dann.step import Recipe, Task
from emojax.trainers.dann.training import Group, Training


@dataclasses.dataclass(frozen=True)
class Material:
  """The corpus as the study uses it.

  Attributes:
    table: annotations, and features as they were extracted.
    classes: names of the emotions.
    class_U: index of the emotion, -1 where there is none.
    dialogues: utterances of each conversation, in turn order.
    settings: the split of each training setting.
  """

  table: FeatureTable
  classes: tuple[str, ...]
  class_U: np.ndarray
  dialogues: list[np.ndarray]
  settings: dict[str, Split]

  @functools.cached_property
  def speaker_U(self) -> np.ndarray:
    """Index of the speaker."""
    return np.unique(self.table.speaker, return_inverse=True)[1].astype(
      np.int32
    )

  @functools.cached_property
  def by_speaker(self) -> dict[str, np.ndarray]:
    """Features normalised by speaker, the same for every split."""
    features, everyone = self.table.features, np.ones(len(self.table), bool)
    return normalisation.normalise(
      features, "speaker", everyone, self.speaker_U
    )

  def normalised(
    self, method: str, labelled_U: np.ndarray
  ) -> dict[str, np.ndarray]:
    """Features [U, D] normalised by `method`, see `normalisation`."""
    if method == "speaker":
      return self.by_speaker
    return normalisation.normalise(
      self.table.features, method, labelled_U, self.speaker_U
    )


def read_material(config: ml_collections.ConfigDict) -> Material:
  """Reads and audits the corpus, and prints who is in which part."""
  table = loading.load(config.data)
  settings = loading.settings(table, config)
  fingerprints = splits.table_fingerprints(table)
  for setting, split in settings.items():
    print(f"{setting}\n{loading.audit_split(split, table, fingerprints)}\n")
  classes, index = labels.parse_classes(config.data.labels)
  return Material(
    table,
    classes,
    labels.class_index(table.label, index),
    tables.dialogues(table),
    settings,
  )


def make_group(
  config: ml_collections.ConfigDict,
  material: Material,
  setting: str,
  split: Split,
  method: str,
  recipes: tuple[Recipe, ...],
  num_replicates: int | None = None,
) -> Group:
  """The runs of `recipes` on one split with one normalisation.

  Args:
    config: a whole config.
    material: the corpus.
    setting: names the group, together with `method`.
    split: with the parts 'labelled' and 'test'.
    method: of normalisation.
    recipes: systems to train.
    num_replicates: `config.num_replicates` if None.

  Raises:
    UserError: the labelled or the test part has no label.
  """
  for part in ("labelled", "test"):
    if not (material.class_U[split.parts[part]] >= 0).any():
      raise UserError(
        f"{setting}: nothing in the {part} part has a label: label some of it, "
        "or choose other config.data.test_speakers or config.settings"
      )
  num_utterances = len(material.table)
  labelled_U = np.isin(np.arange(num_utterances), split.parts["labelled"])
  tested_U = np.isin(np.arange(num_utterances), split.parts["test"])
  label_U = np.where(labelled_U, material.class_U, labels.UNLABELLED)
  target_U = np.where(tested_U, material.class_U, labels.UNLABELLED)
  plan = batches.Plan(
    material.dialogues,
    np.array([(label_U[d] >= 0).any() for d in material.dialogues]),
    config.batch_size,
    config.num_epochs,
    config.seed,
  )
  return Group(
    name=f"{setting}, {method}",
    setting=setting,
    task=Task(
      material.normalised(method, label_U >= 0),
      material.speaker_U,
      label_U.astype(np.int32),
      target_U.astype(np.int32),
      np.int32(plan.num_steps * config.num_epochs),
    ),
    plan=plan,
    evaluation=batches.Evaluation(
      [d for d in material.dialogues if (target_U[d] >= 0).any()],
      plan.shape.row_length,
    ),
    recipes=recipes,
    num_replicates=num_replicates or config.num_replicates,
  )


def make_training(
  config: ml_collections.ConfigDict, material: Material, groups: list[Group]
) -> Training:
  """All runs of all groups."""
  # Compiling takes longer than what a few per cent of padding cost.
  batches.share_shapes([group.plan for group in groups], slack=0.1)
  batches.share_shapes([group.evaluation for group in groups], slack=0.4)
  num_speakers = int(material.speaker_U.max()) + 1
  return Training(config, len(material.classes), num_speakers, groups)


def methods(config: ml_collections.ConfigDict) -> list[str]:
  """The normalisations that a config asks for."""
  return [m.strip() for m in config.data.normalisation.split(",")]


def suffix(method: str) -> str:
  """What the name of a system gets with a normalisation."""
  return " + speaker norm" if method == "speaker" else ""


def published_recipes(
  config: ml_collections.ConfigDict, method: str
) -> tuple[Recipe, ...]:
  """C1 and DANN as published, one for each lambda, with a normalisation."""
  several = sum(value > 0 for value in config.lambdas) > 1
  return tuple(
    Recipe(
      ("C1" if not value else f"DANN {value:g}" if several else "DANN")
      + suffix(method),
      value,
      config.optimizer.learning_rate,
      ramp=float(config.lambda_schedule == "ganin"),
    )
    for value in config.lambdas
  )


def stabilised_recipe(
  config: ml_collections.ConfigDict,
  system: str,
  reversal: float,
  learning_rate: float,
) -> Recipe:
  """A recipe with the ramp, averaging and clipping of `config.stabilised`."""
  return Recipe(
    system,
    reversal,
    learning_rate,
    ramp=1.0,
    averaging=config.stabilised.averaging,
    clip_norm=config.stabilised.clip_norm,
  )
