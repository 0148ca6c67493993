"""Dialogues by a trained system: as in its study, and what can go wrong."""

import csv
import json
import shutil

import jax
import numpy as np
import pytest
import soundfile
from scipy import special, stats

import emojax
from configs import dann as dann_config
from emojax.data import conversations
from emojax.data import table as tables
from emojax.data.table import FeatureTable
from emojax.errors import UserError
from emojax.inference import listener
from emojax.reports import dann as reports
from emojax.runtime import tensors
from emojax.summary import read_arrays
from emojax.systems import stored
from emojax.systems.conversations import ConversationSystem
from emojax.trainers import dann, held_out

RATE = 16_000
SPEAKERS = ("anna", "ben", "cleo", "dan", "eva")
WORDS = {"happy": "what a wonderful garden", "sad": "the grey rain again"}


def write_corpus(folder):
  """Two dialogues a speaker, three turns each, heard and read."""
  rng = np.random.default_rng(0)
  rows = []
  for number, speaker in enumerate(SPEAKERS):
    for turn in range(6):
      label = ("happy", "sad")[(turn + number) % 2]
      time = np.arange(RATE) / RATE
      pitch = (180 if label == "happy" else 110) + 8 * number
      samples = sum(np.sin(2 * np.pi * pitch * k * time) / k for k in (1, 2, 3))
      samples = 0.1 * samples + 0.01 * rng.normal(size=RATE)
      name = f"{speaker}{turn}.wav"
      soundfile.write(folder / name, samples, RATE)
      dialogue = f"{speaker}-{turn // 3}"
      rows.append([name, label, speaker, dialogue, turn % 3, WORDS[label]])
  header = ["path", "label", "speaker", "dialogue", "turn", "text"]
  write_csv(folder / "all.csv", [header, *rows])
  return folder / "all.csv"


def write_csv(path, rows):
  with open(path, "w", encoding="utf-8", newline="") as file:
    csv.writer(file).writerows(rows)
  return path


def read_csv(path):
  with open(path, encoding="utf-8", newline="") as file:
    return list(csv.reader(file))


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
  return write_corpus(tmp_path_factory.mktemp("corpus"))


@pytest.fixture(scope="module", params=["train", "speaker"])
def run(request, corpus, tmp_path_factory):
  """A finished study of audio and text."""
  config = dann_config.get_config()
  config.data.corpus, config.data.path = "manifest", str(corpus)
  config.data.labels = "happy,sad"
  config.data.normalisation = request.param
  config.data.num_workers = 1
  config.split.test_speakers = "eva"
  config.model.hidden, config.model.num_heads = 8, 2
  config.num_epochs, config.num_replicates, config.lambdas = 2, 1, (0.0, 0.1)
  folder = tmp_path_factory.mktemp(request.param) / "run"
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(reports.study, "files", lambda *_: {})  # Nobody looks here.
    dann.train(config, folder)
  return folder


def test_equals_the_study(run, corpus):
  predictor = emojax.load(run)
  found = predictor.predict(corpus)
  outputs = read_arrays(run / "outputs.npz")
  rows = outputs["utterance"]
  assert [found.names["speaker"][row] for row in rows] == ["eva"] * 6
  wanted = special.log_softmax(
    outputs["logits"] / predictor.system.temperature, axis=1
  )
  np.testing.assert_allclose(
    np.log(found.probabilities_UxC[rows]), wanted, atol=1e-5
  )
  hits = (
    np.array(found.emotions)[rows] == np.array(found.classes)[outputs["target"]]
  )
  summary = json.loads((run / "summary.json").read_text("utf-8"))
  kept = summary["details"]["kept"]
  (row,) = (r for r in summary["rows"] if r["system"] == kept["system"])
  assert hits.mean() == row["metrics"]["weighted_accuracy"]["runs"][0]
  assert kept["temperature"] == predictor.system.temperature


def test_what_is_said_of_each_utterance(run, corpus):
  found = emojax.load(run).predict(corpus)
  audio, text = found.details["audio_weight"], found.details["text_weight"]
  np.testing.assert_allclose(np.add(audio, text), 1, atol=1e-6)
  told = found.details["attention"]
  shares = [
    dict(share.split(":") for share in of_one.split()) for of_one in told
  ]
  assert all([*of_one] == ["0", "1", "2"] for of_one in shares)
  sums = [sum(map(float, of_one.values())) for of_one in shares]
  np.testing.assert_allclose(sums, 1, atol=2e-3)


def make_run(folder, **changes):
  """A system with weights at random, of a table or of its own features."""
  fields = {
    "classes": ("happy", "sad"),
    "features": {},
    "widths": {"audio": 3, "text": 2},
    "normalisation": "train",
    "hidden": 4,
    "num_heads": 2,
    "scale_attention": False,
    **changes,
  }
  system = ConversationSystem(**fields)
  rng = np.random.default_rng(0)
  params = jax.tree.map(
    lambda x: rng.uniform(0.5, 1, x.shape).astype(x.dtype), system.shapes()
  )
  (folder / "model").mkdir(parents=True)
  for name, write in stored.writers(system, params).items():
    write(folder / name)
  return folder


def make_table(path, turns=(1, 2, 3), **widths):
  count = len(turns)
  rng = np.random.default_rng(0)
  features = {
    name: rng.normal(size=(count, width)).astype(np.float32)
    for name, width in (widths or {"audio": 3, "text": 2}).items()
  }
  names = {n: np.full(count, n) for n in ("speaker", "dialogue", "session")}
  table = FeatureTable(
    features, np.full(count, ""), turn=np.array(turns), **names
  )
  tables.save(path, table)
  return path


def test_each_speaker_by_itself(tmp_path):
  folder = make_run(tmp_path / "run", normalisation="speaker")
  system, params = stored.load(folder, ConversationSystem)
  assert "statistics" not in params
  values = np.random.default_rng(0).normal(size=(6, 3)).astype(np.float32)
  speaker_U = np.array(list("aabbab"))
  found = system.normalise(params, {"audio": values}, speaker_U)["audio"]
  for name in "ab":
    wanted = stats.zscore(values[speaker_U == name].astype(float))
    np.testing.assert_allclose(found[speaker_U == name], wanted, atol=1e-6)


def test_a_missing_turn(tmp_path, caplog):
  predictor = emojax.load(make_run(tmp_path / "run"))
  found = predictor.predict(make_table(tmp_path / "t.npz", (1, 2, 5)))
  assert found.names["turn"] == ["1", "2", "5"]
  (message,) = caplog.messages
  assert "with a turn missing, classified without it: 1;" in message
  assert "the first: dialogue (turn 3)" in message


def test_a_table_without_labels(tmp_path):
  predictor = emojax.load(make_run(tmp_path / "run"))
  path = make_table(tmp_path / "t.npz")
  with np.load(path) as arrays:
    rest = {k: v for k, v in arrays.items() if k not in ("label", "session")}
  np.savez(tmp_path / "rest.npz", **rest)
  np.testing.assert_array_equal(
    predictor.predict(tmp_path / "rest.npz").probabilities_UxC,
    predictor.predict(path).probabilities_UxC,
  )


def test_several_files_are_several_corpora(tmp_path):
  predictor = emojax.load(make_run(tmp_path / "run"))
  paths = [make_table(tmp_path / f"{n}.npz", range(n)) for n in (2, 3)]
  together = predictor.predict(paths)
  alone = [predictor.predict(path).probabilities_UxC for path in paths]
  np.testing.assert_allclose(
    together.probabilities_UxC, np.concatenate(alone), atol=1e-6
  )


def test_columns_that_one_file_lacks(tmp_path, corpus):
  predictor = emojax.load(make_run(tmp_path / "run", **EXTRACTED))
  table = make_table(tmp_path / "t.npz", audio=88, text=1024)
  found = predictor.predict([table, corpus])
  assert found.names["path"][:3] == [""] * 3
  assert found.names["path"][3].endswith("anna0.wav")
  assert found.names["speaker"][3] == "anna"
  assert len([*found.rows()]) == len(found) == 33


def test_turns_that_are_far_apart(tmp_path, caplog):
  """As those of a clock: they have been counted one by one."""
  predictor = emojax.load(make_run(tmp_path / "run"))
  predictor.predict(make_table(tmp_path / "t.npz", (0, 10**15, 2 * 10**15)))
  assert "the first: dialogue (turn 1)" in caplog.text


def test_statistics_that_give_no_numbers(tmp_path):
  folder = make_run(tmp_path / "run")
  path = folder / "model" / "weights.safetensors"
  params = tensors.load(path)
  params["statistics"]["audio"]["std"][:] = 0
  tensors.save(path, params)
  with pytest.raises(UserError, match="gives NaN"):
    emojax.load(folder).predict(make_table(tmp_path / "t.npz"))


@pytest.mark.parametrize(
  ("widths", "message"),
  [
    ({"audio": 3}, "no text features, and the system takes audio and text"),
    ({"text": 2}, "no audio features"),
    ({"audio": 4, "text": 2}, "4 audio features, and the system takes 3"),
  ],
)
def test_features_of_another_kind(tmp_path, widths, message):
  predictor = emojax.load(make_run(tmp_path / "run"))
  path = make_table(tmp_path / "t.npz", **widths)
  with pytest.raises(UserError, match=message):
    predictor.predict(path)


def test_recordings_for_a_system_of_a_table(tmp_path, corpus):
  predictor = emojax.load(make_run(tmp_path / "run"))
  with pytest.raises(UserError, match="trained from a feature table"):
    predictor.predict(corpus)


EXTRACTED = {
  "features": {
    "audio_features": "eGeMAPSv02",
    "audio_layers": [],
    "audio_revision": "",
    "text_features": "hashing",
    "text_encoder": "",
    "text_revision": "",
  },
  "widths": {"audio": 88, "text": 1024},
}


def test_no_words_for_a_system_that_reads(tmp_path, corpus):
  predictor = emojax.load(make_run(tmp_path / "run", **EXTRACTED))
  header, *rows = read_csv(corpus)
  silent = corpus.parent / "silent.csv"
  write_csv(silent, [row[:-1] for row in (header, *rows)])
  with pytest.raises(UserError, match="add transcripts, in a column text"):
    predictor.predict(silent)
  empty = write_csv(corpus.parent / "empty.csv", [header[:1] + header[2:]])
  with pytest.raises(UserError, match="no rows"):
    predictor.predict(empty)
  no_speaker = write_csv(
    corpus.parent / "x.csv", [["path", "text"], ["a", "b"]]
  )
  with pytest.raises(UserError, match="no column speaker"):
    predictor.predict(no_speaker)


def test_recordings_that_can_not_be_used(tmp_path, corpus, caplog):
  predictor = emojax.load(make_run(tmp_path / "run", **EXTRACTED))
  for row in (rows := read_csv(corpus)[:4]):
    if row[0] != "path":
      shutil.copy(corpus.parent / row[0], tmp_path)
  (tmp_path / rows[2][0]).write_bytes(b"no audio")
  rows = [[*row[:1], *row[2:]] for row in rows]  # Without labels.
  found = predictor.predict(write_csv(tmp_path / "some.csv", rows))
  assert found.names["turn"] == ["0", "2"]
  assert [skip.path for skip in found.skipped] == [str(tmp_path / rows[2][0])]
  assert any("with a turn missing" in message for message in caplog.messages)
  (tmp_path / rows[1][0]).write_bytes(b"no audio")
  (tmp_path / rows[3][0]).write_bytes(b"no audio")
  with pytest.raises(UserError, match="no recording is usable"):
    predictor.predict(tmp_path / "some.csv")


@pytest.mark.parametrize(
  ("field", "value"),
  [
    ("normalisation", "__import__('os')"),
    ("features", {"audio_features": "x"}),
    ("widths", {"video": 3}),
    ("widths", {"audio": "many", "text": 2}),
    ("hidden", 10**12),
    ("num_heads", 3),
    ("temperature", -1),
    ("classes", ["happy"]),
    ("more", 1),
  ],
)
def test_a_description_that_was_tampered_with(tmp_path, field, value):
  path = make_run(tmp_path / "run") / "model" / "system.json"
  fields = json.loads(path.read_text("utf-8")) | {field: value}
  path.write_text(json.dumps(fields), encoding="utf-8")
  with pytest.raises(UserError, match="train it again") as caught:
    emojax.load(tmp_path / "run")
  assert "\n" not in str(caught.value)


def test_commands_that_listen_take_speech_alone(tmp_path):
  folder = make_run(tmp_path / "run")
  with pytest.raises(UserError, match=r"of conversations, .* one of speech"):
    listener.load(folder)


def test_one_labelled_speaker_is_no_calibration(corpus, tmp_path, caplog):
  config = dann_config.get_config()
  table = FeatureTable(
    {"audio": np.eye(4, dtype=np.float32)},
    np.array(["happy", "sad"] * 2),
    speaker=np.array(list("aabb")),
    dialogue=np.array(list("aabb")),
    turn=np.arange(4),
    session=np.full(4, ""),
  )
  tables.save(tmp_path / "t.npz", table)
  config.data.corpus, config.data.path = "table", str(tmp_path / "t.npz")
  config.data.labels, config.split.test_speakers = "happy,sad", "b"
  corpus = conversations.read(config)
  (cohort,) = dann.make_cohorts(config, corpus, ())
  assert held_out.folds(config, corpus, cohort) == []
  assert "one speaker is labelled" in caplog.text
  kept = held_out.choose(corpus, cohort, [], None, None)
  assert (kept.system.id, kept.temperature, kept.held_out) == ("dann", 1.0, {})
