# Copyright 2026 rgbd_seg_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Page of the report: one HTML file without scripts or links, for light and dark screens."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Sequence
from html import escape

import numpy as np
import numpy.typing as npt

from rgbd_seg_ros.replay.output_folder import encoded

#: Colors that stay apart for color-blind eyes (after Okabe and Ito); text on them is dark.
MODE_COLORS = {
    "STARTING": "#b8bec8",
    "RGBD": "#43b58c",
    "RGB_ONLY": "#6db3e8",
    "DEPTH_ONLY": "#eea13c",
    "NO_INPUT": "#e0705a",
}
NETWORK_COLORS = {"rgbd": "#43b58c", "rgb": "#6db3e8", "depth": "#eea13c"}

_STYLE = """
:root { color-scheme: light dark; --page: #f6f7f9; --card: #ffffff; --ink: #1c2430;
  --soft: #5d6878; --line: #dde2e9; --track: #eceff3; --good: #14724f; --bad: #b03a24; }
@media (prefers-color-scheme: dark) { :root { --page: #12161c; --card: #1b2129; --ink: #e6eaf0;
  --soft: #9aa6b6; --line: #303945; --track: #262e38; --good: #63d3a6; --bad: #f0917c; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--page); color: var(--ink);
  font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; }
main { max-width: 1120px; margin: 0 auto; padding: 32px 20px 64px; }
h1 { font-size: 26px; line-height: 1.25; margin: 0 0 4px; letter-spacing: -0.01em; }
h2 { font-size: 21px; margin: 44px 0 2px; letter-spacing: -0.01em; overflow-wrap: anywhere; }
h3 { font-size: 15px; margin: 0 0 10px; }
p { margin: 0 0 12px; } .soft, small { color: var(--soft); }
section.card { background: var(--card); border: 1px solid var(--line); border-radius: 10px;
  padding: 18px 20px; margin: 16px 0 0; overflow-x: auto; }
.facts { display: grid; grid-template-columns: repeat(auto-fit, minmax(150px, 1fr)); gap: 12px;
  margin: 16px 0 0; }
.fact { background: var(--card); border: 1px solid var(--line); border-radius: 10px;
  padding: 12px 16px; } .fact b { display: block; font-size: 22px; line-height: 1.3; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th { text-align: left; font-weight: 600; color: var(--soft); font-size: 13px; }
th, td { padding: 6px 12px 6px 0; border-bottom: 1px solid var(--line); vertical-align: middle; }
tr:last-child td { border-bottom: 0; } td.n, th.n { text-align: right; white-space: nowrap; }
.good { color: var(--good); font-weight: 600; } .bad { color: var(--bad); font-weight: 600; }
.chip { display: inline-block; border-radius: 5px; padding: 0 7px; font-size: 13px;
  color: #14181e; white-space: nowrap; }
.swatch { display: inline-block; width: 12px; height: 12px; border-radius: 3px;
  margin-right: 7px; vertical-align: -1px; border: 1px solid rgba(128, 128, 128, .4); }
.bar { display: flex; align-items: center; gap: 8px; }
.bar i { display: block; height: 10px; border-radius: 3px; min-width: 1px; }
.bar span { flex: 1; background: var(--track); border-radius: 3px; }
.bar b { font-weight: 400; width: 52px; text-align: right; white-space: nowrap; }
table.even { table-layout: fixed; } table.even th:first-child { width: 220px; }
table.even td { padding-top: 3px; padding-bottom: 3px; }
table + small { display: block; margin-top: 10px; }
.strip { display: grid; gap: 10px; margin: 0 0 18px; align-items: start; }
.strip figure { margin: 0; } .strip img { width: 100%; display: block; border-radius: 6px;
  image-rendering: auto; } figcaption { font-size: 13px; color: var(--soft); margin-top: 3px; }
.none { display: flex; align-items: center; justify-content: center; text-align: center;
  border: 1px dashed var(--line); border-radius: 6px; color: var(--soft); font-size: 13px;
  aspect-ratio: 4 / 3; padding: 8px; }
.strip header { grid-column: 1 / -1; font-weight: 600; }
.legend { display: flex; flex-wrap: wrap; gap: 4px 18px; }
svg { display: block; width: 100%; height: auto; } svg text { fill: var(--ink); font-size: 12px; }
svg text.soft { fill: var(--soft); } svg .grid { stroke: var(--line); }
svg .on text, svg text.on { fill: #14181e; }
code { font: 13px ui-monospace, SFMono-Regular, Menlo, monospace; overflow-wrap: anywhere; }
ul { margin: 0; padding-left: 20px; }
@media print { section.card, .fact { break-inside: avoid; } }
"""


def page(title: str, lead: str, parts: Iterable[str]) -> str:
    """The whole document."""
    body = "\n".join(parts)
    return (
        "<!doctype html>\n"
        f'<html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<style>{_STYLE}</style></head>\n"
        f'<body><main><h1>{escape(title)}</h1><p class="soft">{escape(lead)}</p>\n{body}\n'
        "</main></body></html>\n"
    )


def card(title: str, body: str, note: str = "") -> str:
    """A titled box."""
    extra = f"<small>{escape(note)}</small>" if note else ""
    return f'<section class="card"><h3>{escape(title)}</h3>{body}{extra}</section>'


def facts(pairs: Iterable[tuple[str, str]]) -> str:
    """Big numbers with what they are."""
    boxes = (
        f'<div class="fact"><b>{escape(value)}</b><small>{escape(name)}</small></div>'
        for name, value in pairs
    )
    return f'<div class="facts">{"".join(boxes)}</div>'


def table(
    head: Sequence[str],
    rows: Iterable[Sequence[str]],
    numbers: Sequence[int] = (),
    even: bool = False,
) -> str:
    """A table of HTML cells.

    Args:
        head: titles of the columns, plain text.
        rows: cells as HTML.
        numbers: columns to align right.
        even: columns of one width, after a wide first one.
    """

    def cells(tag: str, row: Sequence[str]) -> str:
        return "".join(
            f"<{tag}{' class=n' if i in numbers else ''}>{cell}</{tag}>"
            for i, cell in enumerate(row)
        )

    lines = "".join(f"<tr>{cells('td', row)}</tr>" for row in rows)
    titles = cells("th", [escape(name) for name in head])
    kind = ' class="even"' if even else ""
    return f"<table{kind}><thead><tr>{titles}</tr></thead><tbody>{lines}</tbody></table>"


def chip(text: str, color: str) -> str:
    """A word on its color."""
    return f'<span class="chip" style="background:{color}">{escape(text)}</span>'


def bar(share: float | None, color: str) -> str:
    """A share of 0..1 as a bar and a number; a dash for None."""
    if share is None:
        return '<div class="bar"><b>–</b></div>'
    width = max(0.0, min(share, 1.0)) * 100
    return (
        f'<div class="bar"><span><i style="width:{width:.1f}%;background:{color}"></i></span>'
        f"<b>{percent(share)}</b></div>"
    )


def percent(share: float | None) -> str:
    """``0.523`` as ``52.3 %``; a dash for None."""
    return "–" if share is None else f"{share * 100:.1f} %"


def picture(array: npt.NDArray[np.uint8], caption: str, lossless: bool) -> str:
    """A figure with the picture inside the page."""
    kind, suffix = ("png", ".png") if lossless else ("jpeg", ".jpg")
    data = base64.b64encode(encoded(suffix, array)).decode()
    text = escape(caption)
    return (
        f'<figure><img alt="{text}" src="data:image/{kind};base64,{data}">'
        f"<figcaption>{text}</figcaption></figure>"
    )


def no_picture(text: str, caption: str) -> str:
    """A figure where there is no picture."""
    return (
        f'<figure><div class="none">{escape(text)}</div>'
        f"<figcaption>{escape(caption)}</figcaption></figure>"
    )
