"""What of a Whisper checkpoint is text: tokenizer, languages, tasks.

Files `tokenizer.json` and `generation_config.json`, as published.
"""

import dataclasses
import pathlib
from collections.abc import Mapping, Sequence
from typing import Self

import tokenizers

from emojax.encoders import tokenizing
from emojax.encoders.whisper_rules import Rules
from emojax.errors import UserError
from emojax.weights import json_files

TASKS = ("transcribe", "translate")
FILE = "generation_config.json"


@dataclasses.dataclass(frozen=True)
class Vocabulary:
  """Tokens that are no text, by their ids.

  Attributes:
    start: begins every prompt.
    languages: by code (`en`); none of a checkpoint for English only.
    tasks: by name, of `TASKS`; none likewise.
  """

  tokenizer: tokenizers.Tokenizer
  rules: Rules
  start: int
  languages: Mapping[str, int]
  tasks: Mapping[str, int]

  @classmethod
  def read(cls, folder: pathlib.Path) -> Self:
    """Reads the files of a checkpoint.

    Raises:
      UserError: one of them is missing or damaged, or has languages and no
        task.
    """
    path = folder / "tokenizer.json"
    if not path.is_file():
      raise UserError(
        f"{folder}: no tokenizer.json, which the transcript needs; take the "
        "checkpoint as transformers saves it"
      )
    with tokenizing.explained(path):
      tokenizer = tokenizers.Tokenizer.from_file(str(path))
    try:
      fields = json_files.read(folder / FILE)
    except FileNotFoundError as error:
      raise UserError(
        f"{folder}: no {FILE}, which the transcript needs; download it from "
        "the checkpoint that this one was trained from"
      ) from error
    try:
      rules = Rules(
        end=int(fields["eos_token_id"]),
        no_timestamps=int(fields["no_timestamps_token_id"]),
        suppressed=tuple(fields.get("suppress_tokens") or ()),
        suppressed_first=tuple(fields.get("begin_suppress_tokens") or ()),
        latest_first_timestamp=fields.get("max_initial_timestamp_index"),
        timestamps=False,
      )
      languages = {
        name.strip("<|>"): int(token)
        for name, token in (fields.get("lang_to_id") or {}).items()
      }
      tasks = {k: int(v) for k, v in (fields.get("task_to_id") or {}).items()}
      start = int(fields["decoder_start_token_id"])
    except (KeyError, TypeError, ValueError, AttributeError) as error:
      raise UserError(
        f"{folder / FILE}: damaged, or of before transformers 4.31 ({error}); "
        "download it again"
      ) from error
    if languages and TASKS[0] not in tasks:
      raise UserError(
        f"{folder / FILE}: lang_to_id without task_to_id for {TASKS[0]}; "
        "download it again"
      )
    return cls(tokenizer, rules, start, languages, tasks)

  def prompt(self, language: str, task: str, timestamps: bool) -> list[int]:
    """What the transcript of a window follows, of what `check` takes."""
    tokens = [self.start]
    if self.languages:
      tokens += [self.languages[language], self.tasks[task]]
    return tokens if timestamps else [*tokens, self.rules.no_timestamps]

  def check(self, language: str, task: str) -> None:
    """Refuses what the checkpoint does not have; '' is any language.

    Raises:
      UserError: such a language or task.
    """
    if task not in TASKS:
      raise UserError(f"task {task!r}: choose one of {', '.join(TASKS)}")
    if not self.languages and (language not in ("", "en") or task != TASKS[0]):
      raise UserError(
        f"language {language!r}, task {task!r}: the checkpoint hears English "
        "only and transcribes it; take one without .en in its name"
      )
    if self.languages and language and language not in self.languages:
      raise UserError(
        f"language {language!r}: the checkpoint has "
        f"{' '.join(sorted(self.languages))}"
      )
    if self.languages and task not in self.tasks:
      raise UserError(
        f"task {task!r}: the checkpoint has {' '.join(sorted(self.tasks))}"
      )

  def decode(self, tokens: Sequence[int]) -> str:
    """Text without timestamps and marks."""
    words = [int(token) for token in tokens if token < self.rules.end]
    return self.tokenizer.decode(words, skip_special_tokens=False)
