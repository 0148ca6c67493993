"""Times of words against transformers, with random and published weights."""

import dataclasses
import json
import types

import numpy as np
import pytest
import torch
import transformers
from test_whisper import TINY, example, save
from test_whisper_transcripts import (
  ONCE,
  clip_of,
  spoken,
  tiny,
)
from transformers.models.whisper import tokenization_whisper

from emojax.encoders import (
  whisper_decoding,
  whisper_encoder,
  whisper_words,
)
from emojax.encoders.whisper_config import WhisperConfig
from emojax.encoders.whisper_decoder import WhisperDecoder
from emojax.encoders.whisper_tokens import Vocabulary
from emojax.encoders.whisper_words import Said
from emojax.encoders.words import Word
from emojax.errors import UserError
from emojax.weights import checkpoints


def test_the_cheapest_way_is_that_of_all():
  rng = np.random.default_rng(0)
  for rows, columns in ((1, 4), (3, 1), (3, 5), (4, 4), (5, 3)):
    cost = rng.normal(size=(rows, columns))
    ways = {sum(cost[p] for p in way): way for way in all_ways(rows, columns)}
    best = ways[min(ways)]
    entered = [min(j for i, j in best if i == row) for row in range(rows)]
    assert whisper_words.cheapest_way(cost).tolist() == entered


def all_ways(rows, columns, place=(0, 0)):
  if place == (rows - 1, columns - 1):
    yield [place]
  for down, right in ((1, 0), (0, 1), (1, 1)):
    following = place[0] + down, place[1] + right
    if following[0] < rows and following[1] < columns:
      for way in all_ways(rows, columns, following):
        yield [place, *way]


def reference_starts(model, states, prompt, tokens, heads, frames):
  """Frames in which the last token of the prompt, and each other, begin."""
  with torch.no_grad():
    out = model(
      encoder_outputs=(torch.tensor(np.array(states)),),
      decoder_input_ids=torch.tensor([prompt + tokens]),
      output_attentions=True,
    )
  said = transformers.utils.ModelOutput(
    cross_attentions=[out.cross_attentions],
    sequences=torch.zeros((1, 1)),
  )
  seconds = model._extract_token_timestamps(
    *(said, heads, 0.02), num_frames=2 * frames, num_input_ids=len(prompt) - 1
  )
  # Zeros for the prompt, and the last one twice.
  return np.rint(seconds[0, len(prompt) - 1 : -1].numpy() / 0.02)


@pytest.mark.parametrize("frames", [50, 31, 3])
def test_starts_equal_transformers(tmp_path, frames):
  save(tmp_path)
  model = transformers.WhisperForConditionalGeneration.from_pretrained(
    tmp_path, attn_implementation="eager"
  ).eval()
  config = WhisperConfig.from_json(TINY | {"model_type": "whisper"}, "")
  tensors = checkpoints.open_tensors(tmp_path)
  params = whisper_encoder.decoder_params(config, tensors, tmp_path)
  rng = np.random.default_rng(1)
  states = rng.normal(size=(2, 50, 16)).astype(np.float32)
  heads = ((0, 3), (1, 0), (1, 2))
  said = [
    Said([41, 50, 44], [7, 5, 9, 9, 30], frames),
    Said([41, 44], list(range(12)), 50),
  ]
  decoder = WhisperDecoder(config)
  cross = whisper_decoding.cross_cache(decoder, params, states)
  found = whisper_words.find(decoder, heads, params, cross, said)
  for row, (starts, (prompt, tokens, count)) in enumerate(
    zip(found, said, strict=True)
  ):
    expected = reference_starts(
      *(model, states[row : row + 1], prompt, tokens, heads, count)
    )
    np.testing.assert_array_equal(starts, expected)


def test_words_of_a_long_recording_are_in_its_seconds(tmp_path):
  transcriber = tiny(tmp_path, timestamps=True)
  clips = [np.tile(example()[0][0], 2)]
  (plain,) = transcriber.transcribe(clips, ONCE)
  asked = dataclasses.replace(ONCE, words=True)
  (found,) = transcriber.transcribe(clips, asked)
  assert found._replace(words=()) == plain
  # A word without a space before it is a part of the one before.
  assert "".join(w.text for w in found.words) == found.text.replace(" ", "")
  bounds = [second for _, *word in found.words for second in word]
  assert bounds == sorted(bounds)
  assert bounds[0] >= 0 and 1 < bounds[-1] <= 2


def test_pauses_beside_sentences_are_no_parts_of_words():
  texts = [" Yes", " we", " can", ".", " We", " do"]
  vocabulary = types.SimpleNamespace(
    decode=lambda tokens: "".join(texts[token] for token in tokens)
  )
  starts = np.array([0, 100, 120, 140, 150, 260, 280])
  words = whisper_words.place(vocabulary, "en", range(6), starts)
  # The median of 2.0, 0.4, 0.4, 2.2 and 0.4 s is 0.4 s.
  assert words == [
    Word("Yes", pytest.approx(1.2), 2.0),
    Word("we", 2.0, pytest.approx(2.4)),
    Word("can.", pytest.approx(2.4), pytest.approx(2.8)),
    Word("We", pytest.approx(4.4), pytest.approx(5.2)),
    Word("do", pytest.approx(5.2), pytest.approx(5.6)),
  ]


@pytest.mark.parametrize(
  ("listed", "expected"),
  [
    ([[1, 3], [0, 2]], ((1, 3), (0, 2))),
    (None, ((1, 0), (1, 1), (1, 2), (1, 3))),  # All of the upper half.
    *((bad, None) for bad in ([[2, 0]], [[0, 4]], [[-1, 0]], [], "x", [1])),
  ],
)
def test_heads_of_a_checkpoint(tmp_path, listed, expected):
  config = WhisperConfig.from_json(TINY | {"model_type": "whisper"}, "")
  (tmp_path / "generation_config.json").write_text(
    json.dumps({"alignment_heads": listed}), encoding="utf-8"
  )
  if expected:
    assert whisper_words.heads_of(tmp_path, config) == expected
    return
  with pytest.raises(UserError, match="are no heads of 2 layers of 4"):
    whisper_words.heads_of(tmp_path, config)


@pytest.fixture
def published(real_data):
  return real_data / "whisper-base"


TEXTS = {
  "en": " He said: \"Kids talk (loud) by the door...\" It's 3.5 o'clock!",
  "de": " Wäre das möglich? – „Jawohl“, sagte 😀 er.",
  "zh": "孩子们在门边说话。你好！",
}

MARKS = " \"'.,!?:()。！？„“–"


def test_words_are_split_as_transformers_does(published):
  vocabulary = Vocabulary.read(published)
  theirs = transformers.WhisperTokenizer.from_pretrained(published)
  for language, text in TEXTS.items():
    tokens = vocabulary.tokenizer.encode(text, add_special_tokens=False).ids
    name = tokenization_whisper.LANGUAGES[language]
    expected, *_, indices = tokenization_whisper._combine_tokens_into_words(
      theirs, tokens, name
    )
    found = whisper_words.split(vocabulary, language, tokens)
    assert [part.text for part in found] == expected
    for part, index in zip(found, indices, strict=True):
      assert index[0] <= part.begin < part.end <= index[-1] + 1
      own = vocabulary.decode(tokens[part.begin : part.end])
      assert own.strip(MARKS) == part.text.strip(MARKS)


def test_times_of_the_published_weights(real_data, published):
  """RAVDESS, and a voice of espeak-ng, within a frame or two."""
  kids = clip_of(real_data, "03-01-05-02-01-01-01")
  clips = {" Kids are talking by the door.": kids}
  text = (
    " The weather was cold this morning. We stayed at home and read a book."
  )
  clips[text] = spoken("en-us")
  model = transformers.WhisperForConditionalGeneration.from_pretrained(
    published, dtype=torch.float32, attn_implementation="eager"
  ).eval()
  extract = transformers.WhisperFeatureExtractor.from_pretrained(published)
  inputs = extract([*clips.values()], sampling_rate=16_000, return_tensors="pt")
  with torch.no_grad():
    states = model.model.encoder(
      inputs.input_features
    ).last_hidden_state.numpy()
  vocabulary = Vocabulary.read(published)
  config = WhisperConfig.from_json(
    json.loads((published / "config.json").read_text(encoding="utf-8")), ""
  )
  heads = whisper_words.heads_of(published, config)
  assert heads == tuple(map(tuple, model.generation_config.alignment_heads))
  prompt = vocabulary.prompt("en", "transcribe", False)
  said = [
    Said(
      prompt,
      vocabulary.tokenizer.encode(text, add_special_tokens=False).ids,
      -(-len(clip) // 320),
    )
    for text, clip in clips.items()
  ]
  params = whisper_encoder.decoder_params(
    config, checkpoints.open_tensors(published), published
  )
  decoder = WhisperDecoder(config)
  cross = whisper_decoding.cross_cache(decoder, params, states)
  found = whisper_words.find(decoder, heads, params, cross, said)
  for row, (starts, (prompt, tokens, frames)) in enumerate(
    zip(found, said, strict=True)
  ):
    expected = reference_starts(
      *(model, states[row : row + 1], prompt, tokens, heads, frames)
    )
    assert np.abs(starts - expected).max() <= 2
