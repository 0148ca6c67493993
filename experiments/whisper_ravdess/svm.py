"""The baseline of the challenges: ComParE functionals and an RBF SVM.

Schuller et al. 2016. C is chosen on the validation actors; features are
z-scores, by the training clips or by speaker.
"""

import functools
from collections.abc import Mapping
from typing import Any

import numpy as np
from sklearn.metrics import balanced_accuracy_score
from sklearn.svm import SVC

from configs import dann as configs
from emojax import normalisation, runs
from emojax.corpora import recordings
from emojax.corpora import speech as corpora
from emojax.data import features
from emojax.data.clips import Clips
from emojax.runtime.files import cache_folder

ROWS = {
  "svm": "ComParE functionals, SVM",
  "svm_by_speaker": "ComParE functionals, SVM, z-scored by speaker",
}
_METHODS = {"svm": "train", "svm_by_speaker": "speaker"}
_COSTS = (0.3, 1.0, 3.0, 10.0)


@functools.cache
def _functionals(path: str) -> dict[str, np.ndarray]:
  """ComParE functionals [6373] of each clip, by its path."""
  data = configs.get_config("ravdess").data
  data.path, data.text_features = path, features.NOTHING
  ((corpus, utterances),) = corpora.read_all(data)
  names = [corpus] * len(utterances)
  skips = recordings.Skips(data.max_skipped, len(utterances))
  kept = cache_folder() / "features"
  table = features.extract(utterances, names, data, kept, skips)
  paths = [utterance.path for utterance in utterances]
  return dict(zip(map(str, paths), table.features["audio"], strict=True))


def choose(
  path: str, data: Clips, name: str, fold: str
) -> tuple[list[float], Mapping[str, Any], list[runs.Outcome]]:
  """Scores of each C on validation, the best, and its outcome on the test."""
  by_path = _functionals(path)
  values_UxD = np.stack([by_path[str(path)] for path in data.path_U])
  parts = data.splits[fold].parts
  train = np.isin(np.arange(len(data.class_U)), parts["train"])
  values_UxD = normalisation.normalise(
    {"audio": values_UxD}, _METHODS[name], train, data.speaker_U
  )["audio"]
  models = [
    SVC(C=cost).fit(values_UxD[train], data.class_U[train]) for cost in _COSTS
  ]

  def predict(model: SVC, part: str) -> tuple[np.ndarray, np.ndarray]:
    rows = parts[part]
    return data.class_U[rows], model.predict(values_UxD[rows])

  scores = [
    balanced_accuracy_score(*predict(model, "validation")) for model in models
  ]
  best = int(np.argmax(scores))
  label_U, predicted_U = predict(models[best], "test")
  outputs = {
    "test_rows": parts["test"],
    "test_labels": label_U,
    "test_logits": np.eye(len(data.classes), dtype=np.float32)[predicted_U],
  }
  run = runs.Run(fold, name, 0)
  outcome = runs.Outcome(run, {}, outputs, {}, None)
  return scores, {"C": _COSTS[best]}, [outcome]
