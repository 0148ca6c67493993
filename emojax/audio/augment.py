"""Augmentation of speech: random, on the device, each clip on its own.

The order is that of the world: a voice (pitch, speed), which part of it is
recorded (crop, shift), the room, other sounds in it, the microphone and the
channel, their noise, the level; SpecAugment's masks come with the channel
(bands) and last (spans).
"""

import functools

import jax
import jax.numpy as jnp

from emojax.audio import filters, rooms, vocoder, waveforms
from emojax.audio.settings import Settings
from emojax.kernels import target
from emojax.runtime import sharding

# Each kind has its own randomness: one turned off leaves the others as they
# were. The numbers are part of what makes a run repeatable.
_PITCH, _STRETCH, _CROP, _SHIFT, _ROOM, _RESPONSE, _BACKGROUND = range(7)
_MICROPHONE, _BAND, _BANDS, _NOISE, _SAMPLES, _GAIN, _SPANS = range(7, 14)


def augment(
  key: jax.Array,
  audio_BxS: jax.Array,
  lengths_B: jax.Array,
  noise_BxS: jax.Array | None,
  responses_NxR: jax.Array | None,
  settings: Settings,
) -> tuple[jax.Array, jax.Array]:
  """Augments each clip by what chance picks for it.

  A clip's result depends on the key, its place in the batch, itself and its
  noise; not on the other clips. For use under `jax.jit`; fold what numbers the
  batch (the step) into the key.

  Args:
    key: randomness.
    audio_BxS, lengths_B: float32 and int32; zero from the end on.
    noise_BxS: a background for each clip, of any scale and numeric type;
      None where its probability is 0.
    responses_NxR: room responses to choose from, the direct sound at sample
      0; None: they are synthesised.
    settings: what may happen; static. What has probability 0 is not compiled.

  Returns:
    The audio float32 [B, S], zero behind the end, and its lengths int32. Clips
    that chance spares are returned bit for bit.

  Raises:
    ValueError: a background is asked for and none is given.
  """
  if settings.background_probability and noise_BxS is None:
    raise ValueError("background_probability is above 0, but noise_BxS is None")
  if not settings.background_probability:
    noise_BxS = None
  lengths_B = jnp.asarray(lengths_B, jnp.int32)
  index_B = jnp.arange(audio_BxS.shape[0])
  key_B = jax.vmap(functools.partial(jax.random.fold_in, key))(index_B)

  def augment_rows(responses_NxR, *batch):
    at_once = functools.partial(_augment, settings, responses_NxR)
    # A CPU gains nothing from a large batch: one clip after the other stays in
    # its cache, and what it is spared costs nothing.
    return jax.lax.platform_dependent(
      *batch, cpu=functools.partial(_one_by_one, at_once), default=at_once
    )

  batch = key_B, audio_BxS, lengths_B, noise_BxS
  return sharding.by_rows(augment_rows, batch, shared=(responses_NxR,))


def _one_by_one(function, *batch):
  """The same as `function(*batch)`, in a loop over batches of one clip."""

  def of_one(clip):
    results = function(*jax.tree.map(lambda x: x[None], clip))
    return jax.tree.map(lambda x: x[0], results)

  return jax.lax.map(of_one, batch)


def _augment(settings, responses_NxR, key_B, audio, lengths_B, noise_BxS):
  clips = _time(settings, key_B, (audio, lengths_B))

  if settings.reverberation_probability:
    clips = _room(settings, responses_NxR, key_B, clips)

  if settings.background_probability:
    picked_B, u = _draw(key_B, _BACKGROUND, settings.background_probability, 1)
    snr_db_B = _within(settings.background_snr_db, u)
    add = _same_lengths(waveforms.add_noise)
    clips = _where(picked_B, clips, add, noise_BxS, snr_db_B)

  if (
    settings.microphone_probability
    or settings.band_probability
    or settings.frequency_mask_probability
  ):
    clips = _channel(settings, key_B, clips)

  if settings.noise_probability:
    picked_B, u = _draw(key_B, _NOISE, settings.noise_probability, 1)
    snr_db_B = _within(settings.noise_snr_db, u)
    clips = _where(
      picked_B, clips, _add_gaussian, _fold(key_B, _SAMPLES), snr_db_B
    )

  if settings.gain_probability:
    picked_B, u = _draw(key_B, _GAIN, settings.gain_probability, 1)
    decibels_B = jnp.where(picked_B, _within(settings.gain_db, u), 0)
    clips = waveforms.gain(clips[0], decibels_B), clips[1]

  if settings.time_mask_probability:
    count = settings.time_masks
    picked_B, *u = _draw(
      key_B, _SPANS, settings.time_mask_probability, 2 * count
    )
    place, share = jnp.stack(u[:count], 1), jnp.stack(u[count:], 1)
    share = _within(settings.time_mask_share, share)
    mask = _same_lengths(waveforms.mask_time)
    clips = _where(picked_B, clips, mask, place, share)
  return clips


def _time(settings, key_B, clips):
  """Pitch, speed, and which part of a clip is recorded, and when."""
  audio, lengths_B = clips
  if settings.pitch_probability or settings.stretch_probability:
    clips = _voice(settings, key_B, clips)

  if settings.crop_probability:
    picked_B, place_B, share = _draw(key_B, _CROP, settings.crop_probability, 2)
    share_B = _within(settings.crop_share, share)
    clips = _where(picked_B, clips, waveforms.crop, place_B, share_B)

  if settings.shift_probability:
    picked_B, u = _draw(key_B, _SHIFT, settings.shift_probability, 1)
    samples_B = jnp.round(
      _within(settings.shift_seconds, u) * settings.sample_rate
    )
    samples_B = samples_B.astype(jnp.int32)
    samples_B = jnp.clip(samples_B, -clips[1], audio.shape[1])
    clips = _where(picked_B, clips, waveforms.shift, samples_B)

  if (
    settings.stretch_probability
    or settings.crop_probability
    or settings.shift_probability
  ):
    # Of less than a frame a label says nothing: such a clip keeps its time.
    least_B = jnp.minimum(lengths_B, settings.min_samples)
    enough_B = clips[1] >= least_B
    clips = (
      jnp.where(enough_B[:, None], clips[0], audio),
      jnp.where(enough_B, clips[1], lengths_B),
    )
  return clips


def _voice(settings, key_B, clips):
  """Pitch and speed, in one pass for clips that get one of them or both."""
  size = clips[1].shape
  pitch_B = stretch_B = jnp.zeros(size, bool)
  semitones_B, rate_B = None, jnp.ones(size)
  if settings.pitch_probability:
    pitch_B, u = _draw(key_B, _PITCH, settings.pitch_probability, 1)
    semitones_B = _within(settings.pitch_semitones, u)
    semitones_B = jnp.where(pitch_B, semitones_B, 0)
  if settings.stretch_probability:
    stretch_B, u = _draw(key_B, _STRETCH, settings.stretch_probability, 1)
    rate_B = jnp.where(stretch_B, _within(settings.stretch_rate, u), 1)
  change = functools.partial(
    vocoder.stretch_and_shift,
    max_semitones=max(settings.pitch_semitones[1], 0),
  )
  return _where(pitch_B | stretch_B, clips, change, rate_B, semitones_B)


def _room(settings, responses_NxR, key_B, clips):
  """A room drawn for each clip, from those given or out of a model."""
  picked_B, decay, direct = _draw(
    key_B, _ROOM, settings.reverberation_probability, 2
  )
  key_B = _fold(key_B, _RESPONSE)
  if responses_NxR is not None:
    chosen_B = jax.vmap(
      lambda key: jax.random.randint(key, (), 0, responses_NxR.shape[0])
    )(key_B)
    play = _same_lengths(rooms.reverberate)
    responses_BxR = jnp.asarray(responses_NxR)[chosen_B]
    return _where(picked_B, clips, play, responses_BxR)
  return _where(
    picked_B,
    clips,
    functools.partial(_synthetic_room, settings),
    key_B,
    _within(settings.reverberation_seconds, decay),
    _within(settings.reverberation_direct_db, direct),
  )


def _synthetic_room(settings, audio, lengths_B, key_B, decay_B, direct_B):
  longest = settings.reverberation_seconds[1]
  response_BxR = rooms.synthesize(
    key_B,
    decay_B,
    direct_B,
    num_samples=max(1, round(longest * settings.sample_rate)),
    sample_rate=settings.sample_rate,
  )
  return rooms.reverberate(audio, lengths_B, response_BxR), lengths_B


def _channel(settings, key_B, clips):
  """Microphone, band limits and masked bands, in one pass."""
  frequency_F = filters.frequencies(settings.sample_rate)
  any_B = jnp.zeros(clips[1].shape, bool)
  parts = []
  if settings.microphone_probability:
    count = len(filters.OCTAVES)
    picked_B, *u = _draw(
      key_B, _MICROPHONE, settings.microphone_probability, count
    )
    decibels = _within(settings.microphone_db, jnp.stack(u, axis=1))
    parts.append((picked_B, filters.microphone, (decibels,)))
  if settings.band_probability:
    picked_B, low, high = _draw(key_B, _BAND, settings.band_probability, 2)
    edges = (
      _within(settings.band_low_hertz, low),
      _within(settings.band_high_hertz, high),
    )
    parts.append((picked_B, filters.band, edges))
  if settings.frequency_mask_probability:
    count = settings.frequency_masks
    picked_B, *u = _draw(
      key_B, _BANDS, settings.frequency_mask_probability, 2 * count
    )
    place, share = jnp.stack(u[:count], 1), jnp.stack(u[count:], 1)
    share = _within(settings.frequency_mask_share, share)
    parts.append((picked_B, filters.mask, (place, share)))
  for picked_B, *_ in parts:
    any_B |= picked_B

  def play(audio, lengths_B):
    gains = 1.0
    for picked_B, function, parameters in parts:
      made = function(frequency_F, *parameters)
      gains = gains * jnp.where(picked_B[:, None], made, 1)
    return filters.apply(audio, lengths_B, gains), lengths_B

  return _where(any_B, clips, play)


def _add_gaussian(audio, lengths_B, key_B, snr_db_B):
  shape = audio.shape[1:]
  noise = jax.vmap(lambda key: jax.random.normal(key, shape))(key_B)
  return waveforms.add_noise(audio, lengths_B, noise, snr_db_B), lengths_B


def _same_lengths(function):
  """Makes a function of audio one of clips, which keep their lengths."""

  def of_clips(audio, lengths_B, *parameters):
    return function(audio, lengths_B, *parameters), lengths_B

  return of_clips


def _where(picked_B, clips, function, *parameters):
  """`function(*clips, *parameters)` for clips that are picked.

  On a CPU, which has one clip at a time, not run at all if none is. Elsewhere
  some clip of a batch always is, and asking would only stop the device.
  """

  def change():
    audio, lengths_B = function(*clips, *parameters)
    return (
      jnp.where(picked_B[:, None], audio, clips[0]),
      jnp.where(picked_B, lengths_B, clips[1]),
    )

  if target.platform() != "cpu":
    return change()
  return jax.lax.cond(picked_B.any(), change, lambda: clips)


def _fold(key_B, number):
  return jax.vmap(lambda key: jax.random.fold_in(key, number))(key_B)


def _draw(key_B, number, probability, count):
  """Which clips are picked, and `count` arrays [B], uniform from 0 to 1."""
  draw = functools.partial(jax.random.uniform, shape=(count + 1,))
  first, *rest = jax.vmap(draw)(_fold(key_B, number)).T
  return first < probability, *rest


def _within(limits, uniform):
  low, high = limits
  return low + (high - low) * uniform
