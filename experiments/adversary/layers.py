"""C1-S on several of Whisper's layers, EmoBox's folds.

python -m experiments.adversary.layers OUT --ravdess=RAVDESS --encoder=WHISPER

Layers 1 to 5 are those that were tried on actors 01-10, see `variants`; layer 3
is there to say how near this program comes to `study`, whose rows are beside.
"""

import argparse
import pathlib

import ml_collections
import numpy as np

from emojax import summary as summaries
from emojax.data import conversations
from emojax.runtime import environment, files
from emojax.summary import Summary
from experiments.adversary import networks, study, variants

_SETTING = study.CORPORA["whisper"].label
_TRAINED = {"c1_s_layer_3": "c1_s", "c1_s_layers_1_5": "c1_s_layers_1_5"}
_OTHERS = "c1_s", "dann_s", "ridge_chosen"


def main() -> None:
  """Trains both, and writes `summary.json` into the folder."""
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("output", type=pathlib.Path)
  parser.add_argument("--ravdess", help="the folder of RAVDESS", required=True)
  parser.add_argument("--encoder", default="openai/whisper-base")
  parser.set_defaults(meld="", text="", seeds=5)
  arguments = parser.parse_args()
  config = study.config_of("whisper", arguments)
  config.data.audio_layers = ()
  corpus = conversations.read(config)
  held_FxU = np.stack(
    [
      np.isin(np.arange(len(corpus.class_U)), split.parts["test"])
      for split in corpus.splits.values()
    ]
  )
  before = summaries.read(pathlib.Path(__file__).parent / "linear")
  rows = [before.row(_SETTING, name) for name in _OTHERS]
  known = {one.id: one for one in before.systems}
  systems = [known[name] for name in _OTHERS]
  for name, of_variant in _TRAINED.items():
    variant = variants.VARIANTS[of_variant]
    logits = networks.train(
      ml_collections.FrozenConfigDict(config),
      variant.loss,
      len(corpus.classes),
      variant.weights,
      corpus.speaker_U,
      variants.folds(config, corpus.table, corpus.class_U, held_FxU, variant),
    )
    names = corpus.class_U, corpus.table.speaker
    rows.append(variants.row(_SETTING, name, logits, held_FxU, *names))
    systems.append(summaries.System(name, variant.label))
    found = rows[-1].metrics["unweighted_accuracy"]
    print(f"{variant.label:40} {100 * found.mean:.1f}", flush=True)
  pairs = [(name, other) for name in _TRAINED for other in _OTHERS]
  summary = Summary(
    study="dann",
    title="C1-S on several of Whisper's layers",
    demo=False,
    classes=(),
    selection=summaries.LAST_EPOCH,
    metrics=("weighted_accuracy", "unweighted_accuracy"),
    systems=tuple(systems),
    rows=tuple(rows),
    comparisons=summaries.compare(rows, pairs, ()),  # Over speakers.
    **environment.describe(),
  )
  arguments.output.mkdir(parents=True, exist_ok=True)
  with files.whole(arguments.output / summaries.FILE) as path:
    summaries.write(path, summary)


if __name__ == "__main__":
  main()
