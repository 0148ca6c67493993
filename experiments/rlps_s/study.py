"""RLPS-S and its rivals: who finds wrong labels, and what it is worth.

python -m experiments.rlps_s.study [FERPLUS] --output=FOLDER \
    [--classifier=small_cnn] [--table=WHISPER.npz] [--settings=symmetric_30,…] \
    [--seeds=6]

Of each initialisation: labels (or images) are made noisy; five classifiers,
each without one fold, say what they make of what they have not seen; every
method chooses from that; one classifier is trained on what each keeps, with the
same first weights and as many updates. Figures are of the last epoch. The test
part is looked at once, and chooses nothing. Each setting has a file in
`FOLDER/runs`, written after each initialisation, and the same command goes on
from it; `FOLDER/summary.json` and `report.md` are of all files there.
"""

import argparse
import pathlib
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score, roc_auc_score

from configs import rlps as configs
from emojax.models import label_selector, selector
from emojax.trainers import rlps_s
from experiments import flags
from experiments.rlps_s import cnn, dense, losses, summing_up
from experiments.rlps_s.settings import SETTINGS, SPEECH, Data

FOLDS = 5
POLICY = configs.get_config().label_policy


class Classifier(NamedTuple):
  """See `dense`, whose functions they are, and `cnn.Cnn`.

  `axis` is the one of what it reads along which examples lie.
  """

  read: Callable
  train: Callable
  predict: Callable
  epochs: int
  axis: int


CLASSIFIERS = {
  "dense": Classifier(dense.read, dense.train, dense.predict, dense.EPOCHS, 1),
  **{
    name: Classifier(one.read, one.train, one.predict, one.epochs, 0)
    for name, one in (("cnn", cnn.CNN), ("small_cnn", cnn.SMALL_CNN))
  },
}


class Trainer:
  """A classifier and one draw of a setting, with one initialisation."""

  def __init__(
    self, classifier: Classifier, data: Data, epochs: int, seed: int
  ):
    """Puts the inputs on the device."""
    self._classifier, self._data, self._epochs = classifier, data, epochs
    self._inputs = {part: jnp.asarray(of) for part, of in data.inputs.items()}
    self._seed = seed

  def train(self, weight_RxN: np.ndarray, loss=losses.plain):
    """Runs with the same first weights, each on what has a weight."""
    label_N = self._data.labels["train"]
    return self._train(self._inputs["train"], label_N, weight_RxN, loss)

  def train_with_validation(self, weight_RxN: np.ndarray):
    """As `train`, each run on all of the validation part besides."""
    parts = ("train", "validation")
    inputs = [self._inputs[part] for part in parts]
    joined = jnp.concatenate(inputs, self._classifier.axis)
    of_parts = [self._data.labels[part] for part in parts]
    ones_RxV = np.ones((len(weight_RxN), len(of_parts[1])))
    weight_RxM = np.concatenate([weight_RxN, ones_RxV], 1)
    return self._train(joined, np.concatenate(of_parts), weight_RxM)

  def _train(self, inputs, label_N, weight_RxN, loss=losses.plain):
    key = jax.random.fold_in(jax.random.key(self._seed), 0)
    return self._classifier.train(
      *(inputs, np.tile(label_N, (len(weight_RxN), 1))),
      *(np.float32(weight_RxN), key, len(self._data.classes), self._epochs),
      loss,
    )

  def predict(self, trained, part: str) -> list[np.ndarray]:
    """Log-probabilities [R, N, K] and importance [R, N]."""
    found = self._classifier.predict(trained, self._inputs[part])
    return [np.asarray(x) for x in found]

  def teachers(self) -> "Teachers":
    """The classifier alone, and those that each lack a fold."""
    label_N, right_V = (self._data.labels[p] for p in ("train", "validation"))
    row_N, row_V = np.arange(len(label_N)), np.arange(len(right_V))
    fold_N = rlps_s.folds(len(label_N), FOLDS, self._seed)
    # One classifier says it of an example of the validation part, too.
    fold_V = rlps_s.folds(len(right_V), FOLDS, self._seed)
    without_FxN = fold_N != np.arange(FOLDS)[:, None]
    trained = self.train(np.vstack([np.ones(len(label_N)), without_FxN]))
    log_RxNxK = self.predict(trained, "train")[0]
    log_RxVxK = self.predict(trained, "validation")[0]
    seen_N, seen_V = log_RxNxK[1 + fold_N, row_N], log_RxVxK[1 + fold_V, row_V]
    features = self._data.features
    return Teachers(
      trained,
      log_RxNxK[0],
      rlps_s.Seen(seen_N, label_N, features["train"]),
      rlps_s.Seen(seen_V, right_V, features["validation"]),
    )


class Teachers(NamedTuple):
  """What classifiers make of the data.

  Attributes:
    trained: the classifier alone, and behind it those that lack a fold.
    inside_NxK: the training part as the classifier sees it that knows all.
    seen: the training part out of fold.
    known: the validation part, by one of those that lack a fold each.
  """

  trained: Any
  inside_NxK: np.ndarray
  seen: rlps_s.Seen
  known: rlps_s.Seen


def run(
  classifier: Classifier, data: Data, epochs: int, seed: int
) -> list[dict]:
  """Figures of all systems with one initialisation."""
  trainer = Trainer(classifier, data, epochs, seed)
  teachers = trainer.teachers()
  seen, known = teachers.seen, teachers.known
  policy_key = jax.random.fold_in(jax.random.key(seed), 1)
  learned = rlps_s.select(POLICY, seen, known, policy_key)
  kept = _kept(teachers, learned, seed)
  students = trainer.train(np.stack([one for one, _ in kept.values()]))
  log_RxTxK = trainer.predict(students, "test")[0]
  found = [
    _figures(data, name, log_TxK, *of)
    for (name, of), log_TxK in zip(kept.items(), log_RxTxK, strict=True)
  ]
  found[0] |= {
    "recipe": list(learned.recipe),
    "separation": learned.separation,
    "separation_of_score": float(
      rlps_s.placements(_given(known), _given(seen)).mean()
    ),
  }
  log_TxK = trainer.predict(teachers.trained, "test")[0][0]
  everyone_N = np.ones(len(seen.label_n), bool)
  alone = _figures(data, "none", log_TxK, everyone_N, None)
  wholes = {
    "with_validation": (everyone_N, None),
    "rlps_s_with_validation": kept["rlps_s"],
  }
  weight_RxN = np.stack([one for one, _ in wholes.values()])
  both = trainer.train_with_validation(weight_RxN)
  log_RxTxK = trainer.predict(both, "test")[0]
  found += [
    _figures(data, name, log_TxK, *of)
    for (name, of), log_TxK in zip(wholes.items(), log_RxTxK, strict=True)
  ]
  return [alone, *found, *_others(data, trainer)]


def _given(seen: rlps_s.Seen) -> np.ndarray:
  """The log-odds of the label, [n]: no ties where its probability is 1."""
  return np.asarray(selector.log_odds(seen.log_nxK, seen.label_n))


def _kept(
  teachers: Teachers, learned: rlps_s.Learned, seed: int
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
  """Who stays, and the score that says so, by system; a seed of the chance."""
  seen = teachers.seen
  chosen_N = np.asarray(learned.selection.retained_N)
  scores = {
    "out_of_fold": _given(seen),
    "small_loss": _given(seen._replace(log_nxK=teachers.inside_NxK)),
    "told_apart": _told_apart(seen, teachers.known),
    "random": np.random.default_rng(seed).random(len(chosen_N)),
  }
  most = int(chosen_N.sum())
  return {
    "rlps_s": (chosen_N, np.asarray(learned.selection.probability_N)),
    **{name: (_first(of, most), of) for name, of in scores.items()},
    "cleanlab": _cleanlab(seen),
  }


def _told_apart(seen: rlps_s.Seen, known: rlps_s.Seen) -> np.ndarray:
  """The log-odds that an example is of the validation part, [N].

  By logistic regression on what the policy of RLPS-S sees: the rival that gets
  the validation labels, too, and learns no policy from them.
  """
  log, label, features = (
    np.concatenate(pair) for pair in zip(seen, known, strict=True)
  )
  state = np.asarray(label_selector.states(log, features, label))
  is_known = np.arange(len(label)) >= len(seen.label_n)
  told = LogisticRegression(class_weight="balanced", max_iter=1000)
  told.fit(state, is_known)
  return told.decision_function(state[~is_known])


def _others(data: Data, trainer: Trainer) -> list[dict]:
  """Co-teaching and SCN, which choose as they train."""
  label_N = data.labels["train"]
  count = len(label_N)
  pair = trainer.train(np.ones((2, count)), losses.co_teaching(data.rate))
  score_N = trainer.predict(pair, "train")[0].mean(0)
  score_N = score_N[np.arange(count), label_N]
  stays_N = _first(score_N, round((1 - data.rate) * count))
  log_TxK = trainer.predict(pair, "test")[0][0]
  found = [_figures(data, "co_teaching", log_TxK, stays_N, score_N)]
  cured = trainer.train(np.ones((1, count)), losses.scn)
  alpha_N = trainer.predict(cured, "train")[1][0]
  stays_N = np.asarray(cured.label_RxN)[0] == label_N
  log_TxK = trainer.predict(cured, "test")[0][0]
  return [*found, _figures(data, "scn", log_TxK, stays_N, alpha_N)]


def _first(score_N: np.ndarray, count: int) -> np.ndarray:
  """The `count` of the highest score, bool [N]."""
  stays_N = np.zeros(len(score_N), bool)
  stays_N[np.argsort(-score_N, kind="stable")[:count]] = True
  return stays_N


def _cleanlab(seen: rlps_s.Seen) -> tuple[np.ndarray, np.ndarray]:
  """Confident learning: who stays, and how likely a label is right."""
  from cleanlab import filter as filters
  from cleanlab import rank

  shares_NxK = np.exp(seen.log_nxK.astype(np.float64))
  shares_NxK /= shares_NxK.sum(1, keepdims=True)
  wrong_N = filters.find_label_issues(seen.label_n, shares_NxK, n_jobs=1)
  score_N = rank.get_label_quality_scores(
    seen.label_n, shares_NxK, method="normalized_margin"
  )
  return ~wrong_N, score_N


def _figures(data: Data, system: str, log_TxK, stays_N, score_N) -> dict:
  """Of the test part, and of what was kept."""
  truth_T, found_T = data.labels["test"], log_TxK.argmax(1)
  hits_T = found_T == truth_T
  figures = {
    "system": system,
    "hits": summing_up.pack(hits_T),
    "weighted_accuracy": float(hits_T.mean()),
    "unweighted_accuracy": float(balanced_accuracy_score(truth_T, found_T)),
    "retained": float(stays_N.mean()),
  }
  if score_N is None:
    return figures
  wrong_N = data.wrong_N
  groups = {"right": ~wrong_N, "wrong": wrong_N, **data.kinds}
  return figures | {
    "auc": float(roc_auc_score(wrong_N, -score_N)),
    **{f"retained_{k}": float(stays_N[of].mean()) for k, of in groups.items()},
    "classes_without_any": int(
      len(set(data.labels["train"])) - len(set(data.labels["train"][stays_N]))
    ),
  }


def main() -> None:
  """Runs what is asked for and not there yet, and sums up."""
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("data", nargs="?", help="the folder of FERPlus")
  parser.add_argument("--classifier", default="dense", choices=CLASSIFIERS)
  parser.add_argument("--table", help="Whisper's states of RAVDESS")
  parser.add_argument("--output", type=pathlib.Path, required=True)
  settings = flags.some_of(SETTINGS)
  parser.add_argument("--settings", type=settings, help="all that can be done")
  parser.add_argument("--seeds", type=int, default=6)
  arguments = parser.parse_args()
  classifier = CLASSIFIERS[arguments.classifier]
  for name in arguments.settings or SETTINGS:
    setting = SETTINGS[name]
    source = arguments.table if name == SPEECH else arguments.data
    if source is None or (name == SPEECH and arguments.classifier != "dense"):
      if arguments.settings:
        needed = "--table and the dense classifier"
        needed = needed if name == SPEECH else "the folder of FERPlus"
        parser.error(f"{name} needs {needed}")
      continue
    runs = summing_up.Runs(arguments.output, arguments.classifier, name)
    for seed in range(arguments.seeds):
      if seed in runs.seeds:
        continue
      data = setting.draw(source, classifier.read, seed)
      epochs = setting.epochs or classifier.epochs
      runs.add(seed, run(classifier, data, epochs, seed))
      print(arguments.classifier, setting.label, seed, flush=True)
  summing_up.write(arguments.output)


if __name__ == "__main__":
  main()
