"""The page is parsed, and its recordings are read back."""

import html.parser
import pathlib
import urllib.parse

import numpy as np
import pytest
import soundfile

from emojax.reports import misclassified
from emojax.runtime import files

CLASSES = ["neutral", "happy & glad", "<sad>"]
_VOID = {"meta", "input", "br", "link", "img"}


class Parser(html.parser.HTMLParser):
  """Elements with their attributes and text; unbalanced tags fail."""

  def __init__(self, text: str):
    super().__init__()
    self.open, self.elements = [], []
    self.feed(text)
    self.close()
    assert not self.open

  def handle_starttag(self, tag, attrs):
    element = {"tag": tag, "text": "", **dict(attrs)}
    self.elements.append(element)
    if tag not in _VOID:
      self.open.append(element)

  def handle_endtag(self, tag):
    assert self.open.pop()["tag"] == tag

  def handle_data(self, data):
    for element in self.open:
      element["text"] += data

  def all(self, tag: str) -> list[dict]:
    return [element for element in self.elements if element["tag"] == tag]


def clip(true=0, predicted=1, confidence=0.6, **changes) -> misclassified.Clip:
  probabilities_C = np.full(3, (1 - confidence) / 2)
  probabilities_C[predicted] = confidence
  one = misclassified.Clip(
    audio="misclassified/0001.wav",
    true=CLASSES[true],
    predicted=CLASSES[predicted],
    probabilities_C=probabilities_C,
    speaker="07",
    corpus="ravdess",
    name="03-01-01.wav",
  )
  return one._replace(**changes)


def test_rows_are_sorted_and_tell_everything():
  clips = [clip(confidence=0.5), clip(2, 0, confidence=0.9, speaker="08")]
  parser = Parser(misclassified.page("A study", CLASSES, clips))
  assert [e["text"] for e in parser.all("h1")] == ["A study"]
  first, second = parser.all("tr")[1:]
  assert first["data-true"] == "<sad>"
  assert first["data-predicted"] == "neutral"
  assert float(first["data-confidence"]) == pytest.approx(0.9)
  for part in ("<sad>", "neutral", "90 %", "speaker 08", "03-01-01.wav"):
    assert part in first["text"]
  assert second["data-predicted"] == "happy & glad"


def test_bars_are_the_probabilities():
  parser = Parser(misclassified.page("t", CLASSES, [clip(confidence=0.6)]))
  heights = [e["style"] for e in parser.all("i")]
  assert heights == ["height:20.0%", "height:60.0%", "height:20.0%"]
  bars = [e for e in parser.all("span") if "title" in e]
  assert [e["class"] for e in bars] == [
    "bar true",
    "bar predicted",
    "bar other",
  ]
  assert bars[1]["title"] == "happy & glad 60.0 %"


def test_filters_list_all_classes():
  parser = Parser(misclassified.page("t", CLASSES, [clip()]))
  truth, prediction, order = parser.all("select")
  assert truth["name"] == "truth"
  assert prediction["name"] == "prediction"
  assert order["name"] == "order"
  names = [e["text"].strip() for e in parser.all("option")]
  assert names[:8] == ["all", *CLASSES, "all", *CLASSES]
  (script,) = parser.all("script")
  values = [e["value"] for e in parser.all("option") if e.get("value")]
  assert values and all(f"{v}:" in script["text"] for v in values)


def test_names_are_escaped():
  nasty = '"><script>alert(1)</script>'
  page = misclassified.page(
    nasty,
    [nasty, "b"],
    [
      misclassified.Clip(
        f"{nasty}.wav", nasty, "b", [0.1, 0.9], nasty, nasty, nasty
      )
    ],
  )
  parser = Parser(page)
  assert len(parser.all("script")) == 1
  row = parser.all("tr")[1]
  assert row["data-true"] == nasty
  assert row["text"].count(nasty) == 4  # true, name, speaker, corpus


def test_nothing_is_loaded_from_elsewhere():
  page = misclassified.page("t", CLASSES, [clip()])
  for outside in ("http:", "https:", "@import", "url(", 'src="/'):
    assert outside not in page
  parser = Parser(page)
  assert not parser.all("link")
  assert all("src" not in e for e in parser.all("script"))


def test_no_mistake_at_all():
  parser = Parser(misclassified.page("t", CLASSES, []))
  assert len(parser.all("tr")) == 1
  assert parser.all("output")[0]["text"] == "0 clips"


@pytest.mark.parametrize("name", ["plain.wav", "a #1 100%? & 'b'.wav"])
def test_players_find_their_recordings(tmp_path, name):
  samples_S = np.linspace(-1, 1, 800, dtype=np.float32)
  relative = f"misclassified/{name}"
  with files.whole(tmp_path / relative) as path:
    misclassified.write_audio(path, samples_S)
  one = clip(audio=relative)
  parser = Parser(misclassified.page("t", CLASSES, [one]))
  (player,) = parser.all("audio")
  assert player["preload"] == "none" and "controls" in player
  base = (tmp_path / "index.html").as_uri()
  address = urllib.parse.urljoin(base, player["src"])
  found = pathlib.Path(
    urllib.parse.unquote(urllib.parse.urlparse(address).path)
  )
  info = soundfile.info(found)
  assert (info.format, info.subtype) == ("WAV", "PCM_16")
  assert (info.samplerate, info.channels) == (16000, 1)
  read_S, _ = soundfile.read(found)
  np.testing.assert_allclose(read_S, samples_S, atol=1e-4)


def test_loud_samples_are_clipped(tmp_path):
  misclassified.write_audio(tmp_path / "a.wav", np.array([3.0, -3.0]))
  read_S, _ = soundfile.read(tmp_path / "a.wav")
  np.testing.assert_allclose(read_S, [1, -1], atol=1e-4)
