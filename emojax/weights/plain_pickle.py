"""Pickles of plain containers, carried out without `pickle`.

A pickle is a program. Of its instructions, only those that build containers
are known here, and of all functions only those that the caller hands over. (A
subclass of `pickle.Unpickler` can refuse functions as well, but it looks up
attributes of what it builds, and a megabyte of nested tuples as the key of a
dict crashes Python itself.)
"""

import pickletools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_TUPLES = {"EMPTY_TUPLE": 0, "TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
_LITERALS = (
  "BININT",
  "BININT1",
  "BININT2",
  "LONG1",
  "BINFLOAT",
  "BINUNICODE",
  "SHORT_BINUNICODE",
)
# What a damaged program does to a stack machine.
DAMAGE = (IndexError, KeyError, TypeError, ValueError)


class RefusedError(Exception):
  """The pickle asks for more than it is allowed; says what, as a predicate."""


def run(
  program: bytes,
  names: Mapping[str, Any],
  find: Callable[[Any], Any],
) -> Any:
  """Carries out a pickle of protocol 2 or newer.

  Args:
    program: the pickle.
    names: by full name, such as `collections.OrderedDict`, what to take for
      it. Whatever is callable among these may be called with any plain
      arguments. Other names are refused.
    find: gives the object of a persistent identity.

  Returns:
    What it builds of dicts, lists, tuples, strings, numbers, and the results
    of `names` and `find`. Attributes that it sets on dicts are left out.

  Raises:
    RefusedError: before anything but `names` and `find` is called.
    IndexError, KeyError, TypeError, ValueError: the pickle is damaged.
  """
  stack: list[Any] = []
  marks: list[int] = []
  memo: dict[int, Any] = {}

  def pop(count: int) -> list[Any]:
    start = len(stack) - count
    if count < 0 or start < 0:
      raise IndexError("the pickle takes more than it has put")
    items = stack[start:]
    del stack[start:]
    return items

  def pop_to_mark() -> list[Any]:
    return pop(len(stack) - marks.pop())

  for opcode, argument, _ in pickletools.genops(program):
    match opcode.name:
      case "PROTO" | "FRAME":
        pass
      case name if name in _LITERALS:
        stack.append(argument)
      case name if name in _CONSTANTS:
        stack.append(_CONSTANTS[name])
      case name if name in _TUPLES:
        stack.append(tuple(pop(_TUPLES[name])))
      case "TUPLE":
        stack.append(tuple(pop_to_mark()))
      case "EMPTY_LIST":
        stack.append([])
      case "EMPTY_DICT":
        stack.append({})
      case "MARK":
        marks.append(len(stack))
      case "BINPUT" | "LONG_BINPUT":
        memo[argument] = stack[-1]
      case "MEMOIZE":
        memo[len(memo)] = stack[-1]
      case "BINGET" | "LONG_BINGET":
        stack.append(memo[argument])
      case "APPEND":
        _extend(pop(1), stack[-1])
      case "APPENDS":
        _extend(pop_to_mark(), stack[-1])
      case "SETITEM":
        _update(pop(2), stack[-1])
      case "SETITEMS":
        _update(pop_to_mark(), stack[-1])
      case "GLOBAL":
        stack.append(_look_up(names, *argument.split(" ", 1)))
      case "STACK_GLOBAL":
        stack.append(_look_up(names, *pop(2)))
      case "REDUCE":
        stack.append(_call(*pop(2)))
      case "BINPERSID":
        stack.append(find(*pop(1)))
      case "BUILD":
        pop(1)
        _check_attributes(stack[-1])
      case "STOP":
        return stack[-1]
      case name:
        raise RefusedError(f"has an instruction {name}")
  raise ValueError("no end of the pickle")


def _extend(items: list[Any], target: Any) -> None:
  if not isinstance(target, list):
    raise TypeError("items for what is no list")
  target.extend(items)


def _update(items: list[Any], target: Any) -> None:
  if not isinstance(target, dict):
    raise TypeError("items for what is no dict")
  keys, values = items[::2], items[1::2]
  # To hash a key of tuples in tuples can take all of the stack.
  if not all(isinstance(key, str | int) for key in keys):
    raise RefusedError("has a dict with keys other than strings and numbers")
  target.update(zip(keys, values, strict=True))


def _look_up(names: Mapping[str, Any], module: Any, name: Any) -> Any:
  if not isinstance(module, str) or not isinstance(name, str):
    raise TypeError("a name that is no string")
  full = f"{module}.{name}"
  if full not in names:
    raise RefusedError(f"tries to run {full[:80]!r}")
  return names[full]


def _call(function: Any, arguments: Sequence[Any]) -> Any:
  if not callable(function) or not isinstance(arguments, tuple):
    raise RefusedError("calls what is no function")
  return function(*arguments)


def _check_attributes(target: Any) -> None:
  """An ordered dict of PyTorch carries versions; all else stays as it is."""
  if not isinstance(target, dict):
    raise RefusedError(f"sets attributes of a {type(target).__name__}")
