"""Runs of both studies, compared from their folders."""

import json
import pathlib

import numpy as np
import pytest
from PIL import Image
from sklearn.metrics import balanced_accuracy_score

from emojax import __main__ as entry
from emojax.errors import UserError
from emojax.reports import (
  compare,
  evidence,
  figures,
  finished_run,
  run_curves,
)

METRICS = ["weighted_accuracy", "unweighted_accuracy", "macro_f1"]


def write(
  folder: pathlib.Path, rows: list[dict], history: dict | None, **more
) -> pathlib.Path:
  folder.mkdir(parents=True)
  summary = {
    "title": "A study",
    "demo": False,
    "metrics": METRICS,
    "rows": rows,
    "comparisons": [],
    "versions": {},
    "device": "1 x cpu",
  }
  (folder / "summary.json").write_text(json.dumps(summary | more))
  if history is not None:
    np.savez_compressed(folder / "history.npz", **history)
  return folder


def speech(folder, systems, setting="unseen", rounds=(6, 5, 7), **more):
  """A run of the speech study, of three seeds."""
  rng = np.random.default_rng(0)
  rows, history = [], {}
  for system in systems:
    finals = rng.uniform(0.5, 0.7, 3)
    values = dict.fromkeys(METRICS, evidence.estimate(finals))
    rows.append({"setting": setting, "system": system, **values})
    for seed, count in enumerate(rounds):
      name = f"{setting}/{system}/{seed}"
      curve = np.linspace(0.1, finals[seed], count)
      history[f"{name}/validation_unweighted_accuracy"] = curve
      history[f"{name}/loss"] = curve
  return write(folder, rows, history, **more)


def dann(folder, **more):
  """A run of the DANN study: two systems in one array, one in another."""
  rng = np.random.default_rng(1)
  groups = {"train": ["C1", "C1-S"], "speaker": ["C1 + speaker norm"]}
  rows, history = [], {}
  for method, systems in groups.items():
    group = f"unseen s1, s2, {method}"
    confusion_ExRxCxC = rng.integers(1, 20, (4, 2 * len(systems), 3, 3))
    # Devices divide the runs evenly: there may be more than the rows have.
    padded = np.concatenate([confusion_ExRxCxC, confusion_ExRxCxC[:, :1]], 1)
    history[f"{group}/confusion_matrix"] = padded
    for index, system in enumerate(systems):
      runs = confusion_ExRxCxC[:, 2 * index : 2 * index + 2]
      rows.append(evidence.row("unseen s1, s2", system, runs))
      history[f"{group}/{system}/unweighted_accuracy"] = np.zeros(4)
  svm = evidence.row("unseen s1, s2", "SVM", runs[-1:, :1])
  del svm["oracle"]
  return write(folder, [*rows, svm], history, **more), history


def test_a_comparison_of_both_studies(tmp_path, monkeypatch):
  panels = {}
  draw = figures.learning_curves

  def recorded(path, curves, **more):
    panels.update({name: list(panel) for name, panel in curves.items()})
    draw(path, curves=curves, **more)

  monkeypatch.setattr(figures, "learning_curves", recorded)
  folders = [
    speech(tmp_path / "frozen", ["wav2vec"], test_digest="x"),
    speech(tmp_path / "last-2", ["wav2vec", "log-mel"], test_digest="x"),
    dann(tmp_path / "dann", selection="at the best epoch")[0],
  ]
  text = compare.compare(folders, tmp_path / "out")
  lines = text.splitlines()
  assert lines[0] == "# Comparison of runs"
  first = [line for line in lines if line.startswith("| unseen | wav2vec |")]
  assert [line.split(" | ")[2] for line in first] == ["frozen", "last-2"]
  summary = json.loads((folders[0] / "summary.json").read_text())
  value = summary["rows"][0]["macro_f1"]
  low, high = value["ci95"]
  assert (
    f"{100 * value['mean']:.1f} ± {100 * value['std']:.1f} "
    f"({100 * low:.1f} to {100 * high:.1f}) |"
  ) in first[0]
  assert "| unseen s1, s2 | SVM | dann | 1 | " in text
  assert "| wav2vec (frozen) − wav2vec (last-2) | Macro F1 | paired" in text
  assert "frozen and dann are not tested" in text
  assert "Measured at the last epoch: frozen, last-2." in text
  assert "Measured at the best epoch: dann." in text
  assert panels == {
    "unseen: validation": [
      "wav2vec (frozen)",
      "wav2vec (last-2)",
      "log-mel (last-2)",
    ],
    "unseen s1, s2: test speakers": [
      "C1 (dann)",
      "C1-S (dann)",
      "C1 + speaker norm (dann)",
    ],
  }
  assert "demo" not in text
  names = ["comparison.md", "comparison.png", "learning_curves.png"]
  assert sorted(p.name for p in (tmp_path / "out").iterdir()) == names
  assert lines[-1] == f"Written to {tmp_path / 'out'}: {', '.join(names)}"
  written = (tmp_path / "out" / "comparison.md").read_text()
  assert text.rpartition("\n\n")[0] in written
  for name in names[1:]:
    assert f"]({name})" in written
    with Image.open(tmp_path / "out" / name) as image:
      assert image.width > 500


def test_one_run_has_a_table_and_nothing_to_test(tmp_path):
  folder = speech(tmp_path / "run", ["wav2vec"])
  text = compare.compare([folder], tmp_path / "out")
  assert "| unseen | wav2vec | run | 3 |" in text
  assert "Differences" not in text


def test_rows_of_one_setting_are_together(tmp_path):
  folders = [
    write(tmp_path / name, [row("s"), row("t")], None) for name in "ab"
  ]
  text = compare.compare(folders, tmp_path / "out")
  table = [line for line in text.splitlines() if "| C1 | " in line]
  assert [line.split(" | ")[0::2][0] for line in table] == [
    "| s",
    "| s",
    "| t",
    "| t",
  ]


def row(setting: str) -> dict:
  value = evidence.estimate([0.5, 0.6])
  return {"setting": setting, "system": "C1"} | dict.fromkeys(METRICS, value)


def test_without_history_it_says_so_and_draws_no_curves(tmp_path):
  folder = write(tmp_path / "run", [row("s")], None)
  text = compare.compare([folder], tmp_path / "out")
  assert "run has no curves: its history.npz is missing" in text
  assert not (tmp_path / "out" / "learning_curves.png").exists()


def test_the_demo_is_marked(tmp_path):
  demos = [write(tmp_path / n, [row("s")], None, demo=True) for n in "ab"]
  real = write(tmp_path / "c", [row("s")], None)
  text = compare.compare(demos, tmp_path / "out")
  assert text.startswith("**demo corpus (synthetic)**\n\n")
  assert "| s | C1 | a | 2 |" in text
  mixed = compare.compare([demos[0], real], tmp_path / "out")
  assert mixed.startswith("# ")
  assert "| s | C1 | a [demo corpus (synthetic)] | 2 |" in mixed
  assert "| s | C1 | c | 2 |" in mixed


def test_folders_of_one_name_are_told_apart(tmp_path):
  folders = [write(tmp_path / n / "run", [row("s")], None) for n in "ab"]
  text = compare.compare(folders, tmp_path / "out")
  for folder in folders:
    assert f"| {folder} |" in text


def test_curves_of_a_speech_study(tmp_path):
  run = finished_run.read(speech(tmp_path / "run", ["a", "a/b"]))
  curves = run_curves.of_validation(run)
  assert list(curves) == [("unseen", "a"), ("unseen", "a/b")]
  for (_, system), values_RxE in curves.items():
    assert values_RxE.shape == (3, 5)  # As far as all seeds have gone.
    for seed in range(3):
      name = f"unseen/{system}/{seed}/validation_unweighted_accuracy"
      np.testing.assert_array_equal(values_RxE[seed], run.history[name][:5])
  assert not run_curves.of_test(run)


def balanced(counts_CxC: np.ndarray) -> float:
  true, predicted = np.indices(counts_CxC.shape).reshape(2, -1)
  repeats = counts_CxC.ravel()
  return balanced_accuracy_score(
    true.repeat(repeats), predicted.repeat(repeats)
  )


def test_curves_of_a_dann_study(tmp_path):
  folder, history = dann(tmp_path / "run")
  run = finished_run.read(folder)
  assert not run_curves.of_validation(run)
  curves = run_curves.of_test(run)
  places = {
    "C1": ("train", 0),
    "C1-S": ("train", 2),
    "C1 + speaker norm": ("speaker", 0),
  }
  assert {system for _, system in curves} == set(places)
  for system, (method, start) in places.items():
    confusion = history[f"unseen s1, s2, {method}/confusion_matrix"]
    expected = [
      [balanced(counts) for counts in confusion[:, start + r]] for r in range(2)
    ]
    np.testing.assert_allclose(curves["unseen s1, s2", system], expected)


def test_no_curve_that_ends_elsewhere_than_its_row(tmp_path):
  folder, _ = dann(tmp_path / "run")
  run = finished_run.read(folder)
  run.summary["rows"][1]["unweighted_accuracy"]["runs"][0] += 0.1
  systems = {system for _, system in run_curves.of_test(run)}
  assert systems == {"C1", "C1 + speaker norm"}


def wrong_folders(tmp_path) -> dict[str, tuple[list, str]]:
  run = write(tmp_path / "run", [row("s")], None)
  empty, begun, search, broken, damaged = (
    tmp_path / name
    for name in ("empty", "begun", "search", "broken", "damaged")
  )
  for folder in (empty, begun, search, broken):
    folder.mkdir()
  for folder in (begun, search):
    (folder / "config.json").write_text("{}")
  (search / "summary.json").write_text('{"rows": []}')
  (broken / "summary.json").write_text('{"rows": [')
  other = write(tmp_path / "other", [row("s")], None)
  summary = json.loads((other / "summary.json").read_text())
  summary["metrics"] = ["macro_recall"]
  (other / "summary.json").write_text(json.dumps(summary))
  write(damaged, [row("s")], None)
  (damaged / "history.npz").write_bytes(b"PK\x03\x04 and no more")
  return {
    "none": ([], "no run to report"),
    "nowhere": ([tmp_path / "nowhere"], "nowhere is no folder of a run"),
    "empty": ([run, empty], "empty is no folder of a run"),
    "begun": ([begun], "begun holds a run that has not finished"),
    "search": ([search], "no summary of a whole run"),
    "another": ([run, other], "other is a run of another study"),
    "broken": ([broken], r"broken/summary.json is damaged"),
    "damaged": ([damaged], r"damaged/history.npz is damaged"),
    "twice": ([run, tmp_path / "empty" / ".." / "run"], "is there twice"),
    "output": ([tmp_path / "out", run], "is one of the runs"),
  }


@pytest.mark.parametrize(
  "case",
  [
    "none",
    "nowhere",
    "empty",
    "begun",
    "search",
    "another",
    "broken",
    "damaged",
    "twice",
    "output",
  ],
)
def test_what_is_no_run(tmp_path, case):
  folders, why = wrong_folders(tmp_path)[case]
  with pytest.raises(UserError, match=why) as caught:
    compare.compare(folders, tmp_path / "out")
  assert "\n" not in str(caught.value)
  assert not (tmp_path / "out").exists()


def test_the_command(tmp_path, capsys, monkeypatch):
  monkeypatch.chdir(tmp_path)
  write(tmp_path / "run", [row("s")], None)
  entry.main(["emojax", "report", "run", "--output=out"])
  assert "| s | C1 | run | 2 |" in capsys.readouterr().out
  assert (tmp_path / "out" / "comparison.md").is_file()
  entry.main(["emojax", "report", "run"])
  assert (tmp_path / "comparison" / "comparison.md").is_file()
  capsys.readouterr()
  entry.main(["emojax", "report", "--help"])
  assert "python -m emojax report RUN RUN" in capsys.readouterr().out


@pytest.mark.parametrize(
  ("arguments", "why"),
  [
    ([], "no run to report"),
    (["run", "--otput=x"], "otput"),
    (["run", "--output"], "output"),
  ],
)
def test_the_command_with_what_is_wrong(arguments, why):
  with pytest.raises(UserError, match=why) as caught:
    entry.main(["emojax", "report", *arguments])
  assert "\n" not in str(caught.value)
