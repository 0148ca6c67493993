"""Short-time spectra against librosa."""

import jax
import librosa
import numpy as np
import pytest

from emojax import spectral

STFT = jax.jit(spectral.stft, static_argnums=(1, 2))
ISTFT = jax.jit(spectral.istft, static_argnums=(1, 2))
LOG_MEL = jax.jit(spectral.log_mel, static_argnums=(1, 2, 3, 4))
AUDIO = np.random.default_rng(0).normal(size=(2, 3001)).astype(np.float32)


@pytest.mark.parametrize(("fft", "hop"), [(512, 128), (400, 160)])
def test_stft_and_back_are_librosas(fft, hop):
  spectrum = STFT(AUDIO, fft, hop)
  want = librosa.stft(AUDIO, n_fft=fft, hop_length=hop).swapaxes(1, 2)
  assert spectrum.shape[1] == spectral.num_frames(3001, hop)
  np.testing.assert_allclose(spectrum, want, atol=2e-4)
  changed = np.asarray(spectrum) * np.linspace(0, 1, want.shape[2])
  back = ISTFT(changed.astype(np.complex64), hop, 3001)
  want = librosa.istft(
    changed.swapaxes(1, 2), hop_length=hop, n_fft=fft, length=3001
  )
  np.testing.assert_allclose(back, want, atol=1e-5)


def test_frames_behind_the_end_are_not_looked_at():
  spectrum = STFT(AUDIO, 512, 128)
  short = ISTFT(spectrum, 128, 3001, np.array([24, 12]))
  want = librosa.istft(
    np.array(spectrum[1, :12]).T, hop_length=128, n_fft=512, length=3001
  )
  np.testing.assert_allclose(short[1], want, atol=1e-5)


@pytest.mark.parametrize("sizes", [(16_000, 400, 80), (22_050, 2048, 128)])
def test_mel_filters_are_librosas_to_the_bit(sizes):
  rate, fft, num_mels = sizes
  want = librosa.filters.mel(sr=rate, n_fft=fft, n_mels=num_mels)
  np.testing.assert_array_equal(spectral.mel_filters(*sizes), want.T)
  hertz = np.array([50.0, 999.0, 1000.0, 7999.0])
  np.testing.assert_allclose(spectral.mels(hertz), librosa.hz_to_mel(hertz))


def test_log_mel_is_that_of_librosas_filters():
  got = LOG_MEL(AUDIO, 16_000, 512, 160, 40)
  power = librosa.feature.melspectrogram(
    y=AUDIO, sr=16_000, n_fft=512, hop_length=160, n_mels=40
  )
  want = np.log(np.maximum(power, 1e-10)).swapaxes(1, 2)
  np.testing.assert_allclose(got, want, atol=1e-4)
  silence = LOG_MEL(np.zeros_like(AUDIO), 16_000, 512, 160, 40)
  np.testing.assert_allclose(silence, np.log(1e-10), rtol=1e-6)
