"""What is written of a study is what is read back, and nothing else is read."""

import dataclasses
import json

import numpy as np
import pytest
from sklearn import metrics as sklearn_metrics

from emojax import statistics
from emojax import summary as summaries
from emojax.errors import UserError
from emojax.summary import Comparison, Estimate, Row, Summary, System


def counts(*shape: int) -> np.ndarray:
  return np.random.default_rng(0).integers(1, 20, (*shape, 3, 3))


@pytest.fixture
def summary() -> Summary:
  """Every field holds something."""
  confusion_ExRxCxC = counts(4, 2)
  rows = (
    summaries.row("few", "c1", confusion_ExRxCxC[-1]),
    Row(
      "few",
      "dann",
      {"macro_f1": Estimate(0.5, 0.0, None, (0.5,), (0.4, 0.6))},
      summaries.oracle(confusion_ExRxCxC),
      {"class_recall": {"sad": Estimate.of([0.1, 0.2]), "calm": None}},
    ),
    summaries.row("many", "c1", confusion_ExRxCxC[-2]),
  )
  return Summary(
    study="dann",
    title="Ein Maß",
    demo=True,
    classes=("sad", "calm", "happy"),
    selection=summaries.LAST_EPOCH,
    metrics=tuple(summaries.METRICS),
    systems=(System("c1", "C1"), System("dann", "DANN")),
    rows=rows,
    comparisons=(
      Comparison("few", "dann", "c1", "macro_f1", 0.1, (0, 1), 0.5, "a test"),
      Comparison("many", "dann", "c1", "macro_f1", 0.1, None, None, "a test"),
    ),
    versions={"jax": "0.10.2"},
    device="1 x cpu",
    runs=({"setting": "few", "system": "c1", "seed": 0, "best_epoch": 3},),
    details={"search": {"rounds": [1, 2]}},
    curve="weighted_accuracy",
    test_digest="abc",
  )


@pytest.fixture
def folder(tmp_path, summary):
  summaries.write(tmp_path / summaries.FILE, summary)
  return tmp_path


def test_it_is_read_back_as_it_was(folder, summary):
  assert summaries.read(folder) == summary


def test_systems_and_settings_are_found(summary):
  assert summary.label("dann") == "DANN"
  assert summary.label("a published one") == "a published one"
  assert summary.settings == ["few", "many"]
  assert summary.row("few", "dann") is summary.rows[1]
  assert summary.row("many", "dann") is None


def test_a_row_has_the_metrics_of_each_run():
  confusion_RxCxC = counts(5)
  row = summaries.row("few", "c1", confusion_RxCxC)
  references = {
    "weighted_accuracy": sklearn_metrics.accuracy_score,
    "unweighted_accuracy": sklearn_metrics.balanced_accuracy_score,
    "macro_f1": lambda a, b: sklearn_metrics.f1_score(a, b, average="macro"),
  }
  assert row.metrics.keys() == references.keys()
  true, predicted = np.indices((3, 3)).reshape(2, -1)
  for name, reference in references.items():
    expected = [
      reference(true.repeat(repeats), predicted.repeat(repeats))
      for repeats in confusion_RxCxC.reshape(5, -1)
    ]
    value = row.metrics[name]
    np.testing.assert_allclose(value.runs, expected)
    np.testing.assert_allclose(value.mean, np.mean(expected))
    np.testing.assert_allclose(value.std, np.std(expected, ddof=1))
    assert value.ci95[0] < value.mean < value.ci95[1]


def test_intervals_over_the_test_speakers_are_of_the_mean_run():
  rng = np.random.default_rng(0)
  row = summaries.row("few", "c1", counts(2))
  hits_RxU = rng.random((2, 60)) < 0.6
  labels_U, speakers_U = rng.integers(3, size=60), rng.integers(5, size=60)
  found = summaries.over_speakers(row, hits_RxU, labels_U, speakers_U).metrics
  expected = statistics.cluster_bootstrap(
    np.divide, speakers_U, hits_RxU.mean(0), np.ones(60)
  )
  np.testing.assert_allclose(found["weighted_accuracy"].ci95_speakers, expected)
  low, high = found["unweighted_accuracy"].ci95_speakers
  assert 0.3 < low < high < 0.9
  assert found["macro_f1"] == row.metrics["macro_f1"]
  of_one = summaries.over_speakers(row, hits_RxU, labels_U, 0 * speakers_U)
  assert of_one == row
  of_four = summaries.over_speakers(row, hits_RxU, labels_U, speakers_U % 4)
  assert of_four.metrics == row.metrics
  assert sorted(of_four.groups[summaries.SPEAKERS]) == [*"0123"]


def test_speakers_are_compared_where_there_are_six():
  accuracies = {
    "a": [0.9, 0.8, 0.7, 0.6, 0.9, 0.5],
    "b": [0.5, 0.6, 0.6, 0.5, 0.8, 0.4],
  }

  def row(name, count):
    # Two runs of the one, one of the other: trained twice or once.
    runs = {"a": (-0.1, 0.1), "b": (0.0,)}[name]
    by_speaker = {
      str(speaker): Estimate.of([value + change for change in runs])
      for speaker, value in enumerate(accuracies[name][:count])
    }
    return Row("few", name, {}, groups={summaries.SPEAKERS: by_speaker})

  (one,) = summaries.compare([row("a", 6), row("b", 6)], [("a", "b")], ["x"])
  assert (one.metric, one.test) == (
    "unweighted_accuracy",
    summaries.OVER_SPEAKERS,
  )
  assert one.difference == pytest.approx(1 / 6)
  assert one.p_value == 2 / 2**6  # All six have the same sign.
  rows = [row("a", 5), row("b", 5)]
  assert summaries.compare(rows, [("a", "b")], ["x"]) == ()
  rows = [row("a", 6), row("b", 5)]
  assert summaries.compare(rows, [("a", "b")], ["x"]) == ()


def test_accuracy_of_each_speaker_is_its_mean_recall():
  labels_U = np.array([0, 0, 1, 0, 1, 1])
  speakers_U = np.array(["x", "x", "x", "y", "y", "y"])
  hits_RxU = np.array([[1, 0, 1, 1, 0, 0]], bool)
  row = summaries.row("few", "c1", counts(1))
  row = summaries.over_speakers(row, hits_RxU, labels_U, speakers_U)
  found = {k: v.mean for k, v in row.groups[summaries.SPEAKERS].items()}
  assert found == {"x": 0.75, "y": 0.5}


def test_the_oracle_picks_an_epoch_for_each_run_and_metric():
  confusion_ExRxCxC = counts(6, 4)
  oracle = summaries.oracle(confusion_ExRxCxC)
  for name, metric in summaries.METRICS.items():
    for run, best in enumerate(oracle[name].runs):
      assert best == max(metric(one) for one in confusion_ExRxCxC[:, run])


def test_comparisons_are_of_runs_within_a_setting():
  rows = [
    Row("few", "a", {"x": Estimate.of([0.3, 0.5]), "y": Estimate.of([1, 1])}),
    Row("few", "b", {"x": Estimate.of([0.1, 0.2])}),
    Row("many", "a", {"x": Estimate.of([0.3, 0.5])}),
  ]
  (one,) = summaries.compare(rows, [("a", "b"), ("b", "c")], ["x", "y"])
  assert (one.setting, one.a, one.b, one.metric) == ("few", "a", "b", "x")
  assert one.difference == pytest.approx(0.25)
  assert one.p_value == 0.5 and one.test == summaries.SIGN_FLIPS


def test_one_run_has_neither_deviation_nor_interval():
  assert Estimate.of([0.5]) == Estimate(0.5, 0.0, None, (0.5,))


def test_what_is_not_finite_is_not_written(tmp_path, summary):
  nothing = Estimate(np.nan, 0.0, None, (np.nan,))
  bad = Row("few", "c1", {"macro_f1": nothing})
  broken = dataclasses.replace(summary, rows=(bad,))
  with pytest.raises(ValueError, match="JSON"):
    summaries.write(tmp_path / summaries.FILE, broken)


def refused(folder) -> str:
  with pytest.raises(UserError) as caught:
    summaries.read(folder)
  assert "\n" not in str(caught.value)
  return str(caught.value)


def test_a_folder_without_a_summary(tmp_path):
  assert "is no folder of a finished run" in refused(tmp_path / "nowhere")
  assert "is no folder of a finished run" in refused(tmp_path)
  (tmp_path / "config.json").write_text("{}")
  assert "holds a run that has not finished" in refused(tmp_path)


@pytest.mark.parametrize("content", ["", "{", b"\xff", '{"schema": 2}'])
def test_a_damaged_summary(tmp_path, content):
  content = content if isinstance(content, bytes) else content.encode()
  (tmp_path / summaries.FILE).write_bytes(content)
  assert "summary.json is damaged" in refused(tmp_path)


@pytest.mark.parametrize(
  ("field", "value"),
  [
    ("rows", [{"setting": "few"}]),
    ("rows", None),
    ("comparisons", [{"a": 1}]),
    ("systems", ["c1"]),
    ("title", 3),
    ("comparisons", [{"ci95": [0.1]}]),
    ("metrics", [1]),
    ("a field of tomorrow", 1),
  ],
)
def test_a_summary_of_other_fields(folder, field, value):
  path = folder / summaries.FILE
  content = json.loads(path.read_text(encoding="utf-8"))
  path.write_text(json.dumps(content | {field: value}))
  assert "summary.json is damaged" in refused(folder)


@pytest.mark.parametrize("content", ['{"rows": []}', "[]", '{"schema": 3}'])
def test_a_summary_of_another_version(tmp_path, content):
  (tmp_path / summaries.FILE).write_text(content)
  assert "is of another version of emojax" in refused(tmp_path)


def test_arrays_are_read_or_refused(tmp_path):
  path = tmp_path / summaries.HISTORY
  np.savez_compressed(path, **{"few/c1/loss": np.arange(3)})
  arrays = summaries.read_arrays(path)
  assert arrays["few/c1/loss"].tolist() == [0, 1, 2]
  with pytest.raises(FileNotFoundError):
    summaries.read_arrays(tmp_path / "nothing.npz")
  np.savez(path, evil=np.array([{}], object))
  with pytest.raises(ValueError, match="pickle"):
    summaries.read_arrays(path)
  for content in (b"", b"PK\x03\x04 and no more"):
    path.write_bytes(content)
    with pytest.raises(ValueError):
      summaries.read_arrays(path)
