"""What was tried without any clip of the test speaker: copies, more layers.

python -m experiments.adversary.inductive OUT --ravdess=RAVDESS \\
  --encoder=WHISPER

On actors 01-10, two held out at a time: ridge regression on clips and on copies
of them in other voices, which are written into OUT/copies and heard by Whisper
as the clips are (see `copies`); and scores averaged over sets of layers. What
is tested, and what chooses a penalty, are clips as they are, of speakers of
whom neither clip nor copy was learned from. Whoever is held out is validation:
what gains beyond what actors vary was to be run on EmoBox's folds.
"""

import pathlib
from collections.abc import Sequence

import ml_collections
import numpy as np
import scipy.linalg

from emojax import metrics, normalisation
from emojax import summary as summaries
from emojax.corpora import labels
from emojax.data import conversations
from emojax.data.table import FeatureTable
from emojax.summary import Row, System
from experiments.adversary import copies, linear, on_layers, variants

_CHOSEN, _MEAN = "layers chosen", "mean of four sets of layers"
_IDS = {_CHOSEN: "chosen", _MEAN: "mean"}
# By the number of features and of clips: those of `baselines` in the middle.
_PENALTIES = np.array([3e-4, 1e-3, 3e-3, 1e-2])
_TRIED = ((), *((voice,) for voice in copies.VOICES), (*copies.VOICES,))


def solve(
  gram_NxN: np.ndarray,
  sign_NxC: np.ndarray,
  across_TxN: np.ndarray,
  penalties_P: np.ndarray,
) -> np.ndarray:
  """Scores [P, T, C] by ridge regression from products of features.

  As `baselines.ridge`, but fast with copies: products of all are formed once,
  whoever is held out, and there are fewer clips than features.

  Args:
    gram_NxN: of those that are learned from with one another.
    sign_NxC: their classes, 1 or -1.
    across_TxN: of those that are tested with them.
    penalties_P: on the squared norm of the weights of a class.
  """
  mean_N, bias_C = gram_NxN.mean(0), sign_NxC.mean(0)
  centred_NxN = gram_NxN - mean_N - mean_N[:, None] + mean_N.mean()
  across_TxN = across_TxN - across_TxN.mean(1, keepdims=True)
  across_TxN += mean_N.mean() - mean_N
  scores = []
  for penalty in penalties_P:
    shrunk_NxN = centred_NxN + penalty * np.eye(len(mean_N))
    along_NxC = scipy.linalg.solve(
      shrunk_NxN, sign_NxC - bias_C, assume_a="pos"
    )
    scores.append(across_TxN @ along_NxC + bias_C)
  return np.stack(scores)


def _ridge(
  states_KxUxD: np.ndarray, class_U: np.ndarray, block_U: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
  """Scores [U, C] of clips by ridge regression on the other blocks' [B].

  Features are z-scored by the clips that are learned from. With them comes, of
  each block as the tested one, the mean recall on the other blocks, held out in
  turn, with the penalty that is best on them.

  Args:
    states_KxUxD: of the clips and of their copies.
    class_U: emotions.
    block_U: which speakers are tested together, 0 to B - 1.
  """
  from sklearn.metrics import balanced_accuracy_score

  num_copies, _, size = states_KxUxD.shape
  sign_UxC = np.where(class_U[:, None] == np.unique(class_U), 1.0, -1.0)
  sign_MxC = np.tile(sign_UxC, (num_copies, 1))
  block_M = np.tile(block_U, num_copies)
  blocks = range(block_U.max() + 1)

  def of(held, gram_MxM, penalties_P):
    """On the clips of the last block that is held out, [P, T, C]."""
    learn = np.flatnonzero(~np.isin(block_M, held))
    tested = np.flatnonzero(block_U == held[-1])  # Clips are before copies.
    return solve(
      gram_MxM[np.ix_(learn, learn)],
      sign_MxC[learn],
      gram_MxM[np.ix_(tested, learn)],
      penalties_P * len(learn) * size,
    )

  scores_UxC, found = np.empty_like(sign_UxC), []
  for tested in blocks:
    mean_D, std_D = normalisation.statistics(
      states_KxUxD[0, block_U != tested].astype(np.float64)
    )
    scaled_MxD = ((states_KxUxD - mean_D) / std_D).reshape(-1, size)
    gram_MxM = scaled_MxD @ scaled_MxD.T
    recall_P = np.mean(
      [
        [
          balanced_accuracy_score(class_U[block_U == held], one_TxC.argmax(1))
          for one_TxC in of((tested, held), gram_MxM, _PENALTIES)
        ]
        for held in blocks
        if held != tested
      ],
      axis=0,
    )
    best = recall_P.argmax()
    (scores_TxC,) = of((tested,), gram_MxM, _PENALTIES[[best]])
    scores_UxC[block_U == tested] = scores_TxC
    found.append(recall_P[best])
  return scores_UxC, np.array(found)


def _scores(
  states_KxUxLxD: np.ndarray, class_U: np.ndarray, block_U: np.ndarray
) -> dict[str, np.ndarray]:
  """Scores [U, C] with the layers that are chosen, and the mean of all sets.

  Chosen: those with the best mean recall on held-out speakers.
  """
  scores, recalls = [], []
  for layers in linear.LAYERS.values():
    states_KxUxD = states_KxUxLxD[:, :, list(layers)].reshape(
      *states_KxUxLxD.shape[:2], -1
    )
    scores_UxC, recall_B = _ridge(states_KxUxD, class_U, block_U)
    scores.append(scores_UxC)
    recalls.append(recall_B)
  scores_SxUxC = np.stack(scores)
  chosen_U = np.argmax(recalls, axis=0)[block_U]
  return {
    _CHOSEN: scores_SxUxC[chosen_U, np.arange(len(class_U))],
    _MEAN: scores_SxUxC.mean(0),
  }


def _row(system: str, scores_UxC: np.ndarray, class_U, speaker_U) -> Row:
  """All folds as one: every clip is tested in one of them."""
  counts = metrics.confusion_counts(scores_UxC, class_U)
  hits_1xU = (scores_UxC.argmax(1) == class_U)[None]
  row = summaries.row(variants.SETTING, system, counts[None])
  return summaries.over_speakers(row, hits_1xU, class_U, speaker_U)


def _system(voices: Sequence[str], combined: str) -> System:
  label = f"Ridge, {combined}"
  if voices:
    label += f"; copies {' + '.join(map(copies.LABELS.get, voices))}"
  return System("_".join(["ridge", _IDS[combined], *voices]), label)


def _heard(
  data: ml_collections.ConfigDict, table: FeatureTable, folder: pathlib.Path
) -> dict[str, np.ndarray]:
  """States of the clips ('') and of each voice's copies, [U, L, D]."""
  found = {"": on_layers.states(table.features["audio"])}
  data = data.copy_and_resolve_references()
  for voice in copies.VOICES:
    copies.write(table.path, voice, folder / voice)
    data.path = str(folder / voice)
    heard = conversations.load(data)
    order = {name: row for row, name in enumerate(heard.dialogue)}
    rows = [order[name] for name in table.dialogue]
    found[voice] = on_layers.states(heard.features["audio"])[rows]
  return found


def _tried(
  states: dict[str, np.ndarray], table: FeatureTable, class_U: np.ndarray
) -> tuple[list[System], list[Row]]:
  """What was tried, on ten actors, two of whom are held out at a time."""
  block_U = np.searchsorted(variants.ACTORS, table.speaker) // variants.HELD_OUT
  systems, rows = [], []
  for voices in _TRIED:
    states_KxUxLxD = np.stack([states[one] for one in ("", *voices)])
    for combined, scores in _scores(states_KxUxLxD, class_U, block_U).items():
      systems.append(_system(voices, combined))
      rows.append(_row(systems[-1].id, scores, class_U, table.speaker))
      accuracy = 100 * rows[-1].metrics["unweighted_accuracy"].mean
      print(f"{systems[-1].label:75} {accuracy:.1f}", flush=True)
  return systems, rows


def main() -> None:
  """Tries all, and writes `summary.json` into the folder."""
  output, config, _ = on_layers.begin(__doc__, seeds=1)
  table = conversations.load(config.data)
  table = table.take(np.isin(table.speaker, variants.ACTORS))
  _, index = labels.parse_classes(config.data.labels)
  class_U = labels.class_index(table.label, index)
  states = _heard(config.data, table, output / "copies")
  systems, rows = _tried(states, table, class_U)
  pairs = [
    (one.id, base.id)
    for base in (_system((), _CHOSEN), _system((), _MEAN))
    for one in systems
    if one.id != base.id
  ]
  title = "What was tried without any clip of the test speaker"
  on_layers.write(output, title, systems, rows, pairs)


if __name__ == "__main__":
  main()
