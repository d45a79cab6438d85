"""How wide text will be, without asking a font: estimates for the widest of the usual sans-serif fonts.

Figures are DejaVu Sans' advance widths in em, rounded up; Helvetica, Segoe and Roboto are narrower, so that text never
leaves its box, only leaves some air.
"""

from __future__ import annotations

from collections.abc import Iterable

NARROW, SLIM, WIDE = set("iljI|.,:;'!`"), set('ft()[]{}-r/\\ "·'), set("mwMW@%&—→↔…▲◆")
ALPHABETS_END = 0x2E80
"""From here on characters are as wide as high: Chinese, Japanese, symbols."""
BOLD = 1.08


def text_width(text: str, size: float, *, is_bold: bool = False) -> float:
    """Width of `text` in the same unit as `size`, the font's size."""
    return sum(_em(char) for char in text) * size * (BOLD if is_bold else 1.0)


def cut(text: str, size: float, width: float, *, is_bold: bool = False) -> str:
    """`text`, or as much of it as `width` has room for, with … at the end."""
    if text_width(text, size, is_bold=is_bold) <= width:
        return text
    while text and text_width(text + "…", size, is_bold=is_bold) > width:
        text = text[:-1]
    return text + "…"


def wrapped(words: Iterable[str], size: float, width: float, between: str) -> list[str]:
    """`words` joined by `between` in as many lines as `width` asks for; a word that is wider is cut."""
    lines: list[str] = []
    for word in words:
        longer = f"{lines[-1]}{between}{word}" if lines else word
        if lines and text_width(longer, size) <= width:
            lines[-1] = longer
        else:
            lines.append(cut(word, size, width))
    return lines


def _em(char: str) -> float:
    if char in NARROW:
        return 0.36
    if char in SLIM:
        return 0.43
    if char in WIDE:
        return 1.0
    if ord(char) >= ALPHABETS_END:
        return 1.05
    return 0.76 if char.isupper() else 0.64
