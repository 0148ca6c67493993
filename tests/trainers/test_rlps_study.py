"""Whole small studies: what they leave, find, survive, and say about it."""

import csv
import json
import math
import signal

import jax
import numpy as np
import pytest
from PIL import Image
from scipy import special
from sklearn import metrics

import emojax
from configs import rlps as rlps_config
from emojax import summary as summaries
from emojax.corpora.faces import demo
from emojax.errors import UserError
from emojax.inference import clean
from emojax.reports import rlps as reports
from emojax.runtime import tensors
from emojax.summary import read_arrays
from emojax.synthetic import schematic
from emojax.systems import classifiers
from emojax.trainers import fit, rlps
from emojax.trainers.rlps import SelectorTraining, audit, train

NUM_TRAIN = 64
LABELS = {
  "none": "DCNN",
  "sigmoid": "DCNN+Sigmoid",
  "rlps_f1": "DCNN+RLPS+F1",
  "rlps": "DCNN+RLPS",
  "small_loss": "DCNN+small loss",
  "random": "DCNN+random",
}
LEARNED, RIVALS = ("sigmoid", "rlps_f1", "rlps"), ("small_loss", "random")


@pytest.fixture(scope="module", autouse=True)
def quick(tmp_path_factory):
  """Programs are compiled, and faces decoded, once for all tests here."""
  with pytest.MonkeyPatch.context() as patch:
    patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
    patch.setattr(clean, "_SHOWN", 3)
    yield


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
  return write_faces(tmp_path_factory.mktemp("faces"), NUM_TRAIN)


def write_faces(folder, num_train):
  """Schematic faces of two emotions."""
  parts = ["train"] * num_train + ["validation"] * 40 + ["test"] * 40
  emotions = ["happy", "surprised"] * (len(parts) // 2)
  images = schematic.render(emotions, seed=0)
  rows = zip(parts, emotions, images, strict=True)
  for number, (part, emotion, image) in enumerate(rows):
    path = folder / part / emotion / f"{number:03d}.png"
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image).save(path)
  return folder


def make_config(corpus, **changes):
  config = rlps_config.get_config()
  config.data.corpus, config.data.path = "image_folder", str(corpus)
  config.data.labels = "happy,surprised"
  config.data.image_size = (16, 16)
  config.model.widths = (8, 16, 16, 16, 16, 16)
  config.model.hidden = 32
  config.optimizer.learning_rate = 0.03
  config.policy.widths = (8,)
  config.policy.batch_size = 32
  config.policy.pretraining_epochs = 2
  config.batch_size = 16
  config.checkpoint_every = 100
  config.num_replicates = 1
  config.pretraining_epochs, config.num_epochs = 1, 2
  with config.unlocked():
    config.update_from_flattened_dict(changes)
  return config


@pytest.fixture(scope="module")
def everything(corpus):
  """The config of a study of all systems."""
  return make_config(corpus, **{"data.noise": ("symmetric",)})


@pytest.fixture(scope="module")
def whole(everything, tmp_path_factory):
  """Its folder and its summary."""
  workdir = tmp_path_factory.mktemp("whole")
  return workdir, train(everything, workdir)


def read(workdir, name):
  return read_arrays(workdir / f"{name}.npz")


def rows_of(summary):
  return {row.system: row for row in summary.rows}


def test_what_a_study_leaves(everything, whole, capsys):
  workdir, summary = whole
  assert {one.id: one.label for one in summary.systems} == LABELS
  assert [row.system for row in summary.rows] == list(LABELS)
  assert summary.study == "rlps"
  assert summary.settings == ["30 % symmetric label noise"]
  assert summary.test_digest
  names = {path.name for path in workdir.iterdir()}
  figures = {
    *("gallery-1.png", "retention-1.png", "rewards-1.png"),
    "sampled-rewards-1.png",
  }
  others = {"config.json", "history.npz", "selections.npz", "report.md"}
  others |= {"summary.json", "runs", "model"}
  assert names == figures | others
  report = (workdir / "report.md").read_text(encoding="utf-8")
  for file in figures:
    assert f"({file})" in report
  assert summaries.read(workdir) == summary
  pairs = {(one.a, one.b) for one in summary.comparisons}
  others = [one for one in LABELS if one not in ("none", "rlps")]
  assert pairs == {("rlps", one) for one in ("none", *others)} | {
    (one, "none") for one in others
  }
  curve = read(workdir, "history")[
    summaries.history_name(summary.settings[0], "rlps", summary.curve)
  ]
  assert curve.shape == (1, 2)
  # A finished study is not run again.
  assert train(everything, workdir) == summary
  assert "DCNN+small loss" in capsys.readouterr().out


def test_figures_are_those_of_the_selections(whole):
  workdir, summary = whole
  found, setting = read(workdir, "selections"), summary.settings[0]
  wrong = found[f"{setting}/label"] != found[f"{setting}/true_label"]
  assert wrong.sum() == round(0.3 * NUM_TRAIN)
  np.testing.assert_array_equal(
    found[f"{setting}/kind"] == "wrong label", wrong
  )
  for system, row in rows_of(summary).items():
    if system == "none":
      assert set(row.groups) == {"class_recall"}
      continue
    retained = found[f"{setting}/{system}/0/retained"]
    # What has a number to retain orders by what is no probability.
    score = "score" if system in RIVALS else "probability"
    probability = found[f"{setting}/{system}/0/{score}"]
    for kind, rows in (("right", ~wrong), ("wrong", wrong)):
      share = row.groups["retention"][f"{kind} label"].mean
      assert share == pytest.approx(retained[rows].mean())
    for index, name in enumerate(summary.classes):
      share = row.groups["class_retention"][name].mean
      of_class = found[f"{setting}/label"] == index
      assert share == pytest.approx(retained[of_class].mean())
    auc = row.groups["noise_detection"]["auc"].mean
    assert auc == pytest.approx(metrics.roc_auc_score(wrong, -probability))
    if system in LEARNED:
      np.testing.assert_array_equal(retained, probability >= 0.5)


def test_test_figures_are_scikit_learns(whole):
  workdir, summary = whole
  for system, row in rows_of(summary).items():
    (path,) = (workdir / "runs").glob(f"*/{system}/seed-0/outputs.npz")
    confusion = read_arrays(path)["confusion"]
    # 20 faces of each of two emotions.
    np.testing.assert_array_equal(confusion.sum(1), [20, 20])
    true, predicted = (
      np.indices((2, 2)).reshape(2, 4).repeat(confusion.ravel(), axis=1)
    )
    for name, expected in (
      ("weighted_accuracy", metrics.accuracy_score(true, predicted)),
      ("unweighted_accuracy", metrics.balanced_accuracy_score(true, predicted)),
      ("macro_f1", metrics.f1_score(true, predicted, average="macro")),
    ):
      assert row.metrics[name].mean == pytest.approx(expected)


def of_runs(workdir):
  """Figures and outputs of all runs but pretraining, by system."""
  found = {}
  for path in (workdir / "runs").glob("*/*/seed-0/figures.json"):
    system = path.parts[-3]
    if system != "pretraining":
      figures = json.loads(path.read_text(encoding="utf-8"))
      found[system] = figures, read_arrays(path.with_name("outputs.npz"))
  return found


def test_the_trained_system_predicts_what_the_study_tested(whole, corpus):
  workdir, summary = whole
  found = of_runs(workdir)
  scores = [found[name][0][reports.CURVE] for name in LABELS]
  best = list(LABELS)[int(np.argmax(scores))]
  figures, outputs = found[best]
  report = (workdir / "report.md").read_text(encoding="utf-8")
  name = f"{summary.settings[0]}, {LABELS[best]}, seed 0"
  assert f"`model/` holds the classifier of {name}, and the selector" in report
  predictions = emojax.load(workdir).predict(corpus / "test")
  paths = sorted(map(str, (corpus / "test").rglob("*.png")))
  assert predictions.names == {"path": paths}
  expected = special.softmax(
    outputs["test_logits"] / figures["temperature"], axis=1
  )
  np.testing.assert_allclose(predictions.probabilities_UxC, expected, atol=1e-5)
  true = [path.split("/")[-2] for path in paths]
  np.testing.assert_array_equal(
    metrics.confusion_matrix(true, predictions.emotions), outputs["confusion"]
  )


def cleaned(workdir, data, folder):
  """What `clean` writes: rows that stay and rows that go, by path."""
  text = clean.clean(workdir, str(data), None, str(folder / "kept.csv"))
  found = []
  for name in ("kept.csv", "kept-removed.csv"):
    with open(folder / name, encoding="utf-8", newline="") as file:
      found.append({row["path"]: row for row in csv.DictReader(file)})
  return text, *found


def test_the_selector_selects_as_the_study_did(whole, corpus, tmp_path):
  workdir, _ = whole
  _, outputs = of_runs(workdir)["rlps"]
  text, kept, removed = cleaned(workdir, corpus, tmp_path)
  train = sorted(map(str, (corpus / "train").rglob("*.png")))
  retained = [path in kept for path in train]
  np.testing.assert_array_equal(retained, outputs["retained"])
  assert set(removed) == {p for p in train if p not in kept}
  rows = [(kept | removed)[path] for path in train]
  found = [float(row["probability"]) for row in rows]
  # To the last digit of the list.
  np.testing.assert_allclose(found, outputs["probability"], atol=6e-7)
  ranks = [int(row["rank"]) for row in rows]
  assert sorted(ranks) == list(range(1, NUM_TRAIN + 1))
  assert (np.diff(np.array(found)[np.argsort(ranks)]) <= 1e-6).all()
  assert f"{sum(retained)} of {NUM_TRAIN} stay: happy " in text
  # The other parts are as they were, and nothing is said of them.
  others = [row for path, row in kept.items() if path not in train]
  assert len(others) == 80
  assert {row["probability"] + row["rank"] for row in others} == {""}
  for name in ("best", "worst", "contested"):
    with Image.open(tmp_path / f"kept-{name}.png") as picture:
      assert picture.size[0] > 300


def test_what_stays_is_trained_on_again(whole, corpus, tmp_path, monkeypatch):
  monkeypatch.setattr(reports, "_figures", lambda *_: ())
  _, kept, _ = cleaned(whole[0], corpus, tmp_path)
  config = make_config(tmp_path / "kept.csv", systems=("none",), num_epochs=1)
  config.data.corpus = "manifest"
  summary = train(config, tmp_path / "run")
  assert summary.classes == ("happy", "surprised")
  (data,) = rlps._read(config)
  stays = [path for path in kept if kept[path]["part"] == "train"]
  np.testing.assert_array_equal(data.name_N, stays)


def test_only_runs_that_may_be_the_best_leave_weights(whole):
  workdir, _ = whole
  found, highest = of_runs(workdir), -1
  for name in LABELS:
    (path,) = (workdir / "runs").glob(f"*/{name}/seed-0")
    parts = set()
    if found[name][0][reports.CURVE] > highest:
      highest, parts = found[name][0][reports.CURVE], {"system"}
    if name == "rlps":
      parts.add("selector")
    weights = path / "weights.safetensors"
    assert set(tensors.load(weights) if weights.exists() else ()) == parts


def test_rivals_retain_as_many_as_rlps(whole):
  workdir, summary = whole
  history, found = read(workdir, "history"), read(workdir, "selections")
  setting = summary.settings[0]

  def counts_of(system):
    return history[summaries.history_name(setting, system, "retained")][0]

  counts = counts_of("rlps")
  assert ((counts > 0) & (counts < NUM_TRAIN)).all()
  last = found[f"{setting}/rlps/0/retained"].sum()
  for rival in RIVALS:
    np.testing.assert_array_equal(counts_of(rival), counts)
    retained = found[f"{setting}/{rival}/0/retained"]
    score = found[f"{setting}/{rival}/0/score"]
    assert retained.sum() == last
    # The small loss is the high probability of the label.
    if 0 < last < NUM_TRAIN:
      assert score[retained].min() >= score[~retained].max()
  one, other = (found[f"{setting}/{s}/0/score"] for s in RIVALS)
  assert abs(np.corrcoef(one, other)[0, 1]) < 0.5
  assert counts_of("none").tolist() == [NUM_TRAIN] * 2


def test_without_a_selector_it_is_plain_training(everything, whole):
  workdir, _ = whole
  (data,) = rlps._read(everything)
  examples = fit.Examples(
    classifiers.of(classifiers.describe(everything, data.classes)),
    data.parts,
    rlps.optimizer(everything),
    everything.batch_size,
  )
  key = jax.random.fold_in(jax.random.key(everything.seed), 0)
  (run,) = (workdir / "runs").glob("*")
  start = tensors.load(run / "pretraining" / "seed-0" / "weights.safetensors")
  learner = examples.learner(start)
  scores, confusions = [], []
  retained = np.ones(NUM_TRAIN, bool)
  for epoch in (1, 2):  # The pretraining was epoch 0.
    learner, _ = rlps.classifier_epoch(
      everything, examples, learner, retained, key, epoch
    )
    for part, found in (("validation", scores), ("test", confusions)):
      logits, _ = examples.predict(learner.variables, part)
      found.append(
        metrics.confusion_matrix(data.parts[part].label_N, logits.argmax(1))
      )
  recall = [(one.diagonal() / one.sum(1)).mean() for one in scores]
  run = run / "none" / "seed-0"
  ours = read_arrays(run / "outputs.npz")["confusion"]
  np.testing.assert_array_equal(ours, confusions[int(np.argmax(recall))])
  one = json.loads((run / "figures.json").read_text(encoding="utf-8"))
  assert one["best_epoch"] == 1 + np.argmax(recall)
  assert one["validation_unweighted_accuracy"] == pytest.approx(max(recall))


def test_a_resumed_run_equals_an_uninterrupted_one(
  everything, whole, tmp_path, monkeypatch, stop_after
):
  workdir, summary = whole
  # After the first of two epochs: of the classifier alone, then of RLPS.
  for count in (2, 6):
    with monkeypatch.context() as patch:
      stop_after(patch, count)
      with pytest.raises(SystemExit) as stopped:
        train(everything, tmp_path)
      assert stopped.value.code == 128 + signal.SIGTERM
  assert train(everything, tmp_path) == summary
  for name in ("history", "selections"):
    one, other = read(workdir, name), read(tmp_path, name)
    assert set(one) == set(other)
    for key, values in one.items():
      np.testing.assert_array_equal(values, other[key], err_msg=key)


@pytest.fixture
def only_rlps(monkeypatch):
  """The settings of one run, without figures."""
  monkeypatch.setattr(reports, "_figures", lambda *_: ())
  return {
    "systems": ("rlps",),
    "data.noise": ("intercepted",),
  }


def test_images_without_a_face_end_with_a_lower_probability(
  tmp_path, monkeypatch, only_rlps
):
  """The demo, with fewer and smaller images, and a single epoch."""
  counts = {"train": 560, "validation": 56, "test": 56}
  monkeypatch.setattr(demo, "_COUNTS", counts)
  config = rlps_config.get_config()
  with config.unlocked():
    config.update_from_flattened_dict(only_rlps)
  config.num_replicates = config.num_epochs = 1
  config.pretraining_epochs = 12
  config.data.image_size = (32, 32)
  config.model.widths = (8, 16, 16, 16, 32, 32)
  config.model.hidden = 64
  config.optimizer.learning_rate = 0.02
  config.policy.widths = (128, 64, 32)
  config.policy.batch_size = 32
  summary = train(config, tmp_path / "run")
  assert summary.demo
  (row,) = summary.rows
  found = read(tmp_path / "run", "selections")
  probability = found["half and no faces/rlps/0/probability"]
  kind = found["half and no faces/kind"]
  full, none = (
    probability[kind == f"{name} face"].mean() for name in ("full", "none")
  )
  assert full - none > 0.35
  assert row.groups["noise_detection"]["auc"].mean > 0.7
  kept = row.groups["retention"]
  assert kept["full face"].mean - kept["none face"].mean > 0.35


def always(monkeypatch, logit):
  """A policy that does the same with every image, and cannot unlearn it."""
  original = SelectorTraining._pretrained

  def pretrained(self, *arguments):
    policy = original(self, *arguments)
    output = {
      "kernel": 0 * policy.params["output"]["kernel"],
      "bias": 0 * policy.params["output"]["bias"] + logit,
    }
    return policy.replace(params={**policy.params, "output": output})

  monkeypatch.setattr(SelectorTraining, "_pretrained", pretrained)


def test_a_selector_that_keeps_nothing(
  corpus, tmp_path, monkeypatch, only_rlps
):
  always(monkeypatch, -1e4)
  summary = train(make_config(corpus, **only_rlps), tmp_path)
  (row,) = summary.rows
  assert row.groups["retention"]["all"].mean == 0
  assert row.groups["noise_detection"]["recall"].mean == 1
  assert row.groups["class_retention"]["happy"].mean == 0
  report = (tmp_path / "report.md").read_text(encoding="utf-8")
  assert (
    "seed 0: in 2 epochs nothing was retained, and the classifier waited."
    in report
  )
  assert "vanished" not in report
  history = read(tmp_path, "history")
  prefix = "half and no faces/rlps"
  assert history[f"{prefix}/retained"][0].tolist() == [0, 0]
  recall = history[f"{prefix}/validation_unweighted_accuracy"][0]
  assert recall[0] == recall[1]


def test_a_selector_that_keeps_everything(
  corpus, tmp_path, monkeypatch, only_rlps
):
  """It trains the classifier alone, run by run."""
  always(monkeypatch, 1e4)
  settings = only_rlps | {"systems": ("none", "rlps"), "num_replicates": 2}
  summary = train(make_config(corpus, **settings), tmp_path)
  alone, row = summary.rows
  assert len(row.metrics["macro_f1"].runs) == 2
  assert row.metrics == alone.metrics
  for one in summary.comparisons:
    assert (one.a, one.b) == ("rlps", "none")
    assert (one.difference, one.p_value) == (0, 1)
  assert row.groups["retention"]["all"].runs == (1, 1)
  assert row.groups["noise_detection"]["precision"] is None
  report = (tmp_path / "report.md").read_text(encoding="utf-8")
  for seed in range(2):
    assert f"seed {seed}: in 2 epochs everything was retained." in report
  assert report.count("everything was retained") == 2


def test_the_retention_floor(corpus, tmp_path, monkeypatch, only_rlps):
  always(monkeypatch, -1e4)
  summary = train(
    make_config(corpus, retention_floor=0.3, **only_rlps), tmp_path
  )
  expected = math.ceil(0.3 * NUM_TRAIN / 2)
  (row,) = summary.rows
  for name in summary.classes:
    share = row.groups["class_retention"][name].mean
    assert share == pytest.approx(expected / (NUM_TRAIN / 2))
  (run,) = of_runs(tmp_path).values()
  _, kept, _ = cleaned(tmp_path, corpus, tmp_path / "again")
  # Its pixels are others: the study had cut some of them.
  assert len(kept) == 80 + run[1]["retained"].sum() == 80 + 2 * expected
  history = read(tmp_path, "history")
  counts = history["half and no faces/rlps/retained_of_classes"][0]
  np.testing.assert_array_equal(counts, np.full((2, 2), expected))
  report = (tmp_path / "report.md").read_text(encoding="utf-8")
  assert "Of each class DCNN+RLPS retain 30 % at least" in report
  assert "nothing was retained" not in report


def test_a_class_that_vanishes(corpus, tmp_path, monkeypatch, only_rlps):
  original = SelectorTraining._selection

  def without_the_first_class(self, *arguments):
    found, _ = original(self, *arguments)
    retained_N = self._examples.label_N > 0
    return found._replace(retained_N=retained_N), retained_N

  monkeypatch.setattr(SelectorTraining, "_selection", without_the_first_class)
  summary = train(make_config(corpus, **only_rlps), tmp_path)
  (row,) = summary.rows
  assert row.groups["class_retention"]["happy"].mean == 0
  assert row.groups["class_retention"]["surprised"].mean == 1
  report = (tmp_path / "report.md").read_text(encoding="utf-8")
  assert "in 2 epochs a class vanished from what was retained." in report


def test_a_class_that_nobody_tests():
  recall = reports._recall(np.array([[3, 1], [0, 0]]))
  np.testing.assert_array_equal(recall, [0.75, np.nan])


def test_settings(corpus):
  """Noise is in the training part, and every kind of it is known."""
  kinds = ("none", "intercepted", "symmetric", "class_dependent")
  config = make_config(corpus, **{"data.noise": kinds})
  clean, cut, symmetric, dependent = data_sets = rlps._read(config)
  tables = audit(config)
  assert list(tables) == [
    "as it is",
    "half and no faces",
    "30 % symmetric label noise",
    "30 % class-dependent label noise",
  ]
  cells = tables["as it is"].splitlines()[2].split()
  assert [cell for cell in cells if cell != "|"] == ["train", "64", "32", "32"]
  assert clean.noisy_N is None
  assert not clean.demo
  images = clean.train.inputs()
  for data in data_sets[1:]:
    for part in ("validation", "test"):
      assert data.parts[part] is clean.parts[part]
    np.testing.assert_array_equal(data.true_label_N, clean.train.label_N)
  # Section 4.5: a half, a quarter, a quarter.
  assert np.bincount(cut.kind_N).tolist() == [32, 16, 16]
  np.testing.assert_array_equal(cut.noisy_N, cut.kind_N == 2)
  same = (cut.train.inputs() == images).all((1, 2, 3))
  np.testing.assert_array_equal(same, cut.kind_N == 0)
  for data in (symmetric, dependent):
    wrong = data.train.label_N != data.true_label_N
    np.testing.assert_array_equal(wrong, data.noisy_N)
    assert 18 <= wrong.sum() <= 20  # Of each class, or of all.
    np.testing.assert_array_equal(data.train.inputs(), images)


def test_rlps_s_chooses_once_from_folds(corpus, tmp_path):
  """The same examples stay in every epoch, and a list of them is left."""
  settings = {
    "systems": ("none", "rlps_s"),
    "data.noise": ("none",),
    "label_policy.folds": 2,
    "label_policy.epochs": 2,
    "label_policy.floor": 0.5,
  }
  summary = train(make_config(corpus, **settings), tmp_path)
  setting = summary.settings[0]
  assert summary.label("rlps_s") == "DCNN+RLPS-S"
  pairs = {(one.a, one.b) for one in summary.comparisons}
  assert pairs == {("rlps_s", "none")}
  retained = read_arrays(tmp_path / "selections.npz")[
    f"{setting}/rlps_s/0/retained"
  ]
  history = read_arrays(tmp_path / "history.npz")[f"{setting}/rlps_s/retained"]
  assert (history == retained.sum()).all() and retained.sum() >= NUM_TRAIN // 2
  # `emojax clean` writes what the study found.
  assert "`emojax clean` writes it as a list" in summary.model
  output = tmp_path / "kept.csv"
  clean.clean(tmp_path, str(corpus), None, str(output))
  kept, removed = (
    list(csv.DictReader(path.read_text(encoding="utf-8").splitlines()))
    for path in (output, tmp_path / "kept-removed.csv")
  )
  names = read_arrays(tmp_path / "selections.npz")[f"{setting}/name"]
  judged = {
    f"{row['part']}/{row['label']}/{row['path'].rpartition('/')[2]}"
    for row in kept
    if row["probability"]
  }
  assert judged == set(names[retained].tolist())
  assert len(kept) == len(judged) + 80  # And the validation and test parts.
  assert len(removed) == NUM_TRAIN - len(judged)
  for row in removed:
    assert float(row["probability"]) < 0.5 and row["predicted"]


@pytest.mark.parametrize(
  ("systems", "noise"),
  [(("rlps_s",), "symmetric"), (("rlps", "rlps_s"), "none")],
  ids=("noise of the study", "a selector beside it"),
)
def test_rlps_s_leaves_no_list(corpus, tmp_path, systems, noise):
  settings = {
    "systems": systems,
    "data.noise": (noise,),
    "label_policy.folds": 2,
    "label_policy.epochs": 1,
    "num_epochs": 1,
  }
  summary = train(make_config(corpus, **settings), tmp_path)
  assert "emojax clean" not in summary.model
  assert not (tmp_path / "judged.npz").exists()
  if "rlps" not in systems:
    with pytest.raises(UserError, match=r"if no noise was added"):
      clean.clean(tmp_path, str(corpus), None, str(tmp_path / "kept.csv"))
