"""Speed of the speech encoders: emojax against transformers and PyTorch.

  python -m experiments.benchmarks.encoders --output=encoders.json

Both sides run the same weights, which transformers writes and emojax loads, and
their outputs are compared in the same run. They are warmed up, then take turns;
a ratio is formed in each turn, so that other load on the machine falls on both.
On a CPU: float32, the base models. On a GPU: bfloat16, base and large, PyTorch
with SDPA and `torch.compile`; the share of the peak is printed too.
"""

import argparse
import dataclasses
import json
import multiprocessing
import os
import pathlib
import tempfile
import time

import jax
import jax.numpy as jnp
import numpy as np

from emojax.encoders import speech
from experiments.benchmarks import measure

RATE = 16_000
LARGE = {
  "hidden_size": 1024,
  "num_hidden_layers": 24,
  "num_attention_heads": 16,
  "intermediate_size": 4096,
  "feat_extract_norm": "layer",
  "do_stable_layer_norm": True,
  "conv_bias": True,
}
# The random parts of training would make the two sides differ.
STILL = {
  "hidden_dropout": 0.0,
  "activation_dropout": 0.0,
  "attention_dropout": 0.0,
  "feat_proj_dropout": 0.0,
  "layerdrop": 0.0,
  "apply_spec_augment": False,
}
# Dense bfloat16 FLOP/s of the vendors' data sheets.
PEAKS = {"H100": 989e12, "H200": 989e12, "A100": 312e12, "L4": 121e12}


@dataclasses.dataclass(frozen=True)
class Case:
  """One comparison."""

  family: str
  size: str
  clips: int
  duration: int  # Of each clip, in seconds.
  training: bool


CPU_CASES = (
  Case("hubert", "base", 4, 5, False),
  Case("wavlm", "base", 4, 5, False),
  Case("hubert", "base", 4, 5, True),
  Case("hubert", "base", 1, 1, False),
)
GPU_CASES = tuple(
  Case(family, size, clips, 5, training)
  for family, size in (
    ("hubert", "base"), ("wavlm", "base"), ("hubert", "large"),
  )
  for training in (False, True)
  for clips in (8, 32, 64)
)  # fmt: skip


def write_checkpoint(folder, family, size):
  """Random weights as transformers saves them; returns its model."""
  import torch
  import transformers

  torch.manual_seed(0)
  config_class, model_class = {
    "hubert": (transformers.HubertConfig, transformers.HubertModel),
    "wavlm": (transformers.WavLMConfig, transformers.WavLMModel),
  }[family]
  config = config_class(**STILL, **(LARGE if size == "large" else {}))
  model = model_class(config)
  model.save_pretrained(folder)
  transformers.Wav2Vec2FeatureExtractor(
    return_attention_mask=False
  ).save_pretrained(folder)
  return model


class Emojax:
  """The case in JAX."""

  def __init__(self, case, folder, on_gpu):
    dtype = jnp.bfloat16 if on_gpu else jnp.float32
    encoder = speech.load(folder, dtype)
    self._params = encoder.params
    self._audio = jax.device_put(make_audio(case))

    def forward(params, audio):
      outputs = encoder.model.apply({"params": params}, audio)
      return outputs["last_hidden_state"].astype(jnp.float32)

    def loss(params, audio):
      # Not the square: after a layer norm its mean is always one.
      return (forward(params, audio) ** 3).mean()

    function = jax.value_and_grad(loss) if case.training else forward
    self._compiled = (
      jax.jit(function).lower(self._params, self._audio).compile()
    )

  def __call__(self):
    return jax.block_until_ready(self._compiled(self._params, self._audio))

  def result(self):
    """The states, or the loss and a gradient, to compare."""
    result = self()
    if not isinstance(result, tuple):
      return [np.asarray(result)]
    loss, gradients = result
    layer = gradients["encoder"]["layers_0"]["attention"]["q_proj"]
    return [np.asarray(loss), np.asarray(layer["kernel"]).T]


class PyTorch:
  """The case in PyTorch."""

  def __init__(self, case, model, on_gpu):
    import torch

    self._torch, self._case, self._on_gpu = torch, case, on_gpu
    self._device = "cuda" if on_gpu else "cpu"
    # Evaluation mode: no dropout. Gradients flow all the same.
    self._model = model.eval().to(self._device)
    self._run = torch.compile(self._model) if on_gpu else self._model
    self._audio = torch.tensor(make_audio(case), device=self._device)

  def __call__(self):
    torch = self._torch
    with (
      torch.set_grad_enabled(self._case.training),
      torch.autocast(self._device, torch.bfloat16, enabled=self._on_gpu),
    ):
      states = self._run(self._audio).last_hidden_state.float()
      if self._case.training:
        self._model.zero_grad(set_to_none=True)
        states = (states**3).mean()
        states.backward()
    if self._on_gpu:
      torch.cuda.synchronize()
    return states

  def result(self):
    """The states, or the loss and a gradient, to compare."""
    states = self().detach().cpu().numpy()
    if not self._case.training:
      return [states]
    layer = self._model.encoder.layers[0].attention.q_proj
    return [states, layer.weight.grad.cpu().numpy()]


def make_audio(case):
  """Random clips."""
  rng = np.random.default_rng(0)
  return rng.normal(size=(case.clips, case.duration * RATE)).astype(np.float32)


def compare(case, turns, on_gpu):
  """Measures one case."""
  with tempfile.TemporaryDirectory() as folder:
    model = write_checkpoint(folder, case.family, case.size)
    ours = Emojax(case, folder, on_gpu)
  theirs = PyTorch(case, model, on_gpu)
  # Of NumPy: Python's `max` may pass over a NaN.
  error = float(
    np.max(
      [
        np.abs(found - want).max() / np.abs(want).max()
        for found, want in zip(ours.result(), theirs.result(), strict=True)
      ]
    )
  )
  tolerance = 0.1 if on_gpu else 1e-3
  if not error <= tolerance:  # NaN is no agreement.
    raise SystemExit(f"{case}: outputs differ by {error:.1e}")
  for side in (ours, theirs):
    side()
  times = {"emojax": [], "pytorch": []}
  for _ in range(turns):
    for name, side in (("pytorch", theirs), ("emojax", ours)):
      # PyTorch's threads go on spinning for a while after their work.
      time.sleep(0.3)
      times[name].append(measure.seconds(side))
  row = {
    **dataclasses.asdict(case),
    "relative_difference": error,
    "seconds": {name: measure.summary(v) for name, v in times.items()},
    "times_faster": measure.ratios(times["pytorch"], times["emojax"]),
  }
  peak = [v for k, v in PEAKS.items() if k in jax.devices()[0].device_kind]
  if peak:
    work = floating_point_operations(model.config, case)
    row["share_of_peak"] = {
      name: work / min(v) / peak[0] for name, v in times.items()
    }
  print(
    *dataclasses.astuple(case),
    *(f"{name} {np.median(v):.4f} s," for name, v in times.items()),
    f"{row['times_faster']['median']:.2f} times faster,",
    f"differ by {error:.1e}",
    row.get("share_of_peak", ""),
    flush=True,
  )
  return row


def floating_point_operations(config, case):
  """Of the convolutions and products; training is three times the forward."""
  samples, channels, total = case.duration * RATE, 1, 0
  for size, width, stride in zip(
    config.conv_dim, config.conv_kernel, config.conv_stride, strict=True
  ):
    samples = (samples - width) // stride + 1
    total += 2 * samples * width * channels * size
    channels = size
  size, inner = config.hidden_size, config.intermediate_size
  width = config.num_conv_pos_embeddings * size
  total += 2 * samples * size * channels
  total += 2 * samples * size * width // config.num_conv_pos_embedding_groups
  layer = samples * (4 * size * size + 2 * size * inner) + 2 * samples**2 * size
  total += 2 * layer * config.num_hidden_layers
  return total * case.clips * (3 if case.training else 1)


def loading():
  """Seconds and memory of loading a base model, in a new process."""
  with tempfile.TemporaryDirectory() as folder:
    context = multiprocessing.get_context("spawn")
    with context.Pool(1, maxtasksperchild=1) as pool:
      pool.apply(_write, (folder,))
      return pool.apply(_load, (folder,))


def _write(folder):
  write_checkpoint(folder, "hubert", "base")


def _load(folder):
  size = pathlib.Path(folder, "model.safetensors").stat().st_size
  jnp.zeros(1).block_until_ready()  # JAX itself is no part of it.
  before = _peak_memory()
  took = measure.seconds(lambda: jax.block_until_ready(_params(folder)))
  return {
    "seconds": took,
    "file_bytes": size,
    "memory_over_file": (_peak_memory() - before) / size,
  }


def _params(folder):
  return speech.load(folder).params


def _peak_memory():
  """Largest resident set of this process so far, in bytes."""
  status = pathlib.Path("/proc/self/status").read_text(encoding="utf-8")
  (line,) = (line for line in status.splitlines() if line.startswith("VmHWM"))
  return int(line.split()[1]) * 1024


def main():
  """Measures and writes the result."""
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--output", required=True, help="JSON file to write")
  parser.add_argument("--turns", type=int, default=7, help="turns measured")
  flags = parser.parse_args()
  load = loading()
  print(load)
  on_gpu = jax.default_backend() == "gpu"
  cases = GPU_CASES if on_gpu else CPU_CASES
  rows = [compare(case, flags.turns, on_gpu) for case in cases]

  import torch

  result = {
    **measure.setting("flax", "torch", "transformers"),
    "torch_threads": torch.get_num_threads(),
    "loading_base": load,
    "cases": rows,
  }
  text = json.dumps(result, indent=2)
  pathlib.Path(flags.output).write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
  os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
  main()
