"""Preprocessors as the versions of transformers write them."""

import json

import pytest

from emojax.encoders.speech_config import SpeechConfig
from emojax.encoders.speech_preprocessor import Preprocessor
from emojax.errors import UserError

CLASS = "Wav2Vec2FeatureExtractor"
# What transformers 4.20 to 5.24 write, but for the nesting.
FIELDS = {
  "do_normalize": False,
  "feature_extractor_type": CLASS,
  "feature_size": 1,
  "padding_side": "right",
  "padding_value": 0.0,
  "return_attention_mask": True,
  "sampling_rate": 16000,
}
OLD, NEW = "preprocessor_config.json", "processor_config.json"


def read(folder, **files):
  for name, content in files.items():
    if not isinstance(content, str):
      content = json.dumps(content)
    file = {"old": OLD, "new": NEW}.get(name, name)
    (folder / file).write_text(content, encoding="utf-8")
  return Preprocessor.read(folder, SpeechConfig())


@pytest.mark.parametrize(
  "files",
  [
    {"old": FIELDS},
    {"old": FIELDS | {"processor_class": "Wav2Vec2Processor"}},
    {"old": FIELDS, "new": {"processor_class": "Wav2Vec2Processor"}},
    {"new": {"feature_extractor": FIELDS, "processor_class": "X"}},
    {"new": {"audio_processor": FIELDS}},
    {"old": FIELDS, "new": {"feature_extractor": FIELDS}},
    {"old": "\ufeff" + json.dumps(FIELDS | {"sampling_rate": 16000.0})},
    {"old": FIELDS | {"do_normalize": 0, "return_attention_mask": 1}},
  ],
)
def test_files_of_every_version(tmp_path, files):
  assert read(tmp_path, **files) == Preprocessor(16000, False, True, 400)


def test_a_field_that_is_not_there_has_the_default_of_the_class(tmp_path):
  """`transformers.Wav2Vec2FeatureExtractor` without arguments."""
  found = read(tmp_path, old={"feature_extractor_type": CLASS})
  assert found == Preprocessor(16000, True, False, 400)


@pytest.mark.parametrize(
  ("files", "why"),
  [
    ({}, 'or write one: {"do_normalize": true'),
    ({"new": {"processor_class": "X"}}, "no preprocessor_config.json"),
    ({"old": {"sampling_rate": None}}, "sampling_rate = None is no int"),
    ({"old": {"sampling_rate": 0}}, "sampling_rate = 0"),
    ({"old": {"do_normalize": "false"}}, "do_normalize = 'false' is no bool"),
    ({"old": {"feature_size": 80}}, "feature_size = 80 is not supported"),
    ({"old": {"padding_value": 1}}, "padding_value = 1 is not supported"),
    ({"old": {"padding_side": "left"}}, "padding_side = 'left' is not"),
    (
      {"old": {"feature_extractor_type": "WhisperFeatureExtractor"}},
      "of a WhisperFeatureExtractor",
    ),
    (
      {
        "old": FIELDS | {"do_normalize": True},
        "new": {"feature_extractor": FIELDS},
      },
      "differ in do_normalize",
    ),
    ({"old": "<!DOCTYPE html><title>Sign in"}, "a page of a web site"),
    ({"old": "version https://git-lfs.github.com/spec/v1"}, "git lfs pull"),
    ({"new": {"feature_extractor": [1]}}, "is no feature extractor"),
  ],
)
def test_what_would_change_the_numbers_is_refused(tmp_path, files, why):
  with pytest.raises(UserError) as caught:
    read(tmp_path, **files)
  line = str(caught.value)
  assert why in line and str(tmp_path) in line and "\n" not in line
