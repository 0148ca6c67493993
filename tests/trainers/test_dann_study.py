"""Whole small studies from feature tables: what is measured, what is left."""

import dataclasses
import json
import math
import os

import jax
import numpy as np
import pytest
from jax.experimental.compilation_cache import compilation_cache
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from configs import dann as dann_config
from emojax.data import table as tables
from emojax.errors import UserError
from emojax.trainers.dann import groups, search, train

METRICS = ("weighted_accuracy", "unweighted_accuracy", "macro_f1")


@pytest.fixture(scope="module", autouse=True)
def quick_compilation(tmp_path_factory):
  """Programs are optimised little here, and compiled once."""
  cache = str(tmp_path_factory.mktemp("compiled"))
  try:
    jax.config.update("jax_disable_most_optimizations", True)
    jax.config.update("jax_compilation_cache_dir", cache)
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.2)
    compilation_cache.reset_cache()
    yield
  finally:
    jax.config.update("jax_disable_most_optimizations", False)
    jax.config.update("jax_compilation_cache_dir", None)
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 1.0)
    compilation_cache.reset_cache()


def make_config(path, table, **changes):
  """A small study of a table: a step an epoch, one shape for everything."""
  tables.save(path, table)
  config = dann_config.get_config("table2")
  config.data.corpus, config.data.path = "table", str(path)
  config.model.hidden, config.model.num_heads = 8, 2
  config.optimizer.learning_rate = 1e-2
  config.settings = ("1234",)
  config.num_epochs, config.num_replicates, config.batch_size = 2, 2, 20
  config.probe_replicates, config.checkpoint_every = 1, 2
  config.stabilised.enabled = False
  config.baselines = ()
  config.update_from_flattened_dict(changes)
  return config


def numbers(tree):
  if isinstance(tree, dict):
    tree = list(tree.values())
  if isinstance(tree, list):
    for item in tree:
      yield from numbers(item)
  elif isinstance(tree, int | float):
    yield tree


@dataclasses.dataclass
class Finished:
  """A study that has run, and everything it has left."""

  config: object
  table: tables.FeatureTable
  workdir: object
  summary: dict

  def row(self, setting, system) -> dict:
    (row,) = (
      row
      for row in self.summary["rows"]
      if (row["setting"], row["system"]) == (setting, system)
    )
    return row


@pytest.fixture(scope="module")
def study(tmp_path_factory, make_table) -> Finished:
  """In the manner of Table 2: two settings, everything on."""
  folder = tmp_path_factory.mktemp("study")
  table = make_table()
  config = make_config(
    folder / "table.npz",
    table,
    settings=("1234", "23"),
    num_epochs=3,
    baselines=("svm",),
    **{
      "stabilised.enabled": True,
      "stabilised.lambdas": (0.1, 1.0),
      "stabilised.learning_rates": (1e-2,),
      "stabilised.search_replicates": 1,
      "stabilised.num_folds": 2,
    },
  )
  workdir = folder / "run"
  return Finished(config, table, workdir, train(config, workdir))


SYSTEMS = ["C1", "DANN", "C1-S", "DANN-S", "SVM"]
SETTINGS = ["TS 1234", "TS 23"]


def test_the_files_of_the_run_folder(study):
  expected = {
    "checkpoints",
    "comparison.png",
    "config.json",
    "confusions_1.png",
    "confusions_2.png",
    "history.npz",
    "learning_curves.png",
    "report.md",
    "representations.png",
    "search",
    "summary.json",
  }
  found = set(os.listdir(study.workdir))
  (events,) = found - expected
  assert "tfevents" in events
  assert expected <= found
  for name in expected:
    if name.endswith(".png"):
      content = (study.workdir / name).read_bytes()
      assert content.startswith(b"\x89PNG")
      assert len(content) > 5000
  stored = json.loads((study.workdir / "summary.json").read_text())
  assert stored == json.loads(json.dumps(study.summary))


def test_the_structure_of_the_summary(study):
  summary = study.summary
  assert summary["title"] == study.config.title
  assert summary["demo"] is False
  assert summary["metrics"] == list(METRICS)
  assert all(math.isfinite(number) for number in numbers(summary))
  assert {"jax", "numpy", "python"} <= summary["versions"].keys()
  assert "CPU" in summary["device"]
  found = {(row["setting"], row["system"]) for row in summary["rows"]}
  assert found == {(one, other) for one in SETTINGS for other in SYSTEMS}
  assert len(summary["rows"]) == len(found)
  for row in summary["rows"]:
    num_runs = 1 if row["system"] == "SVM" else 2
    assert ("oracle" in row) == (row["system"] != "SVM")
    assert ("speaker_probe" in row) == (row["system"] != "SVM")
    for figures in (row, row.get("oracle", {})):
      for metric in METRICS if figures else ():
        figure = figures[metric]
        assert len(figure["runs"]) == num_runs
        assert figure["mean"] == pytest.approx(np.mean(figure["runs"]))
        assert all(0 <= value <= 1 for value in figure["runs"])
        assert (figure["ci95"] is None) == (num_runs == 1)


def test_the_figures_are_those_of_the_confusion_matrices(study):
  """By hand, from the history that the run leaves."""
  history = np.load(study.workdir / "history.npz")
  tested = np.count_nonzero(study.table.session == "5")
  for setting in SETTINGS:
    confusion = history[f"{setting}, train/confusion_matrix"]
    assert confusion.shape[0] == study.config.num_epochs
    assert (confusion.sum((-1, -2)) == tested).all()
    for number, system in enumerate(SYSTEMS[:4]):
      row = study.row(setting, system)
      runs = confusion[:, 2 * number : 2 * number + 2]
      accuracy = np.trace(runs, axis1=-2, axis2=-1) / tested
      found = row["weighted_accuracy"]["runs"]
      np.testing.assert_allclose(found, accuracy[-1])
      found = row["oracle"]["weighted_accuracy"]["runs"]
      np.testing.assert_allclose(found, accuracy.max(0))
      shown = history[f"{setting}, train/{system}/weighted_accuracy"]
      np.testing.assert_allclose(shown, accuracy.mean(1), rtol=1e-6)
      low, high = row["weighted_accuracy"]["ci95_speakers"]
      assert low <= accuracy[-1].mean() <= high


def test_the_support_vector_machine_is_scikit_learns(study):
  table = study.table
  for setting in SETTINGS:
    train_rows = np.isin(table.session, list(setting.removeprefix("TS ")))
    test_rows = table.session == "5"
    features = np.concatenate(list(table.features.values()), 1)
    scaler = StandardScaler().fit(features[train_rows])
    machine = SVC().fit(
      scaler.transform(features[train_rows]), table.label[train_rows]
    )
    accuracy = machine.score(
      scaler.transform(features[test_rows]), table.label[test_rows]
    )
    found = study.row(setting, "SVM")["weighted_accuracy"]["mean"]
    assert found == pytest.approx(accuracy)


def test_the_comparisons_are_paired_and_within_a_setting(study):
  comparisons = study.summary["comparisons"]
  pairs = {(c["setting"], c["a"], c["b"]) for c in comparisons}
  expected = [(system, "C1") for system in SYSTEMS[1:4]]
  expected.append(("DANN-S", "C1-S"))
  assert pairs == {
    (setting, *pair) for setting in SETTINGS for pair in expected
  }
  for comparison in comparisons:
    a, b = (
      study.row(comparison["setting"], comparison[side])[comparison["metric"]]
      for side in ("a", "b")
    )
    assert comparison["difference"] == pytest.approx(a["mean"] - b["mean"])
    assert 0 < comparison["p_value"] <= 1
    assert "permutation" in comparison["test"]
  with_probe = [c for c in comparisons if c["metric"] == "speaker_probe"]
  assert len(with_probe) == len(pairs)


def test_the_choice_is_the_best_of_the_search(study):
  rows = json.loads((study.workdir / "search" / "summary.json").read_text())
  rows = rows["rows"]
  assert len(rows) == len(SETTINGS) * 3
  chosen = {(c["setting"], c["system"]): c for c in study.summary["chosen"]}
  for setting in SETTINGS:
    for system, candidates in (("C1-S", (0.0,)), ("DANN-S", (0.1, 1.0))):
      found = {
        row["lambda"]: row["weighted_accuracy"]["mean"]
        for row in rows
        if row["setting"] == setting and row["lambda"] in candidates
      }
      choice = chosen[setting, system]
      assert found[choice["reversal"]] == max(found.values())
      assert choice["ramp"] == 1
      assert choice["averaging"] == study.config.stabilised.averaging
      assert choice["clip_norm"] == study.config.stabilised.clip_norm


def test_the_choice_never_reads_a_test_label(study, tmp_path):
  """With every label of the test part turned, the search is the same."""
  material = groups.read_material(study.config)
  tested = study.table.session == "5"
  turned = (material.class_U + 1) % 4
  class_U = np.where(tested, turned, material.class_U)
  material = dataclasses.replace(material, class_U=class_U)
  search.choose(study.config, material, tmp_path)
  expected = (study.workdir / "search" / "summary.json").read_text()
  assert (tmp_path / "summary.json").read_text() == expected


def test_the_report(study):
  report = (study.workdir / "report.md").read_text()
  assert report.startswith(f"# {study.config.title}\n")
  (published,) = (
    line
    for line in report.split("\n")
    if line.startswith("| *DANN, published*")
  )
  # Table 2 of the paper: TS 1234 and TS 23.
  assert [c.strip(" *") for c in published.split("|")[2:4]] == ["81.1", "81.4"]
  for system in SYSTEMS:
    assert f"| {system} |" in report
  assert "TS 23: DANN-S chose lambda = " in report
  assert "demo corpus" not in report
  for name in os.listdir(study.workdir):
    assert not name.endswith(".png") or f"({name})" in report


def test_the_same_command_again_prints_the_result(study, capsys):
  before = (study.workdir / "summary.json").stat().st_mtime_ns
  assert train(study.config, study.workdir) == json.loads(
    json.dumps(study.summary)
  )
  assert (study.workdir / "summary.json").stat().st_mtime_ns == before
  printed = capsys.readouterr().out
  assert "DANN-S" in printed
  assert study.config.title in printed


def test_an_odd_table(tmp_path, make_table):
  """Audio alone, very short and very long dialogues, unlabelled utterances."""
  short = make_table(audio=7)
  long = make_table(1, num_dialogues=1, num_turns=60, audio=7, seed=1)
  kept = short.session != "3"
  columns = {
    name: np.concatenate([getattr(short, name)[kept], getattr(long, name)])
    for name in ("label", "speaker", "dialogue", "turn", "session")
  }
  table = tables.FeatureTable(
    {
      "audio": np.concatenate(
        [short.features["audio"][kept], long.features["audio"]]
      )
    },
    **columns,
  )
  table.session[-60:] = "3"
  table.speaker[-60:] = np.tile(["3F", "3M"], 30)
  table.label[::5] = ""
  # The first utterance, which is unlabelled, is a dialogue by itself.
  table.dialogue[0] = "9"
  config = make_config(
    tmp_path / "odd.npz",
    table,
    batch_size=3,
    lambdas=(0.0,),
    baselines=("speaker_normalised",),
  )
  summary = train(config, tmp_path / "run")
  assert all(math.isfinite(number) for number in numbers(summary))
  assert [row["system"] for row in summary["rows"]] == [
    "C1",
    "C1 + speaker norm",
  ]
  assert {(c["a"], c["b"]) for c in summary["comparisons"]} == {
    ("C1 + speaker norm", "C1")
  }
  history = np.load(tmp_path / "run" / "history.npz")
  tested = (table.session == "5") & (table.label != "")
  for method in ("train", "speaker"):
    confusion = history[f"TS 1234, {method}/confusion_matrix"]
    assert (confusion.sum((-1, -2)) == tested.sum()).all()


def test_text_alone_without_sessions_is_learnt(tmp_path, make_table):
  """The text gives away the emotion, also of speakers that are held out."""
  table = make_table(text=3, noise=0.05)
  table = dataclasses.replace(
    table,
    features={"text": table.features["text"]},
    session=np.full(len(table), ""),
    dialogue=np.char.add(table.session, table.dialogue),
  )
  config = make_config(
    tmp_path / "text.npz",
    table,
    settings=(),
    num_epochs=60,
    checkpoint_every=60,
    lambdas=(0.0, 0.001, 0.01),
    **{
      "data.test_speakers": "5F,5M",
      "data.normalisation": "train,speaker",
      "optimizer.learning_rate": 3e-2,
    },
  )
  rows = train(config, tmp_path / "run")["rows"]
  assert {row["setting"] for row in rows} == {"unseen 5F, 5M"}
  systems = ["C1", "DANN 0.001", "DANN 0.01"]
  found = {row["system"]: row["weighted_accuracy"]["mean"] for row in rows}
  assert list(found) == [*systems, *(f"{s} + speaker norm" for s in systems)]
  assert min(found[system] for system in systems) > 0.95


@pytest.mark.parametrize(
  ("changes", "what"),
  [
    ({"num_epochs": 0}, "config.num_epochs = 0: has to be above 0"),
    ({"num_replicates": -1}, "config.num_replicates = -1"),
    ({"batch_size": 0}, "config.batch_size"),
    ({"checkpoint_every": 0}, "config.checkpoint_every"),
    ({"probe_replicates": 0}, "config.probe_replicates"),
    ({"seed": -1}, "config.seed"),
    ({"seed": 2**32}, "config.seed"),
    ({"lambdas": ()}, r"config.lambdas = \(\)"),
    ({"lambdas": (0.0, -1.0)}, "config.lambdas"),
    ({"lambdas": (0.0, math.inf)}, "config.lambdas"),
    ({"lambdas": (0.0, "a")}, "config.lambdas"),
    ({"lambdas": (1.0, 1.0)}, "config.lambdas.*name each number once"),
    ({"lambda_schedule": "linear"}, "there are constant, ganin"),
    ({"lambda_schedule": "constant,ganin"}, "there are constant, ganin"),
    ({"optimizer.learning_rate": math.nan}, "learning_rate = nan"),
    ({"optimizer.l2": -1e-5}, "config.optimizer.l2"),
    ({"model.hidden": 10, "model.num_heads": 4}, "config.model.hidden = 10"),
    ({"model.hidden": 9, "model.num_heads": 3}, "config.model.hidden = 9"),
    ({"model.dropout": 1.0}, "config.model.dropout"),
    ({"data.normalisation": "global"}, "no global; there are train, speaker"),
    ({"data.normalisation": "train,train"}, "name each once"),
    ({"baselines": ("svn",)}, "no svn; there are speaker_normalised, svm"),
    ({"stabilised.lambdas": (0.0, 1.0)}, "stabilised.lambdas.*above 0"),
    ({"stabilised.learning_rates": ()}, "config.stabilised.learning_rates"),
    ({"stabilised.search_replicates": 0}, "stabilised.search_replicates"),
    ({"stabilised.num_folds": 1}, "config.stabilised.num_folds = 1"),
    ({"stabilised.averaging": 1.0}, "config.stabilised.averaging"),
    ({"stabilised.clip_norm": math.inf}, "config.stabilised.clip_norm"),
    ({"data.path": "/nowhere.npz"}, "/nowhere.npz: no such file"),
    ({"data.labels": "angry,bored"}, "nothing in .* is labelled"),
    ({"settings": ("1239",)}, "no session 9"),
    ({"settings": (), "data.test_speakers": "9X"}, "no speaker 9X"),
  ],
)
def test_what_is_refused_before_anything_is_written(
  tmp_path, make_table, changes, what
):
  changes = {"stabilised.enabled": True, **changes}
  config = make_config(tmp_path / "table.npz", make_table(), **changes)
  with pytest.raises(UserError, match=what) as caught:
    train(config, tmp_path / "run")
  assert "\n" not in str(caught.value)
  assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("part", ["labelled", "test"])
def test_a_part_without_labels(tmp_path, make_table, part):
  table = make_table()
  empty = (table.session == "5") == (part == "test")
  table = dataclasses.replace(table, label=np.where(empty, "", table.label))
  config = make_config(tmp_path / "table.npz", table)
  with pytest.raises(UserError, match=f"nothing in the {part} part has a labe"):
    train(config, tmp_path / "run")
