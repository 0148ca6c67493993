"""RLPS: a reinforced selector cleans the training set of a face classifier.

Li & Xu 2020, "Deep reinforcement learning for robust emotional classification
in facial expression recognition".

  python launch.py --config=configs/rlps.py
    The demo corpus (schematic faces, rendered on the spot), half of it cut to
    half faces and no faces: nothing to download.

  python launch.py --config=configs/rlps.py:ferplus --config.data.path=FERPlus
    The images of FER2013 with the votes of FERPlus: as they are, with half and
    no faces, and with wrong labels.

  python launch.py --config=configs/rlps.py:fer2013 --config.data.path=FER2013
    Table 1: VGG19 on FER2013.

  python launch.py --config=configs/rlps.py:rafdb --config.data.path=RAF-DB
    Table 2; `:expw` is Table 3. `:noise_rafdb` and `:noise_expw` are Tables 4
    and 5, and Figs. 8 and 9.

  python launch.py --config=configs/rlps.py:speech
    The same selector on the speech study's classifier: clips of the demo corpus
    (synthetic), some of them with a wrong label.

  python launch.py --config=configs/rlps.py:own --config.data.path=my_faces \
      --config.data.labels=angry,happy,sad
    Your own faces as they are, in folders (train/happy/anna.png): DCNN, alone
    and with the selector. From a CSV: --config.data.corpus=manifest.

  python launch.py --config=configs/rlps.py:own_speech \
      --config.data.path=mine.csv
    Your own clips as they are, by a manifest.

A run leaves a trained system in `model/`, for `emojax predict`: the classifier
of the run with the best unweighted accuracy on the validation part, over all
systems and initialisations of the first setting; its temperature is fitted
there, too. Beside it, for `emojax clean`, is the selector of the initialisation
of rlps that has the best validation figure (or of the first system with a
policy). The test part chooses nothing.
"""

import ml_collections

from configs import common

SEVEN = "angry,disgust,fearful,happy,sad,surprised,neutral"


def get_config(name: str = "demo") -> ml_collections.ConfigDict:
  """The config called `name`: `demo`, or one of those above."""
  config = common.get_config()
  config.trainer = "rlps"  # In `emojax.trainers`.
  config.checkpoint_every = 5

  config.num_replicates = 10  # As in the paper.
  # The classifier alone, before there is a selector; then with each system.
  config.pretraining_epochs = 20
  config.num_epochs = 40
  config.batch_size = 128  # As in the paper; over all devices.
  config.dtype = "float32"  # Of the classifier's computation; or "bfloat16".
  # none: the classifier alone. sigmoid: a logistic policy, rewarded by the mean
  # log-likelihood of what it retains (after Feng et al. 2018). rlps: Eq. (2).
  # rlps_f1: the change of the validation F1. small_loss, random: as many as
  # rlps retains, those of the smallest loss, or any. rlps_s: chosen once, from
  # what classifiers make of examples that they were not trained on.
  config.systems = (
    "none",
    "sigmoid",
    "rlps_f1",
    "rlps",
    "small_loss",
    "random",
  )
  # Share of each class that is retained at least; 0: as in the paper.
  config.retention_floor = 0.0

  config.model = _model()
  config.optimizer = _optimizer()
  config.policy = _policy()
  config.label_policy = _label_policy()

  config.split.method = "official"
  config.data.labels = SEVEN
  config.data.image_size = (48, 48)  # Height and width.
  config.data.channels = 1  # Or 3.
  # Of a clip of speech, from its beginning; what comes later is not read.
  config.data.max_seconds = 2.0
  # Each is a setting: none; intercepted (half and no faces, section 4.5);
  # symmetric, class_dependent (wrong labels). In the training part alone.
  config.data.noise = ("none",)
  config.data.half_faces = 0.25  # Shares, of intercepted.
  config.data.no_faces = 0.25
  config.data.label_noise_rate = 0.3

  variants = {
    "demo": _demo,
    "fer2013": _fer2013,
    "ferplus": _ferplus,
    "rafdb": _rafdb,
    "expw": _expw,
    "noise_rafdb": _noise_rafdb,
    "noise_expw": _noise_expw,
    "speech": _speech,
    "own": _own,
    "own_speech": _own_speech,
  }
  if name not in variants:
    raise ValueError(f"no config {name!r}: {', '.join(variants)}")
  variants[name](config)
  return config


def _model():
  """The classifier."""
  model = ml_collections.ConfigDict()
  # dcnn: Fig. 3. vgg19: as for FER2013. cnn: half as deep as vgg19, for a few
  # thousand images; use it with a crop. log_mel: of speech clips.
  model.classifier = "dcnn"
  model.widths = (64, 128, 256, 256, 512, 512)  # Of DCNN.
  model.hidden = 128  # Units of the first dense layer; of dcnn and log_mel.
  model.dropout = 0.5  # Not of dcnn; at cnn's poolings half of it.
  # Trains on random squares of this size, half of them mirrored, and tests on
  # ten of them (the public VGG19: 44); 0: no augmentation, as in the paper.
  model.crop = 0
  return model


def _optimizer():
  """Stochastic gradient descent, as the public VGG19 has it."""
  optimizer = ml_collections.ConfigDict()
  optimizer.learning_rate = 0.01
  optimizer.momentum = 0.9
  optimizer.weight_decay = 5e-4  # Added to the gradient.
  optimizer.clip_value = 0.1  # Bound on each gradient; 0: none.
  # From this epoch on (pretraining counts) the rate falls by a factor.
  optimizer.decay_start = 80
  optimizer.decay_every = 5
  optimizer.decay_rate = 0.9
  return optimizer


def _policy():
  """The selector."""
  policy = ml_collections.ConfigDict()
  # Of four dense layers; the fifth gives the probability. Not of sigmoid.
  policy.widths = (256, 128, 64, 32)
  policy.learning_rate = 1e-3  # Adam.
  policy.batch_size = 128
  policy.pretraining_epochs = 20  # With the pretrained classifier.
  # What the reward of Eq. (2) is multiplied with where an image was removed.
  # Eq. (4) as printed has 1, but the expectation of its gradient is zero; -1
  # and 0 both climb Eq. (3). See `models.selector.action_values`.
  policy.removed_credit = -1.0
  return policy


def _label_policy():
  """The selector of rlps_s."""
  policy = ml_collections.ConfigDict()
  policy.folds = 5  # Of the training part, a classifier each without one.
  policy.widths = (32,)  # Of the layers before the last one.
  policy.learning_rate = 1e-3  # Adam.
  policy.batch_size = 128
  policy.epochs = 20
  # Keeps it from being sure: units of the reward for a nat.
  policy.entropy_bonus = 0.1
  # Share that stays of unseen examples of the validation part.
  policy.right_share = 0.92
  policy.floor = 0.1  # Share of each class that stays at least.
  return policy


def _demo(config):
  config.title = "RLPS: schematic faces"
  config.num_replicates = 2
  config.pretraining_epochs = 10
  config.num_epochs = 6
  config.batch_size = 32
  config.model.widths = (8, 16, 32, 32, 64, 64)
  config.data.labels = "angry,happy,sad,surprised"
  config.data.noise = ("intercepted",)


def _own(config):
  config.title = "RLPS: your own data"
  config.num_replicates = 3
  config.systems = ("none", "rlps", "small_loss")
  config.data.corpus = "image_folder"
  config.data.noise = ("none",)


def _own_speech(config):
  _speech(config)
  _own(config)
  config.data.corpus = "manifest"
  config.data.max_seconds = 6.0


def _ferplus(config):
  config.title = "RLPS on FERPlus"
  config.data.corpus = "ferplus"
  config.data.labels = f"{SEVEN},contempt"
  config.data.noise = ("none", "intercepted", "symmetric")


def _fer2013(config):
  config.title = "RLPS on FER2013: Table 1"
  config.data.corpus = "fer2013"
  config.model.classifier = "vgg19"
  config.pretraining_epochs = 100
  config.num_epochs = 150
  config.systems = ("none", "sigmoid", "rlps")
  _publish(
    config,
    "as it is",
    {
      "none": {"weighted_accuracy": 0.7021},
      "sigmoid": {"weighted_accuracy": 0.7123},
      "rlps": {"weighted_accuracy": 0.7235},
    },
  )


def _rafdb(config):
  config.title = "RLPS on RAF-DB: Table 2"
  _rafdb_data(config)
  _publish(
    config,
    "as it is",
    {
      "none": _row(61.20, 43.61, 38.21, 88.56, 74.77, 77.92, 79.06, 66.19),
      "sigmoid": _row(
        *(64.13, 41.42, 45.10, 91.89, 71.09, 84.72, 82.71, 68.72)
      ),
      "rlps": _row(*(72.90, 51.02, 77.52, 90.42, 66.22, 79.09, 72.72, 72.84)),
    },
  )


def _expw(config):
  config.title = "RLPS on ExpW: Table 3"
  _expw_data(config)
  _publish(
    config,
    "as it is",
    {
      "none": _row(50.78, 0.00, 0.00, 78.25, 26.34, 31.00, 91.59, 39.86),
      "sigmoid": _row(
        *(46.56, 24.23, 32.14, 71.38, 22.81, 41.42, 86.72, 46.47)
      ),
      "rlps": _row(*(67.09, 40.73, 23.46, 74.95, 38.66, 38.97, 70.32, 50.61)),
    },
  )


def _noise_rafdb(config):
  config.title = "RLPS on RAF-DB with half and no faces: Tables 4 and 5"
  _rafdb_data(config)
  config.data.noise = ("intercepted",)
  _publish(
    config,
    "half and no faces",
    {
      "none": _row(
        *(43.08, 12.00, 24.16, 90.77, 62.78, 66.62, 74.59, 52.43), f1=0.6484
      ),
      "sigmoid": _row(
        *(46.77, 26.43, 30.90, 88.05, 58.62, 72.94, 78.52, 57.46), f1=0.6673
      ),
      "rlps_f1": _row(
        *(56.22, 34.55, 44.05, 89.78, 50.32, 68.90, 69.78, 59.08), f1=0.6733
      ),
      "rlps": _row(
        *(57.00, 33.22, 42.20, 91.55, 51.81, 68.68, 70.91, 59.34),
        f1=0.6769,
        retention=(0.9618, 0.8909, 0.3218),
      ),
    },
  )


def _noise_expw(config):
  config.title = "RLPS on ExpW with half and no faces: Tables 4 and 5"
  _expw_data(config)
  config.data.noise = ("intercepted",)
  _publish(
    config,
    "half and no faces",
    {
      "none": _row(
        *(45.30, 0.00, 0.00, 67.27, 15.25, 28.14, 86.30, 34.61), f1=0.3411
      ),
      "sigmoid": _row(
        *(55.42, 24.13, 28.54, 66.77, 18.60, 22.10, 83.60, 42.65), f1=0.3524
      ),
      "rlps_f1": _row(
        *(47.74, 30.37, 33.42, 68.62, 22.67, 33.23, 83.45, 45.64), f1=0.3629
      ),
      "rlps": _row(
        *(48.20, 30.55, 33.19, 70.11, 24.00, 31.65, 84.06, 45.96),
        f1=0.3674,
        retention=(0.9786, 0.8201, 0.2891),
      ),
    },
  )


def _speech(config):
  config.title = "The selector of RLPS on speech: clips with a wrong label"
  config.num_replicates = 2
  config.batch_size = 16
  config.pretraining_epochs = 6
  config.num_epochs = 8
  config.model.classifier = "log_mel"
  config.model.hidden = 256
  config.model.dropout = 0.3
  config.data.noise = ("symmetric",)
  config.data.labels = "angry,happy,neutral,sad"
  config.split.method = "shuffle"


def _rafdb_data(config):
  config.data.corpus = "rafdb"
  config.data.image_size = (100, 100)
  config.data.channels = 3


def _expw_data(config):
  config.data.corpus = "expw"
  config.data.image_size = (100, 100)
  config.data.channels = 3
  config.data.max_skipped = 100


def _row(*percents, f1=None, retention=None):
  """A line of a table: seven classes, and their mean."""
  row = {
    "class_recall": {
      name: round(percent / 100, 4)
      for name, percent in zip(SEVEN.split(","), percents[:-1], strict=True)
    },
    "unweighted_accuracy": round(percents[-1] / 100, 4),
  }
  if f1 is not None:
    row["f1_of_averages"] = f1
  if retention is not None:
    kinds = ("full face", "half face", "none face")
    row["retention"] = dict(zip(kinds, retention, strict=True))
  return row


def _publish(config, setting, rows):
  config.published = ml_collections.ConfigDict({setting: rows})
