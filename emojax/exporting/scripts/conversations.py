"""Says which emotion each turn of dialogues has: python run.py TABLE.npz

The table holds features as they were in training (float32 [U, D] for each of
`audio` and `text`, as card.json says) of U utterances, `dialogue`, `turn` and
`speaker` of each, and `session` where dialogues of two have the same name.
"""

import json
import pathlib
import sys
import unicodedata
import zipfile
import zlib

import numpy as np

FOLDER = pathlib.Path(__file__).parent


def key(name) -> str:
  """Equal for two spellings of one name, which differ in case or blanks."""
  name = name.decode() if isinstance(name, bytes) else str(name)
  return " ".join(unicodedata.normalize("NFKC", name).casefold().split())


def by_speaker(values: np.ndarray, speakers: np.ndarray) -> np.ndarray:
  """z-scores [U, D] of each speaker's utterances."""
  result = np.empty(values.shape, np.float32)
  for speaker in np.unique(speakers):
    rows = values[speakers == speaker].astype(np.float64)
    std = rows.std(0)
    varies = std > 1e-8 * np.abs(rows).max(0)
    scores = (rows - rows.mean(0)) / np.where(varies, std, 1)
    result[speakers == speaker] = scores
  return result


def dialogues(table: dict[str, np.ndarray]) -> list[np.ndarray]:
  """The rows of each dialogue, in the order of their turns."""
  turn = table["turn"]
  sessions = table.get("session", np.full(len(turn), ""))
  names = zip(map(key, sessions), map(key, table["dialogue"]), strict=True)
  groups: dict[tuple, list[int]] = {}
  for row, name in enumerate(names):
    groups.setdefault(name, []).append(row)
  return [
    np.array(sorted(rows, key=turn.__getitem__)) for rows in groups.values()
  ]


def read(path: str, widths: dict[str, int]) -> dict[str, np.ndarray]:
  """The table's arrays; ends where features are missing or of another width."""
  try:
    with open(path, "rb") as file:
      arrays = dict(np.load(file, allow_pickle=False))
  except (
    *(OSError, ValueError, TypeError, EOFError),
    *(zipfile.BadZipFile, zlib.error),
  ) as error:
    sys.exit(f"{path}: no feature table (.npz): {error}")
  table = {key(name): values for name, values in arrays.items()}
  if missing := {*widths, "speaker", "dialogue", "turn"} - table.keys():
    sys.exit(f"{path}: no {', '.join(sorted(missing))}")
  read_too = {"speaker", "dialogue", "turn", "session"} & table.keys()
  lengths = {n: table[n].shape[:1] for n in sorted({*widths, *read_too})}
  if len(set(lengths.values())) > 1:
    sys.exit(f"{path}: arrays of several lengths: {lengths}")
  try:  # Text may hold them: "10", "2.0".
    turn_U = table["turn"].astype(np.float64)
  except ValueError as error:
    sys.exit(f"{path}: turn: {error}")
  if not np.isfinite(turn_U).all():
    sys.exit(f"{path}: turn: NaN or infinite")
  table["turn"] = turn_U.astype(np.int64)
  for name, width in widths.items():
    if table[name].shape[1:] != (width,):
      sys.exit(f"{path}: {name} is {table[name].shape}, not [U, {width}]")
  return table


def main() -> None:
  """Prints a line for each utterance: emotion, probability, dialogue, turn."""
  import program

  if len(sys.argv) != 2:
    sys.exit(__doc__)
  card = json.loads((FOLDER / "card.json").read_text(encoding="utf-8"))
  call = program.load(FOLDER)
  widths = {n: a["shape"][-1] for n, a in card["inputs"].items()}
  del widths["lengths"]
  table = read(sys.argv[1], widths)
  names = [*widths]
  if card["normalisation"] == "speaker":
    speakers = np.array(list(map(key, table["speaker"])))
    for name in names:
      table[name] = by_speaker(table[name], speakers)
  for rows in dialogues(table):
    inputs = {name: table[name][rows][None] for name in names}
    (found,) = call(**inputs, lengths=[len(rows)])["probabilities"]
    for row, scores in zip(rows, found, strict=True):
      emotion = f"{card['classes'][scores.argmax()]}\t{scores.max():.6f}"
      print(f"{emotion}\t{table['dialogue'][row]}\t{table['turn'][row]}")


if __name__ == "__main__":
  main()
