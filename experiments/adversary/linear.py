"""A linear classifier without a clip of the test speaker, EmoBox's folds.

python -m experiments.adversary.linear OUT --ravdess=RAVDESS --encoder=WHISPER

Ridge regression on Whisper's layers, see `emojax/reports/baselines.py`; which
layers and which penalty is chosen in each fold on labelled speakers who are
held out. Beside it the networks of `study`, of the summary in this folder or in
another one (`--beside`).
"""

import numpy as np

from emojax import metrics
from emojax import summary as summaries
from emojax.data import conversations
from emojax.reports import baselines
from emojax.summary import Row, System
from experiments.adversary import on_layers
from experiments.adversary.on_layers import SETTING

LAYERS = {
  "layer_3": (3,),
  "layers_2_4": (2, 3, 4),
  "layers_1_5": (1, 2, 3, 4, 5),
  "layers_0_6": (0, 1, 2, 3, 4, 5, 6),
}
_CHOSEN = "chosen"
_METHODS = {"train": "", "speaker": "_speaker_norm"}
_NETWORKS = ("c1_s", "dann_s", "c1_speaker_norm")


def _systems() -> list[System]:
  """Linear classifiers, each without and with z-scores by speaker."""
  names = {
    name: f"Ridge, layers {layers[0]} to {layers[-1]}"
    for name, layers in LAYERS.items()
  }
  names["layer_3"] = "Ridge, layer 3"
  names[_CHOSEN] = "Ridge, layers chosen on labelled speakers"
  ends = {"": "", "_speaker_norm": " + speaker norm"}
  return [
    System(f"ridge_{name}{end}", f"{label}{more}")
    for end, more in ends.items()
    for name, label in names.items()
  ]


def _predictions(
  corpus: conversations.Conversations, learn: np.ndarray, states_UxLxD
) -> dict[str, tuple[np.ndarray, float]]:
  """Of each choice of layers classes [U] and a score.

  The score is the mean recall on labelled speakers who were held out; `learn`
  are the labelled utterances.
  """
  label_N, speaker_N = corpus.class_U[learn], corpus.speaker_U[learn]
  found = {}
  for name, layers in LAYERS.items():
    features_UxLxD = states_UxLxD[:, list(layers)]
    features_UxD = features_UxLxD.reshape(len(features_UxLxD), -1)
    one = baselines.ridge(features_UxD[learn], label_N, speaker_N)
    found[name] = one.predict(features_UxD), one.held_out
  return found


def _rows(
  corpus: conversations.Conversations,
) -> tuple[list[Row], dict[str, dict[str, dict[str, float]]]]:
  """A row for each system, all folds as one; scores by method and fold.

  Each recording is tested in one fold.
  """
  class_U: dict[str, np.ndarray] = {}
  scores: dict[str, dict[str, dict[str, float]]] = {}
  for method, end in _METHODS.items():
    of_method = scores.setdefault(method, {})
    for fold, split in corpus.splits.items():
      label_U, target_U = conversations.targets(corpus, fold, split)
      tested = np.flatnonzero(target_U >= 0)
      states_UxD = corpus.normalised(method, label_U >= 0)["audio"]
      states_UxLxD = on_layers.states(states_UxD)
      found = _predictions(corpus, np.flatnonzero(label_U >= 0), states_UxLxD)
      of_method[fold] = {name: score for name, (_, score) in found.items()}
      best = max(of_method[fold], key=of_method[fold].get)
      print(f"{fold}, {method}: {best} of {of_method[fold]}", flush=True)
      for name, (predicted_U, _) in {**found, _CHOSEN: found[best]}.items():
        of_system_U = class_U.setdefault(
          f"ridge_{name}{end}", np.full(len(label_U), -1)
        )
        of_system_U[tested] = predicted_U[tested]
  rows = []
  for system, predicted_U in class_U.items():
    logits_UxC = np.eye(len(corpus.classes))[predicted_U]
    counts = metrics.confusion_counts(logits_UxC, corpus.class_U)
    hits_1xU = (predicted_U == corpus.class_U)[None]
    row = summaries.row(SETTING, system, counts[None])
    speakers = corpus.class_U, corpus.table.speaker
    rows.append(summaries.over_speakers(row, hits_1xU, *speakers))
  return rows, scores


def main() -> None:
  """Fits all, and writes `summary.json` into the folder."""
  output, config, before = on_layers.begin(__doc__, seeds=1)
  rows, scores = _rows(conversations.read(config))
  rows += [before.row(SETTING, name) for name in _NETWORKS]
  known = {one.id: one for one in before.systems}
  systems = [*_systems(), *(known[name] for name in _NETWORKS)]
  chosen = f"ridge_{_CHOSEN}"
  pairs = [(chosen, name) for name in _NETWORKS]
  pairs += [("ridge_layer_3", "c1_s"), (chosen, f"{chosen}_speaker_norm")]
  title = "A linear classifier without a clip of the test speaker"
  details = {"held_out": scores}
  summary = on_layers.write(output, title, systems, rows, pairs, details)
  for row in rows:
    accuracy = 100 * row.metrics["unweighted_accuracy"].mean
    print(f"{summary.label(row.system):60} {accuracy:.1f}")


if __name__ == "__main__":
  main()
