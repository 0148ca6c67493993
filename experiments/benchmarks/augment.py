"""Speed of augmentation: emojax against audiomentations, in one run.

  python -m experiments.benchmarks.augment --output=augment.json

Clips of 5 s at 16 kHz. Probabilities are those of `_ALL`, ranges those of
`emojax.audio.settings`, set on both sides; the phase vocoder of audiomentations
is librosa's, which is the published one (2048 samples, hop 512). On a CPU
everything runs on one core: emojax in this process, audiomentations in
another, each bound to the same core. Both are warmed up and take turns; the
ratio is formed in each turn. audiomentations gets its backgrounds and room
responses as WAV files (of this clip's length; five rooms), emojax its
backgrounds as an array (reading them is the input pipeline's work) and
synthesises a new room for each clip. On a GPU the same command compares it with
one core of the host.

audiomentations' bounds on its dependencies do not admit those of emojax:

  pip install --no-deps audiomentations==0.43.1 numpy-minmax numpy-rms \
      python-stretch
"""

import argparse
import functools
import multiprocessing
import os
import pathlib
import tempfile
import time

CORE = min(os.sched_getaffinity(0))
if __name__ == "__main__":  # Before JAX starts its threads.
  os.sched_setaffinity(0, {CORE})

import jax  # noqa: E402
import jax.numpy as jnp  # noqa: E402
import numpy as np  # noqa: E402
import soundfile  # noqa: E402

from emojax.audio import rooms  # noqa: E402
from emojax.audio.augment import augment  # noqa: E402
from emojax.audio.settings import Settings  # noqa: E402
from emojax.synthetic import voices as demo  # noqa: E402
from experiments.benchmarks import measure  # noqa: E402

RATE, SECONDS = 16_000, 5
NUM_SAMPLES = RATE * SECONDS
# Probabilities as training would use them, all at once.
_ALL = {
  "gain": 0.5,
  "pitch": 0.5,
  "stretch": 0.5,
  "crop": 0.3,
  "shift": 0.3,
  "reverberation": 0.3,
  "background": 0.3,
  "noise": 0.5,
  "microphone": 0.3,
  "band": 0.2,
  "time_mask": 0.3,
  "frequency_mask": 0.3,
}


def make_clips(count):
  """Synthetic speech: float32 [count, S]."""
  rng = np.random.default_rng(0)
  text = "the cat sat on the mat and then it went to the old house by the sea"
  speech = demo.render(
    f"{text} {text}", demo.Voice(), demo.EXPRESSIONS["neutral"], rng
  )
  starts = rng.integers(0, len(speech), count)
  clips = [np.resize(np.roll(speech, -start), NUM_SAMPLES) for start in starts]
  return np.stack(clips).astype(np.float32)


class Emojax:
  """Augmentation of a batch, compiled."""

  def __init__(self, clips, settings):
    rng = np.random.default_rng(1)
    noise = rng.normal(size=clips.shape).astype(np.float32)
    lengths = jnp.full(len(clips), NUM_SAMPLES, jnp.int32)
    self._batch = jnp.asarray(clips), lengths, jnp.asarray(noise)
    self._function = jax.jit(
      functools.partial(augment, responses_NxR=None, settings=settings)
    )
    self._key = jax.random.key(0)

  def __call__(self):
    self._key, key = jax.random.split(self._key)
    jax.block_until_ready(self._function(key, *self._batch))


def reference_chain(settings, folder):
  """The same augmentations, ranges and order in audiomentations."""
  import audiomentations as they

  s = settings
  vocoder = {"method": "librosa_phase_vocoder"}
  steep = {"min_rolloff": 24, "max_rolloff": 24, "p": 1.0}
  octaves = dict(
    zip(("min_gain_db", "max_gain_db"), s.microphone_db, strict=True)
  )
  # It crops to one length only: that of the mean share.
  cropped = round(np.mean(s.crop_share) * NUM_SAMPLES)
  # Up to a tenth of the mel scale is up to about a third of the frequency.
  mask = they.BandStopFilter(
    min_center_freq=200.0,
    max_center_freq=6000.0,
    min_bandwidth_fraction=0.05,
    max_bandwidth_fraction=0.35,
    **steep,
  )
  span = they.TimeMask(*s.time_mask_share, fade_duration=0.0, p=1.0)
  everything = [
    they.PitchShift(*s.pitch_semitones, **vocoder, p=s.pitch_probability),
    they.TimeStretch(*s.stretch_rate, **vocoder, p=s.stretch_probability),
    they.AdjustDuration(duration_samples=cropped, p=s.crop_probability),
    they.Shift(
      *s.shift_seconds,
      shift_unit="seconds",
      rollover=False,
      p=s.shift_probability,
    ),
    they.ApplyImpulseResponse(
      str(folder / "responses"), p=s.reverberation_probability
    ),
    they.AddBackgroundNoise(
      str(folder / "backgrounds"),
      *s.background_snr_db,
      p=s.background_probability,
    ),
    they.SevenBandParametricEQ(**octaves, p=s.microphone_probability),
    they.Compose(
      [
        they.HighPassFilter(*s.band_low_hertz, **steep),
        they.LowPassFilter(*s.band_high_hertz, **steep),
      ],
      p=s.band_probability,
    ),
    they.Compose([mask] * s.frequency_masks, p=s.frequency_mask_probability),
    they.AddGaussianSNR(*s.noise_snr_db, p=s.noise_probability),
    they.Gain(*s.gain_db, p=s.gain_probability),
    they.Compose([span] * s.time_masks, p=s.time_mask_probability),
  ]
  return they.Compose([part for part in everything if part.p])


def write_recordings(folder):
  """Backgrounds and rooms as WAV files."""
  rng = np.random.default_rng(2)
  for name in ("backgrounds", "responses"):
    (folder / name).mkdir()
  for number in range(5):
    noise = 0.1 * rng.normal(size=2 * NUM_SAMPLES)
    soundfile.write(folder / f"backgrounds/{number}.wav", noise, RATE)
  s = Settings()
  responses = rooms.synthesize(
    jax.random.split(jax.random.key(0), 5),
    jnp.linspace(*s.reverberation_seconds, 5),
    jnp.full(5, np.mean(s.reverberation_direct_db)),
    round(s.reverberation_seconds[1] * RATE),
    RATE,
  )
  for number, response in enumerate(np.array(responses)):
    soundfile.write(folder / f"responses/{number}.wav", response, RATE)


def serve_reference(connection, clips, folder):
  """Augments all clips for every settings received; answers the seconds."""
  os.sched_setaffinity(0, {CORE})
  import warnings

  warnings.simplefilter("ignore")
  chains = {}
  while (settings := connection.recv()) is not None:
    if settings not in chains:
      chains[settings] = reference_chain(settings, folder)
      for clip in clips[:4]:
        chains[settings](clip, RATE)
    start = time.perf_counter()
    for clip in clips:
      chains[settings](clip, RATE)
    connection.send(time.perf_counter() - start)


def everything():
  """All of it, as training would use it."""
  return Settings(**{f"{kind}_probability": p for kind, p in _ALL.items()})


def seconds_a_clip(count, turns):
  """Of the whole chain of emojax on a batch, turn by turn."""
  ours = Emojax(make_clips(count), everything())
  ours()
  return [measure.seconds(ours) / count for _ in range(turns)]


def reference_seconds_a_clip(count, turns):
  """Of the whole chain of audiomentations, turn by turn."""
  clips = make_clips(count)
  with tempfile.TemporaryDirectory() as folder:
    write_recordings(pathlib.Path(folder))
    chain = reference_chain(everything(), pathlib.Path(folder))

    def augment_all():
      for clip in clips:
        chain(clip, RATE)

    augment_all()
    return [measure.seconds(augment_all) / count for _ in range(turns)]


def compare(name, settings, clips, ask, turns):
  """Seconds a clip of both sides, turn by turn."""
  ours = Emojax(clips, settings)
  ours()
  times = {"emojax": [], "audiomentations": []}
  for _ in range(turns):
    times["emojax"].append(measure.seconds(ours) / len(clips))
    ask.send(settings)
    times["audiomentations"].append(ask.recv() / len(clips))
  row = {
    "case": name,
    "seconds_per_clip": {n: measure.summary(v) for n, v in times.items()},
    "times_faster": measure.ratios(times["audiomentations"], times["emojax"]),
  }
  print(
    f"{name:16}",
    *(f"{n} {1e3 * np.median(v):.2f} ms," for n, v in times.items()),
    f"{row['times_faster']['median']:.2f} times faster",
    flush=True,
  )
  return row


def main():
  """Measures and writes the result."""
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--output", required=True, help="JSON file to write")
  parser.add_argument("--turns", type=int, default=5, help="turns measured")
  parser.add_argument("--clips", type=int, default=64, help="in a batch")
  flags = parser.parse_args()
  clips = make_clips(flags.clips)
  with tempfile.TemporaryDirectory() as folder:
    write_recordings(pathlib.Path(folder))
    context = multiprocessing.get_context("spawn")
    ask, answer = context.Pipe()
    worker = context.Process(
      target=serve_reference, args=(answer, clips, pathlib.Path(folder))
    )
    worker.start()
    cases = {"all": everything()}
    for kind in _ALL:
      cases[kind] = Settings(**{f"{kind}_probability": 1.0})
    rows = [
      compare(name, settings, clips, ask, flags.turns)
      for name, settings in cases.items()
    ]
    ask.send(None)
    worker.join()
  result = {
    **measure.setting("librosa", "audiomentations"),
    "batch": list(clips.shape),
    "goal_times_faster": 100 if jax.default_backend() == "gpu" else 3,
    "cases": rows,
  }
  measure.write(result, flags.output)


if __name__ == "__main__":
  main()
