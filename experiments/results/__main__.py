"""Writes the page of results, and the README's table, from committed JSON.

  python -m experiments.results

Every number is read from the summary of an experiment or from a benchmark's
JSON; what else is said stands in `template.md` and beside the numbers. A test
makes sure that what is committed is what this writes.
"""

import pathlib

from emojax import markdown
from emojax.runtime import files
from experiments.results import page, speed, studies

PAGE = page.ROOT / "docs" / "results.md"
README = page.ROOT / "README.md"
_SECTIONS = "<!-- sections -->"
_BEGIN, _END = "<!-- begin: results -->", "<!-- end: results -->"


def results() -> str:
  """`docs/results.md`."""
  sections = [section.text() for section in studies.sections()]
  template = pathlib.Path(__file__).with_name("template.md")
  before, after = template.read_text(encoding="utf-8").split(_SECTIONS)
  return before + "\n\n".join([*sections, speed.text()]) + after


def readme(text: str) -> str:
  """The README with its table of today.

  Raises:
    ValueError: the two marks are not in it.
  """
  before, rest = text.split(_BEGIN)
  _, after = rest.split(_END)
  header = ["Data, protocol", "system", "accuracy (%)"]
  header += ["95 %", "published beside it"]
  headlines = [one for s in studies.sections() for one in s.headlines]
  table = markdown.table([header, *(one.cells() for one in headlines)], 2)
  return f"{before}{_BEGIN}\n\n{table}\n\n{_END}{after}"


def main() -> None:
  for path, text in (
    (PAGE, results()),
    (README, readme(README.read_text(encoding="utf-8"))),
  ):
    with files.whole(path) as temporary:
      pathlib.Path(temporary).write_text(text, encoding="utf-8")


if __name__ == "__main__":
  main()
