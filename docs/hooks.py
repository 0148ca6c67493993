"""What MkDocs does to the pages: source, equations, links out of `docs/`."""

import ast
import html
import os
import pathlib
import re
import textwrap

from latex2mathml.converter import convert

ROOT = pathlib.Path(__file__).parent.parent
# A line of a page, in the place of which the code stands that it names.
_CODE = re.compile(r"^<!-- code: ([\w./]+) ([\w.]+) -->$", re.MULTILINE)
# A title for the tests, which readers would take for a caption.
_FOR_TESTS = re.compile(
  r'^(```\w+) title="(?:Not run by the tests|Run by)[^"\n]*"$', re.MULTILINE
)
_LINK = re.compile(r"(?<!!)\[([^\]]+)\]\(((?:\.\./)+[^)#]*)(#[^)]*)?\)")
_EQUATION = re.compile(
  r'<(div|span) class="arithmatex">\\([(\[])(.*?)\\[)\]]</\1>', re.DOTALL
)

# An option within a line, and its beginning: where lines must not break.
_CODE_IN_LINE = re.compile(r"<code>[^<]*</code>")
_OPTION = re.compile(r"(?<=[>\s])(--?\w+)([^\s<]*)")


def on_page_markdown(markdown: str, page, config, files) -> str:
  """Puts code in its place; what is not on the site is named, not linked."""
  markdown = _FOR_TESTS.sub(r"\1", markdown)
  markdown = _CODE.sub(lambda match: _fence(*match.groups()), markdown)
  here = pathlib.Path(config.docs_dir, page.file.src_uri).parent
  docs = pathlib.Path(config.docs_dir)

  def replace(match: re.Match) -> str:
    text, target, _ = match.groups()
    path = pathlib.Path(os.path.normpath(here / target))
    if path.is_relative_to(docs) or not path.exists():
      return match[0]  # On the site; or the strict build says it is nowhere.
    return text

  return _LINK.sub(replace, markdown)


def on_page_content(html_: str, page, config, files) -> str:
  """Makes MathML of the equations, and keeps options in one piece."""

  def replace(match: re.Match) -> str:
    tag, bracket, tex = match.groups()
    display = "block" if bracket == "[" else "inline"
    math = convert(html.unescape(tex).strip(), display=display)
    return f'<{tag} class="equation">{math}</{tag}>'

  def keep(match: re.Match) -> str:
    whole = r'<span class="option"><span class="begin">\1</span>\2</span>'
    return _OPTION.sub(whole, match[0])

  return _CODE_IN_LINE.sub(keep, _EQUATION.sub(replace, html_))


def _fence(path: str, name: str) -> str:
  """The code of a function, class or method, without its docstring."""
  text = (ROOT / path).read_text(encoding="utf-8")
  node = ast.parse(text)
  for part in name.split("."):
    (node,) = (n for n in node.body if getattr(n, "name", None) == part)
  lines = text.splitlines()
  first = min([node.lineno, *(d.lineno for d in node.decorator_list)])
  hidden: set[int] = set()
  if ast.get_docstring(node):
    docstring = node.body[0]
    hidden = set(range(docstring.lineno, docstring.end_lineno + 1))
  kept = [
    line
    for number, line in enumerate(lines[first - 1 : node.end_lineno], first)
    if number not in hidden
  ]
  code = textwrap.dedent("\n".join(kept))
  return f'```python title="{path}: {name}"\n{code}\n```'
