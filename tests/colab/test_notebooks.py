"""The notebooks run from top to bottom, and are kept without their outputs."""

import base64
import json
import pathlib
import re
import tomllib

import nbclient
import nbformat
import pytest

from emojax import summary

ROOT = pathlib.Path(__file__).parents[2]
NOTEBOOKS = sorted((ROOT / "experiments" / "colab").glob("*.ipynb"))
# What a user may type into the form, for trainings of seconds: those of
# tests/docs, so that what one of the two compiles serves both.
CHANGES = {
  "dann": {
    "num_epochs": 1,
    "num_replicates": 1,
    "probe_replicates": 1,
    "data.num_workers": 1,
  },
  "rlps": {
    "num_epochs": 1,
    "num_replicates": 1,
    "pretraining_epochs": 1,
    "systems": ("none", "rlps"),
    "model.widths": (8,) * 6,
    "data.no_faces": 0.2,
  },
  "speech": {"num_epochs": 1, "num_replicates": 1},
}
# And a demo corpus of which less has to be rendered.
SMALL = """
from emojax.corpora.faces import demo as faces
from emojax.corpora.speech import demo

demo._DIALOGUES, demo._TURNS = 2, 5
faces._COUNTS = {"train": 120, "validation": 40, "test": 40}
"""


def read(path: pathlib.Path) -> nbformat.NotebookNode:
  return nbformat.read(path, as_version=4)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_it_runs_from_top_to_bottom(path, cache, tmp_path, monkeypatch):
  monkeypatch.setenv("PYTHONPATH", str(ROOT))
  monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
  book = read(path)
  (place,) = (
    number
    for number, cell in enumerate(book.cells)
    if "parameters" in cell.metadata.get("tags", ())
  )
  given = f"CHANGES = {CHANGES[path.stem]!r}\n{SMALL}"
  book.cells.insert(place + 1, nbformat.v4.new_code_cell(given))
  where = {"metadata": {"path": str(tmp_path)}}
  nbclient.NotebookClient(book, timeout=300, resources=where).execute()

  outputs = {
    cell.id: cell.outputs for cell in book.cells if cell.cell_type == "code"
  }
  said = {name: text(of, "stdout") for name, of in outputs.items()}
  assert "nothing is installed" in said["install"]
  assert re.search(r"\r.*\b100%\|█+\| \d+/\d+ \[", said["train"])
  assert "demo corpus (synthetic)" in said["train"]
  for name, of in outputs.items():  # Such as a DeprecationWarning.
    assert "Warning" not in text(of, "stderr"), name

  run = tmp_path / "runs" / path.stem
  made = summary.read(run)
  (tables,) = data(outputs["table"], "text/markdown")
  for row in made.rows:
    for metric in made.metrics:
      assert f"{100 * row.metrics[metric].mean:.1f}" in tables
  shown = [one for of in outputs.values() for one in data(of, "image/png")]
  # Not every viewer shows a film that is no part of a page.
  films = "".join(
    one for of in outputs.values() for one in data(of, "text/html")
  )
  shown += re.findall(r'"data:image/gif;base64,(.*?)"', films)
  shown = [base64.b64decode(one) for one in shown]
  drawn = [*run.glob("*.png"), *run.glob("*.gif")]
  assert len(drawn) >= 4
  for figure in drawn:
    assert figure.read_bytes() in shown, figure.name
  (table,) = data(outputs["predict"], "text/html")[-1:]
  emotions = re.findall(rf"<td>({'|'.join(made.classes)})</td>", table)
  assert len(emotions) == table.count("<tr>")


def text(outputs: list, stream: str) -> str:
  return "".join(one.text for one in outputs if one.get("name") == stream)


def data(outputs: list, kind: str) -> list[str]:
  found = (one.get("data", {}) for one in outputs)
  return [one[kind] for one in found if kind in one]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_it_is_kept_without_outputs(path):
  book = read(path)
  nbformat.validate(book)
  cells = [cell for cell in book.cells if cell.cell_type == "code"]
  assert cells
  for cell in cells:
    assert cell.outputs == [] and cell.execution_count is None, cell.id
    assert set(cell.metadata) <= {"tags"}, cell.id
  # As an editor saves it that is told to leave nothing behind.
  assert set(book.metadata) == {"colab", "kernelspec", "language_info"}


def test_there_is_one_for_each_study_and_a_badge_that_opens_it():
  assert [path.stem for path in NOTEBOOKS] == ["dann", "rlps", "speech"]
  project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
  address = project["project"]["urls"]["Repository"]
  colab = address.replace("github.com", "colab.research.google.com/github")
  pages = [
    (ROOT / name).read_text("utf-8") for name in ("README.md", "docs/colab.md")
  ]
  for path in NOTEBOOKS:
    badge = f"]({colab}/blob/main/experiments/colab/{path.name})"
    assert [page.count(badge) for page in pages] == [1, 1]
    first, *_ = read(path).cells
    assert badge in first.source
    install = next(one for one in read(path).cells if one.id == "install")
    assert f"REPOSITORY = {json.dumps(address)}" in install.source
