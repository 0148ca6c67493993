"""RLPS-S and its rivals: who finds wrong labels, and what it is worth.

python -m experiments.rlps_s.study FERPLUS --output=FOLDER \
    [--table=WHISPER.npz] [--settings=symmetric_30,…] [--seeds=6]

Of each initialisation: labels (or images) are made noisy; five classifiers,
each without one fold, say what they make of what they have not seen; every
method chooses from that; one classifier is trained on what each keeps, with the
same first weights, batches and dropout. Figures are of the last epoch. The test
part is looked at once, and chooses nothing. `FOLDER/runs.json` is written after
each initialisation, and the same command goes on from it.
"""

import argparse
import json
import pathlib

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
from sklearn.metrics import balanced_accuracy_score, roc_auc_score

from emojax.runtime import files
from emojax.trainers import rlps_s
from experiments.rlps_s import dense, summing_up
from experiments.rlps_s.settings import SETTINGS, Data

FOLDS = 5
# As `configs/rlps.py` has it.
POLICY = ml_collections.ConfigDict(
  {
    "widths": (32,),
    "learning_rate": 3e-3,
    "batch_size": 128,
    "epochs": 10,
    "entropy_bonus": 0.3,
    "right_share": 0.92,
    "floor": 0.1,
  }
)


def run(data: Data, epochs: int, seed: int) -> list[dict]:
  """Figures of all systems with one initialisation."""
  key = jax.random.key(seed)
  views = {part: jnp.asarray(of) for part, of in data.views.items()}
  views["seen"] = views["train"][:: max(1, len(views["train"]) // 2)][:2]
  label_N, count = data.labels["train"], len(data.labels["train"])
  classes = len(data.classes)

  def trained(label_RxN, weight_RxN, part_key, loss=dense.plain):
    return dense.train(
      *(views["train"], jnp.asarray(label_RxN)),
      *(jnp.asarray(weight_RxN, jnp.float32), part_key),
      *(classes, epochs, loss),
    )

  def repeated(runs):
    return np.tile(label_N, (runs, 1))

  # The classifier alone, and those that each lack a fold.
  fold_N = rlps_s.folds(count, FOLDS, seed)
  without_FxN = fold_N != np.arange(FOLDS)[:, None]
  start_key = jax.random.fold_in(key, 0)
  teachers = trained(
    repeated(FOLDS + 1), np.vstack([np.ones(count), without_FxN]), start_key
  )
  log_RxNxK = np.asarray(dense.predict(teachers, views["seen"])[0])
  inside_N = log_RxNxK[0, np.arange(count), label_N]
  out_NxK = log_RxNxK[1 + fold_N, np.arange(count)]
  out_N = out_NxK[np.arange(count), label_N]
  # One classifier says it of an example of the validation part, too.
  log_RxVxK = np.asarray(dense.predict(teachers, views["validation"])[0])
  right_V = data.labels["validation"]
  fold_V = rlps_s.folds(len(right_V), FOLDS, seed)
  of_V = log_RxVxK[1 + fold_V, np.arange(len(right_V))]
  learned = rlps_s.select(
    POLICY,
    rlps_s.Seen(out_NxK, label_N, data.features["train"]),
    rlps_s.Seen(of_V, right_V, data.features["validation"]),
    jax.random.fold_in(key, 1),
  )
  chosen_N = np.asarray(learned.selection.retained_N)
  most = int(chosen_N.sum())
  random_N = np.random.default_rng(seed).random(count)
  kept = {
    "none": (np.ones(count, bool), None),
    "rlps_s": (chosen_N, np.asarray(learned.selection.probability_N)),
    "out_of_fold": (_first(out_N, most), out_N),
    "small_loss": (_first(inside_N, most), inside_N),
    "cleanlab": _cleanlab(label_N, out_NxK),
    "random": (_first(random_N, most), random_N),
  }
  students = trained(
    repeated(len(kept)), [one for one, _ in kept.values()], start_key
  )
  log_RxTxK = np.asarray(dense.predict(students, views["test"])[0])
  found = [
    _figures(data, name, log_TxK, *of)
    for (name, of), log_TxK in zip(kept.items(), log_RxTxK, strict=True)
  ]
  found[1] |= {
    "recipe": list(learned.recipe),
    "separation": learned.separation,
    "separation_of_score": float(
      rlps_s.placements(of_V[np.arange(len(right_V)), right_V], out_N).mean()
    ),
  }
  return found + _others(data, views, trained, start_key)


def _others(data: Data, views, trained, key) -> list[dict]:
  """Co-teaching and SCN, which choose as they train."""
  label_N = data.labels["train"]
  count = len(label_N)
  pair = trained(
    np.tile(label_N, (2, 1)),
    np.ones((2, count)),
    key,
    _co_teaching(data.rate),
  )
  log_2xNxK, _ = dense.predict(pair, views["seen"])
  score_N = np.asarray(log_2xNxK).mean(0)[np.arange(count), label_N]
  log_2xTxK = np.asarray(dense.predict(pair, views["test"])[0])
  stays_N = _first(score_N, round((1 - data.rate) * count))
  found = [_figures(data, "co_teaching", log_2xTxK[0], stays_N, score_N)]
  cured = trained(label_N[None], np.ones((1, count)), key, dense.scn)
  alpha_N = np.asarray(dense.predict(cured, views["seen"])[1])[0]
  log_TxK = np.asarray(dense.predict(cured, views["test"])[0])[0]
  stays_N = np.asarray(cured.label_RxN)[0] == label_N
  return [*found, _figures(data, "scn", log_TxK, stays_N, alpha_N)]


_LOSSES: dict[float, object] = {}


def _co_teaching(rate: float):
  """The same function for the same rate: it is compiled once."""
  return _LOSSES.setdefault(rate, dense.co_teaching(rate))


def _first(score_N: np.ndarray, count: int) -> np.ndarray:
  """The `count` of the highest score, bool [N]."""
  stays_N = np.zeros(len(score_N), bool)
  stays_N[np.argsort(-score_N, kind="stable")[:count]] = True
  return stays_N


def _cleanlab(label_N: np.ndarray, out_NxK: np.ndarray):
  """Confident learning: who stays, and how likely a label is right."""
  from cleanlab import filter as filters
  from cleanlab import rank

  shares_NxK = np.exp(out_NxK.astype(np.float64))
  shares_NxK /= shares_NxK.sum(1, keepdims=True)
  wrong_N = filters.find_label_issues(label_N, shares_NxK, n_jobs=1)
  score_N = rank.get_label_quality_scores(
    label_N, shares_NxK, method="normalized_margin"
  )
  return ~wrong_N, score_N


def _figures(data: Data, system: str, log_TxK, stays_N, score_N) -> dict:
  """Of the test part, and of what was kept."""
  truth_T, found_T = data.labels["test"], log_TxK.argmax(1)
  figures = {
    "system": system,
    "weighted_accuracy": float((found_T == truth_T).mean()),
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
  parser.add_argument("data", help="the folder of FERPlus")
  parser.add_argument("--table", help="Whisper's states of RAVDESS")
  parser.add_argument("--output", type=pathlib.Path, required=True)
  parser.add_argument("--settings", default=",".join(SETTINGS))
  parser.add_argument("--seeds", type=int, default=6)
  arguments = parser.parse_args()
  path = arguments.output / "runs.json"
  arguments.output.mkdir(parents=True, exist_ok=True)
  found = json.loads(path.read_text("utf-8")) if path.exists() else []
  done = {(one["setting"], one["seed"]) for one in found}
  for name in arguments.settings.split(","):
    setting = SETTINGS[name]
    source = arguments.table if name == "speech_30" else arguments.data
    for seed in range(arguments.seeds):
      if (setting.label, seed) in done or source is None:
        continue
      of_seed = run(setting.draw(source, seed), setting.epochs, seed)
      where = {"setting": setting.label, "seed": seed}
      found += [where | one for one in of_seed]
      with files.whole(path) as whole:
        whole.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
      print(setting.label, seed, flush=True)
      summing_up.write(arguments.output, found)


if __name__ == "__main__":
  main()
