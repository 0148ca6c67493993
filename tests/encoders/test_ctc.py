"""Transcripts by CTC against transformers: logits, text, times of words."""

import json

import numpy as np
import pytest
import torch
import transformers
from test_speech import (
  LENGTHS,
  assert_equal,
  make_clips,
  make_reference,
  save,
)

from emojax.encoders import ctc, speech
from emojax.encoders.words import Word
from emojax.errors import UserError

CLASSES = {
  "wav2vec2": transformers.Wav2Vec2ForCTC,
  "hubert": transformers.HubertForCTC,
  "wavlm": transformers.WavLMForCTC,
}
TOKENS = ["<pad>", "<s>", "</s>", "<unk>", "|", *"abcdefgh"]
# PyTorch says so of the way transformers calls it.
pytestmark = [
  pytest.mark.filterwarnings("ignore:Support for mismatched key_padding_mask"),
  pytest.mark.filterwarnings("ignore:.*has no attribute:DeprecationWarning"),
]


def save_ctc(folder, family="wav2vec2", large=False):
  """A checkpoint of random weights; its model and its tokenizer."""
  model = make_reference(
    family,
    CLASSES[family],
    feat_extract_norm="layer" if large else "group",
    do_stable_layer_norm=large,
    vocab_size=len(TOKENS),
  )
  save(model, folder, masked=large)
  vocabulary = {token: index for index, token in enumerate(TOKENS)}
  (folder / "vocab.json").write_text(json.dumps(vocabulary), encoding="utf-8")
  tokenizer = transformers.Wav2Vec2CTCTokenizer(folder / "vocab.json")
  tokenizer.save_pretrained(folder)
  return model, tokenizer


@pytest.mark.parametrize("large", [True, False])
@pytest.mark.parametrize("family", CLASSES)
def test_words_equal_transformers(family, large, tmp_path):
  """Of each clip as if it were alone, whatever it is filled up to."""
  model, tokenizer = save_ctc(tmp_path, family, large)
  transcriber = ctc.load(str(tmp_path))
  audio = 3 * make_clips(3_500)
  clips = [row[:size] for row, size in zip(audio, LENGTHS, strict=True)]
  found = transcriber.transcribe(clips, audio.shape[1])
  outputs = transcriber._forward(transcriber.params, audio, LENGTHS)
  for clip, logits, words in zip(clips, outputs["logits"], found, strict=True):
    with torch.no_grad():
      expected = model(torch.tensor(clip)[None]).logits[0]
    np.testing.assert_allclose(logits[: len(expected)], expected, atol=1e-4)
    best = tokenizer.decode(expected.argmax(-1), output_word_offsets=True)
    assert " ".join(word.text for word in words) == best.text.strip()
    seconds = 40 / 16_000  # `SMALL` has strides of 5, 2, 2, 2.
    assert [(start, end) for _, start, end in words] == [
      pytest.approx((w["start_offset"] * seconds, w["end_offset"] * seconds))
      for w in best.word_offsets
    ]
  assert all(found) and len({words[0].text for words in found}) == 3
  # The encoder of a fine-tuned checkpoint loads without its head.
  encoder = speech.load(str(tmp_path))
  assert_equal(encoder.params, transcriber.params[family])


def test_repeats_are_one_and_blanks_part_them(tmp_path):
  save_ctc(tmp_path)
  transcriber = ctc.load(str(tmp_path))
  tokens = [TOKENS.index(t) for t in "|aa|||bb"]
  tokens[7:7] = [TOKENS.index("<pad>")]
  words = transcriber.words(np.array(tokens))
  frame = 40 / 16_000
  assert words == [
    Word("a", 1 * frame, 3 * frame),
    Word("bb", 6 * frame, 9 * frame),
  ]


def test_checkpoints_without_their_parts(tmp_path):
  save(make_reference("wav2vec2"), tmp_path / "encoder")
  with pytest.raises(UserError, match="without a CTC head"):
    ctc.load(str(tmp_path / "encoder"))
  save(make_reference("wav2vec2", CLASSES["wav2vec2"]), tmp_path / "ctc")
  with pytest.raises(UserError, match=r"no vocab\.json"):
    ctc.load(str(tmp_path / "ctc"))


@pytest.mark.parametrize(
  ("file", "content", "said"),
  [
    ("vocab.json", {"eng": {"a": 0}}, "several languages"),
    ("vocab.json", {"a": 0, "|": 1}, "'<pad>', which is the blank"),
    (
      "tokenizer_config.json",
      {"tokenizer_class": "Wav2Vec2PhonemeCTCTokenizer"},
      "transcripts are of letters",
    ),
  ],
)
def test_vocabularies_that_are_not_of_letters(tmp_path, file, content, said):
  save_ctc(tmp_path)
  (tmp_path / file).write_text(json.dumps(content), encoding="utf-8")
  with pytest.raises(UserError, match=said):
    ctc.load(str(tmp_path))
