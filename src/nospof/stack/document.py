"""Reading the file: bytes → text → YAML nodes → plain values, with the line and column of every path.

YAML 1.2 by ruamel.yaml, which composes the nodes; what a plain scalar is (number, true, text) we decide by the core schema of
YAML 1.2 alone, so that no date, `yes` or `1_000` turns into something else. Duplicate keys are looked for here, since ruamel
stops at the first. Source: https://yaml.org/spec/1.2.2/#103-core-schema
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from nospof.stack.problems import Problem, Problems, StackProblems
from nospof.stack.syntax import explain_syntax
from nospof.stack.words import WrittenFloat, WrittenInt, quoted

_LARGEST_BYTES = 1024 * 1024
_MOST_NODES = 50_000
# A hundred hosts make about 2000; only aliases of aliases of aliases reach it.
_DEEPEST = 30

_INT = re.compile(r"[-+]?[0-9]{1,18}")
_OCTAL = re.compile(r"0o[0-7]{1,20}")
_HEX = re.compile(r"0x[0-9a-fA-F]{1,16}")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_CONSTANTS: dict[str, object] = {"": None, "~": None}
_CONSTANTS |= dict.fromkeys(("null", "Null", "NULL"))
_CONSTANTS |= dict.fromkeys(("true", "True", "TRUE"), True)
_CONSTANTS |= dict.fromkeys(("false", "False", "FALSE"), False)
_KNOWN_TAGS = {f"tag:yaml.org,2002:{name}" for name in ("str", "int", "float", "bool", "null", "timestamp", "value", "merge")}
_NOT_TEXT = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")


@dataclass
class Document:
    """What stands in the file: the values, and by dotted path each value and where its key (or list item) begins."""

    top: dict[str, object]
    problems: Problems
    positions: dict[str, tuple[int, int]] = field(default_factory=dict)
    values: dict[str, object] = field(default_factory=dict)


def read(path: Path) -> Document:
    """Read the file at `path`.

    Duplicate keys and the like are in `problems` of the answer. Raises StackProblems where there is nothing to go on with:
    the file cannot be read, is not YAML, or does not consist of keys.
    """
    file = str(path)
    root = _compose(file, _text(path))
    if root is None:
        raise _hopeless(file, "S006", "the file is empty", fix=_BEGINNING, line=1)
    if not isinstance(root, MappingNode):
        raise _not_a_mapping(file, root)
    reader = _Reader(file)
    top = reader.mapping(root, "", depth=0)
    return Document(top, reader.problems, reader.positions, reader.values)


def _text(path: Path) -> str:
    try:
        with path.open("rb") as opened:
            content = opened.read(_LARGEST_BYTES + 1)
    except FileNotFoundError:
        fix = "go to the folder of your stack, or name the file, e.g.: nospof check examples/simple/stack.yaml"
        raise _hopeless(str(path), "S001", "there is no such file", fix=fix) from None
    except IsADirectoryError:
        fix = f"name the file in it, e.g. {path / 'stack.yaml'}"
        raise _hopeless(str(path), "S001", "this is a folder, not a file", fix=fix) from None
    except (OSError, ValueError) as error:
        reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
        raise _hopeless(str(path), "S001", f"the file cannot be read: {reason}") from None
    if len(content) > _LARGEST_BYTES:
        fix = "check that this is the file you meant; a stack of a hundred hosts has about 10 KiB"
        raise _hopeless(str(path), "S002", "the file is larger than 1 MiB", fix=fix)
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        column = error.start - (content.rfind(b"\n", 0, error.start) + 1) + 1
        what = f"the file is not UTF-8: the byte 0x{content[error.start]:02x} stands here"
        fix = "save the file as UTF-8 in your editor"
        raise _hopeless(str(path), "S002", what, fix=fix, line=line, column=column) from None


def _compose(file: str, text: str) -> Node | None:
    try:
        yaml = YAML(typ="safe", pure=True)
        # An anchor may be set again in YAML 1.2; the warning would be printed in the middle of our output.
        yaml.composer.warn_double_anchors = False
        node = yaml.compose(text)
    except RecursionError:
        raise _hopeless(file, "S005", "brackets or lists are nested too deep to be a stack", line=1) from None
    except (
        YAMLError,
        ValueError,
        TypeError,
        KeyError,
        IndexError,
        AttributeError,
        AssertionError,
        NotImplementedError,
    ) as error:
        # ruamel has bugs that show as plain Python errors on what is not YAML; all of them mean: not YAML.
        marked = error if isinstance(error, MarkedYAMLError) else None
        raise StackProblems([explain_syntax(file, text, marked, error)]) from None
    return node if isinstance(node, Node) else None


class _Reader:
    """Turns nodes into values and notes where they stand."""

    def __init__(self, file: str) -> None:
        self.file = file
        self.positions: dict[str, tuple[int, int]] = {}
        self.values: dict[str, object] = {}
        self.problems = Problems(file, self.positions, self.values)
        self.nodes_read = 0

    def value(self, node: Node, path: str, depth: int) -> object:
        self.nodes_read += 1
        if self.nodes_read > _MOST_NODES:
            what = "the aliases (*name) of this file multiply to more than a stack can have"
            raise _hopeless(self.file, "S005", what, fix=_WRITE_OUT, line=1)
        if depth > _DEEPEST:
            what = f"this is nested more than {_DEEPEST} levels deep, or an alias (*name) stands inside its own anchor (&name)"
            raise _hopeless(
                self.file, "S005", what, fix=_WRITE_OUT, line=node.start_mark.line + 1, column=node.start_mark.column + 1
            )
        if isinstance(node, MappingNode):
            found: object = self.mapping(node, path, depth)
        elif isinstance(node, SequenceNode):
            found = [self.item(child, f"{path}.{place}", depth) for place, child in enumerate(node.value)]
        elif isinstance(node, ScalarNode):
            found = self.scalar(node, path)
        else:
            found = None
        self.values[path] = found
        return found

    def item(self, node: Node, path: str, depth: int) -> object:
        self.positions[path] = _start(node)
        return self.value(node, path, depth + 1)

    def mapping(self, node: MappingNode, path: str, depth: int) -> dict[str, object]:
        found: dict[str, object] = {}
        first: dict[str, Node] = {}
        for key_node, value_node in [*node.value, *self.merged(node, path)]:
            key = self.key(key_node, path)
            if key is None:
                continue
            if key in first:
                self.twice(key, path, first[key], key_node)
                continue
            first[key] = key_node
            below = f"{path}.{key}" if path else key
            self.positions[below] = _start(key_node)
            found[key] = self.value(value_node, below, depth + 1)
        return found

    def merged(self, node: MappingNode, path: str) -> list[tuple[Node, Node]]:
        """The pairs that `<<: *name` brings in, but for those that the mapping has itself."""
        own = {key.value for key, _ in node.value if isinstance(key, ScalarNode)}
        pairs: list[tuple[Node, Node]] = []
        for key_node, value_node in node.value:
            if not _is_merge(key_node):
                continue
            for source in value_node.value if isinstance(value_node, SequenceNode) else [value_node]:
                if not isinstance(source, MappingNode):
                    self.strange(
                        key_node, path, '"<<" takes over the keys of another mapping, but none follows it', fix=_WRITE_OUT
                    )
                    continue
                if any(_is_merge(key) for key, _ in source.value):
                    self.strange(key_node, path, '"<<" takes over keys of a mapping that has a "<<" itself', fix=_WRITE_OUT)
                new = [(k, v) for k, v in source.value if isinstance(k, ScalarNode) and k.value not in own]
                own |= {k.value for k, _ in new}
                pairs += new
        return pairs

    def key(self, node: Node, path: str) -> str | None:
        if _is_merge(node):
            return None
        if not isinstance(node, ScalarNode):
            fix = "put quotes around text that begins with { or ["
            self.strange(node, path, "a key is a list or a mapping here, not a word", fix=fix)
            return None
        key = str(node.value)
        if _NOT_TEXT.search(key):
            self.strange(node, path, "this key contains characters that cannot be seen")
            return None
        return key

    def scalar(self, node: ScalarNode, path: str) -> object:
        text = str(node.value)
        tag = str(node.tag)
        if tag not in _KNOWN_TAGS:
            fix = "put quotes around text that begins with an exclamation mark"
            self.strange(node, path, f"tags are not understood here: {quoted(tag.removeprefix('tag:yaml.org,2002:'))}", fix=fix)
            return text
        if _NOT_TEXT.search(text):
            self.strange(
                node, path, "this text contains characters that cannot be seen", fix="remove them, or the \\ before them"
            )
            return ""
        is_plain = node.style is None and tag != "tag:yaml.org,2002:str"
        return _plain(text) if is_plain else text

    def twice(self, key: str, path: str, first: Node, second: Node) -> None:
        line, column = _start(second)
        first_line, _ = _start(first)
        where = f"in lines {first_line} and {line}" if first_line != line else f"twice in line {line}"
        below = f"{path}.{key}" if path else key
        what = f"the key {quoted(key)} stands {where}"
        why = "only one of the two could count, and which one is not to be seen"
        fix = "keep one, or rename one"
        self.problems.found.append(Problem("S004", below, line, column, what, why, fix, file=self.file))

    def strange(self, node: Node, path: str, what: str, fix: str = "") -> None:
        line, column = _start(node)
        self.problems.unreadable.add(path)
        self.problems.found.append(Problem("S005", path, line, column, what, fix=fix, file=self.file))


_WRITE_OUT = "write out what the aliases stand for"
_BEGINNING = "begin with name:, domain:, hosts: and tiers:, as in examples/simple/stack.yaml"


def _plain(text: str) -> object:
    if text in _CONSTANTS:
        return _CONSTANTS[text]
    for pattern, base in ((_INT, 10), (_OCTAL, 8), (_HEX, 16)):
        if pattern.fullmatch(text):
            whole = WrittenInt(text.removeprefix("0o"), base)
            whole.written = text
            return whole
    if _FLOAT.fullmatch(text):
        # A whole number of more than 18 digits is no number of anything here: as a float it is reported with its size.
        number = WrittenFloat(text)
        number.written = text
        return number
    return text


def _start(node: Node) -> tuple[int, int]:
    return node.start_mark.line + 1, node.start_mark.column + 1


def _is_merge(node: Node) -> bool:
    return isinstance(node, ScalarNode) and node.value == "<<" and node.style is None


def _not_a_mapping(file: str, root: Node) -> StackProblems:
    line, column = _start(root)
    fix = _BEGINNING
    if isinstance(root, SequenceNode):
        what = "the file is a list, but a stack consists of keys with values"
        fix = 'remove the "-" or "[" at the beginning; ' + fix
    elif ":" in str(root.value):
        what = "there is no key here: a space is missing after the colon"
        fix = "write a space after each colon, e.g. name: shop"
    else:
        what = "the file is a single piece of text, but a stack consists of keys with values"
    return _hopeless(file, "S006", what, fix=fix, line=line, column=column)


def _hopeless(file: str, code: str, what: str, *, fix: str = "", line: int = 0, column: int = 1) -> StackProblems:
    return StackProblems([Problem(code, "", line, column, what, fix=fix, file=file)])
