"""Trackers as their own packages keep them, offline; read from their files.

Trackio takes an older Pillow than the rest, so a stand-in with the signatures
of its 0.43 is in its place.
"""

import json
import logging
import pathlib
import struct
import sys

import pytest

from emojax import summary as summaries
from emojax.errors import UserError
from tests import test_runs
from tests.test_runs import Crash, Walks, crash, make_config


def tracked(names: str):
  """The config of a study that names trackers."""
  config = make_config()
  config.trackers = names
  return config


@pytest.fixture(scope="module")
def store(tmp_path_factory):
  """Nothing leaves this machine; MLflow's folder."""
  folder = tmp_path_factory.mktemp("mlflow")
  with pytest.MonkeyPatch.context() as patch:
    patch.setenv("WANDB_MODE", "offline")
    patch.setenv("MLFLOW_TRACKING_URI", folder.as_uri())
    patch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    yield folder


@pytest.fixture(scope="module")
def workdir(store, tmp_path_factory) -> pathlib.Path:
  """A study that crashed in its first run and was begun again."""
  workdir = tmp_path_factory.mktemp("tracked")
  config = tracked("wandb,mlflow")
  walks = Walks(at={"few, walk, seed 0: 3": crash})
  with pytest.raises(Crash):
    test_runs.complete(workdir, walks, config)
  test_runs.complete(workdir, config=config)
  return workdir


def curves(workdir) -> dict[str, list[float]]:
  """What the study's own history says, by the names that trackers give."""
  history = summaries.read_arrays(workdir / "history.npz")
  return {
    f"{row}/walk/seed-{seed}/mean": history[f"{row}/walk/mean"][seed].tolist()
    for row in ("few", "many")
    for seed in (0, 1)
  }


def means(workdir) -> dict[str, float]:
  return {
    f"summary/{row.setting}/walk/mile": row.metrics["mile"].mean
    for row in summaries.read(workdir).rows
  }


def wandb_records(path: pathlib.Path) -> list:
  """Records of a `.wandb` file: the log format of LevelDB after 7 bytes."""
  from wandb.proto import wandb_internal_pb2

  data, offset, parts, found = path.read_bytes(), 7, b"", []
  while offset + 7 <= len(data):
    left = 2**15 - offset % 2**15
    if left < 7:
      offset += left
      continue
    length, kind = struct.unpack_from("<HB", data, offset + 4)
    parts += data[offset + 7 : offset + 7 + length]
    offset += 7 + length
    if kind in (1, 4):  # Whole, or the last part.
      found.append(wandb_internal_pb2.Record.FromString(parts))
      parts = b""
  return found


def values_of(items) -> dict:
  return {
    "/".join(item.nested_key) or item.key: json.loads(item.value_json)
    for item in items
  }


def test_wandb_goes_on_with_the_run_of_the_folder(workdir):
  id_ = json.loads((workdir / "trackers.json").read_text())["wandb"]
  paths = sorted(workdir.glob("wandb/offline-run-*/*.wandb"))
  assert [path.name for path in paths] == [f"run-{id_}.wandb"] * 2
  points, final = {}, {}
  for path in paths:
    for record in wandb_records(path):
      if record.HasField("history"):
        row = values_of(record.history.item)
        for name in curves(workdir).keys() & row:
          points.setdefault(name, {})[row["round"]] = row[name]
      elif record.HasField("summary"):
        final |= values_of(record.summary.update)
      elif record.HasField("run") and record.run.config.update:
        config = values_of(record.run.config.update)
      elif record.HasField("metric"):
        assert record.metric.glob_name == "*"
        assert record.metric.step_metric == "round"
  for name, values in curves(workdir).items():
    expected = dict(enumerate(values, start=1))
    assert points[name] == pytest.approx(expected), name
  assert means(workdir).items() <= final.items()
  assert config["model"] == {"hidden": 4, "name": "a"}


def test_mlflow_goes_on_with_the_run_of_the_folder(workdir, store):
  id_ = json.loads((workdir / "trackers.json").read_text())["mlflow"]
  (run,) = (path.parent for path in store.glob("*/*/meta.yaml"))
  assert run.name == id_
  assert "status: 3" in (run / "meta.yaml").read_text()  # Finished.
  assert (run / "params" / "model.hidden").read_text() == "4"
  assert (run / "params" / "lambdas").read_text() == "[0.0, 1.0]"
  for name, values in curves(workdir).items():
    lines = (run / "metrics" / name).read_text().splitlines()
    # Rounds that were done again stand there again, with the same figures.
    points = {int(step): float(v) for _, v, step in map(str.split, lines)}
    assert points == pytest.approx(dict(enumerate(values, start=1))), name
  for name, value in means(workdir).items():
    _, figure, _ = (run / "metrics" / name).read_text().split()
    assert float(figure) == pytest.approx(value)


STAND_IN = """
import json, os
def init(project, name=None, group=None, space_id=None, server_url=None,
         dataset_id=None, bucket_id=None, config=None, resume="never",
         settings=None, private=None, embed=True):
  note(project=project, name=name, config=config, resume=resume)
  return Run()
class Run:
  def log(self, metrics, step=None):
    note(step=step, metrics=metrics)
    if "many" in str(metrics) and os.environ.get("BROKEN"):
      raise OSError(28, "No space left on device")
  def finish(self):
    note(finished=True)
def note(**what):
  with open(os.environ["NOTES"], "a", encoding="utf-8") as file:
    print(json.dumps(what), file=file)
"""


@pytest.fixture
def trackio(tmp_path, monkeypatch):
  """What a stand-in of Trackio was told, as a function."""
  (tmp_path / "trackio.py").write_text(STAND_IN)
  monkeypatch.syspath_prepend(tmp_path)
  monkeypatch.delitem(sys.modules, "trackio", raising=False)
  monkeypatch.setenv("NOTES", str(tmp_path / "notes"))
  yield lambda: [
    json.loads(line) for line in (tmp_path / "notes").read_text().splitlines()
  ]
  sys.modules.pop("trackio", None)


def test_trackio(tmp_path, trackio):
  workdir = tmp_path / "run"
  # Which trackers there are is free: the folder is the same study's.
  with pytest.raises(Crash):
    test_runs.complete(workdir, Walks(at={"few, walk, seed 0: 3": crash}))
  test_runs.complete(workdir, config=tracked("trackio"))
  begun, *notes, final, finished = trackio()
  name = json.loads((workdir / "trackers.json").read_text())["trackio"]
  assert name.startswith("run-")
  assert begun["name"] == name and begun["resume"] == "allow"
  assert begun["config"]["lambdas"] == [0.0, 1.0]
  # It begins after the second round, where the folder stands.
  steps = [1, 2, 3, 4]
  assert [note["step"] for note in notes] == [3, 4, *steps, *steps, *steps]
  for name, values in curves(workdir).items():
    of_one = [n["metrics"][name] for n in notes if name in n["metrics"]]
    assert of_one == pytest.approx(values[-len(of_one) :])
  assert final == {"step": None, "metrics": pytest.approx(means(workdir))}
  assert finished == {"finished": True}


def test_a_tracker_that_fails_loses_no_training(
  tmp_path, trackio, monkeypatch, caplog
):
  monkeypatch.setenv("BROKEN", "1")
  with caplog.at_level(logging.WARNING):
    summary = test_runs.complete(tmp_path / "run", config=tracked("trackio"))
  assert len(summary.rows) == 2
  (record,) = caplog.records
  assert "trackio has failed" in record.getMessage()
  assert "No space left" in record.getMessage()
  assert sum("many" in str(note) for note in trackio()) == 1


def refused(workdir, names: str, match: str):
  walks = Walks()
  with pytest.raises(UserError, match=match):
    test_runs.complete(workdir, walks, tracked(names))
  assert not walks.calls


def test_what_is_wrong_is_one_line_before_training(
  tmp_path, trackio, monkeypatch
):
  workdir = tmp_path / "run"
  refused(workdir, "tensorbord", "no tensorbord; there are mlflow, trackio")
  with monkeypatch.context() as patch:
    patch.setitem(sys.modules, "trackio", None)
    refused(workdir, "trackio", "not installed: pip install trackio")
    patch.delitem(sys.modules, "trackio")
    # Such a folder is left where a tracker has been.
    (tmp_path / "trackio.py").unlink()
    (tmp_path / "trackio").mkdir()
    refused(workdir, "trackio", "not installed: pip install trackio")
  assert not workdir.exists()


def test_a_tracker_that_does_not_start_is_one_line(tmp_path, trackio):
  broken = STAND_IN.replace("  note(project", "  raise ValueError('no\\nkey')#")
  (tmp_path / "trackio.py").write_text(broken)
  refused(tmp_path / "run", "trackio", r"does not start \(no\\nkey\)")
  (tmp_path / "run" / "trackers.json").write_text("{")
  refused(tmp_path / "run", "trackio", "trackers.json is damaged")
