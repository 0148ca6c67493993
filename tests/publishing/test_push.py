"""A system goes to the hub, with its card, and comes back."""

import dataclasses
import json
import pathlib
import re

import jax
import ml_collections
import numpy as np
import pytest
import soundfile
import yaml

import emojax
from configs import common
from emojax import __main__ as entry
from emojax import summary as summaries
from emojax.data import split_audit, splits
from emojax.encoders.log_mel import LogMel
from emojax.errors import UserError
from emojax.publishing import push
from emojax.summary import Estimate, Row, Summary, System
from emojax.systems import selectors, stored
from emojax.systems.conversations import FEATURE_FIELDS, ConversationSystem
from emojax.systems.speech import SpeechSystem
from tests import hub_server
from tests.hub_server import NAME

TOKEN = "hf_" + "x" * 34
AUDIT = """\
| part  | utterances | speakers     | angry | sad | no label |
| ----- | ---------- | ------------ | ----- | --- | -------- |
| train | 20         | 2: anna ben  | 10    | 10  | 0        |
| test  | 10         | 1: cleo      | 5     | 5   | 0        |"""


@pytest.fixture
def run(tmp_path):
  """A finished run of the speech study: its two files, summary and config."""
  system = SpeechSystem(
    LogMel((4,)),
    classes=("angry", "sad"),
    window_seconds=2.0,
    pooling="attention",
    weigh_layers=False,
    averaged_frames=1,
    hidden=8,
    dropout=0.3,
    temperature=1.7,
  )
  rng = np.random.default_rng(0)
  params = jax.tree.map(
    lambda x: rng.normal(size=x.shape).astype(np.float32), system.shapes()
  )
  folder = tmp_path / "run"
  (folder / "model").mkdir(parents=True)
  for name, write in stored.writers(system, params).items():
    write(folder / name)
  estimate = Estimate(0.625, 0.01, (0.6, 0.65), (0.62, 0.63), (0.5, 0.75))
  summary = Summary(
    study="speech",
    title="Our calls",
    demo=False,
    classes=system.classes,
    selection=summaries.BEST_EPOCH,
    metrics=("unweighted_accuracy",),
    systems=(System("log_mel", "log-mel CNN"),),
    rows=(Row("unseen cleo", "log_mel", {"unweighted_accuracy": estimate}),),
    comparisons=(),
    versions={"jax": "0.10"},
    device="a CPU",
    model="`model/` is log-mel CNN, seed 0.",
    audit={"unseen cleo": AUDIT},
  )
  summaries.write(folder / "summary.json", summary)
  config = ml_collections.ConfigDict(
    {
      # A blank after the comma, as people write it.
      "data": {"corpus": "manifest, ravdess", "path": "/home/anna/calls.csv"},
      "split": {"method": "speakers", "group": "speaker"},
    }
  )
  (folder / "config.json").write_text(config.to_json(), encoding="utf-8")
  return folder


@pytest.fixture
def hub(tmp_path, monkeypatch):
  monkeypatch.setenv("HF_TOKEN", TOKEN)
  with hub_server.running({}, tmp_path, monkeypatch) as server:
    server.token = TOKEN
    yield server


def test_there_and_back(run, hub, tmp_path, monkeypatch, capsys):
  monkeypatch.chdir(tmp_path)
  entry.main(["emojax", "push", str(run), NAME])
  assert "/commit/" in capsys.readouterr().out
  assert set(hub.files) == {"README.md", *stored.FILES}
  time = np.arange(16_000) / 16_000
  soundfile.write("a.wav", 0.1 * np.sin(500 * time), 16_000)
  theirs, ours = emojax.load(NAME), emojax.load(run)
  assert theirs.system == ours.system
  np.testing.assert_array_equal(
    theirs.predict("a.wav").probabilities_UxC,
    ours.predict("a.wav").probabilities_UxC,
  )


def test_the_card(run, hub):
  push.push(run, NAME)
  card = hub.files["README.md"].decode()
  _, front, text = card.split("---\n", 2)
  meta = yaml.safe_load(front)
  assert meta["library_name"] == "emojax"
  assert meta["pipeline_tag"] == "audio-classification"
  for said in (
    "# Our calls",
    f'emojax.load("{NAME}")',
    "| ravdess  | CC BY-NC-SA 4.0: not for commercial use |",
    "| manifest | not stated: its owner's                 |",
    "| 62.5 ± 1.0 [50.0 to 75.0] |",
    "softmax(logits / 1.700)",
    "must not be used for",
    "| train | 20         | 2        | 10    | 10  | 0        |",
  ):
    assert said in text, said
  for private in ("/home/anna", "anna", "ben", "cleo"):
    assert private not in card


WHO = ("Anna", "Anna Smith", "Ben|Cleo", "Smith, Jo", "Dora: E", "Finn")
FOLDS = [f"clips/{number}.wav" for number in range(12)]
METHODS = {
  "shuffle": {},
  "speakers": {
    "validation_speakers": "Finn",
    "test_speakers": 'Anna,Anna Smith,"Smith, Jo"',
  },
  "k_fold": {"num_folds": 3},
  "leave_one_out": {},
  "sessions": {"labelled_sessions": ("1",), "test_session": "2"},
  "folds": {"folds": "folds.csv"},
  "in_turn": {"test_speakers": "Anna,Anna Smith,Ben|Cleo", "test_session": "2"},
}
SPLITS = [
  *METHODS.items(),
  *(("leave_one_out", {"group": name}) for name in ("session", "corpus")),
  ("sessions", {"labelled_sessions": ("Anna",), "test_session": "Ben"}),
]


def settings_of(method, fields, folder):
  """Tables of who is in which part, by the settings of a split."""
  if method == "folds":  # Each is called after who is tested.
    rows = [
      f"{path},{'test' if i % 6 == k else 'train'},{who}"
      for k, who in enumerate(WHO[:2])
      for i, path in enumerate(FOLDS)
    ]
    text = "\n".join(["path,part,fold", *rows])
    (folder / "folds.csv").write_text(text, encoding="utf-8")
    fields = {"folds": str(folder / "folds.csv")}
  config = common.split()
  config.update({"method": method, **fields})
  speaker_U = np.array(WHO * 2)
  session_U = np.repeat(["1", "2"], 6)
  corpora = ["ours", "ravdess"] if fields.get("group") == "corpus" else ["ours"]
  corpus_U = np.array((corpora * 12)[:12])
  if method == "sessions" or fields.get("group") == "session":
    session_U = np.array(["1", "1", "1", "2", "2", "2"] * 2)
  if fields.get("test_session") == "Ben":
    session_U = np.where(session_U == "1", "Anna", "Ben")
  names = splits.Names(speaker_U, session_U, corpus_U, np.array(FOLDS))
  made = splits.make(config, names, validates=method != "in_turn")
  empty = np.full(12, "")
  tables = {
    setting: split_audit.audit(split, empty, speaker_U, session_U, empty)
    for setting, split in made.items()
  }
  return config.to_dict(), tables


@pytest.mark.parametrize("study", ["speech", "rlps"])
@pytest.mark.parametrize(("method", "fields"), SPLITS)
def test_no_split_tells_who_it_tests(run, hub, tmp_path, study, method, fields):
  split, tables = settings_of(method, fields, tmp_path)
  end = ", 30 % label noise" if study == "rlps" else ""
  called = {f"{name}{end}": table for name, table in tables.items()}
  summary = summaries.read(run)
  estimates = {**summary.rows[0].metrics, "coverage": Estimate.of([0.5])}
  first, *_ = called
  text = f"`model/` is log-mel CNN, {first}, seed 0."
  if study == "rlps":
    text = f"`model/` holds the classifier of {first}, log-mel CNN, seed 0."
  summaries.write(
    run / "summary.json",
    dataclasses.replace(
      summary,
      study=study,
      rows=tuple(Row(name, "log_mel", estimates) for name in called),
      model=text,
      audit=called,
    ),
  )
  config = json.loads((run / "config.json").read_text(encoding="utf-8"))
  text = json.dumps({**config, "split": split})
  (run / "config.json").write_text(text, encoding="utf-8")
  push.push(run, NAME)
  card = hub.files["README.md"].decode()
  found = re.findall("Anna|Smith|Jo\\b|Ben|Cleo|Dora|Finn", card)
  assert not found
  assert end in card
  plain = ("shuffle", {}), ("k_fold", METHODS["k_fold"])
  plain += ("sessions", METHODS["sessions"]), SPLITS[-2]
  if (method, fields) in plain:
    assert all(f"**{name}**" in card for name in called)
  else:
    places = [card.count(f"({n} of {len(called)})") for n in (1, len(called))]
    # The audit, the results and the header of what is further, and the model.
    assert len(called) == 1 or places == [4, 3]


def test_folds_that_are_numbers_and_all_of_them(run, hub):
  """A name that is found in figures too is changed where it is a name."""
  summary = summaries.read(run)
  metrics = summary.rows[0].metrics
  rows = [Row(name, "log_mel", metrics) for name in ("6", "2", "all of them")]
  changed = dataclasses.replace(
    summary, rows=tuple(rows), audit={"6": AUDIT, "2": AUDIT}
  )
  summaries.write(run / "summary.json", changed)
  config = json.loads((run / "config.json").read_text(encoding="utf-8"))
  text = json.dumps({**config, "split": {"method": "folds", "group": ""}})
  (run / "config.json").write_text(text, encoding="utf-8")
  push.push(run, NAME)
  card = hub.files["README.md"].decode()
  assert "| 62.5 ± 1.0 [50.0 to 75.0] |" in card
  assert "| all of them " in card
  assert "**unseen speakers (2 of 2)**" in card


HERE = pathlib.Path(__file__).parent


@pytest.mark.parametrize(
  ("fields", "refused"),
  [
    ({"text_features": "bert", "text_encoder": str(HERE)}, "text_encoder"),
    # Trained on another machine, or moved since.
    ({"text_features": "elmo", "text_encoder": "/data/elmo"}, "text_encoder"),
    ({"text_features": "bert", "text_encoder": "data/bert"}, "text_encoder"),
    ({"text_features": "none", "text_encoder": "/data/bert"}, "text_encoder"),
    ({"audio_features": "/data/whisper"}, "audio_features"),
    ({"audio_features": "eGeMAPSv02", "text_features": "hashing"}, None),
    ({"text_features": "none", "text_encoder": "user/bert"}, None),
    (
      {"audio_features": "user/whisper", "audio_revision": "0" * 40}
      | {"text_features": "bert", "text_encoder": "user/bert"}
      | {"text_revision": "1" * 40},
      None,
    ),
  ],
)
def test_an_encoder_that_others_do_not_have(run, hub, fields, refused):
  system = ConversationSystem(
    ("angry", "sad"),
    {**dict.fromkeys(FEATURE_FIELDS, ""), **fields},
    {"text": 3},
    *("speaker", 4, 2, False),
  )
  params = jax.tree.map(
    lambda x: np.zeros(x.shape, np.float32), system.shapes()
  )
  for name, write in stored.writers(system, params).items():
    write(run / name)
  if refused is None:
    push._require_known_encoders(system)
    return
  with pytest.raises(UserError, match=f"{refused} = .* a folder"):
    push.push(run, NAME)
  assert not hub.files


def test_a_selector_goes_along(run, hub):
  for name in selectors.FILES:
    (run / "model" / name).write_bytes(b"{}")
  push.push(run, NAME)
  assert set(hub.files) == {"README.md", *stored.FILES, *selectors.FILES}


@pytest.mark.parametrize(
  ("name", "token", "message"),
  [
    (NAME, "", "nothing without a token; run `hf auth login`, or set HF_TOKEN"),
    (NAME, "hf_wrong", "the hub refuses access"),
    ("encoder", TOKEN, "no hub id of your own, which is like user/name"),
    ("my speech/encoder", TOKEN, "neither a folder nor a hub id"),
  ],
)
def test_what_the_hub_does_not_take(
  run, hub, monkeypatch, name, token, message
):
  monkeypatch.setenv("HF_TOKEN", token)
  monkeypatch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", "nowhere")
  with pytest.raises(UserError, match=message) as caught:
    push.push(run, name)
  assert "\n" not in str(caught.value)
  assert not hub.files


def test_no_finished_run(run, hub, tmp_path):
  (run / "model" / "weights.safetensors").write_bytes(b"no weights")
  with pytest.raises(UserError, match="train it again"):
    push.push(run, NAME)
  with pytest.raises(UserError, match="no finished run"):
    push.push(tmp_path, NAME)
  assert not hub.files


@pytest.mark.parametrize(
  ("content", "message"),
  [
    (None, "config.json: no such file, so nobody knows"),
    ('{"data": {}, "split": {}}', "config.json: damaged, no config of a run"),
    ('{"data": 1}', "config.json: damaged, no config of a run"),
    ("{", "config.json: not readable as JSON"),
  ],
)
def test_a_run_without_its_config(run, hub, content, message):
  (run / "config.json").unlink()
  if content:
    (run / "config.json").write_text(content, encoding="utf-8")
  with pytest.raises(UserError, match=message) as caught:
    push.push(run, NAME)
  assert "\n" not in str(caught.value)
  assert not hub.files


def test_a_published_system_that_was_tampered_with(run, hub):
  push.push(run, NAME)
  fields = json.loads(hub.files["system.json"])
  fields["encoder"] = {"kind": "os.system"}
  hub.files["system.json"] = json.dumps(fields).encode()
  with pytest.raises(UserError, match="damaged"):
    emojax.load(NAME)
