#!/usr/bin/env python3
"""Draws what a terminal showed as an SVG. draw.sh makes demo.svg with it.

    tmux capture-pane -p -e >running.txt     # during the run, and once more after it
    docs/images/terminal.py docs/images/demo.svg 'while it runs=running.txt' 'at the end=ended.txt'
"""

import html
import re
import sys

CELL, LINE, PAD, BAR = 8.0, 19, 18, 34
GROUND, INK, FRAME = "#15181e", "#d7dbe3", "#232833"
NAMED = ["#3b4150", "#f2705f", "#5fd3a5", "#f2bd62", "#5b9bf0", "#b48ef5", "#5ccbe0", "#d7dbe3"]


def indexed(number):
    """One of the 256 colours."""
    if number < 16:
        return NAMED[number % 8]
    if number >= 232:
        return "#" + f"{8 + (number - 232) * 10:02x}" * 3
    levels = [0, 95, 135, 175, 215, 255]
    number -= 16
    return "#" + "".join(f"{levels[number // n % 6]:02x}" for n in (36, 6, 1))


def runs(text):
    """The text as (line, column, text, colour, bold, dim)."""
    colour, bold, dim = INK, False, False
    for row, line in enumerate(text.split("\n")):
        column = 0
        for piece in re.split(r"(\x1b\[[0-9;]*m)", line):
            if not piece.startswith("\x1b["):
                if piece:
                    yield row, column, piece, colour, bold, dim
                    column += len(piece)
                continue
            codes = [int(code or 0) for code in piece[2:-1].split(";")]
            while codes:
                code = codes.pop(0)
                if code == 0:
                    colour, bold, dim = INK, False, False
                elif code in (1, 2):
                    bold, dim = bold or code == 1, dim or code == 2
                elif code == 22:
                    bold = dim = False
                elif 30 <= code <= 37:
                    colour = NAMED[code - 30]
                elif 90 <= code <= 97:
                    colour = NAMED[code - 90]
                elif code == 39:
                    colour = INK
                elif code == 38 and codes[:1] == [5]:
                    colour, codes = indexed(codes[1]), codes[2:]


def main(out, *frames):
    drawn, y, columns = [], 0, 0
    for frame in frames:
        title, path = frame.split("=", 1)
        with open(path, encoding="utf-8") as file:
            text = re.sub(r"(\x1b\[[0-9;]*m|\s)+$", "", file.read())
        lines = text.count("\n") + 1
        columns = max(columns, max(len(re.sub(r"\x1b\[[0-9;]*m", "", line)) for line in text.split("\n")))
        drawn.append((title, text, y, BAR + lines * LINE + PAD))
        y += BAR + lines * LINE + PAD + 14
    width, height = columns * CELL + 2 * PAD, y - 14
    svg = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height}" width="{width:.0f}" height="{height}" '
        'font-family="ui-monospace,SFMono-Regular,Menlo,Consolas,\'DejaVu Sans Mono\',monospace" font-size="13.3">'
    ]
    for title, text, top, tall in drawn:
        svg.append(f'<rect y="{top}" width="{width:.0f}" height="{tall}" rx="9" fill="{GROUND}" stroke="{FRAME}"/>')
        svg += [f'<circle cx="{PAD + 4 + at * 18}" cy="{top + 17}" r="5" fill="{FRAME}"/>' for at in range(3)]
        svg.append(
            f'<text x="{width / 2:.0f}" y="{top + 21}" text-anchor="middle" fill="#7d8697" font-size="12">{html.escape(title)}</text>'
        )
        for row, column, piece, colour, bold, dim in runs(text):
            words = piece.strip(" ")
            if not words:
                continue
            column += len(piece) - len(piece.lstrip(" "))
            x, at = PAD + column * CELL, top + BAR + 14 + row * LINE
            style = (' font-weight="700"' if bold else "") + (' opacity="0.6"' if dim else "")
            svg.append(
                f'<text x="{x:.0f}" y="{at}" fill="{colour}"{style} textLength="{len(words) * CELL:.0f}" '
                f'lengthAdjust="spacingAndGlyphs" xml:space="preserve">{html.escape(words)}</text>'
            )
    svg.append("</svg>\n")
    with open(out, "w", encoding="utf-8") as file:
        file.write("\n".join(svg))


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    main(*sys.argv[1:])
