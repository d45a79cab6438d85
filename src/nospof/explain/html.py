"""A document as one HTML page that needs nothing else: no script, no font, no picture from elsewhere.

Readable on a phone (wide tables and the picture scroll by themselves), on paper and in the dark.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from html import escape

from nospof.explain.page import CODE, END, Block, Commands, Document, Listing, Paragraph, Picture, Section, Table
from nospof.explain.svg import to_svg


def to_html(document: Document) -> str:
    """Write `document` as a page. Pure; the same document gives the same bytes."""
    title = _clean(document.title)
    links = "".join(_link(section) for section in document.sections)
    return "\n".join([
        "<!DOCTYPE html>",
        '<html lang="en">',
        "<head>",
        '<meta charset="utf-8"/>',
        '<meta name="viewport" content="width=device-width, initial-scale=1"/>',
        '<meta name="color-scheme" content="light dark"/>',
        f"<title>{title}</title>",
        f'<meta name="description" content="{_clean(document.summary)}"/>',
        f"<style>{STYLE}</style>",
        "</head>",
        "<body>",
        f'<header><h1>{title}</h1></header>',
        f'<nav aria-label="Contents"><ol>{links}</ol></nav>',
        "<main>",
        *(part for section in document.sections for part in _section(section)),
        "</main>",
        "</body>",
        "</html>",
        "",
    ])  # fmt: skip


def _link(section: Section) -> str:
    return f'<li><a href="#{_id(section)}">{_clean(section.title)}</a></li>' if section.level == 2 else ""


def _section(section: Section) -> Iterator[str]:
    yield f'<h{section.level} id="{_id(section)}">{_clean(section.title)}</h{section.level}>'
    for block in section.blocks:
        yield _block(block)


def _id(section: Section) -> str:
    return re.sub(r"[^A-Za-z0-9_-]", "-", section.id)


def _block(block: Block) -> str:
    if isinstance(block, Paragraph):
        return f"<p>{_inline(block.text)}</p>"
    if isinstance(block, Listing):
        kind = "ol" if block.is_numbered else "ul"
        return f"<{kind}>{''.join(f'<li>{_inline(item)}</li>' for item in block.items)}</{kind}>"
    if isinstance(block, Table):
        return _table(block)
    if isinstance(block, Commands):
        rows = "".join(f"<dt><code>{_clean(line)}</code></dt><dd>{_clean(meaning)}</dd>" for line, meaning in block.lines)
        return f"<dl>{rows}</dl>"
    assert isinstance(block, Picture)  # noqa: S101 - the last kind there is
    wide = f"--wide:{block.drawing.width:.0f}px"
    return f'<figure style="{wide}" tabindex="0" aria-label="Diagram of the stack">{to_svg(block.drawing)}</figure>'


def _table(table: Table) -> str:
    head = "".join(f'<th scope="col">{_inline(cell)}</th>' for cell in table.head)
    rows = "".join(f"<tr>{''.join(f'<td>{_inline(cell)}</td>' for cell in row)}</tr>" for row in table.rows)
    return f'<div class="wide" tabindex="0"><table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>'


def _inline(text: str) -> str:
    pieces = re.split(f"{CODE}([^{END}]*){END}", text)
    return "".join(f"<code>{_clean(piece)}</code>" if number % 2 else _clean(piece) for number, piece in enumerate(pieces))


def _clean(text: str) -> str:
    """Escaped, and without characters that a page cannot have."""
    return escape("".join(char if char.isprintable() else "�" for char in text))


STYLE = """
:root{color-scheme:light dark;--paper:#fff;--text:#16202b;--muted:#4a5663;--line:#cfd6de;--soft:#f4f6f9;--link:#1b4f8a}
@media screen and (prefers-color-scheme:dark){:root{--paper:#12171d;--text:#e8edf2;--muted:#b4bfca;--line:#3a4653;
--soft:#1d252e;--link:#8fc1ff}}
*{box-sizing:border-box}
html{-webkit-text-size-adjust:100%}
body{margin:0 auto;padding:1.5rem 1.25rem 4rem;max-width:62rem;background:var(--paper);color:var(--text);
font:1rem/1.55 system-ui,-apple-system,"Segoe UI",Roboto,"Helvetica Neue",Arial,"DejaVu Sans",sans-serif;
overflow-wrap:break-word}
h1{font-size:1.9rem;line-height:1.2;margin:.5rem 0 1rem}
h2{font-size:1.35rem;line-height:1.25;margin:2.6rem 0 .7rem;padding-top:.9rem;border-top:1px solid var(--line)}
h3{font-size:1.08rem;margin:1.9rem 0 .5rem}
p,ul,ol,dl{max-width:46rem;margin:.6rem 0}
li{margin:.3rem 0}
a{color:var(--link)}
a:focus-visible,.wide:focus-visible,figure:focus-visible{outline:2px solid var(--link);outline-offset:2px}
nav{background:var(--soft);border-radius:.6rem;padding:.6rem 1rem}
nav ol{columns:16rem auto;padding-left:1.4rem;margin:0;max-width:none}
code{font:.88em ui-monospace,"SFMono-Regular",Consolas,"DejaVu Sans Mono",monospace;background:var(--soft);
padding:.08em .3em;border-radius:.25em}
.wide{overflow-x:auto;margin:.9rem 0}
table{border-collapse:collapse;min-width:100%;font-size:.93rem}
th,td{text-align:left;vertical-align:top;padding:.4rem .8rem .4rem 0;border-bottom:1px solid var(--line)}
th{color:var(--muted);font-weight:600;white-space:nowrap}
td:first-child code{white-space:nowrap}
td{min-width:5.5rem}
figure{margin:1rem 0;overflow-x:auto;border:1px solid var(--line);border-radius:.6rem}
figure svg{display:block;width:min(100%,calc(var(--wide)*1.15));min-width:min(var(--wide),44rem);height:auto;margin:0 auto}
dt{margin-top:.6rem}
dd{margin:.1rem 0 0 1.2rem;color:var(--muted)}
@media (max-width:40rem){body{padding:1rem .9rem 3rem}h1{font-size:1.55rem}}
@media print{body{max-width:none;padding:0;font-size:10pt}nav{display:none}h2,h3{break-after:avoid}
tr,figure,li{break-inside:avoid}figure{border:0}.wide,figure{overflow:visible}figure svg{min-width:0;max-height:24cm}
a{color:inherit;text-decoration:none}}
"""
