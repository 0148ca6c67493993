"""A corpus of conversations, its splits, and what a training reads of it.

From `config.data` and `config.split` to a feature table, to the parts of each
training setting, and to batches. U utterances of the corpus.
"""

import dataclasses
import functools
import itertools
import logging
from collections.abc import Sequence
from typing import Any, NamedTuple

import ml_collections
import numpy as np

from emojax import checks, normalisation
from emojax.corpora import labels, recordings, records, speech
from emojax.data import (
  batches,
  features,
  split_audit,
  splits,
  taught_classes,
)
from emojax.data import table as tables
from emojax.data.splits import Split
from emojax.data.table import FeatureTable
from emojax.errors import UserError
from emojax.runtime.files import cache_folder

_LOG = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Conversations:
  """A corpus and its splits."""

  table: FeatureTable  # Its features are as they were extracted.
  classes: tuple[str, ...]
  class_U: np.ndarray  # Index of the emotion, -1 where there is none.
  dialogues: list[np.ndarray]  # Utterances of each, in turn order.
  splits: dict[str, Split]  # By setting: parts labelled, unlabelled and test.
  audit: dict[str, str]  # By setting: who is in which part, a Markdown table.

  @functools.cached_property
  def speaker_U(self) -> np.ndarray:
    """Index of the speaker, int32."""
    _, index_U = np.unique(self.table.speaker, return_inverse=True)
    return index_U.astype(np.int32)

  @functools.cached_property
  def party_U(self) -> np.ndarray:
    """Who of a conversation speaks, int32: 0 for who speaks first, and so on.

    Says who speaks again, and nothing of who that is in other conversations.
    """
    party_U = np.zeros(len(self.table), np.int32)
    for rows in self.dialogues:
      numbers: dict[str, int] = {}
      for row, name in zip(rows, self.table.speaker[rows], strict=True):
        party_U[row] = numbers.setdefault(str(name), len(numbers))
    return party_U

  @property
  def names(self) -> splits.Names:
    """What further splits are made by."""
    return _names(self.table)

  @functools.cached_property
  def dialogue_U(self) -> np.ndarray:
    """Name of the conversation, unique over the corpus."""
    return _dialogue_names(self.table)

  @functools.cached_property
  def _by_speaker(self) -> dict[str, np.ndarray]:
    # The same for every split.
    everyone = np.ones(len(self.table), bool)
    if count := int(normalisation.alone(self.speaker_U).sum()):
      _LOG.warning(
        "z-scores by speaker: %d of %d utterances are their speaker's only "
        "one: all their features are 0",
        *(count, len(self.table)),
      )
    return normalisation.normalise(
      self.table.features, "speaker", everyone, self.speaker_U
    )

  def normalised(
    self, method: str, labelled_U: np.ndarray
  ) -> dict[str, np.ndarray]:
    """Features [U, D] normalised by `method`, see `normalisation`."""
    if method == "speaker":
      return self._by_speaker
    return normalisation.normalise(
      self.table.features, method, labelled_U, self.speaker_U
    )


class Task(NamedTuple):
  """What is learnt in a setting; -1 is what must not be seen."""

  features: dict[str, Any]  # Normalised, [U, D] for each modality.
  domain_U: Any  # Index of the speaker, for training.
  party_U: Any  # Of the conversation, see `Conversations`.
  label_U: Any  # Emotion for training.
  target_U: Any  # Emotion for evaluation.
  num_steps: Any  # Of the whole training.


@dataclasses.dataclass(frozen=True)
class Setting:
  """A split of the corpus with a normalisation, as a training reads it."""

  name: str  # Of the split.
  normalisation: str
  task: Task
  plan: batches.Plan
  evaluation: batches.Evaluation  # Conversations with a tested utterance.


def prepare(
  config: ml_collections.ConfigDict,
  corpus: Conversations,
  name: str,
  split: Split,
  method: str,
) -> Setting:
  """Makes a split ready for training, one of the corpus' or a fold of it."""
  label_U, target_U = targets(corpus, name, split)
  domain_U = np.full(len(corpus.table), -1, np.int32)
  for part in ("labelled", "unlabelled"):
    domain_U[split.parts[part]] = corpus.speaker_U[split.parts[part]]
  dialogues = corpus.dialogues
  labelled_D, learnt_D = (
    np.array([(of_U[d] >= 0).any() for d in dialogues])
    for of_U in (label_U, domain_U)
  )
  plan = batches.Plan(
    dialogues,
    labelled_D,
    learnt_D & ~labelled_D,
    config.batch_size,
    config.num_epochs,
    config.seed,
  )
  task = Task(
    corpus.normalised(method, label_U >= 0),
    domain_U,
    corpus.party_U,
    label_U,
    target_U,
    np.int32(plan.num_steps * config.num_epochs),
  )
  tested = [d for d in dialogues if (target_U[d] >= 0).any()]
  evaluation = batches.Evaluation(tested, plan.shape.row_length)
  return Setting(name, method, task, plan, evaluation)


def learnable(corpus: Conversations, name: str) -> Split:
  """The corpus' split called so, labelled where there is a class to be learnt.

  The others of the labelled part are unlabelled ones.

  Raises:
    UserError: the labelled or the test part has no label.
  """
  parts = corpus.splits[name].parts
  label_U, _ = targets(corpus, name, corpus.splits[name])
  labelled = np.flatnonzero(label_U >= 0)
  others = np.setdiff1d(parts["labelled"], labelled)
  unlabelled = np.union1d(parts["unlabelled"], others)
  return Split({**parts, "labelled": labelled, "unlabelled": unlabelled})


def targets(
  corpus: Conversations, name: str, split: Split
) -> tuple[np.ndarray, np.ndarray]:
  """Emotions to learn from and to test on, int32 [U] each, -1 elsewhere.

  Raises:
    UserError: the labelled or the test part has no label.
  """
  found = []
  for part in ("labelled", "test"):
    class_U = np.full(len(corpus.table), labels.UNLABELLED, np.int32)
    class_U[split.parts[part]] = corpus.class_U[split.parts[part]]
    if not (class_U >= 0).any():
      raise UserError(
        f"{name}: nothing in the {part} part has a label: label some of it, or "
        "split the data otherwise (config.split)"
      )
    found.append(class_U)
  return tuple(found)


def share_shapes(settings: Sequence[Setting]) -> None:
  """Gives batches that are nearly of one shape the same, and a compilation."""
  # Compiling takes longer than what a few per cent of padding cost.
  batches.share_shapes([one.plan for one in settings], slack=0.1)
  batches.share_shapes([one.evaluation for one in settings], slack=0.4)


def check(config: ml_collections.ConfigDict) -> None:
  """Values that would otherwise fail late, or not at all.

  Raises:
    UserError: a number out of its range, a misspelt name.
  """
  checks.common(config)
  checks.choices(config, "data.normalisation", normalisation.METHODS)
  features.check(config.data)


def read(config: ml_collections.ConfigDict) -> Conversations:
  """Reads and audits the corpus, and prints who is in which part.

  Raises:
    UserError: see `load`; a split that the data do not have; a speaker or an
      identical recording in two parts; a class that is not in the labelled one.
  """
  table = load(config.data)
  classes, index = labels.parse_classes(config.data.labels)
  parts, audits = _split(config, table)
  for setting, of_setting in audits.items():
    print(f"{setting}\n{of_setting}\n")
  return Conversations(
    table,
    classes,
    labels.class_index(table.label, index),
    tables.dialogues(table),
    parts,
    audits,
  )


def audit(config: ml_collections.ConfigDict) -> dict[str, str]:
  """What `read` checks, without extracting features, and prints by setting."""
  return _split(config, load(config.data, extracts=False))[1]


def _split(config, table: FeatureTable) -> tuple[dict, dict[str, str]]:
  """The splits of a table, and who is in which part, by setting."""
  parts = splits.make(config.split, _names(table), validates=False)
  audits = {setting: _audit(split, table) for setting, split in parts.items()}
  classes, index = labels.parse_classes(config.data.labels)
  class_U = labels.class_index(table.label, index)
  for setting, split in parts.items():
    taught_classes.check(setting, split, classes, class_U)
  return parts, audits


def load(
  config: ml_collections.ConfigDict, extracts: bool = True
) -> FeatureTable:
  """Reads a corpus and extracts its features, or reads a feature table.

  Utterances whose label the study does not keep are left out. Unless it
  `extracts`, only a table has features. `config` is a `config.data`.

  Raises:
    UserError: no such corpus, file or label; too many unreadable recordings;
      no features left.
  """
  if config.corpus == "table":
    table = _load_table(config)
    table = table.take(_is_kept(table.label, table.corpus, config))
  else:
    utterances, names = records.merge(speech.read_all(config))
    kept = _is_kept([one.label for one in utterances], names, config)
    utterances = list(itertools.compress(utterances, kept))
    names = list(itertools.compress(names, kept))
    arguments = utterances, names, config, cache_folder() / "features"
    if extracts:
      skips = recordings.Skips(config.max_skipped, len(utterances))
      table = features.extract(*arguments, skips)
    else:
      table = features.annotations(*arguments)
  _require_every_class(table.label, config)
  return table


def _load_table(config: ml_collections.ConfigDict) -> FeatureTable:
  if not config.path:
    raise UserError("config.data.path is empty: name a feature table (.npz)")
  table = tables.load(config.path)
  wanted = {"audio": config.audio_features, "text": config.text_features}
  chosen = {
    name: values
    for name, values in table.features.items()
    if wanted[name] != features.NOTHING
  }
  if not chosen:
    raise UserError(
      f"{config.path}: has {', '.join(table.features)} only, and the config "
      "turns that off; see config.data.audio_features and text_features"
    )
  return dataclasses.replace(table, features=chosen)


def _is_kept(
  names: Sequence[str], corpora: Sequence[str], config
) -> np.ndarray:
  """Whether a label is of the study, or none; says what is not."""
  _, index = labels.parse_classes(config.labels)
  names, corpora = np.asarray(names), np.asarray(corpora)
  for corpus in np.unique(corpora).tolist():
    where = f"{corpus or config.path}: utterances"
    labels.say_left_out(where, names[corpora == corpus], index, False)
  return labels.class_index(names, index) != labels.LEFT_OUT


def _require_every_class(names: np.ndarray, config) -> None:
  classes, index = labels.parse_classes(config.labels)
  counts = np.bincount(
    labels.class_index(names, index) + 1, minlength=len(classes) + 1
  )[1:]
  missing = [c for c, count in zip(classes, counts, strict=True) if not count]
  if missing:
    raise UserError(
      f"config.data.labels: nothing in {config.path or config.corpus} is "
      f"labelled {', '.join(missing)}; there are "
      f"{', '.join(sorted(set(names.tolist()) - {''})) or 'no labels'}"
    )


def _names(table: FeatureTable) -> splits.Names:
  names = table.speaker, table.session, table.corpus, table.path
  return splits.Names(*names)


def _audit(split: Split, table: FeatureTable) -> str:
  return split_audit.audit(
    split, table.label, table.speaker, _dialogue_names(table), table.fingerprint
  )


def _dialogue_names(table: FeatureTable) -> np.ndarray:
  return np.char.add(np.char.add(table.session, "/"), table.dialogue)
