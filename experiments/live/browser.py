"""Two browsers at the page: a minute of speech each, read off the page.

  python -m experiments.live.browser RUN RAVDESS --output=experiments/live

RUN is a finished run of the speech study that transcribes, RAVDESS a folder of
its clips. The microphone of one Chromium plays clips of "Kids are talking by
the door", that of the other "Dogs are sitting by the door"; both stream at the
same time. Labels and transcripts are read off the pages (browser.json): in how
many segments the sentence was found, and in how many the other browser's.
Pictures of one page are left beside it.
"""

import argparse
import collections
import contextlib
import itertools
import json
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator

import numpy as np
import playwright.sync_api
import soundfile

from emojax.audio import io
from emojax.runtime import walk
from experiments.benchmarks import measure

RATE = 16_000
SECONDS = 60.0
SENTENCES = {"01": "kids are talking", "02": "dogs are sitting"}
DESKTOP, PHONE = (1120, 900), (360, 780)
FLAGS = (
  "--no-sandbox",
  "--use-fake-ui-for-media-stream",
  "--use-fake-device-for-media-stream",
)


def clips(folder: str, sentence: str, path: pathlib.Path) -> int:
  """Writes a minute of one sentence, of many actors; gives how many clips."""
  found = sorted(
    clip
    for clip in walk.find(folder, io.SUFFIXES).paths
    if clip.stem.split("-")[4] == sentence and clip.stem.split("-")[5] == "01"
  )
  parts, size = [], 0
  for clip in itertools.islice(itertools.cycle(found[::29]), len(found)):
    parts.append(io.read(clip, RATE))
    size += len(parts[-1])
    if size >= SECONDS * RATE:
      break
  soundfile.write(path, np.concatenate(parts), RATE, subtype="PCM_16")
  return len(parts)


@contextlib.contextmanager
def serving(run: str) -> Iterator[str]:
  """Starts the command as a user does, and gives its address."""
  command = [sys.executable, "-m", "emojax", "serve", run, "--port=0"]
  process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
  try:
    yield re.match(r"(\S+) shows ", process.stdout.readline())[1]
    process.send_signal(signal.SIGTERM)
    assert process.wait(30) == 0
  finally:
    process.kill()


@contextlib.contextmanager
def page(play, url: str, recording: pathlib.Path) -> Iterator:
  """A browser whose microphone plays a recording once."""
  flags = [*FLAGS, f"--use-file-for-fake-audio-capture={recording}%noloop"]
  chromium = shutil.which("chromium") or shutil.which("google-chrome")
  browser = play.chromium.launch(executable_path=chromium, args=flags)
  try:
    width, height = DESKTOP
    opened = browser.new_page(viewport={"width": width, "height": height})
    opened.goto(url)
    playwright.sync_api.expect(opened.locator("#listen")).to_be_enabled()
    yield opened
  finally:
    browser.close()


def look(opened, output: pathlib.Path) -> None:
  """Pictures of a page, desktop and phone, light and dark."""
  for name, (width, height) in {"desktop": DESKTOP, "phone": PHONE}.items():
    opened.set_viewport_size({"width": width, "height": height})
    for scheme in ("light", "dark"):
      opened.emulate_media(color_scheme=scheme)
      opened.wait_for_timeout(400)  # Bars move for a quarter of a second.
      path = output / f"live-{name}-{scheme}.png"
      opened.screenshot(path=path, full_page=True)


def read(opened, spoken: int, sentence: str, labels: list[str]) -> dict:
  """What is on a page, and in the session that it downloads."""
  rows = [
    [cell.inner_text() for cell in row.locator("td").all()]
    for row in opened.locator("#segments tr").all()
  ]
  texts = [" ".join(re.findall("[a-z]+", row[2].lower())) for row in rows]
  other = next(text for text in SENTENCES.values() if text != sentence)
  with opened.expect_download() as waiting:
    opened.get_by_role("button", name="Everything (JSON)").click()
  session = json.loads(waiting.value.path().read_text(encoding="utf-8"))
  return {
    "sentence": sentence,
    "clips": spoken,
    "segments": len(rows),
    "segments_with_the_sentence": sum(sentence in text for text in texts),
    "segments_with_the_other": sum(other in text for text in texts),
    "labels_seen_each_second": dict(collections.Counter(labels).most_common()),
    "seconds": session["seconds"],
    "windows": session["windows"],
    "counts": session["counts"],
    "transcript": [" | ".join(row) for row in rows],
  }


def stream(url: str, recordings: list, output: pathlib.Path) -> list[dict]:
  """Lets each browser hear its own recording, at the same time."""
  with contextlib.ExitStack() as stack:
    play = stack.enter_context(playwright.sync_api.sync_playwright())
    pages = [
      stack.enter_context(page(play, url, path)) for path, _, _ in recordings
    ]
    labels = [[] for _ in pages]
    for opened in pages:
      opened.get_by_role("button", name="Start listening").click()
    start, is_seen = time.monotonic(), False
    while (passed := time.monotonic() - start) < SECONDS + 4:
      pages[0].wait_for_timeout(1000)
      for opened, shown in zip(pages, labels, strict=True):
        shown.append(opened.locator("#label").inner_text())
      # While somebody speaks and an emotion is shown.
      if (
        passed > 0.6 * SECONDS and pages[0].locator("#confidence").inner_text()
      ):
        if not is_seen:
          look(pages[0], output)
        is_seen = True
    for opened in pages:
      opened.get_by_role("button", name="Stop").click()
    for opened in pages:
      done = opened.get_by_role("button", name="Start listening")
      playwright.sync_api.expect(done).to_be_enabled(timeout=60_000)
    return [
      read(opened, spoken, sentence, shown)
      for opened, (_, spoken, sentence), shown in zip(
        pages, recordings, labels, strict=True
      )
    ]


def main() -> None:
  parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
  parser.add_argument("run")
  parser.add_argument("ravdess")
  parser.add_argument("--output", type=pathlib.Path, required=True)
  given = parser.parse_args()
  with tempfile.TemporaryDirectory() as folder, serving(given.run) as url:
    recordings = []
    for number, sentence in SENTENCES.items():
      path = pathlib.Path(folder, f"{number}.wav")
      spoken = clips(given.ravdess, number, path)
      recordings.append((path, spoken, sentence))
    found = stream(url, recordings, given.output)
  result = {"browsers": found, **measure.setting("starlette", "playwright")}
  text = json.dumps(result, indent=1) + "\n"
  (given.output / "browser.json").write_text(text, encoding="utf-8")
  for one in found:
    print(
      f"{one['segments_with_the_sentence']} of {one['segments']} segments of "
      f"{one['clips']} clips: {one['sentence']!r}; "
      f"{one['segments_with_the_other']} with the other's; {one['counts']}"
    )


if __name__ == "__main__":
  main()
