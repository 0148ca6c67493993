"""Runs of all studies, compared from their folders."""

import dataclasses
import pathlib

import numpy as np
import pytest
from PIL import Image
from scipy import stats

from emojax import __main__ as entry
from emojax import summary as summaries
from emojax.errors import UserError
from emojax.reports import figures
from emojax.reports import report as reports
from emojax.reports.report import PAIRED, WELCH, FinishedRun, between
from emojax.summary import METRICS, Estimate, Row, System

FIVE = (0.60, 0.62, 0.61, 0.65, 0.60)
OTHER_FIVE = (0.55, 0.60, 0.58, 0.60, 0.57)


def row(setting: str, system: str = "c1", *runs: float) -> Row:
  estimate = Estimate.of(runs or (0.5, 0.6))
  return Row(setting, system, dict.fromkeys(METRICS, estimate))


@pytest.fixture
def write(make_summary):
  """Writes a run; it has no history but what it is given."""

  def write(folder: pathlib.Path, *rows: Row, history=None, **fields):
    folder.mkdir(parents=True)
    if rows:
      fields["rows"] = rows
    summary = make_summary(**fields)
    summaries.write(folder / summaries.FILE, summary)
    if history is not None:
      np.savez_compressed(folder / summaries.HISTORY, **history)
    return folder

  return write


@pytest.fixture
def write_study(write):
  """Writes a run with curves of all systems but the last one."""

  def write_study(folder, setting, systems, curve, **fields):
    rng = np.random.default_rng(0)
    rows = [row(setting, id_, *rng.uniform(0.5, 0.7, 3)) for id_ in systems]
    rows.append(row(setting, "svm", 0.5))
    history = {
      f"{setting}/{id_}/{curve}": rng.random((3, 5)) for id_ in systems
    }
    return write(folder, *rows, history=history, curve=curve, **fields)

  return write_study


def cells(text: str, *start: str) -> list[list[str]]:
  """Cells of the lines of tables whose first cells these are."""
  lines = [
    [cell.strip() for cell in line.strip("|").split(" | ")]
    for line in text.splitlines()
    if line.startswith("|")
  ]
  return [line for line in lines if line[: len(start)] == list(start)]


def test_a_comparison_of_three_studies(tmp_path, monkeypatch, write_study):
  panels = {}
  draw = figures.learning_curves

  def recorded(path, curves, *more):
    panels.update({name: list(panel) for name, panel in curves.items()})
    draw(path, curves, *more)

  monkeypatch.setattr(figures, "learning_curves", recorded)
  validation = "validation_unweighted_accuracy"
  folders = [
    write_study(tmp_path / name, setting, systems, curve, **fields)
    for name, setting, systems, curve, fields in (
      ("frozen", "unseen", ["c1"], validation, {"test_digest": "x"}),
      ("last-2", "unseen", ["c1", "dann"], validation, {"test_digest": "x"}),
      (
        *("faces", "noisy", ["dann"], "reward"),
        {
          "study": "rlps",
          "metrics": ("f1_of_averages", *METRICS),
          "selection": "at the best epoch",
        },
      ),
    )
  ]
  text = reports.report(folders, tmp_path / "out")
  lines = text.splitlines()
  assert lines[0] == "# Comparison of runs"
  first, second = cells(text, "unseen", "C1")
  assert (first[2], second[2]) == ("frozen", "last-2")
  value = summaries.read(folders[0]).rows[0].metrics["macro_f1"]
  low, high = value.ci95
  assert first[3:] == [
    "3",
    *[
      f"{100 * value.mean:.1f} ± {100 * value.std:.1f} "
      f"({100 * low:.1f} to {100 * high:.1f})"
    ]
    * 3,
    "–",
  ]
  assert cells(text, "noisy", "SVM", "faces", "1")[0][4:] == ["50.0"] * 3 + [
    "–"
  ]
  assert cells(text, "unseen", "C1 (frozen) − C1 (last-2)", "Macro F1")
  assert f"Test: {PAIRED}." in text and WELCH not in text
  assert "frozen and faces are not tested" in text
  assert "Measured at the last epoch: frozen, last-2." in text
  assert "Measured at the best epoch: faces." in text
  assert panels == {
    "unseen\nvalidation unweighted accuracy": [
      *("C1 (frozen)", "C1 (last-2)", "DANN (last-2)")
    ],
    "noisy\nreward": ["DANN (faces)"],
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


def test_curves_are_over_what_each_run_calls_a_round(
  tmp_path, drawn, write_study
):
  units = {"a": "epoch", "b": "round", "c": "epoch"}
  folders = [
    write_study(tmp_path / name, "few", ["c1"], "loss", unit=unit)
    for name, unit in units.items()
  ]
  reports.report(folders, tmp_path / "out")
  assert drawn[-1].get_supxlabel() == "epoch or round"


def test_one_run_has_a_table_and_nothing_to_test(tmp_path, write_study):
  folder = write_study(tmp_path / "run", "unseen", ["c1"], "reward")
  text = reports.report([folder], tmp_path / "out")
  assert cells(text, "unseen", "C1", "run", "3")
  assert "Differences" not in text


def test_rows_of_one_setting_are_together(tmp_path, write):
  folders = [write(tmp_path / name, row("s"), row("t")) for name in "ab"]
  text = reports.report(folders, tmp_path / "out")
  table = [line[0] for line in cells(text) if line[1] == "C1"]
  assert table == ["s", "s", "t", "t"]


def test_without_history_it_says_so_and_draws_no_curves(tmp_path, write):
  folder = write(tmp_path / "run", row("s"))
  text = reports.report([folder], tmp_path / "out")
  assert "run has no curves: its history.npz is missing" in text
  assert not (tmp_path / "out" / "learning_curves.png").exists()


def test_the_demo_is_marked(tmp_path, write):
  demos = [write(tmp_path / n, row("s"), demo=True) for n in "ab"]
  real = write(tmp_path / "c", row("s"))
  text = reports.report(demos, tmp_path / "out")
  assert text.startswith("**demo corpus (synthetic)**\n\n")
  assert cells(text, "s", "C1", "a", "2")
  mixed = reports.report([demos[0], real], tmp_path / "out")
  assert mixed.startswith("# ")
  assert cells(mixed, "s", "C1", "a [demo corpus (synthetic)]", "2")
  assert cells(mixed, "s", "C1", "c", "2")


def test_folders_of_one_name_are_told_apart(tmp_path, write):
  folders = [write(tmp_path / n / "run", row("s")) for n in "ab"]
  text = reports.report(folders, tmp_path / "out")
  for folder in folders:
    assert cells(text, "s", "C1", str(folder))


@pytest.fixture
def wrong_folders(tmp_path, write) -> dict[str, tuple[list, str]]:
  run = write(tmp_path / "run", row("s"))
  empty, begun, old, broken = (
    tmp_path / name for name in ("empty", "begun", "old", "broken")
  )
  for folder in (empty, begun, old, broken):
    folder.mkdir()
  for folder in (begun, old):
    (folder / "config.json").write_text("{}")
  (old / "summary.json").write_text('{"rows": []}')
  (broken / "summary.json").write_text('{"rows": [')
  recall = Row("s", "c1", {"recall": Estimate.of([0.5])})
  other = write(tmp_path / "other", recall, metrics=("recall",))
  return {
    "none": ([], "no run to report"),
    "nowhere": ([tmp_path / "nowhere"], "nowhere is no folder of a finished"),
    "empty": ([empty], "empty is no folder of a finished run"),
    "begun": ([begun], "begun holds a run that has not finished"),
    "old": ([old], r"old/summary.json is of another version of emojax"),
    "another": (
      [run, other],
      r"no metric that .* run has .*; other has recall",
    ),
    "broken": ([broken], r"broken/summary.json is damaged"),
    "twice": ([run, tmp_path / "empty" / ".." / "run"], "is there twice"),
  }


@pytest.mark.parametrize(
  "case",
  [
    *("none", "nowhere", "empty", "begun", "old", "another", "broken"),
    "twice",
  ],
)
def test_what_is_no_run(tmp_path, wrong_folders, case):
  folders, why = wrong_folders[case]
  with pytest.raises(UserError, match=why) as caught:
    reports.report(folders, tmp_path / "out")
  assert "\n" not in str(caught.value)
  assert not (tmp_path / "out").exists()


def test_what_a_glob_finds_beside_runs_is_left_out(tmp_path, write, caplog):
  run, out = write(tmp_path / "run", row("s")), tmp_path / "comparison"
  (run / "history.npz").write_bytes(b"PK\x03\x04 and no more")
  reports.report([run], out)
  (tmp_path / "a_file").write_text("notes")
  (tmp_path / "begun").mkdir()
  (tmp_path / "begun" / "config.json").write_text("{}")
  caplog.clear()
  text = reports.report(sorted(tmp_path.iterdir()), out)
  assert cells(text, "s", "C1", "run", "2")
  names = ("a_file is no folder", "begun holds a run that has not finished")
  for part in (*names, "comparison is no folder", "npz is damaged"):
    assert part in caplog.text
  # Neither in one of the runs nor in another one, finished or not.
  for folder in (run, tmp_path / "begun"):
    with pytest.raises(UserError, match="holds a run"):
      reports.report([run], folder)


def test_the_command(tmp_path, capsys, monkeypatch, write):
  monkeypatch.chdir(tmp_path)
  write(tmp_path / "run", row("s"))
  entry.main(["emojax", "report", "run", "--output=out"])
  assert cells(capsys.readouterr().out, "s", "C1", "run", "2")
  assert (tmp_path / "out" / "comparison.md").is_file()
  entry.main(["emojax", "report", "run"])
  assert (tmp_path / "comparison" / "comparison.md").is_file()
  capsys.readouterr()
  entry.main(["emojax", "report", "--help"])
  assert "emojax report RUN RUN" in capsys.readouterr().out


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


@pytest.fixture
def finished(make_summary):
  """A finished run that is in no folder."""

  def finished(name: str, *rows: Row, **fields) -> FinishedRun:
    return FinishedRun(name, make_summary(rows=rows, **fields), {})

  return finished


@pytest.mark.parametrize(
  ("digests", "num_of_b", "test"),
  [
    (("x", "x"), 5, PAIRED),
    (("x", "y"), 5, WELCH),
    (("x", "x"), 4, WELCH),
    (("", ""), 5, WELCH),
    (("x", ""), 5, WELCH),
  ],
)
def test_which_test(finished, digests, num_of_b, test):
  a, b = (
    finished(name, row("s", "c1", *values), test_digest=digest)
    for name, values, digest in zip(
      "ab", (FIVE, OTHER_FIVE[:num_of_b]), digests, strict=True
    )
  )
  found = between(a, b, [*METRICS])
  assert [one.metric for one in found] == [*METRICS]
  assert {one.test for one in found} == {test}
  first = found[0]
  assert (first.a, first.b, first.setting) == ("C1 (a)", "C1 (b)", "s")
  if test == PAIRED:
    expected = stats.permutation_test(
      (FIVE, OTHER_FIVE),
      lambda x, y, axis: np.mean(x - y, axis=axis),
      permutation_type="samples",
      vectorized=True,
    )
  else:
    expected = stats.ttest_ind(FIVE, OTHER_FIVE[:num_of_b], equal_var=False)
  assert first.p_value == pytest.approx(expected.pvalue)


def names(a: FinishedRun, b: FinishedRun) -> list[tuple[str, str, str]]:
  return [(one.setting, one.a, one.b) for one in between(a, b, ["macro_f1"])]


def test_namesakes_are_compared(finished):
  a = [row(s, system, *FIVE) for s in "st" for system in ("c1", "dann")]
  b = [row("s", system, *FIVE) for system in ("dann", "c1", "cmn")]
  assert names(finished("a", *a), finished("b", *b)) == [
    ("s", "C1 (a)", "C1 (b)"),
    ("s", "DANN (a)", "DANN (b)"),
  ]


def test_identities_are_not_labels(finished):
  """Two systems of one id are the same, whatever people call them."""
  a = finished("a", row("s", "c1", *FIVE), systems=(System("c1", "one"),))
  b = finished("b", row("s", "c1", *FIVE), row("s", "dann", *FIVE))
  assert names(a, b) == [("s", "one (a)", "C1 (b)")]


def test_all_are_compared_where_no_system_is_shared(finished):
  a = finished("a", row("s", "frozen", *FIVE), row("s", "svm", 0.5))
  b = [row("s", "last 2", *FIVE), row("s", "last 4", *FIVE)]
  assert names(a, finished("b", *b, row("s", "svm", 0.5))) == [
    ("s", "frozen (a)", "last 2 (b)"),
    ("s", "frozen (a)", "last 4 (b)"),
  ]


def test_nothing_is_compared_across_settings_or_of_one_training(finished):
  a, b = (finished(s, row(s, "c1", *FIVE)) for s in "st")
  assert not names(a, b)
  a, b = (finished(s, row("s", "svm", 0.5)) for s in "ab")
  assert not names(a, b)


def test_the_tests_that_were_used_are_explained(tmp_path, write):
  folders = [
    write(tmp_path / "a", row("s", "c1", *FIVE)),
    write(tmp_path / "b", row("s", "c1", 0.5, 0.5)),
  ]
  text = reports.report(folders, tmp_path / "out")
  (line,) = cells(text, "s", "C1 (a) − C1 (b)", "Macro F1")
  assert line[3] == "+11.6"
  assert f"Test: {WELCH}." in text and PAIRED not in text


def test_without_any_spread(tmp_path, write):
  folders = [
    write(tmp_path / name, row("s", "c1", value, value))
    for name, value in (("a", 0.5), ("b", 0.6))
  ]
  text = reports.report(folders, tmp_path / "out")
  (line,) = cells(text, "s", "C1 (a) − C1 (b)", "Macro F1")
  assert line[3:] == ["-10.0", "–", "–"]


def test_metrics_that_one_row_lacks_are_not_tested(finished):
  bare = dataclasses.replace(
    row("s", "c1", *FIVE), metrics={"macro_f1": Estimate.of(FIVE)}
  )
  assert not between(finished("a", bare), finished("b", bare), [*METRICS])
  assert names(finished("a", bare), finished("b", bare))
