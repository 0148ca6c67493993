"""The page in a real browser, with a microphone that plays a recording."""

import csv
import json
import shutil
import urllib.parse

import numpy as np
import pytest
import soundfile
from page import Numbered, serving
from playwright.sync_api import expect, sync_playwright

from emojax.inference import listener as listeners
from emojax.inference import timeline

RATE = 16_000
BROWSER = shutil.which("chromium") or shutil.which("google-chrome")

pytestmark = pytest.mark.skipif(
  BROWSER is None, reason="there is no Chromium on this machine"
)


@pytest.fixture(scope="module")
def listener(listening_run):
  found = listeners.load(listening_run)
  found.transcriber = Numbered()
  found.warm_up()
  return found


@pytest.fixture
def recording(talk, tmp_path):
  path = tmp_path / "talk.wav"
  soundfile.write(path, talk, RATE, subtype="PCM_16")
  return path


@pytest.fixture
def page(listener, recording):
  """The page in a browser on a phone, that asks nobody but its server."""
  flags = [
    "--no-sandbox",
    "--use-fake-ui-for-media-stream",
    "--use-fake-device-for-media-stream",
    f"--use-file-for-fake-audio-capture={recording}",
  ]
  odd = []
  with serving(listener) as served, sync_playwright() as playwright:
    with playwright.chromium.launch(
      executable_path=BROWSER, args=flags
    ) as browser:
      page = browser.new_page(viewport={"width": 360, "height": 700})
      page.on("console", lambda message: odd.append(message.text))
      page.on("pageerror", lambda error: odd.append(str(error)))
      page.on(
        "request",
        lambda request: (
          urllib.parse.urlsplit(request.url).netloc == served.host
          or request.url.startswith("blob:")
          or odd.append(request.url)
        ),
      )
      page.goto(served.url)
      yield page
    served.wait_until_empty()
  assert odd == []


def download(page, name):
  with page.expect_download() as waiting:
    page.get_by_role("button", name=name).click()
  path = waiting.value.path()
  return waiting.value.suggested_filename, path.read_text(encoding="utf-8")


def test_microphone_by_keyboard(page, listener):
  """Labels and words are read off the page; the download says the same."""
  start = page.get_by_role("button", name="Start listening")
  expect(start).to_be_enabled()
  page.keyboard.press("Tab")
  expect(start).to_be_focused()
  page.keyboard.press("Enter")
  rows = page.get_by_role("row")
  expect(rows).to_have_count(2, timeout=20_000)  # The first is the header.
  shown = page.locator("#label").inner_text()
  assert shown in (*listener.system.classes, "uncertain", "no speech")
  meter = page.get_by_role("meter")
  expect(meter).not_to_have_attribute("aria-valuenow", "-60")
  name, saved = download(page, "Segments (CSV)")  # While it goes on.
  assert name == "segments.csv"
  (segment, *_) = csv.DictReader(saved.splitlines())
  first = rows.nth(1).inner_text()
  assert segment["emotion"] in first and "word 1 of" in first
  assert segment["text"] in first
  assert page.evaluate("document.documentElement.scrollWidth") <= 360
  page.get_by_role("button", name="Stop").click()
  expect(start).to_be_enabled(timeout=20_000)
  _, saved = download(page, "Everything (JSON)")
  session = json.loads(saved)
  assert session["seconds"] > 2 and session["counts"]["lost"] == 0
  assert len(session["segments"]) == rows.count() - 1
  announced = page.get_by_role("status").inner_text()
  assert announced in {w["label"] or "no speech" for w in session["timeline"]}


def test_microphone_that_is_none_or_goes(page):
  """What was heard until then can be downloaded."""
  page.evaluate("""() => {
    const devices = navigator.mediaDevices;
    const open = devices.getUserMedia.bind(devices);
    devices.getUserMedia = async () => {
      devices.getUserMedia = async (wanted) => {
        devices.opened = await open(wanted);
        return devices.opened;
      };
      throw new DOMException("none", "NotFoundError");
    };
  }""")
  start = page.get_by_role("button", name="Start listening")
  start.click()
  expect(page.get_by_role("alert")).to_contain_text("There is no microphone")
  start.click()
  saved = page.get_by_role("button", name="Timeline (CSV)")
  expect(saved).to_be_enabled(timeout=20_000)
  expect(page.get_by_role("alert")).to_be_hidden()
  page.evaluate("""() => {
    const [track] = navigator.mediaDevices.opened.getAudioTracks();
    track.dispatchEvent(new Event("ended"));
  }""")
  expect(page.get_by_role("alert")).to_contain_text("The microphone has gone")
  expect(start).to_be_enabled()
  _, text = download(page, "Timeline (CSV)")
  assert text.count("\n") >= 2


def test_recording_is_heard_as_by_predict(page, listener, recording, tmp_path):
  timeline.write(listener, [str(recording)], tmp_path / "out.csv")
  with open(tmp_path / "out.csv", encoding="utf-8", newline="") as file:
    expected = list(csv.DictReader(file))
  expect(page.get_by_role("button", name="Open a file…")).to_be_enabled()
  page.locator("#file").set_input_files(recording)
  expect(page.locator("#status")).to_have_text("Ended after 0:06")
  name, saved = download(page, "Timeline (CSV)")
  rows = list(csv.DictReader(saved.splitlines()))
  assert name == "timeline.csv" and len(rows) == len(expected) > 5
  numbers = ("start", "end", "speech", *listener.system.classes)
  for row, other in zip(rows, expected, strict=True):
    for column in numbers:
      ours, theirs = (float(r[column] or np.nan) for r in (row, other))
      np.testing.assert_allclose(ours, theirs, atol=1e-4)
    assert (row["emotion"], row["text"]) == (other["emotion"], other["text"])
  # One that is none is told in a line, and the page goes on.
  none = tmp_path / "none.mp3"
  none.write_text("no sound", encoding="utf-8")
  page.locator("#file").set_input_files(none)
  expect(page.get_by_role("alert")).to_contain_text("none.mp3: not readable")
  expect(page.get_by_role("button", name="Start listening")).to_be_enabled()
