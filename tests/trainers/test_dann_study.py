"""Whole small studies from feature tables: what is measured, what is left."""

import dataclasses
import math
import os

import numpy as np
import pytest
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from configs import dann as dann_config
from emojax import runs, summary
from emojax.data import batches, conversations
from emojax.data import table as tables
from emojax.errors import UserError
from emojax.reports import dann as reports
from emojax.summary import Summary, read_arrays
from emojax.trainers import dann, held_out

METRICS = ("weighted_accuracy", "unweighted_accuracy", "macro_f1")


def make_config(path, table, **changes):
  """A small study of a table: a step an epoch, one shape for everything."""
  tables.save(path, table)
  config = dann_config.get_config("table2")
  config.data.corpus, config.data.path = "table", str(path)
  config.model.hidden, config.model.num_heads = 8, 2
  config.optimizer.learning_rate = 1e-2
  config.split.labelled_sessions = ("1234",)
  config.num_epochs, config.num_replicates, config.batch_size = 2, 2, 20
  config.probe_replicates, config.checkpoint_every = 1, 2
  config.stabilised.enabled = False
  config.baselines = ()
  config.update_from_flattened_dict(changes)
  return config


def numbers(tree):
  if isinstance(tree, dict):
    tree = list(tree.values())
  if isinstance(tree, list | tuple):
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
  summary: Summary


@pytest.fixture(scope="module")
def study(tmp_path_factory, make_table) -> Finished:
  """In the manner of Table 2: two settings, everything on."""
  folder = tmp_path_factory.mktemp("study")
  table = make_table()
  config = make_config(
    folder / "table.npz",
    table,
    num_epochs=4,
    baselines=("svm", "ridge"),
    **{
      "split.labelled_sessions": ("1234", "23"),
      "stabilised.enabled": True,
      "stabilised.lambdas": (0.1, 0.5, 1.0),
      "stabilised.learning_rates": (1e-2,),
      "stabilised.search_replicates": 1,
      "stabilised.num_folds": 2,
    },
  )
  workdir = folder / "run"
  return Finished(config, table, workdir, dann.train(config, workdir))


SYSTEMS = {
  "c1": "C1",
  "dann": "DANN",
  "c1_s": "C1-S",
  "dann_s": "DANN-S",
  "svm": "SVM",
  "ridge": "Ridge regression",
}
TRAINED = list(SYSTEMS)[:4]
SETTINGS = ["TS 1234", "TS 23"]
UNSEEN = {
  "split.method": "speakers",
  "split.labelled_sessions": (),
  "split.test_speakers": "5F,5M",
}


def test_the_files_of_the_run_folder(study):
  expected = {
    "checkpoints",
    "comparison.png",
    "config.json",
    "confusions_1.png",
    "confusions_2.png",
    "history.npz",
    "learning_curves.png",
    "model",
    "outputs.npz",
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
  assert summary.read(study.workdir) == study.summary


def test_the_structure_of_the_summary(study):
  found = study.summary
  assert found.study == "dann"
  assert found.title == study.config.title
  assert found.demo is False
  assert found.metrics == METRICS
  assert all(math.isfinite(x) for x in numbers(dataclasses.asdict(found)))
  assert {"jax", "numpy", "python"} <= found.versions.keys()
  assert "CPU" in found.device
  assert {one.id: one.label for one in found.systems} == SYSTEMS
  names = {(row.setting, row.system) for row in found.rows}
  assert names == {(one, other) for one in SETTINGS for other in SYSTEMS}
  assert len(found.rows) == len(names)
  for row in found.rows:
    is_trained = row.system in TRAINED
    assert bool(row.oracle) == is_trained
    assert ("speaker_probe" in row.metrics) == is_trained
    for figures in (row.metrics, row.oracle):
      for metric in METRICS if figures else ():
        figure = figures[metric]
        assert len(figure.runs) == 1 + is_trained
        assert figure.mean == pytest.approx(np.mean(figure.runs))
        assert all(0 <= value <= 1 for value in figure.runs)
        assert figure.ci95 is None  # Of two runs at most.


def test_the_figures_are_those_of_the_confusion_matrices(study):
  """By hand, from the history that the run leaves."""
  history = read_arrays(study.workdir / "history.npz")
  tested = np.count_nonzero(study.table.session == "5")
  for setting in SETTINGS:
    for system in TRAINED:

      def recorded(name, setting=setting, system=system):
        return history[summary.history_name(setting, system, name)]

      confusion = recorded("confusion_matrix")
      assert confusion.shape == (2, study.config.num_epochs, 4, 4)
      assert (confusion.sum((-1, -2)) == tested).all()
      row = study.summary.row(setting, system)
      accuracy = np.trace(confusion, axis1=-2, axis2=-1) / tested
      np.testing.assert_allclose(recorded("weighted_accuracy"), accuracy)
      found = row.metrics["weighted_accuracy"]
      np.testing.assert_allclose(found.runs, accuracy[:, -1])
      assert found.ci95_speakers is None  # Of two speakers.
      found = row.oracle["weighted_accuracy"].runs
      np.testing.assert_allclose(found, accuracy.max(1))
      for loss in ("emotion_loss", "domain_loss"):
        assert recorded(loss).shape == accuracy.shape
        assert (recorded(loss) > 0).all()


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
    found = study.summary.row(setting, "svm").metrics["weighted_accuracy"]
    assert found.mean == pytest.approx(accuracy)


def test_the_support_vector_machine_plans_no_batches(study, monkeypatch):
  """It has read features by planning every epoch of a training."""
  monkeypatch.setattr(batches, "Plan", None)
  monkeypatch.setattr(batches, "Evaluation", None)
  config = study.config.copy_and_resolve_references()
  corpus = conversations.read(config)
  found = list(dann._trained(config, corpus, [], None, {}, {}))
  assert [one.setting for one in found] == [*np.repeat(SETTINGS, 2)]


def test_the_comparisons_are_paired_and_within_a_setting(study):
  comparisons = study.summary.comparisons
  pairs = {(c.setting, c.a, c.b) for c in comparisons}
  expected = [(system, "c1") for system in TRAINED[1:]]
  expected.append(("dann_s", "c1_s"))
  assert pairs == {
    (setting, *pair) for setting in SETTINGS for pair in expected
  }
  for one in comparisons:
    a, b = (
      study.summary.row(one.setting, system).metrics[one.metric]
      for system in (one.a, one.b)
    )
    assert one.difference == pytest.approx(a.mean - b.mean)
    if len(a.runs) == 1:
      assert one.p_value is None
    else:
      assert 0 < one.p_value <= 1
    assert "permutation" in one.test
  with_probe = [c for c in comparisons if c.metric == "speaker_probe"]
  assert len(with_probe) == len(pairs)


def test_the_choice_is_the_best_of_the_search(study):
  details = study.summary.details
  for setting in SETTINGS:
    for system, lambdas in (("c1_s", [0.0]), ("dann_s", [0.1, 0.5, 1.0])):
      trials = [
        one
        for one in details["trials"]
        if (one["setting"], one["system"]) == (setting, system)
      ]
      first, last = (
        {
          one["recipe"]["reversal"]: one["weighted_accuracy"]
          for one in trials
          if one["epoch"] == epoch
        }
        for epoch in (2, study.config.num_epochs)
      )
      assert list(first) == lambdas
      # One of three was dropped: the worst of them, half-way.
      assert len(last) == min(2, len(lambdas))
      dropped = set(first) - set(last)
      assert all(first[x] <= min(map(first.get, last)) for x in dropped)
      (choice,) = (
        one["recipe"]
        for one in details["chosen"]
        if (one["setting"], one["system"]) == (setting, system)
      )
      (seen,) = (
        one for one in details["adversary"] if one["setting"] == setting
      )
      if system == "dann_s" and not seen["helps"]:
        assert choice["reversal"] == 0
        assert last[seen["reversal"]] == max(last.values())
      else:
        assert last[choice["reversal"]] == max(last.values())
      assert choice["ramp"] == 1
      assert choice["averaging"] == study.config.stabilised.averaging
      assert choice["clip_norm"] == study.config.stabilised.clip_norm


def test_without_help_dann_is_c1(study):
  """The same recipe and the same initialisations: the same runs."""
  for seen in study.summary.details["adversary"]:
    c1, dann_s = (
      study.summary.row(seen["setting"], system)
      for system in ("c1_s", "dann_s")
    )
    assert seen["helps"] == (c1.metrics != dann_s.metrics)


def test_what_the_search_has_cost(study):
  details = study.summary.details
  # Two settings of two folds, with 1 + 3 and then 1 + 2 candidates.
  assert details["rungs"] == [
    {"runs": 16, "epochs": 2},
    {"runs": 12, "epochs": 2},
  ]
  assert details["epochs_trained"] == 32 + 24
  assert details["share_of_grid"] == 56 / 64
  report = (study.workdir / "report.md").read_text(encoding="utf-8")
  assert (
    "trained 16 runs to epoch 2, then 12 runs to epoch 4: 56 epochs of a "
    "run, 88 % of what all candidates would have taken. The study itself has 64"
  ) in report
  # States that nobody needs any more.
  assert not list((study.workdir / "search").rglob("checkpoints"))


def searched(study):
  """What the search has found, in the summary's details."""
  return {k: v for k, v in study.summary.details.items() if k != "kept"}


def test_what_is_kept_is_chosen_on_labelled_speakers(study):
  kept = study.summary.details["kept"]
  assert kept["setting"] == SETTINGS[0]
  assert [*kept["held_out"]] == TRAINED
  assert kept["held_out"][kept["system"]] == max(kept["held_out"].values())
  corpus = conversations.read(study.config)
  cohort = dann.make_cohorts(
    study.config, corpus, study.summary.details["chosen"]
  )[0]
  folds = held_out.folds(study.config, corpus, cohort)
  labelled = set(corpus.splits[SETTINGS[0]].parts["labelled"].tolist())
  tested = []
  for fold in folds:
    task = fold.setting.task
    learnt = np.flatnonzero(task.label_U >= 0)
    of_fold = np.flatnonzero(task.target_U >= 0)
    speakers = [set(corpus.speaker_U[r].tolist()) for r in (learnt, of_fold)]
    assert not speakers[0] & speakers[1]
    assert {*learnt.tolist(), *of_fold.tolist()} == labelled
    tested += of_fold.tolist()
  assert sorted(tested) == sorted(labelled)  # Each is held out once.


def test_a_stopped_search_goes_on_and_never_reads_a_test_label(
  study, tmp_path, monkeypatch, stop_after
):
  """With every label of the test part turned, it finds the same.

  It is stopped in its second rung, and goes on with the states of the
  candidates that are left.
  """
  grid = runs.Grid(tmp_path, study.config)
  corpus = conversations.read(study.config)
  tested = study.table.session == "5"
  turned = (corpus.class_U + 1) % 4
  class_U = np.where(tested, turned, corpus.class_U)
  corpus = dataclasses.replace(corpus, class_U=class_U)
  with monkeypatch.context() as patch, pytest.raises(SystemExit):
    stop_after(patch, 3)
    dann.search(study.config, corpus, grid)
  assert (tmp_path / "search" / "rung-2" / "checkpoints").is_dir()
  assert not (tmp_path / "search" / "choice.json").exists()
  assert dann.search(study.config, corpus, grid) == searched(study)


@pytest.mark.parametrize(
  ("corpus", "of"),
  [("table", ["demo"]), ("demo, ravdess", ["demo", "ravdess"])],
)
def test_a_study_of_the_demo_is_marked(
  make_table, tmp_path, monkeypatch, corpus, of
):
  """Whatever the config calls the data that hold synthetic ones."""
  table = make_table()
  table = dataclasses.replace(table, corpus=np.resize(of, len(table)))
  config = make_config(tmp_path / "table.npz", table)
  loaded = conversations.load(config.data)
  monkeypatch.setattr(conversations, "load", lambda data, **_: loaded)
  config.data.corpus = corpus
  found = dann.train(config, tmp_path / "run")
  report = (tmp_path / "run" / "report.md").read_text(encoding="utf-8")
  assert found.demo is True
  assert report.startswith("**demo corpus (synthetic)**")


def test_the_report(study):
  report = (study.workdir / "report.md").read_text(encoding="utf-8")
  assert report.startswith(f"# {study.config.title}\n")
  (published,) = (
    line
    for line in report.split("\n")
    if line.startswith("| *DANN, published*")
  )
  # Table 2 of the paper: TS 1234 and TS 23.
  assert [c.strip(" *") for c in published.split("|")[2:4]] == ["81.1", "81.4"]
  for label in SYSTEMS.values():
    assert f"| {label} " in report
  assert "TS 23: DANN-S chose lambda = " in report
  assert "demo corpus" not in report
  for name in os.listdir(study.workdir):
    assert not name.endswith(".png") or f"({name})" in report


def test_the_same_command_again_prints_the_result(study, capsys):
  before = (study.workdir / "summary.json").stat().st_mtime_ns
  assert dann.train(study.config, study.workdir) == study.summary
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
  found = dann.train(config, tmp_path / "run")
  assert all(math.isfinite(x) for x in numbers(dataclasses.asdict(found)))
  assert [row.system for row in found.rows] == ["c1", "c1_speaker_norm"]
  assert {(c.a, c.b) for c in found.comparisons} == {("c1_speaker_norm", "c1")}
  history = read_arrays(tmp_path / "run" / "history.npz")
  tested = (table.session == "5") & (table.label != "")
  for row in found.rows:
    name = summary.history_name(row.setting, row.system, "confusion_matrix")
    assert (history[name].sum((-1, -2)) == tested.sum()).all()


def test_text_alone_without_sessions_is_learnt(
  tmp_path, monkeypatch, make_table
):
  """The text gives away the emotion, also of speakers that are held out."""
  monkeypatch.setattr(reports.study, "files", lambda *_: {})
  # What is kept is the odd table's.
  monkeypatch.setattr(held_out, "folds", lambda *_: [])
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
    num_epochs=60,
    checkpoint_every=60,
    lambdas=(0.0, 0.001, 0.01),
    **{
      **UNSEEN,
      "data.normalisation": "train,speaker",
      "optimizer.learning_rate": 3e-2,
    },
  )
  found = dann.train(config, tmp_path / "run")
  assert found.settings == ["unseen 5F, 5M"]
  systems = ["c1", "dann_0.001", "dann_0.01"]
  figures = {r.system: r.metrics["weighted_accuracy"].mean for r in found.rows}
  assert list(figures) == [*systems, *(f"{s}_speaker_norm" for s in systems)]
  assert found.label("dann_0.01_speaker_norm") == "DANN 0.01 + speaker norm"
  assert min(figures[system] for system in systems) > 0.95


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
    (
      {"lambdas": (), "stabilised.enabled": False},
      r"config.lambdas = \(\)",
    ),
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
    (
      {"baselines": ("svn",)},
      "no svn; there are speaker_normalised, svm, ridge",
    ),
    ({"stabilised.lambdas": (0.0, 1.0)}, "stabilised.lambdas.*above 0"),
    ({"stabilised.learning_rates": ()}, "config.stabilised.learning_rates"),
    ({"stabilised.search_replicates": 0}, "stabilised.search_replicates"),
    ({"stabilised.num_folds": 1}, "config.stabilised.num_folds = 1"),
    ({"stabilised.averaging": 1.0}, "config.stabilised.averaging"),
    ({"stabilised.clip_norm": math.inf}, "config.stabilised.clip_norm"),
    ({"data.path": "/nowhere.npz"}, "/nowhere.npz: no such file"),
    ({"data.labels": "angry,bored"}, "nothing in .* is labelled"),
    ({"data.audio_features": "compare"}, "there are ComParE_2016, eGeMAPSv02"),
    ({"data.text_features": "gpt"}, "there are hashing, bert, elmo, none"),
    ({"data.max_skipped": -1}, "config.data.max_skipped"),
    ({"data.num_workers": -1}, "config.data.num_workers"),
    ({"split.labelled_sessions": ("1239",)}, "no session 9"),
    ({"split.method": "speaker"}, "there are shuffle, speakers"),
    ({"split.method": "k_fold"}, "labelled_sessions.*goes with"),
    ({**UNSEEN, "split.test_speakers": "9X"}, "no speaker 9X"),
  ],
)
def test_what_is_refused_before_anything_is_written(
  tmp_path, make_table, changes, what
):
  changes = {"stabilised.enabled": True, **changes}
  config = make_config(tmp_path / "table.npz", make_table(), **changes)
  with pytest.raises(UserError, match=what) as caught:
    dann.train(config, tmp_path / "run")
  assert "\n" not in str(caught.value)
  assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("part", ["labelled", "test"])
def test_a_part_without_labels(tmp_path, make_table, part):
  table = make_table()
  empty = (table.session == "5") == (part == "test")
  table = dataclasses.replace(table, label=np.where(empty, "", table.label))
  config = make_config(tmp_path / "table.npz", table)
  with pytest.raises(UserError, match=f"nothing in the {part} part has a labe"):
    dann.train(config, tmp_path / "run")


def test_a_class_that_a_part_lacks(tmp_path, make_table, caplog):
  """Of what nobody teaches the recall would be 0, without a word."""
  table = make_table()
  for lacking in (table.session == "5", table.session != "5"):
    angry = lacking & (table.label == "angry")
    label = np.where(angry, "sad", table.label)
    config = make_config(
      tmp_path / "table.npz", dataclasses.replace(table, label=label)
    )
    if lacking[0]:
      said = "TS 1234: nothing in the labelled part is angry; leave it out"
      for check in (dann.audit, lambda c: dann.train(c, tmp_path / "run")):
        with pytest.raises(UserError, match=said):
          check(config)
    else:
      dann.audit(config)
      assert "nothing in the test part is angry" in caplog.text
  assert not (tmp_path / "run").exists()


def test_ridge_of_one_speaker_is_refused_before_the_training(
  tmp_path, make_table
):
  table = make_table(num_dialogues=4)
  speaker = np.where(table.session == "1", "1F", table.speaker)
  config = make_config(
    tmp_path / "table.npz",
    dataclasses.replace(table, speaker=speaker),
    baselines=("ridge",),
    **{"split.labelled_sessions": ("1",)},
  )
  with pytest.raises(UserError, match=r"'ridge' .* TS 1 has one, 1F; leave it"):
    dann.train(config, tmp_path / "run")
  assert not (tmp_path / "run").exists()
