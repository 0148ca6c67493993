"""Spectrograms of one clip, each augmentation alone.

  python -m experiments.augmentation.figure \
      --output=experiments/augmentation/augmentations.png

The clip is of the demo corpus (synthetic), its background too; `--audio=FILE`
takes another clip, `--noise=FOLDER` recorded backgrounds.
"""

import argparse
import pathlib

import jax
import jax.numpy as jnp
import matplotlib
import numpy as np

from emojax import spectral
from emojax.audio import filters, io, rooms, vocoder, waveforms
from emojax.audio.backgrounds import Backgrounds
from emojax.reports import style
from emojax.synthetic import voices as demo

RATE, SECONDS = 16_000, 2.5
FFT, HOP = 512, 80
FLOOR = -70.0  # In dB below the loudest of the original.


def demo_clip():
  """A sentence of the demo corpus's synthesiser: float32 [S]."""
  samples = demo.render(
    "my father will not come home again",
    demo.Voice(pitch=190.0, tract=0.87),
    demo.EXPRESSIONS["happy"],
    np.random.default_rng(0),
  )
  return 0.5 * samples / np.abs(samples).max()


def demo_background(num_samples):
  """Several voices at once: float32 [S]."""
  rng = np.random.default_rng(1)
  voices = [
    demo.render(
      "and then they said that it was over and went out again",
      demo.Voice(pitch=pitch, tract=tract),
      demo.EXPRESSIONS["neutral"],
      rng,
    )
    for pitch, tract in ((100, 1.0), (120, 1.03), (180, 0.88), (210, 0.85))
  ]
  return sum(np.resize(voice, num_samples) for voice in voices)


def augmented(audio, length, noise):
  """Each augmentation at fixed parameters: title -> (audio [S], length)."""
  clip, lengths = jnp.asarray(audio)[None], jnp.array([length])

  def one(*values):
    return jnp.array(values, jnp.float32)

  def filtered(gains):
    return filters.apply(clip, lengths, gains), lengths

  keys = jax.random.split(jax.random.key(0), 1)
  room = rooms.synthesize(keys, one(0.7), one(3.0), RATE, RATE)
  white = jax.random.normal(keys[0], clip.shape)
  frequency = filters.frequencies(RATE)
  octaves = one(-9, 3, 6, 0, -6, 4, -9)[None]
  spans = one(0.2, 0.7)[None], one(0.1, 0.08)[None]
  bands = one(0.35, 0.8)[None], one(0.08, 0.08)[None]
  telephone = filters.band(frequency, one(300), one(3400))
  results = {
    "original": (clip, lengths),
    "gain −12 dB": (waveforms.gain(clip, one(-12)), lengths),
    "pitch +4 semitones": vocoder.stretch_and_shift(
      clip, lengths, one(1), one(4)
    ),
    "pitch −4 semitones": vocoder.stretch_and_shift(
      clip, lengths, one(1), one(-4)
    ),
    "speed × 0.8": vocoder.stretch_and_shift(clip, lengths, one(0.8)),
    "speed × 1.25": vocoder.stretch_and_shift(clip, lengths, one(1.25)),
    "crop to 60 %": waveforms.crop(clip, lengths, one(0.5), one(0.6)),
    "shift by 0.3 s": waveforms.shift(
      clip, lengths, jnp.array([round(0.3 * RATE)])
    ),
    "room, 0.7 s": (rooms.reverberate(clip, lengths, room), lengths),
    "background, SNR 5 dB": (
      waveforms.add_noise(clip, lengths, jnp.asarray(noise)[None], one(5)),
      lengths,
    ),
    "microphone": filtered(filters.microphone(frequency, octaves)),
    "band 300–3400 Hz": filtered(telephone),
    "Gaussian noise, SNR 15 dB": (
      waveforms.add_noise(clip, lengths, white, one(15)),
      lengths,
    ),
    "time masks": (waveforms.mask_time(clip, lengths, *spans), lengths),
    "frequency masks": filtered(filters.mask(frequency, *bands)),
  }
  return {
    name: (np.array(audio[0]), int(length[0]))
    for name, (audio, length) in results.items()
  }


@matplotlib.rc_context({**style.STYLE, "axes.grid": False, "savefig.dpi": 110})
def draw(results, path, title):
  """Writes the figure."""
  names = list(results)
  audio = jnp.stack([results[name][0] for name in names])
  power = np.abs(np.array(spectral.stft(audio, FFT, HOP))) ** 2
  decibels = 10 * np.log10(power / power[0].max() + 1e-12)
  figure, axes = style.panels(len(names), 2.5, 1.45)
  for axis, name, image in zip(axes, names, decibels, strict=True):
    shown = axis.imshow(
      image.T,
      origin="lower",
      aspect="auto",
      cmap="magma",
      vmin=FLOOR,
      vmax=0,
      extent=(0, audio.shape[1] / RATE, 0, RATE / 2000),
      interpolation="nearest",
    )
    end = results[name][1] / RATE
    axis.axvline(end, color="white", linewidth=0.8, linestyle="--")
    axis.set_title(name)
  figure.supxlabel("time (s); dashed: end of the clip")
  figure.supylabel("frequency (kHz)")
  figure.colorbar(shown, ax=axes, label="dB", shrink=0.4)
  style.save(figure, path, title)


def main():
  """Draws the figure."""
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--output", required=True, help="PNG to write")
  parser.add_argument("--audio", help="a clip; default: the demo corpus")
  parser.add_argument("--noise", help="a folder of backgrounds")
  flags = parser.parse_args()
  speech = io.read(flags.audio, RATE) if flags.audio else demo_clip()
  num_samples = int(SECONDS * RATE)
  audio = np.zeros(num_samples, np.float32)
  length = min(len(speech), num_samples)
  audio[:length] = speech[:length]
  if flags.noise:
    rng = np.random.default_rng(0)
    noise = Backgrounds(flags.noise).excerpt(rng, num_samples)
  else:
    noise = demo_background(num_samples)
  of = (
    pathlib.Path(flags.audio).name if flags.audio else "demo corpus (synthetic)"
  )
  title = f"Augmentations: {of}"
  draw(augmented(audio, length, noise), flags.output, title)


if __name__ == "__main__":
  main()
