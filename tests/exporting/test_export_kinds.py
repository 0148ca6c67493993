"""Exported systems of faces and of conversations, beside `predict`."""

import json
import pathlib
import runpy
import sys

import jax
import numpy as np
import pytest
from PIL import Image

import emojax
from emojax.data import table as tables
from emojax.data.table import FeatureTable
from emojax.exporting import export
from emojax.exporting.scripts import conversations as script
from emojax.exporting.scripts import faces as faces_script
from emojax.systems import stored
from emojax.systems.conversations import ConversationSystem
from emojax.systems.faces import FaceSystem

CLASSES = ("happy", "sad", "neutral")
# Functionals span ten orders of magnitude: float32 does not hold their means.
MEAN, STD = 10.0 ** np.arange(5) + 1 / 3, 10.0 ** np.arange(-4, 1)


def make_run(folder, system, params):
  (folder / "model").mkdir(parents=True)
  for name, write in stored.writers(system, params).items():
    write(folder / name)
  return folder


def face_run(folder, **changes):
  # As wide as it takes for convolutions to be Winograd's in the system itself.
  fields = {"widths": (32,) * 6, "hidden": 8, "dropout": 0.5, "crop": 0}
  fields |= {"image_size": (18, 20), "channels": 1, "temperature": 1.7}
  system = FaceSystem(CLASSES, "dcnn", **{**fields, **changes})
  return make_run(folder, system, jax.jit(system.init)(jax.random.key(0)))


def conversation_run(folder, normalisation):
  system = ConversationSystem(
    CLASSES,
    features={},
    widths={"audio": 5, "text": 3},
    normalisation=normalisation,
    hidden=8,
    num_heads=2,
    scale_attention=True,
    temperature=0.7,
  )
  random = np.random.default_rng(0)
  params = jax.tree.map(
    lambda x: random.normal(0, 0.5, x.shape).astype(x.dtype), system.shapes()
  )
  if normalisation == "train":
    params["statistics"] = {
      "audio": {"mean": MEAN, "std": STD},
      "text": {"mean": np.zeros(3), "std": np.array([1.0, 2.0, 1e-6])},
    }
  return make_run(folder, system, params)


def make_table(path):
  """Three dialogues of different lengths, their turns in no order."""
  lengths, random = (4, 1, 3), np.random.default_rng(1)
  count = sum(lengths)
  features = {
    "audio": random.normal(MEAN, STD, (count, 5)),
    "text": random.normal(0, 1e-6, (count, 3)),
  }
  table = FeatureTable(
    {name: values.astype(np.float32) for name, values in features.items()},
    np.full(count, ""),
    speaker=np.array(["ann", "bob"])[np.arange(count) % 2],
    dialogue=np.repeat(["one", "two", "three"], lengths),
    turn=np.concatenate([random.permutation(n) for n in lengths]),
    session=np.full(count, "1"),
  )
  tables.save(path, table)
  return str(path)


def script_says(monkeypatch, capsys, folder, paths):
  """What a folder's script prints, where there is no emojax."""
  with monkeypatch.context() as patch:
    patch.setitem(sys.modules, "emojax", None)
    patch.delitem(sys.modules, "program", raising=False)
    patch.syspath_prepend(folder)
    patch.setattr(sys, "argv", ["run.py", *paths])
    runpy.run_path(str(folder / "run.py"), run_name="__main__")
    del sys.modules["program"]
  return [line.split("\t") for line in capsys.readouterr().out.splitlines()]


def check(said, predictions, *columns):
  best = predictions.probabilities_UxC.max(1)
  names = zip(*(predictions.names[column] for column in columns), strict=True)
  expected = {
    one: (emotion, confidence)
    for one, emotion, confidence in zip(
      names, predictions.emotions, best, strict=True
    )
  }
  assert len(said) == len(expected) > 0
  for emotion, confidence, *one in said:
    assert expected[tuple(one)][0] == emotion
    assert abs(expected[tuple(one)][1] - float(confidence)) < 1e-5


@pytest.mark.parametrize(
  ("format_", "changes"),
  [("stablehlo", {}), ("onnx", {"crop": 16, "channels": 3})],
)
def test_faces(tmp_path, monkeypatch, capsys, format_, changes):
  run = face_run(tmp_path / "run", **changes)
  card = export.export(run, tmp_path / "out", format_)
  assert card["largest_difference"]["probabilities"] < 1e-5
  channels = changes.get("channels", 1)
  assert card["inputs"]["images"]["shape"] == ("batch", 18, 20, channels)
  random, paths = np.random.default_rng(0), []
  for mode in ("RGB", "L", "RGBA", "P"):
    pixels = random.integers(0, 256, (30, 40, 3), np.uint8)
    paths.append(str(tmp_path / f"{mode}.png"))
    Image.fromarray(pixels).convert(mode).save(paths[-1])
  said = script_says(monkeypatch, capsys, tmp_path / "out", paths)
  check(said, emojax.load(run).predict(paths), "path")


def test_the_script_of_faces_refuses_deep_pixels(tmp_path):
  path = tmp_path / "deep.png"
  Image.fromarray(np.full((30, 40), 40_000, np.uint16)).save(path)
  with pytest.raises(SystemExit, match="I;16; expected 8 bits a channel"):
    faces_script.pixels(str(path), 18, 20, 1)


@pytest.mark.parametrize(
  ("format_", "normalisation"), [("onnx", "train"), ("stablehlo", "speaker")]
)
def test_conversations(tmp_path, monkeypatch, capsys, format_, normalisation):
  run = conversation_run(tmp_path / "run", normalisation)
  card = export.export(run, tmp_path / "out", format_)
  assert card["largest_difference"]["probabilities"] < 1e-5
  assert card["inputs"]["text"]["shape"] == ("batch", "turns", 3)
  table = make_table(tmp_path / "table.npz")
  expected = emojax.load(run).predict([table])
  assert np.ptp(expected.probabilities_UxC) > 0.1
  said = script_says(monkeypatch, capsys, tmp_path / "out", [table])
  check(said, expected, "dialogue", "turn")
  if normalisation == "train":
    padded_dialogues_are_those_alone(tmp_path / "out", table, expected)


def test_the_script_reads_tables_as_the_system_does(tmp_path):
  path, count = tmp_path / "table.npz", 13
  speakers = np.array(["Ann", "ann ", "bob"])[np.arange(count) % 3]
  arrays = {
    "Audio": np.random.default_rng(2).normal(0, 1, (count, 2)),
    "speaker": speakers,
    "dialogue": np.where(np.arange(count) % 2, "one", "One"),
    "turn": np.arange(count)[::-1].astype(np.float64).astype(str),
  }
  np.savez(path, **arrays)
  found, table = script.read(path, {"audio": 2}), tables.load(path, False)
  for ours, rows in zip(
    script.dialogues(found), tables.dialogues(table), strict=True
  ):
    np.testing.assert_array_equal(ours, rows)
  _, speaker = np.unique(list(map(script.key, speakers)), return_inverse=True)
  _, expected = np.unique(table.speaker, return_inverse=True)
  np.testing.assert_array_equal(speaker, expected)
  np.savez(path, **arrays | {"turn": np.full(count, "first")})
  with pytest.raises(SystemExit, match="turn: could not convert"):
    script.read(path, {"audio": 2})


@pytest.mark.parametrize(
  ("wrong", "said"),
  [
    ({"turn": np.array([0, 1, np.nan])}, "turn: NaN"),
    ({"speaker": np.array(["ann", "bob"])}, "arrays of several lengths"),
    ({"session": np.array("1")}, "arrays of several lengths"),
    ({}, "no feature table"),  # Half a file.
  ],
)
def test_the_script_names_what_is_wrong_with_a_table(tmp_path, wrong, said):
  path, names = tmp_path / "table.npz", np.array(["1"] * 3)
  arrays = {"audio": np.zeros((3, 2)), "speaker": names, "dialogue": names}
  np.savez(path, **{**arrays, "turn": np.arange(3), **wrong})
  if not wrong:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
  with pytest.raises(SystemExit, match=said):
    script.read(str(path), {"audio": 2})


def padded_dialogues_are_those_alone(
  folder: pathlib.Path, path: str, expected
) -> None:
  """All dialogues in one batch, with anything behind the end of a short one."""
  load = runpy.run_path(str(folder / "program.py"))["load"]
  card = json.loads((folder / "card.json").read_text(encoding="utf-8"))
  table = tables.load(path)
  dialogues = tables.dialogues(table)
  lengths = [len(rows) for rows in dialogues]
  inputs = {"lengths": lengths}
  for name in ("audio", "text"):
    width = card["inputs"][name]["shape"][-1]
    inputs[name] = np.full((3, max(lengths), width), 9, np.float32)
    for number, rows in enumerate(dialogues):
      inputs[name][number, : len(rows)] = table.features[name][rows]
  found = load(folder)(**inputs)["probabilities"]
  for number, rows in enumerate(dialogues):
    np.testing.assert_allclose(
      found[number, : len(rows)],
      expected.probabilities_UxC[rows],
      atol=1e-5,
    )
