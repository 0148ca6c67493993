"""On paper: how far data parallel and FSDP training scale, and why no further.

  python -m experiments.benchmarks.communication \
      --output=experiments/benchmarks/communication.json \
      --figure=experiments/benchmarks/scaling.png

Floating-point operations and parameters are those that XLA counts in the real
step of the real model, traced with abstract weights. Bandwidths, peaks, MFU and
latencies are assumptions: what the vendors' data sheets say, halved where they
add up both directions; no network was measured. `scaling.md` has the result in
words.

A collective runs in two levels: within a node (or a slice) of g devices, each
with B_1 bytes/s one way, then between m = n / g nodes, where every device sends
its part, 1/g of all, through its own share B_2 of the node's network.
"""

import argparse
import dataclasses
import datetime
import itertools
import json
import math
import pathlib
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import optax

from emojax.encoders.speech import Wav2Vec2
from emojax.encoders.speech_config import SpeechConfig
from emojax.encoders.whisper_config import WhisperConfig
from emojax.encoders.whisper_encoder import Whisper
from emojax.kernels import target
from emojax.runtime import environment
from experiments.benchmarks import encoders

SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)
SHOWN = (8, 64, 512)
CLIPS = 16  # Of a device.
MFU = 0.4  # Assumed: model FLOP/s over the peak, without communication.
BACKWARD = 2 / 3  # Its share of a step; gradients come one layer after another.
RATE = 16_000


@dataclasses.dataclass(frozen=True)
class Network:
  """Devices and what connects them; all of it assumed, none measured.

  Attributes:
    peak: dense bfloat16 FLOP/s of a device.
    node: devices of a node, or of a slice of TPUs.
    within: bytes/s that a device sends one way within it.
    between: bytes/s of each device one way out of it.
    hop: seconds of latency of a step within, and of one between nodes.
    source: where the numbers are from.
  """

  name: str
  peak: float
  node: int
  within: float
  between: float
  hop: tuple[float, float]
  source: str


NETWORKS = (
  Network(
    "H100, NVLink and InfiniBand",
    *(989e12, 8, 450e9, 50e9, (3e-6, 10e-6)),
    "H100 SXM data sheet: 989 TFLOP/s, NVLink 900 GB/s both ways; a DGX H100 "
    "has eight NDR ports of 400 Gbit/s",
  ),
  Network(
    "H100, NVLink and 25 Gbit/s Ethernet",
    *(989e12, 8, 450e9, 25e9 / 8 / 8, (3e-6, 50e-6)),
    "the same nodes, one port of 25 Gbit/s each for its eight GPUs",
  ),
  Network(
    "single GPUs, 25 Gbit/s Ethernet",
    *(121e12, 1, math.inf, 25e9 / 8, (0.0, 50e-6)),
    "one L4 a machine: 121 TFLOP/s by its data sheet",
  ),
  Network(
    "TPU v5p, ICI",
    *(459e12, 8960, 300e9, 3.1e9, (1e-6, 50e-6)),
    "Google's page of v5p: 459 TFLOP/s, ICI 4,800 Gbit/s a chip (six links, "
    "both ways), pods of 8,960 chips",
  ),
  Network(
    "TPU v5e, ICI",
    *(197e12, 256, 100e9, 3.1e9, (1e-6, 50e-6)),
    "Google's page of v5e: 197 TFLOP/s, ICI 1,600 Gbit/s a chip (four links, "
    "both ways), pods of 256; between pods 25 Gbit/s a chip, a guess",
  ),
)


@dataclasses.dataclass(frozen=True)
class Work:
  """A training step on one device.

  Attributes:
    parameters: that are trained; each has a gradient.
    layers: of the transformer; FSDP gathers one after another.
    flops: of the step on this device.
  """

  name: str
  parameters: int
  layers: int
  flops: float


def ring(n: int, size: float, bandwidth: float, hop: float) -> float:
  """Seconds of an all-reduce around a ring of n devices.

  Each sends 2 (n - 1) / n of the `size` bytes, in 2 (n - 1) steps (Patarasuk &
  Yuan 2009, "Bandwidth optimal all-reduce algorithms").
  """
  return 2 * (n - 1) / n * size / bandwidth + 2 * (n - 1) * hop


def tree(n: int, size: float, bandwidth: float, hop: float) -> float:
  """Seconds of an all-reduce up and down two binary trees, pipelined.

  2 `size` bytes, in 2 ceil(log2 n) steps (Sanders et al. 2009, "Two-tree
  algorithms for full bandwidth broadcast, reduction and scan").
  """
  if n == 1:
    return 0.0
  return 2 * size / bandwidth + 2 * math.ceil(math.log2(n)) * hop


def all_reduce(n: int, size: float, network: Network) -> float:
  """Seconds: reduce-scatter in a node, all-reduce between, all-gather in it.

  Within a node a ring (half of it each), between nodes ring or tree, whichever
  is quicker: of g devices each, the m nodes reduce `size` / g bytes g times at
  once.
  """
  g = min(n, network.node)
  nodes = -(-n // g)
  way = (nodes, size / g, network.between, network.hop[1])
  within = ring(g, size, network.within, network.hop[0])
  return within + min(ring(*way), tree(*way))


def bytes_sent(n: int, size: float, node: int) -> tuple[float, float]:
  """Bytes that each device sends in an all-reduce: in its node, out of it."""
  g = min(n, node)
  nodes = -(-n // g)
  return 2 * (g - 1) / g * size, 2 * (nodes - 1) / nodes * size / g


def data_parallel(n: int, work: Work, network: Network, width: int) -> float:
  """Seconds of the gradients' mean, `width` bytes each."""
  return all_reduce(n, work.parameters * width, network)


def fsdp(n: int, work: Work, network: Network, width: int) -> float:
  """Seconds of two all-gathers of parameters and a reduce-scatter of gradients.

  Once for the forward and once for the backward pass, layer by layer: three
  halves of an all-reduce each, and latencies of every layer.
  """
  part = work.parameters * width / work.layers
  return 1.5 * work.layers * all_reduce(n, part, network)


def compute(work: Work, network: Network) -> float:
  """Seconds of a step without communication, at the assumed MFU."""
  return work.flops / (MFU * network.peak)


def efficiency(seconds: float, communication: float, hidden: float) -> float:
  """Share of the time in which a device computes.

  Of the communication, as much runs beside the computation as takes no longer
  than the share `hidden` of it: 0 for none, `BACKWARD` where gradients are sent
  while earlier layers are still computed.
  """
  return seconds / (seconds + max(0.0, communication - hidden * seconds))


def works() -> list[Work]:
  """Steps of HuBERT large and of Whisper large-v3's encoder."""
  large = {"model_type": "hubert", **encoders.fields("hubert", "large")}
  hubert = Wav2Vec2(SpeechConfig.from_json(large, "communication.py"))
  whisper = WhisperConfig(
    num_mel_bins=128,
    d_model=1280,
    encoder_layers=32,
    encoder_attention_heads=20,
    encoder_ffn_dim=5120,
  )
  return [
    counted("HuBERT large, 5 s", hubert, 5),
    counted("Whisper large-v3, 5 s", Whisper(whisper), 5),
    counted("Whisper large-v3, 30 s", Whisper(whisper), 30),
  ]


def counted(name: str, encoder, seconds: int) -> Work:
  """Counts the step of `CLIPS` clips: loss, gradient and Adam, bfloat16.

  As XLA counts what is written down for any platform, before it optimises: on
  a CPU long attention is a loop, of which it would count one turn.
  """
  audio = jax.ShapeDtypeStruct((CLIPS, seconds * RATE), jnp.float32)
  lengths = jax.ShapeDtypeStruct((CLIPS,), jnp.int32)
  model, tx = encoder.module(jnp.bfloat16), optax.adam(1e-5)

  def loss(params, audio, lengths):
    out = model.apply({"params": params}, audio, lengths)
    return (out["last_hidden_state"].astype(jnp.float32) ** 3).mean()

  def step(params, state, *inputs):
    gradients = jax.grad(loss)(params, *inputs)
    updates, state = tx.update(gradients, state, params)
    return optax.apply_updates(params, updates), state

  with target.portable():
    variables = jax.eval_shape(model.init, jax.random.key(0), audio, lengths)
    params = variables["params"]
    state = jax.eval_shape(tx.init, params)
    lowered = jax.jit(step).lower(params, state, audio, lengths)
  parameters = sum(math.prod(x.shape) for x in jax.tree.leaves(params))
  flops = lowered.cost_analysis()["flops"]
  return Work(name, parameters, encoder.num_layers, flops)


def clips_to_hide(work: Work, communication: float, network: Network) -> float:
  """Clips of a device from which on gradients are sent in no time of their own.

  The backward pass of so many takes as long as the communication.
  """
  return communication / (BACKWARD * compute(work, network) / CLIPS)


def rows(work: Work, sizes: Sequence[int]) -> list[dict]:
  """What a step takes on each network and number of devices."""
  found = []
  for network, n in itertools.product(NETWORKS, sizes):
    seconds = compute(work, network)
    within, between = bytes_sent(n, 4 * work.parameters, network.node)
    row = {
      "network": network.name,
      "devices": n,
      "compute_seconds": _rounded(seconds),
      "gigabytes_sent_within_a_node": _rounded(within / 1e9),
      "gigabytes_sent_out_of_it": _rounded(between / 1e9),
    }
    for method in (data_parallel, fsdp):
      for width, dtype in ((4, "float32"), (2, "bfloat16")):
        took = method(n, work, network, width)
        row[f"{method.__name__}_{dtype}"] = {
          "communication_seconds": _rounded(took),
          "efficiency_nothing_hidden": _rounded(efficiency(seconds, took, 0)),
          "efficiency": _rounded(efficiency(seconds, took, BACKWARD)),
          "clips_to_hide": _rounded(clips_to_hide(work, took, network)),
        }
    found.append(row)
  return found


def _rounded(value: float) -> float:
  return float(f"{value:.4g}")


def draw(works: Sequence[Work], path: pathlib.Path) -> None:
  """Efficiency against the number of devices: a panel for each model.

  From nothing hidden (the line) to as much as there can be (the shade).
  """
  from matplotlib import rc_context

  from emojax.reports import style

  with rc_context(style.STYLE):
    figure, axes = style.panels(len(works), 2.6, 2.5)
    looks = {n.name: style.line_style(i) for i, n in enumerate(NETWORKS)}
    for ax, work in zip(axes, works, strict=True):
      for name, look in looks.items():
        of = [
          row["data_parallel_float32"]
          for row in rows(work, SIZES)
          if row["network"] == name
        ]
        least = [100 * row["efficiency_nothing_hidden"] for row in of]
        most = [100 * row["efficiency"] for row in of]
        ax.plot(SIZES, least, **look)
        ax.fill_between(SIZES, least, most, color=look["color"], alpha=0.1)
      ax.set_xscale("log", base=2)
      ax.set_xticks([1, 8, 64, 512], ["1", "8", "64", "512"])
      ax.set_ylim(0, 103)
      ax.set_title(work.name)
    axes[0].set_ylabel("efficiency, %")
    figure.supxlabel(f"devices, {CLIPS} clips each")
    style.add_legend(figure, style.handles(looks))
    style.save(figure, str(path), "On paper: data parallel, float32 gradients")


def table(found: dict) -> str:
  """Of data parallel training with float32 gradients, in Markdown."""
  lines = []
  for work in found["works"]:
    giga = 4 * work["parameters"] / 1e9
    lines += [
      f"**{work['name']}**: {work['parameters'] / 1e6:.0f} M parameters, "
      f"{giga:.2f} GB of gradients, {work['flops'] / 1e12:.1f} TFLOP a step\n",
      "| | computing, ms | devices | sending, ms | efficiency, % | FSDP, ms | "
      "clips to hide it |",
      "| --- | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for row in work["rows"]:
      one, other = row["data_parallel_float32"], row["fsdp_float32"]
      cells = (
        row["network"],
        f"{1e3 * row['compute_seconds']:.0f}",
        row["devices"],
        f"{1e3 * one['communication_seconds']:.0f}",
        f"{100 * one['efficiency_nothing_hidden']:.0f} to "
        f"{100 * one['efficiency']:.0f}",
        f"{1e3 * other['communication_seconds']:.0f}",
        f"{math.ceil(one['clips_to_hide'])}",
      )
      lines.append(f"| {' | '.join(map(str, cells))} |")
    lines.append("")
  return "\n".join(lines)


def main() -> None:
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--output", type=pathlib.Path, required=True)
  parser.add_argument("--figure", type=pathlib.Path)
  flags = parser.parse_args()
  steps = works()
  found = {
    **environment.describe(),
    "date": datetime.date.today().isoformat(),
    "clips_of_a_device": CLIPS,
    "assumed": {
      "mfu": MFU,
      "hidden_share_of_the_computation": BACKWARD,
      "networks": [dataclasses.asdict(network) for network in NETWORKS],
    },
    "works": [
      {**dataclasses.asdict(work), "rows": rows(work, SHOWN)} for work in steps
    ],
  }
  text = json.dumps(found, indent=2).replace("Infinity", "null")
  flags.output.write_text(text + "\n", encoding="utf-8")
  print(table(found))
  if flags.figure:
    draw(steps, flags.figure)


if __name__ == "__main__":
  main()
