"""What the study's classifiers and policy are set to, and by what.

python -m experiments.rlps_s.recipe FERPLUS --output=FILE.json \
    [--classifier=cnn] [--epochs=8,16,32] [--no-policy]
python -m experiments.rlps_s.recipe --table=WHISPER.npz --output=FILE.json \
    --epochs=30,60,120,240 --no-policy

On a draw of noise that the study has not (seed 100), of faces with 30 %
symmetric and class-dependent label noise, or of speech with the former: epochs
by the accuracy of the classifier alone on the validation part; then the fields
of the policy, by how well policies part validation examples that they have not
seen from the training part (`Learned.separation`), and the share of right
labels that stays by the accuracy on the validation part of the classifier
trained on what is kept. Neither the truth of a label of the training part is
used, nor the test part.
"""

import argparse
import itertools
import json
import pathlib

import jax
import numpy as np

from emojax.runtime import environment, files
from emojax.trainers import rlps_s
from experiments.rlps_s import study
from experiments.rlps_s.settings import SETTINGS, SPEECH

SEED = 100
NOISE = ("symmetric_30", "class_dependent_30")
POLICIES = {
  "entropy_bonus": (0.1, 0.3, 1.0),
  "learning_rate": (1e-3, 3e-3),
  "epochs": (10, 20),
}
RIGHT_SHARES = (0.8, 0.86, 0.92, 0.97)


def accuracy(trainer: study.Trainer, trained, right_V: np.ndarray) -> list:
  """Weighted accuracy of each run on the validation part."""
  log_RxVxK = trainer.predict(trained, "validation")[0]
  return (log_RxVxK.argmax(2) == right_V).mean(1).tolist()


def main() -> None:
  """Tries all values, and writes what they gave."""
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  source = parser.add_mutually_exclusive_group(required=True)
  source.add_argument("data", nargs="?", help="the folder of FERPlus")
  source.add_argument("--table", help="Whisper's states of RAVDESS")
  classifiers = study.CLASSIFIERS
  parser.add_argument("--classifier", default="dense", choices=classifiers)
  parser.add_argument("--epochs", default="8,16,32")
  parser.add_argument("--no-policy", action="store_true")
  parser.add_argument("--output", type=pathlib.Path, required=True)
  arguments = parser.parse_args()
  classifier = study.CLASSIFIERS[arguments.classifier]
  found = {"classifier": arguments.classifier, **environment.describe()}
  for name in (SPEECH,) if arguments.table else NOISE:
    source = arguments.table or arguments.data
    data = SETTINGS[name].draw(source, classifier.read, SEED)
    right_V, count = data.labels["validation"], len(data.labels["train"])
    of_epochs = {}
    for epochs in map(int, arguments.epochs.split(",")):
      trainer = study.Trainer(classifier, data, epochs, SEED)
      alone = trainer.train(np.ones((1, count)))
      of_epochs[epochs] = accuracy(trainer, alone, right_V)[0]
      print(name, epochs, of_epochs[epochs], flush=True)
    found[name] = {"accuracy_by_epochs": of_epochs}
    if not arguments.no_policy:
      trainer = study.Trainer(classifier, data, classifier.epochs, SEED)
      found[name] |= _of_policy(trainer, right_V)
    with files.whole(arguments.output) as path:
      path.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


def _of_policy(trainer: study.Trainer, right_V: np.ndarray) -> dict:
  teachers = trainer.teachers()
  return {
    "separation": _separations(teachers),
    "accuracy_by_right_share": _right_shares(trainer, teachers, right_V),
  }


def _separations(teachers: study.Teachers) -> list[dict]:
  """The figure of each set of fields."""
  found = []
  for values in itertools.product(*POLICIES.values()):
    fields = dict(zip(POLICIES, values, strict=True))
    learned = _select(teachers, fields)
    found.append({**fields, "separation": learned.separation})
    print(found[-1], flush=True)
  return found


def _right_shares(trainer, teachers: study.Teachers, right_V) -> dict:
  kept = [
    np.asarray(_select(teachers, {"right_share": share}).selection.retained_N)
    for share in RIGHT_SHARES
  ]
  students = trainer.train(np.stack(kept))
  accuracies = accuracy(trainer, students, right_V)
  return dict(zip(RIGHT_SHARES, accuracies, strict=True))


def _select(teachers: study.Teachers, fields: dict) -> rlps_s.Learned:
  config = study.POLICY.copy_and_resolve_references()
  config.update(fields)
  key = jax.random.key(SEED)
  return rlps_s.select(config, teachers.seen, teachers.known, key)


if __name__ == "__main__":
  main()
