"""Listening: real-time factor, latency, and an hour in flat memory.

  python -m experiments.benchmarks.live RUN --speech=RAVDESS --hour=LOG_MEL \
      --output=experiments/benchmarks/live.json

RUN is a finished run of the speech study on a frozen Whisper, LOG_MEL one on
the log-mel CNN (an hour by the other takes minutes twice). The signal: clips of
RAVDESS one after the other, again and again.

- factor: seconds that a second of the signal takes, in pieces of 0.1 s, for
  emotion alone, with transcripts, and for an encoder of the size of HuBERT base
  (random weights: the time is that of any).
- latency: the signal comes in its own time; from the end of a window, as it was
  spoken, to its result.
- hour: a file of stereo at 48 kHz, read in pieces: windows, memory, and whether
  the results are those of other pieces.
"""

import argparse
import dataclasses
import itertools
import json
import os
import pathlib
import tempfile
import threading
import time
from collections.abc import Iterator

import jax
import numpy as np
import soundfile
import soxr

from emojax.audio import io
from emojax.encoders.speech import Wav2Vec2
from emojax.encoders.speech_config import SpeechConfig
from emojax.inference import following, listener
from emojax.inference.backlog import Backlog
from emojax.inference.listener import Listener
from emojax.inference.stream import Stream, Window
from emojax.runtime import walk
from emojax.systems import stored
from emojax.systems.speech import SpeechSystem
from experiments.benchmarks import measure

RATE = 16_000
BLOCK = RATE // 10


def signal(folder: str, seconds: float) -> np.ndarray:
  """Clips one after the other, float32 at 16 kHz."""
  paths = walk.find(folder, io.SUFFIXES).paths
  clips = (io.read(path, RATE) for path in itertools.cycle(paths[::97]))
  parts, size = [], 0
  while size < seconds * RATE:
    parts.append(next(clips))
    size += len(parts[-1])
  return np.concatenate(parts)[: round(seconds * RATE)]


def in_blocks(samples: np.ndarray, size: int = BLOCK) -> Iterator[np.ndarray]:
  return (samples[i : i + size] for i in range(0, len(samples), size))


def hubert_size(run: str) -> Listener:
  """The run with an encoder of HuBERT base's size."""
  system, _ = stored.load(run, SpeechSystem)
  system = dataclasses.replace(system, encoder=Wav2Vec2(SpeechConfig()))
  params = jax.jit(system.init)(jax.random.key(0))
  return Listener(system, params)


def factor(heard: Listener, samples: np.ndarray) -> dict:
  """Seconds for a second of the signal, as fast as possible."""
  heard.warm_up()
  start = time.perf_counter()
  stream = Stream(heard, RATE)
  found = list(following.all_of(stream, heard, in_blocks(samples)))
  seconds = time.perf_counter() - start
  windows = sum(isinstance(event, Window) for event in found)
  return {
    "signal_seconds": len(samples) / RATE,
    "factor": seconds * RATE / len(samples),
    "windows": windows,
    "segments": len(found) - windows,
  }


def latency(heard: Listener, samples: np.ndarray) -> dict:
  """Milliseconds from the end of a window to its result, in real time."""
  heard.warm_up()
  stream, backlog = Stream(heard, RATE), Backlog(10 * RATE, "it", 60)
  start = time.monotonic()

  def speak():
    for number, block in enumerate(in_blocks(samples), 1):
      time.sleep(max(0, start + number * BLOCK / RATE - time.monotonic()))
      backlog.push(block)
    backlog.close()

  threading.Thread(target=speak).start()
  delays = [
    1000 * (time.monotonic() - start - event.end)
    for event in following.live(stream, heard, backlog)
    if isinstance(event, Window)
  ]
  return {
    "windows": len(delays),
    "median_ms": float(np.median(delays)),
    "p95_ms": float(np.percentile(delays, 95)),
    **dataclasses.asdict(stream.counts),
  }


def hour(heard: Listener, samples: np.ndarray) -> dict:
  """A long file in pieces: windows, memory, and other pieces."""
  heard.warm_up()
  with tempfile.TemporaryDirectory() as folder:
    path = pathlib.Path(folder, "long.wav")
    stereo = np.stack([soxr.resample(samples, RATE, 48_000)] * 2, 1)
    with soundfile.SoundFile(path, "w", 48_000, 2, "PCM_16") as file:
      for _ in range(round(3600 * RATE / len(samples))):
        file.write(stereo)
    del stereo
    start, windows, sizes = time.perf_counter(), [], []
    for event in following.recording(heard, path):
      if isinstance(event, Window):
        windows.append(event)
        sizes.append(memory())
    took = time.perf_counter() - start
    minute = round(60 / heard.hop)
    after_minute, peak = max(sizes[:minute]), max(sizes)
    stream = Stream(heard, 48_000)
    pieces = (p for b in io.blocks(path) for p in in_blocks(b, 7_001))
    other = (
      event
      for event in following.all_of(stream, heard, pieces)
      if isinstance(event, Window)
    )
    difference = max(
      np.abs(a.probabilities_C - b.probabilities_C).max()
      for a, b in zip(windows, other, strict=True)
      if a.probabilities_C is not None
    )
  return {
    "signal_seconds": windows[-1].end,
    "factor": took / windows[-1].end,
    "windows": len(windows),
    "memory_of_the_first_minute": after_minute,
    "memory": peak,
    "growth": peak / after_minute - 1,
    "largest_difference_to_other_pieces": float(difference),
  }


def memory() -> int:
  """Bytes of this process that are in memory now."""
  pages = pathlib.Path("/proc/self/statm").read_text(encoding="utf-8").split()
  return int(pages[1]) * os.sysconf("SC_PAGE_SIZE")


def main():
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("run")
  parser.add_argument("--speech", required=True, help="RAVDESS")
  parser.add_argument("--hour", required=True, help="the run for it")
  parser.add_argument("--seconds", type=int, default=120)
  parser.add_argument("--output")
  arguments = parser.parse_args()
  samples = signal(arguments.speech, arguments.seconds)
  emotion = listener.load(arguments.run, asr="none")
  both = listener.load(arguments.run)
  result = {
    "emotion": factor(emotion, samples),
    "emotion_and_transcript": factor(both, samples),
    "hubert_base_size": factor(hubert_size(arguments.run), samples),
    "latency_emotion": latency(emotion, samples),
    "latency_with_transcript": latency(both, samples),
  }
  print(json.dumps(result, indent=2), flush=True)
  result["hour"] = hour(listener.load(arguments.hour), samples)
  result |= measure.setting("jaxlib", "flax", "numpy")
  text = json.dumps(result, indent=2)
  print(text)
  if arguments.output:
    pathlib.Path(arguments.output).write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
  main()
