"""Emotion of single clips: a pretrained encoder, pooling, a classifier.

After the public repository ukpaudel/emotion_classifier, with what it lacked:
a test part that is looked at once, layers that are trained when the config says
so, and augmentation for rooms, microphones and noise that it has not heard.

  python launch.py --config=configs/speech.py
    The demo corpus (synthetic, rendered on the spot) and a small encoder with
    random weights, a CNN on log-mel spectrograms: nothing to download.

  python launch.py --config=configs/speech.py:ravdess \
      --config.data.path=RAVDESS
    RAVDESS with unseen actors: the small encoder from scratch, beside a log-mel
    CNN. With pretrained weights (a folder or a hub id), as published:
    --config.model.encoder=facebook/hubert-base-ls960 \
    --config.freeze_encoder=True --config.baselines='()'

  python launch.py --config=configs/speech.py:published \
      --config.data.path=RAVDESS,CREMA-D \
      --config.augment.background_path=MUSAN
    The published system: HuBERT, frozen, RAVDESS and CREMA-D, split then
    merged. --config.data.download=True fetches both corpora.

  python launch.py --config=configs/speech.py:whisper \
      --config.data.path=RAVDESS
    Whisper base, frozen, on the six folds of EmoBox: a learned average of its
    layers; the same with each speaker z-scored. Beside a log-mel CNN from
    scratch: --config.baselines="('speaker_normalised','log_mel')". Other
    encoders: --config.model.encoder=microsoft/wavlm-base-plus. Trained,
    on a GPU: --config.freeze_encoder=False (or
    --config.unfreeze_last_n_layers=2) --config.num_epochs=12 \
    --config.optimizer.learning_rate=1e-3 --config.baselines='()'

  python launch.py --config=configs/speech.py:live
    For microphones and streams: pieces of any length from anywhere in a clip,
    other levels, speeds, rooms, microphones, channels and noise. On RAVDESS:
    --config.data.corpus=ravdess --config.data.path=RAVDESS \
    --config.model.encoder=openai/whisper-base --config.freeze_encoder=True \
    --config.augment.background_path=MUSAN \
    --config.augment.background_probability=0.5

  python launch.py --config=configs/speech.py:own \
      --config.data.path=MINE.csv --config.data.labels=angry,neutral
    Your own recordings, a CSV with the columns path, label, speaker, by the
    recipe of `whisper`: Whisper base, frozen.
"""

import ml_collections

from configs import common


def get_config(name: str = "demo") -> ml_collections.ConfigDict:
  """The config called `name`, one of `_CHANGES`."""
  config = common.get_config()
  config.trainer = "speech"  # In `emojax.trainers`.
  config.checkpoint_every = 1

  config.num_replicates = 5  # Initialisations, each with its own shuffling.
  config.num_epochs = 30
  # Batches from one validation (and checkpoint) to the next; 0: an epoch.
  config.steps_per_round = 0
  config.batch_size = 32  # Clips; over all devices.
  config.dtype = "float32"  # Of the encoder's computation; or "bfloat16".

  config.model = ml_collections.ConfigDict()
  # "small" (random weights), "log_mel" (a CNN), or a checkpoint of wav2vec 2.0,
  # HuBERT, WavLM or Whisper: a folder or a hub id.
  config.model.encoder = "small"
  # Commit of the hub's repository; "": today's, which the run then keeps to.
  config.model.revision = ""
  config.model.pooling = "attention"  # Or "mean".
  # Reads a learned average of all layers, each normalised, of a pretrained
  # encoder; else the last layer.
  config.model.weigh_layers = True
  config.model.averaged_frames = 1  # So many become one before the pooling.
  # Whisper: fills clips up with silence to 30 s, as in its training. Else its
  # positions end with the clip, which takes a tenth of the time.
  config.model.pad_clips = False
  config.model.hidden = 256  # Units of the classifier.
  config.model.dropout = 0.3  # Before each of its two layers.
  config.model.remat = False  # Computes layers twice, to save memory.
  # Cuts parameters and the optimizer's state over all devices, where one has
  # too little memory for them; batches are cut in any case.
  config.shard_parameters = False

  # The encoder stays as it is, but for its last N layers. Frozen as a whole and
  # without augmentation its features are computed once.
  config.freeze_encoder = False
  config.unfreeze_last_n_layers = 0
  # A run of this study whose weights are the first ones; "": none.
  config.pretrained_weights = ""

  config.optimizer = ml_collections.ConfigDict()
  config.optimizer.learning_rate = 1e-4  # Adam; of all that is drawn anew.
  config.optimizer.encoder_learning_rate = 1e-5  # Of a pretrained encoder.
  # Of the pooling's scores; 0: that of the head. In a few steps of a large one
  # the attention settles on single frames of the training speakers.
  config.optimizer.pooling_learning_rate = 0.0
  # constant, one_cycle, cosine or warm_restarts: over the whole training.
  config.optimizer.schedule = "constant"
  config.optimizer.weight_decay = 0.0  # Decoupled, as in AdamW.
  config.optimizer.clip_norm = 0.0  # Bound on the gradient's norm; 0: none.
  config.optimizer.accumulate = 1  # Batches to one update.

  config.class_weights = False  # In the loss, N / (C count) each.
  config.label_smoothing = 0.0
  config.mixup = 0.0  # Alpha of Beta(alpha, alpha); 0: none.

  # What tells speakers (or corpora) apart is trained behind a gradient reversal
  # layer, so that the encoder loses it. Baselines have none.
  config.adversary = ml_collections.ConfigDict()
  config.adversary.domain = "none"  # Or "speaker", "corpus".
  config.adversary.reversal = 0.1  # Lambda.
  config.adversary.ramp = True  # Rises from 0, as in Ganin et al. 2016.

  # Seconds. A batch is as long as one of these; recordings longer than the last
  # are cut in windows, over which the scores are averaged; a window is read
  # with all of its recording, so cut what is hours long before.
  config.data.buckets = (1.5, 2.0, 3.0, 4.0, 6.0)

  config.augment = _augmentation()
  # Further rows: "log_mel" is a CNN on log-mel spectrograms;
  # "speaker_normalised" the frozen encoder's features as z-scores of each
  # speaker. It reads no label, but all clips of the test speakers, of whom it
  # takes several: that is another task.
  config.baselines = ()

  try:
    change = _CHANGES[name]
  except KeyError:
    names = ", ".join(_CHANGES)
    raise ValueError(f"no config {name!r}: there are {names}") from None
  change(config)
  return config


def _augmentation():
  """Of training clips; probabilities of a clip, and ranges to draw from."""
  augment = ml_collections.ConfigDict()
  # Another level (an encoder that normalises its input does not hear it),
  augment.gain_probability = 0.0
  augment.gain_db = (-6.0, 6.0)
  augment.pitch_probability = 0.0  # pitch,
  augment.pitch_semitones = (-4.0, 4.0)
  augment.stretch_probability = 0.0  # or speed.
  augment.stretch_rate = (0.8, 1.2)
  augment.crop_probability = 0.0  # A part of the clip,
  augment.crop_share = (0.8, 1.0)
  augment.shift_probability = 0.0  # later or with its beginning cut off.
  augment.shift_seconds = (-0.2, 0.2)
  # A room: of a folder of impulse responses, of which at most 1,000 are drawn,
  # or synthesised ("").
  augment.reverberation_probability = 0.0
  augment.responses_path = ""
  augment.reverberation_seconds = (0.2, 0.8)  # To decay by 60 dB.
  augment.reverberation_direct_db = (0.0, 12.0)  # Direct sound over tail.
  # Backgrounds: a folder such as MUSAN's, with noise/, speech/ and music/, or
  # any folder of audio. `python -m emojax fetch musan FOLDER` downloads it.
  augment.background_probability = 0.0
  augment.background_path = ""
  augment.background_snr_db = (5.0, 20.0)
  augment.noise_probability = 0.0  # Gaussian.
  augment.noise_snr_db = (15.0, 40.0)
  augment.microphone_probability = 0.0  # Its gain at each octave.
  augment.microphone_db = (-6.0, 6.0)
  augment.band_probability = 0.0  # A channel such as the telephone's.
  augment.band_low_hertz = (50.0, 300.0)
  augment.band_high_hertz = (3400.0, 7500.0)
  # SpecAugment: on the waveform (silenced spans, removed bands) …
  augment.time_mask_probability = 0.0
  augment.time_masks = 2
  augment.time_mask_share = (0.0, 0.1)
  augment.frequency_mask_probability = 0.0
  augment.frequency_masks = 2
  augment.frequency_mask_share = (0.0, 0.1)
  # … and on the encoder's features: the share of frames and of channels that is
  # hidden in every clip. wav2vec 2.0 was trained with 0.05 and 0.
  augment.feature_time_share = 0.0
  augment.feature_channel_share = 0.0
  return augment


def _published_augmentation(config):
  config.augment.gain_probability = 0.5
  config.augment.pitch_probability = 0.5
  config.augment.stretch_probability = 0.5
  config.augment.noise_probability = 0.5
  config.augment.background_probability = 0.3


def _demo(config):
  config.title = "Speech: unseen speakers"
  config.model.encoder = "log_mel"
  config.num_replicates = 2
  config.num_epochs = 12
  config.optimizer.learning_rate = 1e-3
  config.optimizer.schedule = "one_cycle"
  config.data.buckets = (2.0,)


def _ravdess(config):
  config.title = "Speech on RAVDESS: unseen actors"
  config.num_epochs = 20
  config.batch_size = 16
  config.optimizer.learning_rate = 1e-3
  config.optimizer.schedule = "one_cycle"
  config.baselines = ("log_mel",)
  config.data.corpus = "ravdess"
  config.data.labels = common.EIGHT
  config.data.buckets = (4.0, 5.5)


def _whisper(config):
  config.title = "Speech: Whisper base on RAVDESS, EmoBox's folds"
  config.model.encoder = "openai/whisper-base"
  config.model.averaged_frames = 4  # 80 ms.
  config.freeze_encoder = True
  config.num_epochs = 20
  config.optimizer.learning_rate = 3e-3
  config.optimizer.pooling_learning_rate = 3e-4
  config.optimizer.schedule = "one_cycle"
  config.baselines = ("speaker_normalised",)
  config.data.corpus = "ravdess"
  config.data.labels = common.EIGHT
  config.data.buckets = (3.5, 4.0, 5.5)
  config.split.method = "emobox"


def _own(config):
  _whisper(config)
  config.title = "Speech: your own recordings, unseen speakers"
  config.baselines = ()
  config.data.corpus = "manifest"
  config.data.labels = "angry,happy,neutral,sad"
  config.data.buckets = (2.0, 3.0, 4.0, 6.0)
  config.split.method = "shuffle"


def _published(config):
  config.title = "Speech: HuBERT on RAVDESS and CREMA-D, unseen actors"
  config.model.encoder = "facebook/hubert-base-ls960"
  config.model.weigh_layers = False
  config.freeze_encoder = True
  config.optimizer.schedule = "one_cycle"
  config.optimizer.learning_rate = 3e-3
  config.data.corpus = "ravdess,crema_d"
  config.data.labels = common.EIGHT
  _published_augmentation(config)


def _live(config):
  """What the published author found between his clips and a microphone.

  Of its "Limitations and issues": lengths and places in the window, tempo;
  silenced spans and bands; noises, microphones, rooms, levels. Validation and
  test clips stay as they are; `python -m emojax robustness` changes them.
  """
  _demo(config)
  config.title = "Speech for streams: unseen speakers"
  config.num_replicates = 1
  config.num_epochs = 20
  config.optimizer.pooling_learning_rate = 3e-4
  config.data.buckets = (2.0, 4.0, 5.0)  # The last is a stream's window.
  augment = config.augment
  augment.crop_probability = 0.7
  augment.crop_share = (0.3, 1.0)
  augment.shift_probability = 0.3
  augment.shift_seconds = (-0.3, 0.3)
  augment.stretch_probability = 0.3
  augment.stretch_rate = (0.85, 1.15)
  augment.reverberation_probability = 0.4
  augment.reverberation_seconds = (0.2, 1.0)
  augment.noise_probability = 0.4
  augment.noise_snr_db = (0.0, 30.0)
  augment.background_snr_db = (0.0, 20.0)  # Has to be given a folder.
  augment.microphone_probability = 0.5
  augment.band_probability = 0.3
  augment.gain_probability = 0.5
  augment.gain_db = (-12.0, 12.0)
  augment.time_mask_probability = 0.3
  augment.frequency_mask_probability = 0.3


_CHANGES = {
  "demo": _demo,
  "ravdess": _ravdess,
  "whisper": _whisper,
  "own": _own,
  "published": _published,
  "live": _live,
}
