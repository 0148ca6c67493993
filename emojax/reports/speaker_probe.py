"""How much speaker identity a frozen representation still holds."""

import numpy as np
import threadpoolctl
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score
from sklearn.model_selection import PredefinedSplit, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

_NUM_FOLDS = 5
_MOST_SPEAKERS = 24


def speaker_probe(
  representation_NxD: np.ndarray,
  speaker_N: np.ndarray,
  dialogue_N: np.ndarray,
  seed: int,
) -> float | None:
  """Accuracy of a linear classifier from the representation to the speaker.

  A multinomial logistic regression (standardised inputs, C = 1) is
  cross-validated over dialogues: what is peculiar to a dialogue, its topic or
  its room, does not pass for the speaker.

  Returns:
    Mean recall over the S `probed_speakers`: chance is 1 / S. None where these
    are fewer than two.
  """
  speaker_N, dialogue_N = np.asarray(speaker_N), np.asarray(dialogue_N)
  probed = probed_speakers(speaker_N, dialogue_N)
  if len(probed) < 2:
    return None
  kept = np.isin(speaker_N, probed)
  inputs, speakers = np.asarray(representation_NxD)[kept], speaker_N[kept]
  folds = PredefinedSplit(_folds(speakers, dialogue_N[kept], seed))
  # With scikit-learn's 1e-4 it stops too early: what comes out moves by a tenth
  # of a point with the last bits of what goes in.
  regression = LogisticRegression(tol=1e-5, max_iter=5000)
  probe = make_pipeline(StandardScaler(), regression)
  # More threads only wait for each other on matrices of this size.
  with threadpoolctl.threadpool_limits(1):
    predictions = cross_val_predict(probe, inputs, speakers, cv=folds)
  return float(balanced_accuracy_score(speakers, predictions))


def probed_speakers(speaker_N: np.ndarray, dialogue_N: np.ndarray) -> list[str]:
  """Who is probed: the 24 speakers with most utterances, in two dialogues.

  A speaker of one dialogue cannot be cross-validated over dialogues. And of
  hundreds of speakers (MELD) most say a few words, and a probe takes hours.
  """
  names, counts_S = np.unique(speaker_N, return_counts=True)
  several = [
    name
    for name in names[np.argsort(-counts_S, kind="stable")].tolist()
    if len(np.unique(dialogue_N[speaker_N == name])) >= 2
  ]
  return sorted(several[:_MOST_SPEAKERS])


def _folds(speaker_N, dialogue_N, seed: int) -> np.ndarray:
  """The fold of each utterance: whole dialogues, speakers spread evenly.

  `StratifiedGroupKFold` may put all of a speaker's few dialogues into one fold:
  tested, never trained. Here dialogues go, those that hold most of a speaker
  first, to the fold whose sum of squared shares of speakers grows least.
  """
  dialogues, dialogue_index = np.unique(dialogue_N, return_inverse=True)
  speakers, speaker_index = np.unique(speaker_N, return_inverse=True)
  shares_DxS = np.zeros((len(dialogues), len(speakers)))
  np.add.at(shares_DxS, (dialogue_index, speaker_index), 1)
  shares_DxS /= shares_DxS.sum(axis=0)
  order = np.random.default_rng(seed).permutation(len(dialogues))
  largest_first = np.argsort(-shares_DxS[order].max(axis=1), kind="stable")
  filled_FxS = np.zeros((min(_NUM_FOLDS, len(dialogues)), len(speakers)))
  fold_D = np.empty(len(dialogues), int)
  for dialogue in order[largest_first]:
    # (f + s)^2 - f^2 = 2 f s + s^2, and s^2 is the same in all folds.
    fold = np.argmin(filled_FxS @ shares_DxS[dialogue])
    filled_FxS[fold] += shares_DxS[dialogue]
    fold_D[dialogue] = fold
  return fold_D[dialogue_index]
