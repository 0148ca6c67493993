"""What has been tried on top of DANN-S, on ten actors of RAVDESS alone.

python -m experiments.adversary.variants OUT --ravdess=RAVDESS --encoder=WHISPER

Actors 01-10, two held out at a time; nothing of the others is used. The network
and the recipe are those of `study` on Whisper's layers, batches of 60 labelled
clips, three initialisations. Whoever is held out is validation, not test: a
variant is worth being built in if it gains on the better of the DANN-S here.
"""

import time
from collections.abc import Sequence
from typing import NamedTuple

import jax
import ml_collections
import numpy as np

from emojax import markdown, metrics, normalisation
from emojax import summary as summaries
from emojax.corpora import labels
from emojax.data import conversations
from emojax.data.table import FeatureTable
from emojax.runtime import files
from emojax.summary import Row, Summary, System
from experiments.adversary import networks, on_layers
from experiments.adversary.networks import Loss, Weights

SETTING = "RAVDESS, actors 01-10 in pairs"
ACTORS = [f"{number:02d}" for number in range(1, 11)]
HELD_OUT, _BATCH = 2, 60
_FIVE = (1, 2, 3, 4, 5)


class Variant(NamedTuple):
  """A row of the table; as it stands it is C1-S."""

  label: str
  weights: Weights = Weights()
  loss: Loss = Loss()
  layers: tuple[int, ...] = (3,)
  normalisation: str = "train"

  @property
  def sees(self) -> bool:
    """Whether it has clips of the held-out actors, unlabelled."""
    adversarial = self.weights.reversal > 0 and self.weights.sees
    return adversarial or self.normalisation == "speaker"


def _several(
  name: str, label: str, loss: Loss, weights: Sequence[Weights]
) -> dict[str, Variant]:
  """The same with several lambdas, or weights of a distance."""
  found = {}
  for one in weights:
    what = "weight" if loss.distance else "lambda"
    of_one, id_ = f"{label}, {what} = {one.reversal:g}", f"{one.reversal:g}"
    if loss.penalised:
      of_one += f", penalty = {one.penalty:g}"
      id_ += f"_{one.penalty:g}"
    found[f"{name}_{id_}"] = Variant(of_one, one, loss)
  return found


_BASE, _BEST = "c1_s", "dann_s_0.3"
_TWO = Weights(0.1), Weights(0.3)
VARIANTS = {
  _BASE: Variant("C1-S"),
  "c1_s_speaker_norm": Variant(
    "C1-S, z-scored by speaker", normalisation="speaker"
  ),
  **_several("dann_s", "DANN-S", Loss(), (*_TWO, Weights(1.0))),
  **_several(
    "four",
    "four discriminators",
    Loss(discriminators=4),
    (Weights(0.03), *_TWO),
  ),
  **_several(
    "penalty",
    "gradient penalty (R1)",
    Loss(penalised=True),
    [Weights(0.3, penalty) for penalty in (0.1, 1.0, 10.0)],
  ),
  **_several("cdan", "CDAN", Loss(conditional=True), _TWO),
  **_several(
    "cdan_e",
    "CDAN+E, weighted by entropy",
    Loss(conditional=True, entropy_weighted=True),
    _TWO,
  ),
  **_several(
    "coral",
    "CORAL",
    Loss(distance=networks.correlation_distance),
    (Weights(1.0), Weights(100.0)),
  ),
  **_several(
    "mmd",
    "MMD, linear",
    Loss(distance=networks.mean_distance),
    (Weights(0.1), Weights(1.0)),
  ),
  **_several(
    "inductive",
    "DANN-S, labelled actors as its domains",
    Loss(),
    [one._replace(sees=False) for one in _TWO],
  ),
  "swap": Variant(
    "clips with another actor's statistics", loss=Loss(recolour="swap")
  ),
  "mix": Variant("MixStyle", loss=Loss(recolour="mix")),
  "noise": Variant("Gaussian noise, deviation 1", loss=Loss(noise=1.0)),
  "dropout": Variant("dropout 0.5", loss=Loss(dropout=0.5)),
  "c1_s_layers_1_5": Variant("C1-S, layers 1 to 5", layers=_FIVE),
  "dann_s_layers_1_5": Variant(
    "DANN-S, layers 1 to 5, lambda = 0.3", Weights(0.3), layers=_FIVE
  ),
}


def _batches(
  config: ml_collections.ConfigDict, label_U: np.ndarray
) -> np.ndarray:
  """Clips of each step, [T, N]: labelled ones, then a share of the others.

  Of these so many that an epoch has all of them.
  """
  pools = np.flatnonzero(label_U >= 0), np.flatnonzero(label_U < 0)
  num_steps = len(pools[0]) // config.batch_size
  rng = np.random.default_rng(config.seed)
  epochs = []
  for _ in range(config.num_epochs):
    shares = []
    for pool in pools:
      size = len(pool) // num_steps
      dealt = rng.permutation(pool)[: num_steps * size]
      shares.append(dealt.reshape(num_steps, size))
    epochs.append(np.concatenate(shares, axis=1))
  return np.concatenate(epochs).astype(np.int32)


def folds(
  config: ml_collections.ConfigDict,
  table: FeatureTable,
  class_U: np.ndarray,
  held_FxU: np.ndarray,
  variant: Variant,
) -> networks.Fold:
  """What `networks.train` takes, arrays [F, ...].

  Args:
    config: of the recipe, see `configs/dann.py`.
    table: features are those of all layers.
    class_U: emotions.
    held_FxU: whether the speaker of a clip is held out.
    variant: for its layers and its normalisation.
  """
  audio_UxLxD = on_layers.states(table.features["audio"])
  audio_UxD = audio_UxLxD[:, list(variant.layers)].reshape(len(table), -1)
  names, speaker_U = np.unique(table.speaker, return_inverse=True)
  found = []
  for held_U in held_FxU:
    label_U = np.where(held_U, -1, class_U)
    features_UxD = normalisation.normalise(
      {"audio": audio_UxD}, variant.normalisation, ~held_U, speaker_U
    )["audio"]
    moments = [
      normalisation.statistics(features_UxD[speaker_U == speaker])
      for speaker in range(len(names))
    ]
    mean_SxD, std_SxD = (np.stack(of) for of in zip(*moments, strict=True))
    batches_TxN = _batches(config, label_U)
    labelled_L = np.unique(speaker_U[~held_U])
    found.append(
      networks.Fold(
        *(features_UxD, label_U, batches_TxN, mean_SxD, std_SxD, labelled_L)
      )
    )
  return jax.tree.map(lambda *of_F: np.stack(of_F), *found)


def row(
  setting: str, name: str, logits_IxFxUxC, held_FxU, class_U, speakers_U
) -> Row:
  """All folds as one: everyone is held out in one of them."""
  clips = np.arange(len(class_U))
  logits_IxUxC = np.asarray(logits_IxFxUxC)[:, held_FxU.argmax(0), clips]
  counts = np.stack(
    [metrics.confusion_counts(of_UxC, class_U) for of_UxC in logits_IxUxC]
  )
  hits_IxU = logits_IxUxC.argmax(-1) == class_U
  found = summaries.row(setting, name, counts)
  return summaries.over_speakers(found, hits_IxU, class_U, speakers_U)


def comparison_table(summary: Summary) -> str:
  """Accuracy of each variant, and over actors what it gains on two of them."""
  over = {
    (one.a, one.b): one
    for one in summary.comparisons
    if one.test == summaries.OVER_SPEAKERS
  }
  lines = [
    ["system", "sees clips of the held-out actors", "accuracy (%)", "std"]
    + [
      cell
      for base in (_BASE, _BEST)
      for cell in (f"minus {VARIANTS[base].label}", "95 %, actors", "p")
    ]
  ]
  for row in summary.rows:
    variant, found = VARIANTS[row.system], row.metrics["unweighted_accuracy"]
    line = [variant.label, "yes" if variant.sees else "no"]
    line += [markdown.percent(found.mean), markdown.percent(found.std)]
    for base in (_BASE, _BEST):
      one = over.get((row.system, base))
      line += (
        [
          f"{100 * one.difference:+.1f}",
          markdown.interval(one.ci95, "+.1f"),
          markdown.p_value(one.p_value),
        ]
        if one
        else [markdown.NOTHING] * 3
      )
    lines.append(line)
  return markdown.table(lines, num_names=2)


def main() -> None:
  """Trains all, and writes `summary.json` and `table.md` into the folder."""
  output, config, _ = on_layers.begin(__doc__, seeds=3)
  config.batch_size = _BATCH
  table = conversations.load(config.data)
  table = table.take(np.isin(table.speaker, ACTORS))
  classes, index = labels.parse_classes(config.data.labels)
  class_U = labels.class_index(table.label, index)
  _, speaker_U = np.unique(table.speaker, return_inverse=True)
  pairs = range(len(ACTORS) // HELD_OUT)
  held_FxU = np.stack([speaker_U // HELD_OUT == pair for pair in pairs])
  frozen = ml_collections.FrozenConfigDict(config)
  rows = []
  for name, variant in VARIANTS.items():
    start = time.perf_counter()
    logits = networks.train(
      frozen,
      variant.loss,
      len(classes),
      variant.weights,
      speaker_U,
      folds(config, table, class_U, held_FxU, variant),
    )
    rows.append(row(SETTING, name, logits, held_FxU, class_U, table.speaker))
    found = rows[-1].metrics["unweighted_accuracy"]
    took = time.perf_counter() - start
    print(
      f"{variant.label:60} {100 * found.mean:.1f}  {took:.0f} s", flush=True
    )
  pairs = [
    (name, base) for base in (_BASE, _BEST) for name in VARIANTS if name != base
  ]
  systems = [System(name, one.label) for name, one in VARIANTS.items()]
  title = "What was tried on top of DANN-S"
  summary = on_layers.write(output, title, systems, rows, pairs)
  with files.whole(output / "table.md") as path:
    path.write_text(comparison_table(summary) + "\n", encoding="utf-8")


if __name__ == "__main__":
  main()
