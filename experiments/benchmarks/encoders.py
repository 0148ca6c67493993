"""Speed of the speech encoders: emojax against transformers and PyTorch.

  python -m experiments.benchmarks.encoders --output=encoders.json

Both sides run the same weights, which transformers writes and emojax loads, and
their outputs are compared in the same run. They are warmed up, then take turns;
a ratio is formed in each turn, so that other load on the machine falls on both.
On a CPU: float32, the base models. On a GPU (`gpu.sh`): HuBERT base in
bfloat16, PyTorch with SDPA and `torch.compile`; the share of the peak is told
too. There every model is prepared in a process of its own, all at the same
time, since compiling is what takes minutes; then they measure in turn.
"""

import argparse
import dataclasses
import multiprocessing
import os
import pathlib
import tempfile
import time

import jax
import jax.numpy as jnp
import numpy as np
import optax

from emojax.encoders import speech
from emojax.encoders.speech_config import SpeechConfig
from emojax.encoders.speech_model import SpeechEncoder
from emojax.runtime import allocator
from experiments.benchmarks import measure

RATE = 16_000
FORWARD, GRADIENT, STEP = "forward", "forward, backward", "training step"
LEARNING_RATE = 1e-5  # Of Adam.
LARGE = {
  "hidden_size": 1024,
  "num_hidden_layers": 24,
  "num_attention_heads": 16,
  "intermediate_size": 4096,
  "feat_extract_norm": "layer",
  "do_stable_layer_norm": True,
  "conv_bias": True,
}
TINY = {
  "hidden_size": 32,
  "num_hidden_layers": 2,
  "num_attention_heads": 4,
  "intermediate_size": 64,
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
  work: str  # One of the above.


CPU_CASES = (
  Case("hubert", "base", 4, 5, FORWARD),
  Case("wavlm", "base", 4, 5, FORWARD),
  Case("hubert", "base", 4, 5, GRADIENT),
  Case("hubert", "base", 1, 1, FORWARD),
)
# Of one process each, in the order in which they measure.
GPU_MODELS = (("hubert", "base", 32, 5),)
TINY_MODELS = (("hubert", "tiny", 2, 1),)
PREPARING, MEASURING = 90, 100  # Seconds until which each has to be done.


def fields(family, size):
  """What a config has besides its defaults, which are the base models'."""
  return {**measure.STILL, **{"base": {}, "large": LARGE, "tiny": TINY}[size]}


def write_checkpoint(folder, family, size):
  """Random weights as transformers saves them; returns its model."""
  import torch
  import transformers

  torch.manual_seed(0)
  config_class, model_class = {
    "hubert": (transformers.HubertConfig, transformers.HubertModel),
    "wavlm": (transformers.WavLMConfig, transformers.WavLMModel),
  }[family]
  model = model_class(config_class(**fields(family, size)))
  model.save_pretrained(folder)
  transformers.Wav2Vec2FeatureExtractor(
    return_attention_mask=False
  ).save_pretrained(folder)
  return model


def load(case, folder, dtype):
  """Our module and its weights, of a checkpoint; random ones without."""
  known = {"model_type": case.family, **fields(case.family, case.size)}
  if folder:
    encoder = speech.load(folder, dtype)
    return encoder.model, encoder.params
  config = SpeechConfig.from_json(known, "encoders.py")
  model = SpeechEncoder(config, False, dtype)
  arguments = jnp.zeros((1, RATE)), jnp.full(1, RATE)
  return model, jax.jit(model.init)(jax.random.key(0), *arguments)["params"]


class Emojax:
  """The case in JAX."""

  def __init__(self, case, folder, on_gpu):
    model, params = load(case, folder, jnp.bfloat16 if on_gpu else jnp.float32)
    audio = make_audio(case)
    lengths_B = np.full(len(audio), audio.shape[1])
    self._audio = jax.device_put(audio)
    self._case, self._tx = case, optax.adam(LEARNING_RATE)
    self._state = jax.device_put(params), None

    def forward(params, audio):
      outputs = model.apply({"params": params}, audio, lengths_B)
      return outputs["last_hidden_state"].astype(jnp.float32)

    def gradient(params, audio):
      # Not the square: after a layer norm its mean is always one.
      return jax.value_and_grad(
        lambda params: (forward(params, audio) ** 3).mean()
      )(params)

    def step(state, audio):
      params, optimizer = state
      if case.work == FORWARD:
        return state, forward(params, audio)
      loss, gradients = gradient(params, audio)
      layer = gradients.get("encoder", gradients)["layers_0"]
      kernel = layer["attention"]["q_proj"]["kernel"]
      if case.work == STEP:
        updates, optimizer = self._tx.update(gradients, optimizer, params)
        return (optax.apply_updates(params, updates), optimizer), (loss, kernel)
      # All gradients: what is not returned would not be computed.
      return state, (loss, kernel, gradients)

    if case.work == STEP:
      self._state = (self._state[0], self._tx.init(self._state[0]))
    donated = (0,) if case.work == STEP else ()
    step = jax.jit(step, donate_argnums=donated)
    self.compiled = step.lower(self._state, self._audio).compile()

  def __call__(self):
    self._state, result = self.compiled(self._state, self._audio)
    return jax.block_until_ready((self._state, result))[1]

  def result(self):
    """The states, or the loss and a gradient, to compare."""
    result = self()
    if self._case.work == FORWARD:
      return [np.asarray(result)]
    return [np.asarray(result[0]), np.asarray(result[1]).T]


class PyTorch:
  """The case in PyTorch."""

  def __init__(self, case, model, on_gpu):
    import torch

    self._torch, self._case, self._on_gpu = torch, case, on_gpu
    self._device = "cuda" if on_gpu else "cpu"
    # Evaluation mode: no dropout. Gradients flow all the same.
    self._model = model.eval().to(self._device)
    self._run = torch.compile(self._model) if on_gpu else self._model
    self._inputs = torch.tensor(make_audio(case), device=self._device)
    self._optimizer = None
    if case.work == STEP:
      self._optimizer = torch.optim.Adam(
        self._model.parameters(), LEARNING_RATE, fused=on_gpu
      )

  def __call__(self):
    torch, trains = self._torch, self._case.work != FORWARD
    with torch.set_grad_enabled(trains):
      with torch.autocast(self._device, torch.bfloat16, enabled=self._on_gpu):
        states = self._run(self._inputs).last_hidden_state.float()
      if trains:
        self._model.zero_grad(set_to_none=True)
        states = (states**3).mean()
        states.backward()
    if self._optimizer:
      self._optimizer.step()
    if self._on_gpu:
      torch.cuda.synchronize()
    return states

  def result(self):
    """The states, or the loss and a gradient, to compare."""
    states = self().detach().cpu().numpy()
    if self._case.work == FORWARD:
      return [states]
    encoder = getattr(self._model, "encoder", self._model)
    layer = encoder.layers[0].attention
    return [states, layer.q_proj.weight.grad.cpu().numpy()]


def make_audio(case):
  """Random clips."""
  rng = np.random.default_rng(0)
  return rng.normal(size=(case.clips, case.duration * RATE)).astype(np.float32)


def compare(case, turns, on_gpu):
  """Measures one case."""
  return measured(case, *prepared(case, on_gpu), turns)


def prepared(case, on_gpu):
  """Both sides, warm, and what is known of them before they are measured.

  PyTorch's side is None where it is not installed.
  """
  with tempfile.TemporaryDirectory() as folder:
    folder = pathlib.Path(folder)
    try:
      model = write_checkpoint(folder, case.family, case.size)
    except ImportError:
      model = folder = None
    ours = Emojax(case, folder, on_gpu)
  row = {
    **dataclasses.asdict(case),
    "cudnn_attention": "__cudnn$fmha" in ours.compiled.as_text(),
  }
  sides = {"emojax": ours}
  if model is None:
    ours()
    return sides, row
  peak = [v for k, v in PEAKS.items() if k in jax.devices()[0].device_kind]
  if peak:
    work = floating_point_operations(model.config, case)
    row["least_seconds_at_peak"] = work / peak[0]
  sides["pytorch"] = theirs = PyTorch(case, model, on_gpu)
  # Of NumPy: Python's `max` may pass over a NaN.
  error = float(
    np.max(
      [
        np.abs(found - want).max() / np.abs(want).max()
        for found, want in zip(ours.result(), theirs.result(), strict=True)
      ]
    )
  )
  agrees = error <= (0.1 if on_gpu else 1e-3)  # NaN is no agreement.
  if not (agrees or on_gpu):  # There the times are told all the same.
    raise SystemExit(f"{case}: outputs differ by {error:.1e}")
  for side in (ours, theirs):
    side()
  return sides, row | {"relative_difference": error, "agrees": agrees}


def measured(case, sides, row, turns):
  """The sides of a case take turns."""
  times = {name: [] for name in sides}
  for _ in range(turns):
    for name, side in reversed(sides.items()):
      # PyTorch's threads go on spinning for a while after their work.
      time.sleep(0.3)
      times[name].append(measure.seconds(side))
  row["seconds"] = {name: measure.summary(v) for name, v in times.items()}
  if "pytorch" in times:
    row["times_faster"] = measure.ratios(times["pytorch"], times["emojax"])
  if least := row.get("least_seconds_at_peak"):
    row["share_of_peak"] = {n: least / min(v) for n, v in times.items()}
  print(
    *dataclasses.astuple(case),
    *(f"{name} {np.median(v):.4f} s," for name, v in times.items()),
    *(f"{row[k]}" for k in ("times_faster", "share_of_peak") if k in row),
    flush=True,
  )
  return row


def on_gpu(save, tiny):
  """All models, prepared at the same time and measured in turn; see `gpu.py`.

  Who is not ready in time, or fails, is told and left out.
  """
  start, turns = time.monotonic(), 1 if tiny else 7
  models = TINY_MODELS if tiny else GPU_MODELS
  context = multiprocessing.get_context("spawn")
  os.environ["XLA_PYTHON_CLIENT_PREALLOCATE"] = "false"
  found = {
    "times_faster": "seconds of compiled PyTorch over those of emojax",
    "goal_times_faster": 1.3,
    "cases": [],
    "left_out": {},
  }
  workers = {}
  for model in models:
    pipe, theirs = context.Pipe()
    arguments = (theirs, model, turns, not tiny)
    process = context.Process(target=_measure_model, args=arguments)
    process.start()
    theirs.close()
    workers[" ".join(map(str, model))] = process, pipe

  def receive(name, until):
    """What a model says before then; None, and it is left out, if nothing."""
    process, pipe = workers[name]
    try:
      if pipe.poll(max(until - (time.monotonic() - start), 0)):
        return pipe.recv()
      reason = f"not done after {until} s"
    except EOFError:
      process.join()
      reason = f"exit code {process.exitcode}; see the last lines"
    found["left_out"][name] = reason
    process.kill()  # The others are to measure undisturbed.
    return None

  ready = {name: receive(name, PREPARING) for name in workers}
  for name, seconds in ready.items():
    if seconds is not None:
      workers[name][1].send("measure")
      rows = receive(name, MEASURING) or []
      found["cases"] += [{**row, "preparing_seconds": seconds} for row in rows]
    save(found)
  if found["left_out"]:
    raise SystemExit(f"left out: {found['left_out']}")


def _measure_model(pipe, model, turns, on_gpu):
  """Prepares a model's cases, says so, measures when it is told to."""
  start = time.monotonic()
  cases = [Case(*model, work) for work in (FORWARD, STEP)]
  sides = [(case, *prepared(case, on_gpu)) for case in cases]
  pipe.send(round(time.monotonic() - start, 1))
  pipe.recv()
  pipe.send([measured(*one, turns) for one in sides])


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
  return total * case.clips * (1 if case.work == FORWARD else 3)


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
  allocator.keep_memory()  # As our programs do; PyTorch's side has it, too.
  load = loading()
  print(load)
  rows = [compare(case, flags.turns, False) for case in CPU_CASES]

  import torch

  result = {
    **measure.setting("flax", "torch", "transformers"),
    "torch_threads": torch.get_num_threads(),
    "loading_base": load,
    "cases": rows,
  }
  measure.write(result, flags.output)


if __name__ == "__main__":
  os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
  main()
