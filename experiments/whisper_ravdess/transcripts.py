"""Transcripts of Whisper: the same as transformers', and their word errors.

  python -m experiments.whisper_ravdess.transcripts --part=clips \
    --checkpoint=FOLDER --ravdess=FOLDER --noise=FOLDER \
    --output=experiments/whisper_ravdess/transcripts.json

Parts, each added to the JSON:
  clips: 60 clips, greedy: ours and transformers', character by character.
  long: minutes of two voices of espeak-ng, in windows with time stamps.
  silence: silence and noise, with the rule for windows without speech.
  errors: word error rate of all clips, from the states of clips as they are
    (what an emotion model computes), and of the 60 from those up to 30 s.
"""

import argparse
import io
import json
import pathlib
import subprocess
import time

import jax
import jiwer
import numpy as np
import soundfile
import soxr

from emojax.audio import io as audio_io
from emojax.encoders import whisper
from emojax.encoders.whisper_model import WhisperEncoder
from emojax.runtime import walk
from experiments.benchmarks import measure

RATE = 16_000
SENTENCES = {
  "01": "Kids are talking by the door",
  "02": "Dogs are sitting by the door",
}
VOICES = ("en-us", "en-gb")
TEXT = """
The ferry left the harbour a little after seven in the morning. There was no
wind, and the water lay flat like a sheet of glass. On the upper deck a man was
reading a newspaper, and two children counted the boats that came towards them.
Their mother had packed bread, cheese, and a bottle of cold tea. After an hour
the islands came into sight, first as grey shadows, then as green hills with
white houses. The captain spoke about the lighthouse, which was built one
hundred and twenty years ago by a family of fishermen. Nobody lives there today,
but in summer students repair the roof and paint the walls.

We walked along the northern shore until noon. The path was narrow, and in some
places it had been washed away by the winter storms. A farmer told us that the
sheep had stayed in the valley this year, because the grass was dry. He asked
where we came from and how long we wanted to stay. When we said that we would
take the last boat home, he laughed and pointed at the sky. It would rain before
three, he said, and the last boat never waits for anyone.

He was right about the rain. We found a small museum behind the church and spent
the afternoon between old maps, model ships, and letters written by sailors to
their wives. One of them described a city with a thousand bridges. Another one
complained about the food, the cold, and the songs of his captain. At five
o'clock the clouds opened and the street was full of people again. We bought
postcards, drank hot chocolate, and ran down to the pier. The boat was late by
ten minutes, and so we did not miss it after all.
"""
NORMAL = jiwer.Compose(
  [
    jiwer.ToLowerCase(),
    jiwer.RemovePunctuation(),
    jiwer.RemoveMultipleSpaces(),
    jiwer.Strip(),
  ]
)
ONCE = whisper.Options(language="en", temperatures=(0.0,))


class Transformers:
  """PyTorch's side."""

  def __init__(self, folder):
    import torch
    import transformers

    self._torch = torch
    model_class = transformers.WhisperForConditionalGeneration
    model = model_class.from_pretrained(folder, dtype=torch.float32)
    self._model = model.eval()
    self._extract = transformers.WhisperFeatureExtractor.from_pretrained(folder)
    tokenizer_class = transformers.WhisperTokenizerFast
    self._tokenizer = tokenizer_class.from_pretrained(folder)

  def __call__(self, clip, is_long=False, **options):
    """The text of a clip, or of a longer recording with stamps."""
    how = {"truncation": False, "padding": "longest"} if is_long else {}
    inputs = self._extract(
      clip,
      sampling_rate=RATE,
      return_tensors="pt",
      return_attention_mask=True,
      **how,
    )
    with self._torch.inference_mode():
      tokens = self._model.generate(
        inputs.input_features,
        attention_mask=inputs.attention_mask,
        language="en",
        task="transcribe",
        return_timestamps=is_long,
        **options,
      )
    return self._tokenizer.decode(tokens[0], skip_special_tokens=True)


def compared(names, ours, theirs):
  """How many texts are the same, and those that are not."""
  rows = list(zip(names, ours, theirs, strict=True))
  return {
    "number": len(rows),
    "same": sum(mine == other for _, mine, other in rows),
    "differing": [row for row in rows if row[1] != row[2]],
  }


def recordings(folder):
  """Clips by their path, and what is said in them."""
  paths = walk.find(folder, audio_io.SUFFIXES).paths
  return paths, [SENTENCES[path.name.split("-")[4]] for path in paths]


def read(path):
  return audio_io.read(path, RATE)


def some(paths, number=60):
  order = np.random.default_rng(0).permutation(len(paths))
  return [paths[index] for index in sorted(order[:number])]


def clips(flags, transcriber):
  """60 clips, greedy."""
  paths = some(recordings(flags.ravdess)[0])
  audio = [read(path) for path in paths]
  ours = [t.text for t in transcriber.transcribe(audio, ONCE)]
  transformers = Transformers(flags.checkpoint)
  theirs = [transformers(clip) for clip in audio]
  said = [SENTENCES[path.name.split("-")[4]] for path in paths]
  return {
    **compared([path.stem for path in paths], ours, theirs),
    "word_error_rate": error_rate(said, ours),
  }


def long(flags, transcriber):
  """Minutes of speech."""
  audio = [spoken(voice) for voice in VOICES]
  found = transcriber.transcribe(audio, ONCE)
  transformers = Transformers(flags.checkpoint)
  theirs = [transformers(recording, True) for recording in audio]
  return {
    **compared(VOICES, [transcript.text for transcript in found], theirs),
    "seconds": [len(recording) / RATE for recording in audio],
    "segments": [len(transcript.segments) for transcript in found],
    "word_error_rate": [
      error_rate([" ".join(TEXT.split())], [t.text]) for t in found
    ],
  }


def spoken(voice):
  """The text by a voice of espeak-ng."""
  command = ["espeak-ng", "-v", voice, "--stdout", " ".join(TEXT.split())]
  wave = subprocess.run(command, capture_output=True, check=True).stdout
  with soundfile.SoundFile(io.BytesIO(wave)) as file:
    samples, rate = file.read(dtype="float32"), file.samplerate
  return soxr.resample(samples, rate, RATE)


def silence(flags, transcriber):
  """What is written where nobody speaks."""
  rng = np.random.default_rng(0)
  noise = rng.normal(size=5 * RATE).astype(np.float32)
  audio = {"digital silence": 0 * noise}
  for level in (1e-5, 1e-4, 1e-3, 1e-2):
    audio[f"white noise {level}"] = noise * level
  for path in walk.find(flags.noise, audio_io.SUFFIXES).paths:
    audio[path.stem] = read(path)
  found = transcriber.transcribe(list(audio.values()), ONCE)
  transformers = Transformers(flags.checkpoint)
  rule = {
    "no_speech_threshold": 0.6,
    "logprob_threshold": -1.0,
    "temperature": 0.0,
  }
  theirs = [transformers(clip, **rule) for clip in audio.values()]
  ours = [transcript.text for transcript in found]
  return {
    "texts": {
      name: {"emojax": mine, "transformers": other}
      for name, mine, other in zip(audio, ours, theirs, strict=True)
    }
  }


def errors(flags, transcriber):
  """Word error rates."""
  paths, said = recordings(flags.ravdess)
  start = time.time()
  texts = cropped(transcriber, paths)
  took = time.time() - start
  chosen = some(paths)
  windows = transcriber.transcribe([read(path) for path in chosen], ONCE)
  rows = [paths.index(path) for path in chosen]
  mine = [said[row] for row in rows]
  wrong = [
    (path.stem, text)
    for path, text, right in zip(paths, texts, said, strict=True)
    if NORMAL(text) != NORMAL(right)
  ]
  return {
    "number": len(paths),
    "word_error_rate": error_rate(said, texts),
    "seconds": took,
    "wrong": wrong,
    "of_the_60": {
      "from_clips_as_they_are": error_rate(mine, [texts[row] for row in rows]),
      "filled_up_to_30_s": error_rate(mine, [t.text for t in windows]),
    },
  }


def cropped(transcriber, paths, rows=16):
  """Texts from states of the encoder on clips as they are."""
  encode = jax.jit(WhisperEncoder(transcriber.config).apply)
  variables, texts = {"params": transcriber.params["encoder"]}, []
  for first in range(0, len(paths), rows):
    audio = [read(path) for path in paths[first : first + rows]]
    size = -(-max(map(len, audio)) // RATE) * RATE
    audio_BxS = np.stack([np.pad(a, (0, size - len(a))) for a in audio])
    lengths_B = np.array([len(clip) for clip in audio])
    outputs = encode(variables, audio_BxS, lengths_B)
    heard = outputs["last_hidden_state"], outputs["mask"]
    texts += [t.text for t in transcriber.transcribe_states(*heard, ONCE)]
    print(len(texts), flush=True)
  return texts


def error_rate(said, texts):
  return jiwer.wer([NORMAL(x) for x in said], [NORMAL(x) for x in texts])


def main():
  """Adds parts to the result."""
  parts = {f.__name__: f for f in (clips, long, silence, errors)}
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--part", nargs="+", choices=parts, default=list(parts))
  for name in ("checkpoint", "ravdess", "noise", "output"):
    parser.add_argument(f"--{name}", required=True)
  flags = parser.parse_args()
  transcriber = whisper.load(flags.checkpoint)
  path = pathlib.Path(flags.output)
  for name in flags.part:
    found = parts[name](flags, transcriber)
    print(name, json.dumps(found)[:2000], flush=True)
    result = {}
    if path.exists():
      result = json.loads(path.read_text(encoding="utf-8"))
    packages = ("flax", "torch", "transformers", "jiwer")
    result[name] = {**measure.setting(*packages), **found}
    text = json.dumps(result, indent=1)
    path.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
  main()
