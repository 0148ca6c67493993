"""The pages: what they link to, quote and promise is there."""

import ast
import dataclasses
import functools
import html
import importlib
import os
import pathlib
import pkgutil
import re
import subprocess
import sys

import pytest

import emojax
from configs import dann, rlps, speech
from emojax.summary import Summary
from experiments.benchmarks import trainings
from tests.docs import pages

# Of a config that comes with emojax.
_COMMAND = re.compile(
  r"emojax (?:train|audit|features) ((?:dann|rlps|speech)(?::\w+)?)\b(.*)"
)
_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
_FETCHED = re.compile(r'<(?:script|link|img)[^>]*?"(https?://[^"]*)')


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> pathlib.Path:
  """As `mkdocs build --strict` makes it, without any network."""
  folder = tmp_path_factory.mktemp("site")
  command = ["-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
  nowhere = {"https_proxy": "http://127.0.0.1:9", "NO_MKDOCS_2_WARNING": "1"}
  done = subprocess.run(
    [sys.executable, *command],
    cwd=pages.ROOT,
    env=os.environ | nowhere,
    capture_output=True,
    text=True,
  )
  assert done.returncode == 0, done.stderr
  return folder


def test_it_is_built_without_a_warning(site):
  for page in pages.PAGES[1:]:
    path = page.relative_to(pages.ROOT / "docs").with_suffix("")
    path = path.parent if path.name == "index" else path
    assert (site / path / "index.html").is_file(), path


def test_equations_and_code_stand_in_the_pages_of_the_studies(site):
  for name, numbers, code in (
    ("dann", range(1, 6), "def loss_fn("),
    ("rlps", range(1, 7), "def action_values("),
    ("speech", (), "class AttentionPooling("),
  ):
    text = (site / name / "index.html").read_text(encoding="utf-8")
    plain = html.unescape(re.sub(r"<[^>]+>", "", text))
    assert code in plain
    assert "<math" in text
    assert "arithmatex" not in text and "code: emojax" not in text
    for number in numbers:
      assert re.search(rf"\(\s*{number}\s*\)", plain), (name, number)


def test_what_is_said_to_the_tests_is_no_caption(site):
  for page in site.rglob("*.html"):
    text = page.read_text(encoding="utf-8")
    assert "Not run by the tests" not in text, page
    assert 'class="filename">Run by' not in text, page


def test_it_asks_no_other_host(site):
  """Readers' browsers, too: neither fonts nor scripts from elsewhere."""
  for page in site.rglob("*.html"):
    text = page.read_text(encoding="utf-8")
    assert not _FETCHED.findall(text), page


@pytest.mark.parametrize("page", pages.PAGES, ids=pages.name)
def test_relative_links(page):
  """In the files as they are; those within the site MkDocs has checked."""
  for target in _LINK.findall(pages.without_code(page)):
    if target.startswith(("http://", "https://")):
      continue
    path, _, anchor = target.partition("#")
    linked = (page.parent / path).resolve() if path else page
    assert linked.exists(), f"{pages.name(page)}: {target}"
    if anchor and linked.suffix == ".md":
      titles = re.findall(
        r"^#+ (.*)$", pages.without_code(linked), re.MULTILINE
      )
      slugs = [
        re.sub(r"[^\w -]", "", t).lower().replace(" ", "-") for t in titles
      ]
      assert anchor in slugs, f"{pages.name(page)}: {target}"


def test_every_field_that_is_named_is_in_a_config():
  """`--config.data.path` in any page, and `config.data.path` in its text."""
  known = [
    module.get_config(name)
    for module, names in (
      (dann, ("demo",)),
      (rlps, ("demo", "speech")),
      (speech, ("demo",)),
    )
    for name in names
  ]
  for page in pages.PAGES:
    text = page.read_text(encoding="utf-8")
    for field in re.findall(r"\bconfig\.((?:[a-z_]\w*\.)*[a-z_]\w*)", text):
      assert any(_has(config, field) for config in known) or field in (
        *("json", "yaml", "lock", "FIELD", "update_from_flattened_dict"),
        *("optimizer.lr", "downstream_expert"),  # Of s3prl.
      ), f"{pages.name(page)}: config.{field}"


def test_commands_have_fields_of_their_own_config():
  """Those in a line and in a block, run or not."""
  count = 0
  for page in pages.PAGES:
    codes = re.findall(r"`([^`]+)`", pages.without_code(page))
    for block in pages.blocks(page):
      codes += block.code.replace("\\\n", " ").splitlines()
    for code in codes:
      code = " ".join(code.split())
      if found := _COMMAND.search(code):
        config = emojax.config(found[1])
        for field in re.findall(r"--config\.([\w.]+)", found[2]):
          assert _has(config, field), f"{pages.name(page)}: {code}"
        count += 1
  assert count > 40


@pytest.mark.parametrize("study", ["dann", "rlps", "speech"])
def test_the_page_of_a_study_names_fields_of_it(study):
  config = emojax.config(study)
  text = (pages.ROOT / "docs" / f"{study}.md").read_text("utf-8")
  for field in re.findall(r"--config\.([\w.]*\w)", text):
    assert _has(config, field), field


def test_what_trainings_take_is_as_measured():
  for name, found in trainings.read().items():
    page = pages.ROOT / "docs" / f"{name.partition(':')[0]}.md"
    row = trainings.row(name, found)
    assert f"\n{row}\n" in page.read_text(encoding="utf-8"), row


def _has(config, field: str) -> bool:
  for part in field.split("."):
    if part not in getattr(config, "keys", tuple)():
      return False
    config = config[part]
  return True


def test_every_field_of_a_summary_is_in_the_table():
  text = (pages.ROOT / "docs" / "runs.md").read_text(encoding="utf-8")
  rows = "".join(re.findall(r"^\| (`.*?) \|", text, re.MULTILINE))
  for field in dataclasses.fields(Summary):
    assert f"`{field.name}`" in rows, field.name


@pytest.mark.parametrize("kind", ["speech", "faces"])
def test_corpora_are_described_as_their_readers_do(kind):
  text = (pages.ROOT / "docs" / "data.md").read_text("utf-8")
  for module in pkgutil.iter_modules(
    importlib.import_module(f"emojax.corpora.{kind}").__path__
  ):
    reader = importlib.import_module(f"emojax.corpora.{kind}.{module.name}")
    if hasattr(reader, "SOURCE") and hasattr(reader, "LICENCE"):
      cells = f"`{module.name}`", reader.LAYOUT, reader.SOURCE, reader.LICENCE
      row = f"| {' | '.join(cells)} |\n"
      assert row.replace("\\", "\\\\") in text


@functools.cache
def _texts() -> str:
  """All strings in the house, one a line."""
  found = []
  for path in (pages.ROOT / "emojax").rglob("*.py"):
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
      if isinstance(node, ast.Constant) and isinstance(node.value, str):
        found.append(node.value)
  return "\n".join(found)


def test_errors_are_quoted_as_they_are_said():
  text = (pages.ROOT / "docs" / "troubleshooting.md").read_text("utf-8")
  quoted = re.findall(r"^\| `([^`]+)` \|", text, re.MULTILINE)
  assert len(quoted) > 15
  for line in quoted:
    assert line in _texts(), line


@pytest.mark.parametrize(
  "page",
  [p for p in pages.PAGES if p.parent.name == "reference"],
  ids=pages.name,
)
def test_the_reference_names_what_there_is(page):
  names = re.findall(r"^::: (\S+)$", page.read_text("utf-8"), re.MULTILINE)
  assert names
  for name in names:
    module, _, attribute = name.rpartition(".")
    if not hasattr(importlib.import_module(module), attribute):
      importlib.import_module(name)


@pytest.mark.parametrize("page", pages.PAGES, ids=pages.name)
def test_a_shell_takes_what_stands_in_a_line(page):
  """Brackets stand in quotes."""
  for code in re.findall(r"`([^`]+)`", pages.without_code(page)):
    assert not re.search(r"--\S+=\(", code), code
