"""The emotion of each utterance of dialogues, by a trained system of these.

U utterances, C emotions, N utterances of a batch, B rows of T turns.
"""

import logging
import pathlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import ml_collections
import numpy as np

from emojax import calibration
from emojax.corpora import recordings, records
from emojax.corpora.speech import manifest
from emojax.data import batches, features
from emojax.data import table as tables
from emojax.data.table import FeatureTable
from emojax.errors import Unreadable, UserError
from emojax.inference.results import Predictions
from emojax.models.sa_gru import Packing
from emojax.runtime import memory
from emojax.runtime.files import cache_folder
from emojax.systems.conversations import ConversationSystem

_LOG = logging.getLogger(__name__)

_TABLE = ".npz"
_SIZE = 32  # Batches are filled up to multiples of it, to compile few shapes.


def predict(
  system: ConversationSystem, params: Mapping[str, Any], paths: Sequence[str]
) -> Predictions:
  """Classifies the utterances of dialogues, in their order.

  A path is a CSV file with the columns of a manifest (`path` if the system
  hears, `text` if it reads, `speaker`, and `dialogue` and `turn`), or a feature
  table (.npz). Features are extracted and normalised as they were in training.

  Of each utterance `details` has the weights of the modalities, and from which
  turns of its dialogue it is told, as `turn:weight`, mean over the heads.

  Raises:
    UserError: no such file, or a broken one; a modality is missing, or of
      another width; no utterance can be used; too little memory.
  """
  parts = [_of_file(system, params, path) for path in paths]
  return Predictions(
    system.classes,
    _joined([(part.names, len(part)) for part in parts]),
    np.concatenate([part.probabilities_UxC for part in parts]),
    _joined([(part.details, len(part)) for part in parts]),
    [skip for part in parts for skip in part.skipped],
  )


def _joined(parts: Sequence[tuple[Mapping[str, list], int]]) -> dict[str, list]:
  """The columns of several files, '' where one of them lacks a column."""
  columns = dict.fromkeys(name for part, _ in parts for name in part)
  return {
    name: [
      value for part, count in parts for value in part.get(name, [""] * count)
    ]
    for name in columns
  }


def _of_file(system, params, path: str) -> Predictions:
  table, skipped = _read(system, path)
  _check(system, table, path)
  _warn_gaps(table, path)
  chosen = {name: table.features[name] for name in system.widths}
  normalised = system.normalise(params, chosen, table.speaker)
  count = len(table)
  logits_UxC = np.zeros((count, len(system.classes)))
  fusion_UxM = np.zeros((count, len(system.widths)))
  told = [""] * count
  with memory.explained("the load that other programs put on it"):
    for batch in _batches(table):
      rows = batch.utterances_N[: batch.count]
      out = system.forward(
        params,
        {name: x[batch.utterances_N] for name, x in normalised.items()},
        Packing(batch.position_BxT, batch.segment_BxT),
      )
      logits_UxC[rows] = np.asarray(out.logits_NxC)[: batch.count]
      fusion_UxM[rows] = np.asarray(out.fusion_NxM)[: batch.count]
      weights_BxTxT = np.asarray(out.attention_AxBxTxT).mean(0)
      for row, text in _told(batch, weights_BxTxT, table.turn):
        told[row] = text
  if not np.isfinite(logits_UxC).all():
    raise UserError("the system is damaged (it gives NaN); train it again")
  fusion = {
    f"{name}_weight": fusion_UxM[:, column].tolist()
    for column, name in enumerate(sorted(system.widths))
  }
  return Predictions(
    system.classes,
    _names(table),
    calibration.probabilities(logits_UxC, system.temperature),
    {**fusion, "attention": told},
    skipped,
  )


def _read(
  system: ConversationSystem, path: str
) -> tuple[FeatureTable, list[Unreadable]]:
  """The features of a file's utterances, and those that cannot be used."""
  if pathlib.Path(path).suffix.lower() == _TABLE:
    return tables.load(path, needs_label=False), []
  if not system.features:
    raise UserError(
      f"{path}: the system was trained from a feature table, which does not "
      f"say how features are made; give a table ({_TABLE}) here, too"
    )
  config = ml_collections.ConfigDict(dict(system.features))
  config.audio_layers = tuple(config.audio_layers)
  config.labels = ",".join(system.classes)
  config.num_workers = 1  # More would run the caller's script again.
  found = records.unify(
    list(manifest.read(path, "audio" in system.widths, needs_label=False)), path
  )
  if not found:
    raise UserError(f"{path}: no rows; each names an utterance")
  if "text" in system.widths and not any(one.text for one in found):
    raise UserError(
      f"{path}: the system reads, too: add transcripts, in a column text"
    )
  skips = recordings.Skips(len(found), len(found), "utterances")
  table = features.extract(
    *(found, [path] * len(found), config, cache_folder() / "features", skips)
  )
  return table, skips.found


def _check(system: ConversationSystem, table: FeatureTable, path: str) -> None:
  """Raises UserError where the features are not those of the training."""
  for name, width in system.widths.items():
    if name not in table.features:
      raise UserError(
        f"{path}: no {name} features, and the system takes "
        f"{' and '.join(sorted(system.widths))}; it has "
        f"{', '.join(table.features)}"
      )
    found = table.features[name].shape[1]
    if found != width:
      raise UserError(
        f"{path}: {found} {name} features, and the system takes {width}; "
        "extract them as for its training (see its config.json)"
      )


def _warn_gaps(table: FeatureTable, path: str) -> None:
  """Counts dialogues that miss a turn between two others."""
  gaps = []
  for rows in tables.dialogues(table):
    turns = np.unique(table.turn[rows])
    if (after := np.flatnonzero(np.diff(turns) > 1)).size:
      missing = turns[after[0]] + 1
      gaps.append(f"{table.dialogue[rows[0]]} (turn {missing})")
  if gaps:
    _LOG.warning(
      "%s: dialogues with a turn missing, classified without it: %d; the "
      "first: %s",
      *(path, len(gaps), gaps[0]),
    )


def _batches(table: FeatureTable) -> list[batches.Batch]:
  dialogues = tables.dialogues(table)
  longest = _filled_up(max(map(len, dialogues)))
  evaluation = batches.Evaluation(dialogues, longest)
  num_utterances, num_rows, _ = evaluation.shape
  evaluation.shape = batches.Shape(
    _filled_up(num_utterances), num_rows, longest
  )
  return evaluation.batches()


def _filled_up(count: int) -> int:
  return -(-count // _SIZE) * _SIZE


def _told(
  batch: batches.Batch, weights_BxTxT: np.ndarray, turn_U: np.ndarray
) -> Iterator[tuple[int, str]]:
  """For each utterance of a batch from which turns it is told."""
  for position_T, segment_T, weights_TxT in zip(
    batch.position_BxT, batch.segment_BxT, weights_BxTxT, strict=True
  ):
    for segment in range(1, segment_T.max() + 1):
      places = np.flatnonzero(segment_T == segment)
      rows = batch.utterances_N[position_T[places]]
      for row, place in zip(rows, places, strict=True):
        shares = zip(turn_U[rows], weights_TxT[place, places], strict=True)
        yield row, " ".join(f"{turn}:{share:.3f}" for turn, share in shares)


def _names(table: FeatureTable) -> dict[str, list[str]]:
  """The columns that say which utterance it is; those that are known."""
  columns = {
    "path": table.path,
    "session": table.session,
    "dialogue": table.dialogue,
    "turn": table.turn.astype(str),
    "speaker": table.speaker,
  }
  return {n: values.tolist() for n, values in columns.items() if any(values)}
