"""What every system's config starts from: one dialect for all of them."""

import ml_collections

EIGHT = "neutral,calm,happy,sad,angry,fearful,disgust,surprised"


def get_config() -> ml_collections.ConfigDict:
  """Fields that the loop and every trainer read."""
  config = ml_collections.ConfigDict()
  config.title = ""  # First line of the report.
  config.seed = 0  # Of everything random.
  config.checkpoint_every = 10  # Rounds (epochs) between two checkpoints.
  config.num_replicates = 10  # Initialisations of every system.
  # Beside TensorBoard, comma-separated: wandb, mlflow, trackio. Each has to be
  # installed; its own variables (WANDB_MODE, MLFLOW_TRACKING_URI, …) say where.
  config.trackers = ""
  config.data = data()
  config.split = split()
  # Published figures, printed beside ours, as fractions:
  # {setting: {system id: {metric: value}}}.
  config.published = ml_collections.ConfigDict()
  return config


def data() -> ml_collections.ConfigDict:
  """What is read. A system's config adds what only it has."""
  data = ml_collections.ConfigDict()
  # A corpus, or several, comma-separated: each is split by itself, then they
  # are merged. Speech: demo, ravdess, crema_d, emodb, iemocap, meld, savee,
  # tess, manifest. Faces: demo, fer2013, ferplus, rafdb, expw, image_folder,
  # manifest.
  # Or one that a config registers (docs/adding.md).
  data.corpus = "demo"
  # Its folder or file; the demo needs none. Several corpora: a path each,
  # comma-separated, in the same order. A path that holds a comma stands in
  # double quotes: '"/a,b",/c'.
  data.path = ""
  # `corpora` and `paths` are the same two fields, for commands that name
  # several.
  data.corpora = data.get_ref("corpus")
  data.paths = data.get_ref("path")
  data.download = False  # Fetches corpora without a path, where free.
  # Classes, comma-separated; "happy+excited" is one class of both labels.
  # What has another label is left out.
  data.labels = "angry,happy,neutral,sad"
  # Unusable recordings or images, of the study's labels and of all corpora
  # together, to put up with.
  data.max_skipped = 10
  # Processes that read audio or extract features; 0: as many as pay.
  data.num_workers = 0
  return data


def split() -> ml_collections.ConfigDict:
  """Who trains, who validates, who is tested."""
  split = ml_collections.ConfigDict()
  # shuffle: a fifth of the speakers tests, a fifth of the others validates.
  # speakers: those that are named below. k_fold: groups of speakers in turn.
  # leave_one_out: each of the `group`s in turn. sessions: as Lian et al.,
  # `labelled_sessions` against `test_session`. official: the corpus' own parts,
  # of faces and of meld, whoever is in several. emobox: the six published folds
  # of RAVDESS (Ma et al., Interspeech 2024), four actors each; EmoBox has no
  # validation part, so a fifth of the other actors validates. folds: those of
  # the file `folds`; where it has no validation part, a fifth of the training
  # speakers validates. in_turn: each of `test_speakers`, unlabelled where the
  # others teach, and tested in `test_session`. What only another
  # method reads has to be empty.
  split.method = "shuffle"
  split.seed = 42  # With it `shuffle` has the published test speakers.
  # Comma-separated; a name with a comma in double quotes: '"Smith, Jo",B'.
  # DANN has no validation part: the former is empty there.
  split.validation_speakers = ""
  split.test_speakers = ""
  split.num_folds = 5
  # A CSV file with the columns path, part (train, validation or test) and fold;
  # or a folder of EmoBox's files (fold_1/NAME_train_fold_1.jsonl and so on).
  split.folds = ""
  split.group = "speaker"  # Or "session", "corpus".
  # Each a setting: the sessions that are labelled, "1234" is TS 1234; longer
  # names have commas between them, "train,dev".
  split.labelled_sessions = ()
  split.test_session = "5"
  return split
