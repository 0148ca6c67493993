"""Whole small studies: what they leave, find, survive, and say about it."""

import json
import math
import signal

import jax
import numpy as np
import pytest
from PIL import Image
from sklearn import metrics

from configs import rlps as rlps_config
from emojax.corpora.faces import demo
from emojax.runtime import tensors
from emojax.synthetic import schematic
from emojax.trainers.rlps import audit, evidence, faces, study, train
from emojax.trainers.rlps.fitting import Fitting
from emojax.trainers.rlps.training import Cleaning

NUM_TRAIN = 64
ALL = ("DCNN", "DCNN+Sigmoid", "DCNN+RLPS+F1", "DCNN+RLPS")
ALL += ("DCNN+small loss", "DCNN+random")


@pytest.fixture(scope="module", autouse=True)
def quick(tmp_path_factory, compiled_once):
  """Programs are compiled, and faces decoded, once for all tests here."""
  with pytest.MonkeyPatch.context() as patch:
    patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
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
  return dict(np.load(workdir / f"{name}.npz"))


def rows_of(summary):
  return {row["system"]: row for row in summary["rows"]}


def test_what_a_study_leaves(everything, whole, capsys):
  workdir, summary = whole
  assert [row["system"] for row in summary["rows"]] == list(ALL)
  assert summary["study"] == "rlps"
  setting = "30 % symmetric label noise"
  assert {row["setting"] for row in summary["rows"]} == {setting}
  names = {path.name for path in workdir.iterdir()}
  figures = {
    *("gallery-1.png", "retention-1.png", "rewards-1.png"),
    "sampled-rewards-1.png",
  }
  others = {"config.json", "history.npz", "selections.npz", "report.md"}
  assert names == figures | others | {"summary.json", "runs"}
  report = (workdir / "report.md").read_text()
  for file in figures:
    assert f"({file})" in report
  assert json.loads((workdir / "summary.json").read_text()) == summary
  pairs = {(one["a"], one["b"]) for one in summary["comparisons"]}
  assert pairs == {("DCNN+RLPS", s) for s in ALL if s != "DCNN+RLPS"}
  # A finished study is not run again.
  assert train(everything, workdir) == summary
  assert "DCNN+small loss" in capsys.readouterr().out


def test_figures_are_those_of_the_selections(whole):
  workdir, summary = whole
  found, setting = read(workdir, "selections"), summary["rows"][0]["setting"]
  wrong = found[f"{setting}/label"] != found[f"{setting}/true_label"]
  assert wrong.sum() == round(0.3 * NUM_TRAIN)
  np.testing.assert_array_equal(
    found[f"{setting}/kind"] == "wrong label", wrong
  )
  for system, row in rows_of(summary).items():
    if system == "DCNN":
      assert "retention" not in row
      continue
    retained = found[f"{setting}/{system}/0/retained"]
    probability = found[f"{setting}/{system}/0/probability"]
    for kind, rows in (("right", ~wrong), ("wrong", wrong)):
      share = row["retention"][f"{kind} label"]["mean"]
      assert share == pytest.approx(retained[rows].mean())
    for index, name in enumerate(summary["classes"]):
      share = row["class_retention"][name]["mean"]
      of_class = found[f"{setting}/label"] == index
      assert share == pytest.approx(retained[of_class].mean())
    auc = row["removal"]["auc"]["mean"]
    assert auc == pytest.approx(metrics.roc_auc_score(wrong, -probability))
    if system in ALL[1:4]:
      np.testing.assert_array_equal(retained, probability >= 0.5)


def test_test_figures_are_scikit_learns(whole):
  workdir, summary = whole
  rows = rows_of(summary)
  for path in (workdir / "runs").rglob("outputs.npz"):
    confusion = np.load(path)["confusion"]
    one = json.loads((path.parent / "summary.json").read_text())
    # 20 faces of each of two emotions.
    np.testing.assert_array_equal(confusion.sum(1), [20, 20])
    true, predicted = (
      np.indices((2, 2)).reshape(2, 4).repeat(confusion.ravel(), axis=1)
    )
    row = rows[one["system"]]
    for name, expected in (
      ("total_accuracy", metrics.accuracy_score(true, predicted)),
      ("macro_recall", metrics.balanced_accuracy_score(true, predicted)),
      ("f1", metrics.f1_score(true, predicted, average="macro")),
    ):
      assert row[name]["mean"] == pytest.approx(expected)


def test_rivals_retain_as_many_as_rlps(whole):
  workdir, summary = whole
  history, found = read(workdir, "history"), read(workdir, "selections")
  setting = summary["rows"][0]["setting"]

  def of(system):
    return f"{setting}/{system}/0"

  counts = history[f"{of('DCNN+RLPS')}/retained"]
  assert ((counts > 0) & (counts < NUM_TRAIN)).all()
  last = found[f"{of('DCNN+RLPS')}/retained"].sum()
  for rival in ALL[4:]:
    np.testing.assert_array_equal(history[f"{of(rival)}/retained"], counts)
    retained = found[f"{of(rival)}/retained"]
    score = found[f"{of(rival)}/probability"]
    assert retained.sum() == last
    # The small loss is the high probability of the label.
    if 0 < last < NUM_TRAIN:
      assert score[retained].min() >= score[~retained].max()
  one, other = (found[f"{of(s)}/probability"] for s in ALL[4:])
  assert abs(np.corrcoef(one, other)[0, 1]) < 0.5
  assert history[f"{of('DCNN')}/retained"].tolist() == [NUM_TRAIN] * 2


def test_without_a_selector_it_is_plain_training(everything, whole):
  workdir, _ = whole
  (material,) = faces.read(everything)
  classifier = study._classifier(everything, material.classes)
  fitting = Fitting(everything, classifier, material)
  key = jax.random.fold_in(jax.random.key(everything.seed), 0)
  (run,) = (workdir / "runs").glob("*/seed-0")
  start = tensors.load(run / "pretraining" / "pretrained.safetensors")
  learner = fitting.learner(start)
  scores, predictions = [], []
  retained = np.ones(NUM_TRAIN, bool)
  for epoch in (1, 2):  # The pretraining was epoch 0.
    learner, _ = fitting.epoch(learner, retained, key, epoch)
    for part, found in (("validation", scores), ("test", predictions)):
      predicted = fitting.logits(learner.variables, part).argmax(1)
      found.append(
        metrics.confusion_matrix(material.parts[part].label_N, predicted)
      )
  recall = [(one.diagonal() / one.sum(1)).mean() for one in scores]
  ours = np.load(run / "DCNN" / "outputs.npz")["confusion"]
  np.testing.assert_array_equal(ours, predictions[int(np.argmax(recall))])
  one = json.loads((run / "DCNN" / "summary.json").read_text())
  assert one["best_epoch"] == 1 + np.argmax(recall)
  assert one["validation_macro_recall"] == pytest.approx(max(recall))


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
  monkeypatch.setattr(evidence, "_exhibits", lambda *_: ())
  return {
    "systems": ("rlps",),
    "data.noise": ("intercepted",),
  }


def test_images_without_a_face_end_with_a_lower_probability(tmp_path):
  """The demo, with RLPS alone and fewer epochs."""
  config = rlps_config.get_config()
  config.systems = ("rlps",)
  config.num_replicates, config.num_epochs = 1, 3
  summary = train(config, tmp_path / "run")
  (row,) = summary["rows"]
  found = read(tmp_path / "run", "selections")
  probability = found["half and no faces/DCNN+RLPS/0/probability"]
  kind = found["half and no faces/kind"]
  full, none = (
    probability[kind == f"{name} face"].mean() for name in ("full", "none")
  )
  assert full - none > 0.35
  assert row["removal"]["auc"]["mean"] > 0.7
  kept = row["retention"]
  assert kept["full face"]["mean"] - kept["none face"]["mean"] > 0.35


def always(monkeypatch, logit):
  """A policy that does the same with every image, and cannot unlearn it."""
  original = Cleaning._pretrained

  def pretrained(self, *arguments):
    policy = original(self, *arguments)
    output = {
      "kernel": 0 * policy.params["output"]["kernel"],
      "bias": 0 * policy.params["output"]["bias"] + logit,
    }
    return policy.replace(params={**policy.params, "output": output})

  monkeypatch.setattr(Cleaning, "_pretrained", pretrained)


def test_a_selector_that_keeps_nothing(
  corpus, tmp_path, monkeypatch, only_rlps
):
  always(monkeypatch, -1e4)
  summary = train(make_config(corpus, **only_rlps), tmp_path)
  (row,) = summary["rows"]
  assert row["retention"]["all"]["mean"] == 0
  assert row["removal"]["recall"]["mean"] == 1
  assert row["class_retention"]["happy"]["mean"] == 0
  report = (tmp_path / "report.md").read_text()
  assert (
    "seed 0: in 2 epochs nothing was retained, and the classifier waited."
    in report
  )
  assert "vanished" not in report
  history = read(tmp_path, "history")
  prefix = "half and no faces/DCNN+RLPS/0"
  assert history[f"{prefix}/retained"].tolist() == [0, 0]
  recall = history[f"{prefix}/validation_macro_recall"]
  assert recall[0] == recall[1]


def test_a_selector_that_keeps_everything(
  corpus, tmp_path, monkeypatch, only_rlps
):
  """It trains the classifier alone, run by run."""
  always(monkeypatch, 1e4)
  settings = only_rlps | {"systems": ("none", "rlps"), "num_replicates": 2}
  summary = train(make_config(corpus, **settings), tmp_path)
  alone, row = summary["rows"]
  for name in summary["metrics"]:
    assert len(row[name]["runs"]) == 2
    assert row[name] == alone[name]
  for one in summary["comparisons"]:
    assert (one["a"], one["b"]) == ("DCNN+RLPS", "DCNN")
    assert (one["difference"], one["p_value"]) == (0, 1)
  assert row["retention"]["all"]["runs"] == [1, 1]
  assert row["removal"]["precision"] is None
  report = (tmp_path / "report.md").read_text()
  for seed in range(2):
    assert f"seed {seed}: in 2 epochs everything was retained." in report
  assert report.count("everything was retained") == 2


def test_the_retention_floor(corpus, tmp_path, monkeypatch, only_rlps):
  always(monkeypatch, -1e4)
  summary = train(
    make_config(corpus, retention_floor=0.3, **only_rlps), tmp_path
  )
  expected = math.ceil(0.3 * NUM_TRAIN / 2)
  (row,) = summary["rows"]
  for name in summary["classes"]:
    share = row["class_retention"][name]["mean"]
    assert share == pytest.approx(expected / (NUM_TRAIN / 2))
  history = read(tmp_path, "history")
  counts = history["half and no faces/DCNN+RLPS/0/retained_of_classes"]
  np.testing.assert_array_equal(counts, np.full((2, 2), expected))
  report = (tmp_path / "report.md").read_text()
  assert "At least 30 % of each class" in report
  assert "nothing was retained" not in report


def test_a_class_that_vanishes(corpus, tmp_path, monkeypatch, only_rlps):
  original = Cleaning._pass

  def without_the_first_class(self, *arguments):
    found = original(self, *arguments)
    return found._replace(retained_N=self._fitting.label_N > 0)

  monkeypatch.setattr(Cleaning, "_pass", without_the_first_class)
  summary = train(make_config(corpus, **only_rlps), tmp_path)
  (row,) = summary["rows"]
  assert row["class_retention"]["happy"]["mean"] == 0
  assert row["class_retention"]["surprised"]["mean"] == 1
  report = (tmp_path / "report.md").read_text()
  assert "in 2 epochs a class vanished from what was retained." in report


def test_a_class_that_nobody_tests():
  recall = evidence._recall(np.array([[3, 1], [0, 0]]))
  np.testing.assert_array_equal(recall, [0.75, np.nan])


def test_settings(corpus):
  """Noise is in the training part, and every kind of it is known."""
  noise = ("none", "intercepted", "symmetric", "class_dependent")
  config = make_config(corpus, **{"data.noise": noise})
  clean, cut, symmetric, dependent = materials = list(faces.read(config))
  tables = audit(config)
  assert list(tables) == [
    "as it is",
    "half and no faces",
    "30 % symmetric label noise",
    "30 % class-dependent label noise",
  ]
  assert "| train | 64 | 32 | 32 |" in tables["as it is"]
  assert clean.noisy_N is None
  assert not clean.demo
  train_images = clean.parts["train"].inputs
  for material in materials[1:]:
    for part in ("validation", "test"):
      assert material.parts[part] is clean.parts[part]
    np.testing.assert_array_equal(
      material.true_label_N, clean.parts["train"].label_N
    )
  # Section 4.5: a half, a quarter, a quarter.
  assert np.bincount(cut.kind_N).tolist() == [32, 16, 16]
  np.testing.assert_array_equal(cut.noisy_N, cut.kind_N == 2)
  same = (cut.parts["train"].inputs == train_images).all((1, 2, 3))
  np.testing.assert_array_equal(same, cut.kind_N == 0)
  np.testing.assert_array_equal(cut.picture_N, cut.parts["train"].inputs)
  for material in (symmetric, dependent):
    wrong = material.parts["train"].label_N != material.true_label_N
    np.testing.assert_array_equal(wrong, material.noisy_N)
    assert 18 <= wrong.sum() <= 20  # Of each class, or of all.
    assert material.parts["train"].inputs is train_images


def test_the_demo_corpus_says_so(monkeypatch):
  counts = {"train": 14, "validation": 7, "test": 7}
  monkeypatch.setattr(demo, "_COUNTS", counts)
  config = rlps_config.get_config()
  (material,) = faces.read(config)
  assert material.demo
