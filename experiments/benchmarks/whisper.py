"""Speed of Whisper: emojax, transformers with PyTorch, and faster-whisper.

  python -m experiments.benchmarks.whisper --checkpoint=FOLDER \
    --speech=FOLDER --output=experiments/benchmarks/whisper.json

Every side has a process of its own, on as many cores as it may use, and the
sides take turns: a ratio is formed in each turn, so that other load falls on
all of them. States and texts of all sides are compared. `--speech` is a folder
of recordings, which are joined to clips of 30 s and cut to clips of 4 s.

`pip install faster-whisper` brings what only this one needs.

Without a checkpoint the weights are drawn at random, for a machine that has
none; then 444 tokens are decoded, whatever they are. On a GPU:

  python -m experiments.benchmarks.whisper --size=base --batch=16 \
    --dtype=bfloat16 --output=whisper-gpu.json
"""

import argparse
import os
import pathlib
import tempfile

import numpy as np

from emojax.audio import io
from emojax.runtime import walk
from experiments.benchmarks import measure

RATE = 16_000
# Start, English, transcribe, no timestamps.
PROMPT = [50258, 50259, 50359, 50363]
END = 50257
# d_model, layers of each part, heads, mel bands.
SIZES = {
  "tiny": (384, 4, 6, 80),
  "base": (512, 6, 8, 80),
  "small": (768, 12, 12, 80),
  "medium": (1024, 24, 16, 80),
  "large-v3": (1280, 32, 20, 128),
}


class Side:
  """What all sides have."""

  def result(self, method, audio_BxS):
    """What a method gives; states as NumPy has them."""
    found = getattr(self, method)(audio_BxS)
    if method in ("encode", "crop"):
      found = found.float().cpu() if hasattr(found, "cpu") else found
      found = np.asarray(found, np.float32)
    return found


class Emojax(Side):
  """JAX."""

  def __init__(self, folder, dtype, cores):
    import jax
    import jax.numpy as jnp

    from emojax.encoders import whisper_encoder
    from emojax.encoders.whisper_decoder import WhisperDecoder
    from emojax.encoders.whisper_model import WhisperEncoder
    from emojax.weights import checkpoints, json_files

    del cores
    self._jax, self._folder = jax, folder
    self._dtype = jnp.dtype(dtype)
    path = pathlib.Path(folder)
    fields = json_files.read_config(path)
    config = whisper_encoder.Whisper.read(path, fields).config
    tensors = checkpoints.open_tensors(path)
    self._encoder = whisper_encoder.encoder_params(config, tensors, path)
    self._decoder = whisper_encoder.decoder_params(config, tensors, path)
    self._model = WhisperDecoder(config, self._dtype)
    self._encode = {
      window: jax.jit(WhisperEncoder(config, window, self._dtype).apply)
      for window in (True, False)
    }

  def encode(self, audio_BxS, window=True):
    """Last hidden states, of clips filled up to 30 s or as they are."""
    lengths_B = np.full(len(audio_BxS), audio_BxS.shape[1])
    variables = {"params": self._encoder}
    outputs = self._encode[window](variables, audio_BxS, lengths_B)
    return self._jax.block_until_ready(outputs["last_hidden_state"])

  def crop(self, audio_BxS):
    return self.encode(audio_BxS, False)

  def transcribe(self, audio_BxS):
    """The texts of clips, from audio to text."""
    from emojax.encoders import whisper

    if not hasattr(self, "_transcriber"):
      self._transcriber = whisper.load(self._folder, self._dtype)
    options = whisper.Options(language="en", temperatures=(0.0,))
    batch = list(audio_BxS)
    found = self._transcriber.transcribe(batch, options, len(batch))
    return [transcript.text for transcript in found]

  def decode(self, audio_BxS):
    """As many tokens as there can be."""
    import jax.numpy as jnp

    from emojax.encoders.whisper_decoding import cross_cache, greedy
    from emojax.encoders.whisper_rules import Rules

    rules = Rules(END, PROMPT[-1], (END,), (), None, False)
    prompt_BxP = np.tile(PROMPT, (len(audio_BxS), 1))
    key_B = self._jax.random.split(self._jax.random.key(0), len(audio_BxS))
    cross = cross_cache(self._model, self._decoder, self.encode(audio_BxS))
    decoded = greedy(
      *(self._model, rules, self._decoder, cross, prompt_BxP),
      *(jnp.float32(0), key_B),
    )
    return np.asarray(decoded.tokens_BxN)


class PyTorch(Side):
  """transformers."""

  def __init__(self, folder, dtype, cores):
    import torch
    import transformers

    self._torch, self._transformers = torch, transformers
    self._device = "cuda" if torch.cuda.is_available() else "cpu"
    if self._device == "cpu":
      torch.set_num_threads(cores)
    self._dtype = getattr(torch, dtype)
    model_class = transformers.WhisperForConditionalGeneration
    model = model_class.from_pretrained(folder, dtype=self._dtype)
    self._model = model.eval().to(self._device)
    self._encoder = self._model.model.encoder
    if self._device == "cuda":
      self._encoder = torch.compile(self._encoder)
    bands = model.config.num_mel_bins
    self._extract = transformers.WhisperFeatureExtractor(bands)
    self._spectra = {}
    if (pathlib.Path(folder) / "tokenizer.json").is_file():
      tokenizer_class = transformers.WhisperTokenizerFast
      self._tokenizer = tokenizer_class.from_pretrained(folder)

  def _features(self, audio_BxS):
    found = self._extract(
      list(audio_BxS), sampling_rate=RATE, return_tensors="pt"
    )
    return found.input_features.to(self._device, self._dtype)

  def _known(self, audio_BxS):
    """Spectra, the second time without their time."""
    key = audio_BxS.shape
    if key not in self._spectra:
      self._spectra[key] = self._features(audio_BxS)
    return self._spectra[key]

  def encode(self, audio_BxS):
    with self._torch.inference_mode():
      return self._host(self._encoder(self._known(audio_BxS))[0])

  def crop(self, audio_BxS):
    """The encoder's own layers on the clip's frames: what its class refuses."""
    torch, encoder = self._torch, self._model.model.encoder
    frames = audio_BxS.shape[1] // 320
    with torch.inference_mode():
      # A frame more, so that the last one sees the silence behind it.
      x = self._known(audio_BxS)[:, :, : 2 * frames + 2]
      gelu = torch.nn.functional.gelu
      x = gelu(encoder.conv2(gelu(encoder.conv1(x)))).permute(0, 2, 1)
      x = x[:, :frames] + encoder.embed_positions.weight[:frames]
      for layer in encoder.layers:
        x = layer(x, None)
        x = x[0] if isinstance(x, tuple) else x
      return self._host(encoder.layer_norm(x))

  def transcribe(self, audio_BxS):
    with self._torch.inference_mode():
      tokens = self._model.generate(
        self._features(audio_BxS), language="en", task="transcribe"
      )
    return self._tokenizer.batch_decode(tokens, skip_special_tokens=True)

  def decode(self, audio_BxS):
    outputs = self._transformers.modeling_outputs.BaseModelOutput
    torch = self._torch
    with torch.inference_mode():
      states = self._encoder(self._known(audio_BxS))[0]
      prompt = torch.tensor(PROMPT, device=self._device)[None]
      tokens = self._transformers.GenerationMixin.generate(
        self._model,
        encoder_outputs=outputs(states),
        decoder_input_ids=prompt.repeat(len(audio_BxS), 1),
        max_length=self._model.config.max_target_positions,
        suppress_tokens=[END],
        do_sample=False,
        num_beams=1,
      )
    return tokens[:, len(PROMPT) :].cpu().numpy()

  def _host(self, states):
    if self._device == "cuda":
      self._torch.cuda.synchronize()
    return states


class FasterWhisper(Side):
  """CTranslate2."""

  def __init__(self, folder, dtype, cores):
    import faster_whisper

    self._model = faster_whisper.WhisperModel(
      str(pathlib.Path(folder) / "ctranslate2"),
      device="cpu",
      compute_type=dtype,
      cpu_threads=cores,
    )

  def transcribe(self, audio_BxS):
    texts = []
    for audio_S in audio_BxS:
      segments, _ = self._model.transcribe(
        audio_S,
        language="en",
        beam_size=1,
        temperature=0.0,
        without_timestamps=True,
        condition_on_previous_text=False,
      )
      texts.append("".join(segment.text for segment in segments))
    return texts


SIDES = {
  "emojax": Emojax,
  "pytorch": PyTorch,
  "faster-whisper": FasterWhisper,
}


def compare(task, processes, audio_BxS, turns):
  """Times a task: `method of each side` by the side's name."""
  first = {
    name: processes[name].result("result", method, audio_BxS)
    for name, method in task.items()
  }
  times = {name: [] for name in task}
  for _ in range(turns):
    for name, method in task.items():
      times[name].append(processes[name].seconds(method, audio_BxS))
  seconds = audio_BxS.size / RATE
  row = {
    "methods": task,
    "clips": len(audio_BxS),
    "seconds_of_each": audio_BxS.shape[1] / RATE,
    "seconds": {name: measure.summary(v) for name, v in times.items()},
    "times_faster_than": {
      name: measure.ratios(times[name], times["emojax"])
      for name in task
      if name != "emojax"
    },
    "real_time_factor": {
      name: float(np.median(v)) / seconds for name, v in times.items()
    },
    **agreement(first),
  }
  print(
    *(
      f"{name}.{task[name]} {np.median(v):.3f} s," for name, v in times.items()
    ),
    *(
      f"{v['median']:.2f} (least {v['min']:.2f}) times as fast as {name},"
      for name, v in row["times_faster_than"].items()
    ),
    f"real-time factor {row['real_time_factor']['emojax']:.4f}",
    {k: v for k, v in row.items() if k in ("difference", "same")},
    flush=True,
  )
  return row


def agreement(results):
  """How results of other sides differ from ours."""
  ours = results.pop("emojax")
  if isinstance(ours, list):
    return {
      "text": ours,
      "same": {name: texts == ours for name, texts in results.items()},
    }
  if np.issubdtype(ours.dtype, np.integer):
    return {
      "same": {
        name: float((tokens[:, :16] == ours[:, :16]).mean())
        for name, tokens in results.items()
      }
    }
  return {
    "difference": {
      name: float(np.abs(ours - states[:, : ours.shape[1]]).max())
      / float(np.abs(states).max())
      for name, states in results.items()
    }
  }


def write_random(folder, size):
  """A checkpoint of a published size with random weights."""
  import torch
  import transformers

  torch.manual_seed(0)
  width, layers, heads, bands = SIZES[size]
  config = transformers.WhisperConfig(
    d_model=width,
    num_mel_bins=bands,
    **{f"{part}_layers": layers for part in ("encoder", "decoder")},
    **{f"{part}_attention_heads": heads for part in ("encoder", "decoder")},
    **{f"{part}_ffn_dim": 4 * width for part in ("encoder", "decoder")},
    vocab_size=51866 if bands == 128 else 51865,
  )
  model = transformers.WhisperForConditionalGeneration(config)
  model.save_pretrained(folder)
  transformers.WhisperFeatureExtractor(bands).save_pretrained(folder)


def convert(checkpoint, folder):
  """The checkpoint with CTranslate2's weights beside it."""
  import ctranslate2

  for path in pathlib.Path(checkpoint).iterdir():
    (pathlib.Path(folder) / path.name).symlink_to(path.resolve())
  ctranslate2.converters.TransformersConverter(
    folder, copy_files=["tokenizer.json", "preprocessor_config.json"]
  ).convert(str(pathlib.Path(folder) / "ctranslate2"))


def clips(folder, batch, seconds):
  """Clips [batch, S] of recordings one behind the other; noise without."""
  size = batch * seconds * RATE
  if not folder:
    noise = np.random.default_rng(0).normal(size=size).astype(np.float32) / 10
    return noise.reshape(batch, -1)
  parts = []
  for path in walk.find(folder, io.SUFFIXES).paths:
    parts.append(io.read(path, RATE))
    if sum(map(len, parts)) >= size:
      break
  return np.concatenate(parts)[:size].reshape(batch, -1)


def measured(folder, flags, cores, names):
  """Rows of one number of cores."""
  processes = {
    name: measure.Process(SIDES[name], folder, flags.dtype, cores, cores=cores)
    for name in names
  }
  turns, rows = flags.turns, []
  for seconds in (30, 4):
    audio_BxS = clips(flags.speech, flags.batch, seconds)
    tasks = [{"emojax": "encode", "pytorch": "encode"}]
    if seconds < 30:
      tasks = [{"emojax": "crop", "pytorch": m} for m in ("encode", "crop")]
    else:
      method = "transcribe" if flags.checkpoint else "decode"
      tasks.append(dict.fromkeys(names, method))
    for task in tasks:
      row = compare(task, processes, audio_BxS, turns)
      rows.append({"cores": cores, **row})
  for process in processes.values():
    process.close()
  return rows


def main():
  """Measures and writes the result."""
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--output", required=True, help="JSON file to write")
  parser.add_argument("--checkpoint", default="", help="folder of Whisper's")
  parser.add_argument("--size", default="base", choices=SIZES)
  parser.add_argument("--speech", default="", help="folder of recordings")
  parser.add_argument("--batch", type=int, default=1, help="clips at once")
  parser.add_argument("--dtype", default="float32")
  parser.add_argument("--cores", type=int, nargs="+", default=[])
  parser.add_argument("--turns", type=int, default=7, help="turns measured")
  flags = parser.parse_args()
  names, packages = ["emojax", "pytorch"], ["flax", "torch", "transformers"]
  if flags.checkpoint and flags.dtype == "float32":
    names.append("faster-whisper")
    packages += ["faster-whisper", "ctranslate2"]
  rows = []
  with tempfile.TemporaryDirectory() as folder:
    if not flags.checkpoint:
      write_random(folder, flags.size)
    elif "faster-whisper" in names:
      convert(flags.checkpoint, folder)
    else:
      folder = flags.checkpoint
    for cores in flags.cores or [os.cpu_count()]:
      rows += measured(folder, flags, cores, names)
  result = {
    **measure.setting(*packages),
    "dtype": flags.dtype,
    "weights": flags.size if not flags.checkpoint else "of a checkpoint",
    "cases": rows,
  }
  measure.write(result, flags.output)


if __name__ == "__main__":
  main()
