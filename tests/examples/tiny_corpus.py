"""A corpus from outside: a folder of clips such as anna_angry_1.wav.

  python launch.py --config=tests/examples/tiny_corpus.py \
      --config.data.path=FOLDER

The config file registers the reader, so that every command that takes the
config knows the corpus.
"""

from configs import speech
from emojax.corpora import recordings
from emojax.corpora import speech as corpora
from emojax.corpora.labels import canonical
from emojax.corpora.records import Utterance


class Tiny:
  """The reader; a module with the same names would do."""

  LAYOUT = "SPEAKER_EMOTION_NUMBER.wav"
  SOURCE = "record it yourself"

  @staticmethod
  def read(path):
    """Yields the clips by name."""
    for clip in recordings.find(path):
      speaker, emotion, _ = clip.stem.split("_")
      yield Utterance(
        path=str(clip),
        label=canonical(emotion, str(clip)),
        speaker=speaker,
        dialogue=clip.stem,  # An isolated clip is a dialogue of its own.
      )


corpora.register("tiny", Tiny)


def get_config():
  """The speech study, trained on it for two epochs."""
  config = speech.get_config("demo")
  config.title = "The speech study on a corpus from outside"
  config.data.corpus = "tiny"
  config.data.labels = "angry,sad"
  config.data.buckets = (0.4,)
  config.model.hidden = 8
  config.batch_size = 8
  config.num_epochs = 2
  config.num_replicates = 1
  return config
