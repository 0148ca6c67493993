"""A page to listen to what a classifier got wrong."""

import html
import io
import pathlib
import urllib.parse
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import soundfile


class Clip(NamedTuple):
  """A misclassified recording.

  Attributes:
    audio: its file, relative to the page, with `/` between folders.
    true: name of the class.
    predicted: name of the class.
    probabilities_C: of all classes, 0..1, in the order of the page's classes.
    speaker: name.
    corpus: name.
    name: of the recording in its corpus.
  """

  audio: str
  true: str
  predicted: str
  probabilities_C: Sequence[float]
  speaker: str
  corpus: str
  name: str


def page(title: str, classes: Sequence[str], clips: Sequence[Clip]) -> str:
  """The page as HTML, whole in itself but for the recordings.

  It opens from the disk, in light and dark. Clips are filtered by true and by
  predicted class, and sorted by either or by confidence; the most confident
  mistakes come first. Without JavaScript all of them are shown.

  Args:
    title: of the page, plain text.
    classes: C names, plain text.
    clips: in any order.
  """
  names = [html.escape(name) for name in classes]
  surest_first = sorted(clips, key=lambda clip: -max(clip.probabilities_C))
  return _PAGE.format(
    title=html.escape(title),
    style=_STYLE,
    script=_SCRIPT,
    names=", ".join(names),
    options="".join(f"<option>{name}</option>" for name in names),
    count=len(clips),
    rows="\n".join(_row(classes, clip) for clip in surest_first),
  )


def write_audio(
  path: pathlib.Path, samples_S: np.ndarray, sample_rate: int
) -> None:
  """Writes mono samples as a WAV file of 16 bits, which every browser plays.

  Args:
    path: of the file.
    samples_S: floating point, full scale at 1; what is louder is clipped.
    sample_rate: samples a second.

  Raises:
    OSError: the file can not be written.
  """
  # In memory first: libsndfile has errors of its own for a disk that is full.
  buffer = io.BytesIO()
  soundfile.write(buffer, samples_S, sample_rate, "PCM_16", format="WAV")
  path.write_bytes(buffer.getbuffer())


def _row(classes: Sequence[str], clip: Clip) -> str:
  confidence = max(clip.probabilities_C)
  bars = "".join(
    _bar(name, probability, name == clip.true, name == clip.predicted)
    for name, probability in zip(classes, clip.probabilities_C, strict=True)
  )
  true, predicted = html.escape(clip.true), html.escape(clip.predicted)
  name = html.escape(clip.name)
  source = html.escape(urllib.parse.quote(clip.audio))
  return (
    f'<tr data-true="{true}" data-predicted="{predicted}" '
    f'data-confidence="{confidence:.6f}">'
    f'<td class="true">{true}</td><td class="predicted">{predicted}</td>'
    f'<td class="number">{100 * confidence:.0f} %</td>'
    f'<td><div class="bars">{bars}</div></td>'
    f'<td><div class="name">{name}</div><div class="from">speaker '
    f"{html.escape(clip.speaker)}, {html.escape(clip.corpus)}</div></td>"
    f'<td><audio controls preload="none" src="{source}" '
    f'aria-label="{name}"></audio></td></tr>'
  )


def _bar(
  name: str, probability: float, is_true: bool, is_predicted: bool
) -> str:
  kind = "true" if is_true else "predicted" if is_predicted else "other"
  caption = html.escape(f"{name} {100 * probability:.1f} %")
  return (
    f'<span class="bar {kind}" title="{caption}">'
    f'<i style="height:{100 * probability:.1f}%"></i></span>'
  )


_STYLE = """
:root {
  color-scheme: light dark;
  --text: light-dark(#1b1b1b, #e8e8e8);
  --quiet: light-dark(#5a5a5a, #a6a6a6);
  --line: light-dark(#e0e0e0, #3a3a3a);
  --paper: light-dark(#ffffff, #181818);
  --track: light-dark(#f1f1f1, #272727);
  --bar: light-dark(#b4b4b4, #6c6c6c);
  --true: light-dark(#0072b2, #56b4e9);
  --predicted: light-dark(#b84e00, #f0a35e);
}
body {
  margin: 2rem auto; padding: 0 1rem; max-width: 72rem;
  background: var(--paper); color: var(--text);
  font: 15px/1.4 system-ui, sans-serif;
}
h1 { font-size: 1.4rem; }
p, .from { color: var(--quiet); }
form { display: flex; flex-wrap: wrap; gap: 1.2rem; margin: 1rem 0; }
select { font: inherit; margin-left: 0.3rem; }
table { border-collapse: collapse; width: 100%; }
th, td {
  padding: 0.5rem 0.8rem 0.5rem 0; text-align: left;
  border-bottom: 1px solid var(--line);
}
th { font-weight: 600; white-space: nowrap; }
tr[hidden] { display: none; }
.number {
  padding-right: 1.6rem; text-align: right; font-variant-numeric: tabular-nums;
}
td.true, p .true { color: var(--true); }
td.predicted, p .predicted { color: var(--predicted); }
.name { overflow-wrap: anywhere; }
.from { font-size: 0.85rem; }
.bars { display: flex; gap: 3px; height: 2.6rem; }
.bar {
  display: flex; align-items: flex-end; width: 10px; height: 100%;
  background: var(--track);
}
.bar i { display: block; width: 100%; background: var(--bar); }
.bar.true i { background: var(--true); }
.bar.predicted i { background: var(--predicted); }
audio { width: 15rem; height: 2.4rem; display: block; }
@media (max-width: 50rem) {
  thead { display: none; }
  tr {
    display: flex; flex-wrap: wrap; align-items: center;
    border-bottom: 1px solid var(--line);
  }
  td { padding: 0.3rem 1rem 0.3rem 0; border: 0; }
}
"""

_SCRIPT = """
const form = document.querySelector("form");
const body = document.querySelector("tbody");
const rows = [...body.rows];
function update() {
  const { truth, prediction, order } = form.elements;
  const key = order.value;
  let shown = 0;
  for (const row of rows) {
    const fits = (choice, value) => !choice.value || choice.value === value;
    row.hidden = !(fits(truth, row.dataset.true)
      && fits(prediction, row.dataset.predicted));
    shown += !row.hidden;
  }
  const surer = (a, b) => b.dataset.confidence - a.dataset.confidence;
  const before = {
    surest: surer,
    doubtful: (a, b) => surer(b, a),
    true: (a, b) => a.dataset.true.localeCompare(b.dataset.true)
      || surer(a, b),
    predicted: (a, b) =>
      a.dataset.predicted.localeCompare(b.dataset.predicted) || surer(a, b),
  };
  body.append(...rows.sort(before[key]));
  document.querySelector("output").value = `${shown} of ${rows.length} clips`;
}
form.addEventListener("change", update);
form.hidden = false;
update();
"""

_PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>{style}</style>
</head>
<body>
<h1>{title}</h1>
<p>The bars are the probabilities of {names}; coloured are the
<span class="true">true class</span> and the
<span class="predicted">predicted one</span>.</p>
<form hidden autocomplete="off">
<label>True<select name="truth"><option value="">all</option>{options}</select>
</label>
<label>Predicted<select name="prediction"><option value="">all</option>{options}
</select></label>
<label>Order<select name="order">
<option value="surest">most confident first</option>
<option value="doubtful">least confident first</option>
<option value="true">true class</option>
<option value="predicted">predicted class</option>
</select></label>
<output>{count} clips</output>
</form>
<table>
<thead><tr><th>True</th><th>Predicted</th><th class="number">Confidence</th>
<th>Probabilities</th><th>Recording</th><th>Listen</th></tr></thead>
<tbody>
{rows}
</tbody>
</table>
<script>{script}</script>
</body>
</html>
"""
