"""A document as JSON, for programs: sections and blocks as they stand, each block with its kind."""

from __future__ import annotations

import json

from nospof.explain.page import Block, Commands, Document, Listing, Paragraph, Table, plain

Json = dict[str, "str | int | bool | list[str] | list[list[str]] | list[Json]"]


def to_json(document: Document) -> str:
    """Write `document` as one JSON document. Pure; the same document gives the same bytes."""
    sections: list[Json] = [
        {"id": section.id, "title": section.title, "level": section.level, "blocks": [_block(one) for one in section.blocks]}
        for section in document.sections
    ]
    return json.dumps(
        {"title": document.title, "summary": document.summary, "sections": sections}, indent=1, ensure_ascii=False
    )


def _block(block: Block) -> Json:
    if isinstance(block, Paragraph):
        return {"kind": "paragraph", "text": plain(block.text)}
    if isinstance(block, Listing):
        return {"kind": "list", "numbered": block.is_numbered, "items": [plain(item) for item in block.items]}
    if isinstance(block, Table):
        rows = [[plain(cell) for cell in row] for row in block.rows]
        return {"kind": "table", "head": list(block.head), "rows": rows}
    if isinstance(block, Commands):
        return {"kind": "commands", "lines": [list(line) for line in block.lines]}
    return {"kind": "picture", "text": block.text}
