"""From `config.data` to a feature table, the same for every entry point."""

import dataclasses
import os
from collections.abc import Sequence

import ml_collections
import numpy as np

from emojax.corpora import labels
from emojax.corpora import speech as corpora
from emojax.corpora.records import Utterance
from emojax.data import features, splits
from emojax.data import table as tables
from emojax.data.splits import Split
from emojax.data.table import FeatureTable
from emojax.errors import UserError
from emojax.runtime.compilation import cache_folder

NO_FEATURES = "none"


def load(config: ml_collections.ConfigDict) -> FeatureTable:
  """Reads a corpus and extracts its features, or reads a feature table.

  Utterances whose label the study does not keep are left out.

  Args:
    config: a `config.data`.

  Raises:
    UserError: no such corpus, file or label; too many unreadable recordings;
      no features left.
  """
  if config.corpus == "table":
    table = _only_kept(_load_table(config), config)
  else:
    table, _ = features.extract(
      _kept_utterances(config),
      audio_features=config.audio_features,
      text_features=config.text_features,
      cache_dir=cache_folder() / "features",
      num_workers=config.num_workers or os.cpu_count(),
      max_skipped=config.max_skipped,
      text_encoder=config.text_encoder,
      text_revision=config.text_revision,
    )
  _require_every_class(table.label, config)
  return table


def audit(config: ml_collections.ConfigDict) -> dict[str, str]:
  """Checks every split of a config without extracting features.

  Args:
    config: a whole config: `data` and `settings`.

  Returns:
    For each training setting, a Markdown table of its parts.

  Raises:
    UserError: a speaker or an identical recording is in two parts.
  """
  if config.data.corpus == "table":
    table = _only_kept(_load_table(config.data), config.data)
    fingerprints = splits.table_fingerprints(table)
  else:
    utterances = _kept_utterances(config.data)
    table = features.annotations(utterances)
    fingerprints = splits.file_fingerprints(utterances)
  _require_every_class(table.label, config.data)
  return {
    setting: audit_split(split, table, fingerprints)
    for setting, split in settings(table, config).items()
  }


def audit_split(
  split: Split, table: FeatureTable, fingerprints: Sequence[str]
) -> str:
  """`splits.audit` on the annotations of a table."""
  names = [
    f"{s}/{d}" for s, d in zip(table.session, table.dialogue, strict=True)
  ]
  return splits.audit(split, table.label, table.speaker, names, fingerprints)


def settings(
  table: FeatureTable, config: ml_collections.ConfigDict
) -> dict[str, Split]:
  """The training settings of a config and their splits.

  Args:
    table: annotations.
    config: a whole config; `settings` are labelled sessions, or, where there
      are none, `data.test_speakers` says who is tested.

  Raises:
    UserError: both or neither are given, or the data do not have them.
  """
  if config.settings and config.data.test_speakers:
    raise UserError(
      "config.settings and config.data.test_speakers are both given: the one "
      "splits by session, the other by speaker; set one of them empty"
    )
  if not config.settings:
    speakers = config.data.test_speakers
    split = splits.by_speakers(table.speaker, speakers)
    return {f"unseen {speakers.replace(',', ', ')}": split}
  return {
    f"TS {sessions}": splits.by_sessions(
      table.session, str(sessions), str(config.data.test_session)
    )
    for sessions in config.settings
  }


def _load_table(config: ml_collections.ConfigDict) -> FeatureTable:
  if not config.path:
    raise UserError("config.data.path is empty: name a feature table (.npz)")
  table = tables.load(config.path)
  wanted = {"audio": config.audio_features, "text": config.text_features}
  chosen = {
    name: values
    for name, values in table.features.items()
    if wanted[name] != NO_FEATURES
  }
  if not chosen:
    raise UserError(
      f"{config.path}: has {', '.join(table.features)} only, and the config "
      "turns that off; see config.data.audio_features and text_features"
    )
  return dataclasses.replace(table, features=chosen)


def _kept_utterances(config: ml_collections.ConfigDict) -> list[Utterance]:
  utterances = corpora.read(config.corpus, config.path)
  kept = _is_kept([u.label for u in utterances], config)
  return [u for u, keep in zip(utterances, kept, strict=True) if keep]


def _only_kept(
  table: FeatureTable, config: ml_collections.ConfigDict
) -> FeatureTable:
  kept = _is_kept(table.label, config)
  return FeatureTable(
    {name: values[kept] for name, values in table.features.items()},
    *(
      getattr(table, name)[kept]
      for name in ("label", "speaker", "dialogue", "turn", "session")
    ),
  )


def _is_kept(names: Sequence[str], config) -> np.ndarray:
  _, index = labels.parse_classes(config.labels)
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
