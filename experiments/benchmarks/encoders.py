"""Speed of the speech encoders: emojax against transformers and PyTorch.

  python -m experiments.benchmarks.encoders --output=encoders.json

Both sides run the same weights, which transformers writes, and their outputs
are compared in the same run. Each side is a process; they are warmed up, then
take turns; a ratio is formed in each turn, so that other load on the machine
falls on both. On a CPU: float32, the base models. On a GPU (`gpu.sh`): HuBERT
base in bfloat16, PyTorch with SDPA and `torch.compile`; the share of the peak
is told too.
"""

import argparse
import concurrent.futures
import dataclasses
import functools
import importlib.util
import pathlib
import tempfile

import jax
import jax.numpy as jnp
import numpy as np
import optax

from emojax.encoders import speech
from emojax.encoders.speech_config import SpeechConfig
from emojax.encoders.speech_model import SpeechEncoder
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


def fields(family, size):
  """What a config has besides its defaults, which are the base models'."""
  return {**measure.STILL, **{"base": {}, "large": LARGE, "tiny": TINY}[size]}


def write_checkpoint(folder, family, size):
  """Random weights as transformers saves them."""
  import torch
  import transformers

  torch.manual_seed(0)
  config_class, model_class = {
    "hubert": (transformers.HubertConfig, transformers.HubertModel),
    "wavlm": (transformers.WavLMConfig, transformers.WavLMModel),
  }[family]
  model_class(config_class(**fields(family, size))).save_pretrained(folder)
  transformers.Wav2Vec2FeatureExtractor(
    return_attention_mask=False
  ).save_pretrained(folder)


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
    self._config = model.config
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

  def has_cudnn_attention(self):
    """Whether the compiled program calls it."""
    return "__cudnn$fmha" in self.compiled.as_text()

  def least_seconds(self):
    """At the peak of the device; None where that is not known."""
    device = jax.devices()[0].device_kind
    peaks = [peak for name, peak in PEAKS.items() if name in device]
    work = floating_point_operations(self._config, self._case)
    return work / peaks[0] if peaks else None

  def outputs(self):
    """The states, or the loss and a gradient, to compare."""
    result = self()
    if self._case.work == FORWARD:
      return [np.asarray(result)]
    return [np.asarray(result[0]), np.asarray(result[1]).T]


class PyTorch:
  """The case in PyTorch."""

  def __init__(self, case, folder, on_gpu):
    import torch
    import transformers

    self._torch, self._case, self._on_gpu = torch, case, on_gpu
    self._device = "cuda" if on_gpu else "cpu"
    # Evaluation mode: no dropout. Gradients flow all the same.
    model = transformers.AutoModel.from_pretrained(folder)
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

  def outputs(self):
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


def make_sides(case, folder, on_gpu):
  """What makes the processes of a case; emojax' alone without a checkpoint."""
  sides = {"pytorch": PyTorch, "emojax": Emojax}
  return {
    name: functools.partial(measure.Process, side, case, folder, on_gpu)
    for name, side in sides.items()
    if folder or name == "emojax"
  }


def measured(case, sides, turns, on_gpu):
  """The processes of a case are compared, and take turns."""
  ours = sides["emojax"]
  row = {
    **dataclasses.asdict(case),
    "cudnn_attention": ours.result("has_cudnn_attention"),
  }
  outputs = [side.result("outputs") for side in sides.values()]
  if len(sides) == 2:
    # Of NumPy: Python's `max` may pass over a NaN.
    error = float(
      np.max(
        [
          np.abs(found - want).max() / np.abs(want).max()
          for want, found in zip(*outputs, strict=True)
        ]
      )
    )
    agrees = error <= (0.1 if on_gpu else 1e-3)  # NaN is no agreement.
    if not (agrees or on_gpu):  # There the times are told all the same.
      raise SystemExit(f"{case}: outputs differ by {error:.1e}")
    row |= {"relative_difference": error, "agrees": agrees}
  times = {name: [] for name in sides}
  for turn in range(turns + 1):
    for name, side in sides.items():
      took = side.seconds("__call__")
      if turn:  # The first one warms up.
        times[name].append(took)
  row["seconds"] = {name: measure.summary(v) for name, v in times.items()}
  if "pytorch" in times:
    row["times_faster"] = measure.ratios(times["pytorch"], times["emojax"])
  if least := ours.result("least_seconds"):
    row["least_seconds_at_peak"] = least
    row["share_of_peak"] = {n: least / min(v) for n, v in times.items()}
  print(
    *dataclasses.astuple(case),
    *(f"{name} {np.median(v):.4f} s," for name, v in times.items()),
    *(f"{row[k]}" for k in ("times_faster", "share_of_peak") if k in row),
    flush=True,
  )
  for side in sides.values():
    side.close()
  return row


def compare(case, turns):
  """Measures one case on CPUs."""
  with tempfile.TemporaryDirectory() as folder:
    measure.alone(write_checkpoint, folder, case.family, case.size)
    makers = make_sides(case, folder, on_gpu=False)
    sides = {name: make() for name, make in makers.items()}
    return measured(case, sides, turns, on_gpu=False)


def on_gpu(save, tiny):
  """HuBERT, forward and a training step; see `gpu.py`.

  All sides are made at the same time, since compiling is what takes minutes.
  """
  family, size, *clips = (
    "hubert",
    *(("tiny", 2, 1) if tiny else ("base", 32, 5)),
  )
  cases = [Case(family, size, *clips, work) for work in (FORWARD, STEP)]
  found = {
    "times_faster": "seconds of compiled PyTorch over those of emojax",
    "goal_times_faster": 1.3,
    "cases": [],
  }
  with tempfile.TemporaryDirectory() as folder:
    if importlib.util.find_spec("transformers"):
      measure.alone(write_checkpoint, folder, family, size)
    else:
      folder = None
    with concurrent.futures.ThreadPoolExecutor() as pool:
      making = {
        case: {
          name: pool.submit(make)
          for name, make in make_sides(case, folder, not tiny).items()
        }
        for case in cases
      }
    for case, sides in making.items():
      sides = {name: side.result() for name, side in sides.items()}
      found["cases"].append(measured(case, sides, 1 if tiny else 7, not tiny))
      save(found)


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


def loading(folder):
  """Seconds and memory of loading a checkpoint."""
  size = pathlib.Path(folder, "model.safetensors").stat().st_size
  jnp.zeros(1).block_until_ready()  # JAX itself is no part of it.
  before = measure.memory("VmHWM")
  took = measure.seconds(
    lambda: jax.block_until_ready(speech.load(folder).params)
  )
  return {
    "seconds": took,
    "file_bytes": size,
    "memory_over_file": (measure.memory("VmHWM") - before) / size,
  }


def main():
  """Measures and writes the result."""
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--output", required=True, help="JSON file to write")
  parser.add_argument("--turns", type=int, default=7, help="turns measured")
  flags = parser.parse_args()
  with tempfile.TemporaryDirectory() as folder:
    measure.alone(write_checkpoint, folder, "hubert", "base")
    loaded = measure.alone(loading, folder)
  print(loaded, flush=True)
  rows = [compare(case, flags.turns) for case in CPU_CASES]

  import torch

  result = {
    **measure.setting("flax", "torch", "transformers"),
    "torch_threads": torch.get_num_threads(),
    "loading_base": loaded,
    "cases": rows,
  }
  measure.write(result, flags.output)


if __name__ == "__main__":
  main()
