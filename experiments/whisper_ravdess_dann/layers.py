"""Which layers of an encoder: a choice among the labelled actors alone.

python -m experiments.whisper_ravdess_dann.layers RAVDESS ENCODER OUT.json

The emotion by logistic regression (C = 0.01) on actors 01-10, of whom two are
held out at a time; no label is read of the others. And how well all actors are
told apart: the study's probe, on the features. U clips, D features.
"""

import datetime
import json
import sys

import numpy as np
import threadpoolctl
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score
from sklearn.model_selection import GroupKFold

from configs import dann
from emojax import normalisation
from emojax.data import conversations
from emojax.reports.speaker_probe import speaker_probe
from emojax.runtime import environment

_LABELLED = [f"{actor:02d}" for actor in range(1, 11)]
_EVERY = (
  *((0,), (1,), (2,), (3,), (4,), (5,), (6,)),
  *((3, 6), (2, 3, 4), (3, 4, 5), (2, 3, 4, 5, 6), ()),
)


def _accuracy(table) -> dict[str, list[float]]:
  """Unweighted accuracy of each fold, by normalisation."""
  found = {method: [] for method in normalisation.METHODS}
  for train, test in GroupKFold(5).split(table.label, groups=table.speaker):
    for method, accuracies in found.items():
      features_UxD = _normalised(table, method, train)
      model = LogisticRegression(C=0.01, max_iter=2000)
      model.fit(features_UxD[train], table.label[train])
      predicted_U = model.predict(features_UxD[test])
      accuracy = balanced_accuracy_score(table.label[test], predicted_U)
      accuracies.append(float(accuracy))
  return found


def _normalised(table, method: str, train: np.ndarray) -> np.ndarray:
  _, speaker_U = np.unique(table.speaker, return_inverse=True)
  labelled_U = np.isin(np.arange(len(table)), train)
  values = table.features, method, labelled_U, speaker_U
  return normalisation.normalise(*values)["audio"]


def _probe(table) -> dict[str, float]:
  """Mean recall over all actors, by normalisation."""
  labelled = np.flatnonzero(np.isin(table.speaker, _LABELLED))
  return {
    method: speaker_probe(
      _normalised(table, method, labelled), table.speaker, table.dialogue, 0
    )
    for method in normalisation.METHODS
  }


def main(ravdess: str, encoder: str, target: str) -> None:
  """Writes what each choice of layers comes to."""
  rows = []
  for layers in _EVERY:
    data = dann.get_config("ravdess").data
    data.update(path=ravdess, audio_features=encoder, audio_layers=layers)
    table = conversations.load(data)
    folds = _accuracy(table.take(np.isin(table.speaker, _LABELLED)))
    probe = _probe(table)
    rows.append(
      {
        "layers": layers,
        "unweighted_accuracy": folds,
        "speaker_probe": probe,
      }
    )
    means = {name: np.mean(values) for name, values in folds.items()}
    print(layers or "all", means, probe, flush=True)
  found = {
    "date": datetime.date.today().isoformat(),
    "actors": _LABELLED,
    "rows": rows,
    **environment.describe(),
  }
  with open(target, "w", encoding="utf-8") as file:
    json.dump(found, file, indent=2)
    file.write("\n")


if __name__ == "__main__":
  with threadpoolctl.threadpool_limits(1):
    main(*sys.argv[1:])
