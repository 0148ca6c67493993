"""C1-S on several of Whisper's layers, EmoBox's folds.

python -m experiments.adversary.layers OUT --ravdess=RAVDESS --encoder=WHISPER

Layers 1 to 5 are those that were tried on actors 01-10, see `variants`; layer 3
is there to say how near this program comes to `study`, whose rows are beside.
"""

import pathlib

import ml_collections
import numpy as np

from emojax import summary as summaries
from emojax.data import conversations
from experiments.adversary import networks, on_layers, variants
from experiments.adversary.on_layers import SETTING

_TRAINED = {"c1_s_layer_3": "c1_s", "c1_s_layers_1_5": "c1_s_layers_1_5"}
_OTHERS = "c1_s", "dann_s", "ridge_chosen"


def main() -> None:
  """Trains both, and writes `summary.json` into the folder."""
  linear = pathlib.Path(__file__).parent / "linear"
  output, config, before = on_layers.begin(__doc__, seeds=5, beside=linear)
  corpus = conversations.read(config)
  held_FxU = np.stack(
    [
      np.isin(np.arange(len(corpus.class_U)), split.parts["test"])
      for split in corpus.splits.values()
    ]
  )
  rows = [before.row(SETTING, name) for name in _OTHERS]
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
    rows.append(variants.row(SETTING, name, logits, held_FxU, *names))
    systems.append(summaries.System(name, variant.label))
    found = rows[-1].metrics["unweighted_accuracy"]
    print(f"{variant.label:40} {100 * found.mean:.1f}", flush=True)
  pairs = [(name, other) for name in _TRAINED for other in _OTHERS]
  title = "C1-S on several of Whisper's layers"
  on_layers.write(output, title, systems, rows, pairs)


if __name__ == "__main__":
  main()
