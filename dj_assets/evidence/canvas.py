"""Text and pictures → one picture: strips of words, tiles side by side, and its bytes as JPEG or WebP."""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence
from functools import cache
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from dj_assets.frames import Size
from dj_assets.operators._contract import Scale
from dj_assets.plots import font_path, glyphs

Picture = npt.NDArray[np.uint8]
"""uint8 [H, W, 3], RGB."""

Colour = tuple[int, int, int]

PAPER: Colour = (255, 255, 255)
SHADE: Colour = (238, 240, 243)
INK: Colour = (25, 28, 33)
FAINT: Colour = (105, 112, 122)
GREEN: Colour = (22, 120, 60)
RED: Colour = (178, 40, 30)
AMBER: Colour = (160, 98, 0)

OUTCOMES: dict[str, Colour] = {"kept": GREEN, "dropped": RED, "undecided": AMBER}

GAP = 8
BAR = Size(9, 120)

LEAST_QUALITY, MOST_QUALITY = 45, 86
SMALLER = 0.8
"""Each side, where no quality is low enough."""


class Line(NamedTuple):
    """One line of text, cut where the strip ends, or with `keep_end` in its middle. size: of the letters, in pixels."""

    text: str
    size: int = 15
    colour: Colour = INK
    is_bold: bool = False
    keep_end: bool = False


# --- words


def printable(text: str) -> str:
    """The text as the font can show it: what is no sign, or has no glyph, as an escape like `\\u4e2d`."""
    known = _glyphs()
    return "".join(char if char.isprintable() and ord(char) in known else _escape(char) for char in text)


def shortened(text: str, width: int, size: int, *, is_bold: bool = False, keep_end: bool = False) -> str:
    """Text that is at most `width` pixels wide, with … for what was cut out: the end, or with `keep_end` the middle."""
    font = _font(size, is_bold)
    if font.getlength(text[: 4 * width]) <= width and len(text) <= 4 * width:
        return text
    low, high = 0, min(len(text), width)  # no letter is narrower than a pixel
    while low < high:
        middle = (low + high + 1) // 2
        if font.getlength(_cut(text, middle, keep_end)) <= width:
            low = middle
        else:
            high = middle - 1
    return _cut(text, low, keep_end)


def _cut(text: str, length: int, keep_end: bool) -> str:
    """That many characters of a text, and the sign that some are missing."""
    if not keep_end:
        return text[:length] + "…"
    end = (length + 1) // 2
    return text[: length - end] + "…" + (text[-end:] if end else "")


def strip(lines: Iterable[Line], width: int, *, paper: Colour = PAPER, padding: int = 5) -> Picture:
    """Lines of text below each other, each cut to the width. uint8 [H, width, 3]."""
    from PIL import Image, ImageDraw

    lines = list(lines)
    heights = [line_height(line.size) for line in lines]
    image = Image.new("RGB", (width, sum(heights) + 2 * padding), paper)
    draw = ImageDraw.Draw(image)
    top = padding
    for line, height in zip(lines, heights, strict=True):
        text = printable(line.text)
        room = width - 2 * padding
        text = shortened(text, room, line.size, is_bold=line.is_bold, keep_end=line.keep_end)
        draw.text((padding, top), text, fill=line.colour, font=_font(line.size, line.is_bold))
        top += height
    return np.asarray(image)


def wrapped(text: str, width: int, *, size: int, most_lines: int) -> list[str]:
    """A text in lines of at most `width` pixels, broken between words; the last is cut where more would follow."""
    font = _font(size, False)
    lines: list[str] = []
    words = printable(" ".join(text.split()))[: most_lines * width].split(" ")
    for index, word in enumerate(words):
        joined = f"{lines[-1]} {word}" if lines else word
        if lines and font.getlength(joined) <= width:
            lines[-1] = joined
        elif len(lines) == most_lines:
            lines[-1] = shortened(f"{lines[-1]} {' '.join(words[index:])}", width, size)
            break
        else:
            lines.append(word)
    return [shortened(line, width, size) for line in lines]


def line_height(size: int) -> int:
    """Pixels from one line to the next."""
    return round(size * 1.35) + 1


@cache
def _font(size: int, is_bold: bool) -> Any:
    from PIL import ImageFont

    return ImageFont.truetype(str(font_path(is_bold=is_bold)), size)


@cache
def _glyphs() -> frozenset[int]:
    return glyphs(font_path())


def _escape(char: str) -> str:
    return char.encode("unicode_escape", "surrogatepass").decode() if char != " " else " "


# --- pictures


def fitted(size: Size, box: Size) -> Size:
    """The largest size of the same shape that fits into a box, at least one pixel each way."""
    share = min(box.height / size.height, box.width / size.width)
    return Size(max(1, round(size.height * share)), max(1, round(size.width * share)))


def resized(picture: Picture, size: Size) -> Picture:
    """The picture at another size, by area."""
    import cv2

    if picture.shape[:2] == size:
        return picture
    # OpenCV takes (width, height).
    return cv2.resize(picture, (size.width, size.height), interpolation=cv2.INTER_AREA)


def centred(picture: Picture, box: Size, paper: Colour = SHADE) -> Picture:
    """The picture in the middle of a box that it fits into."""
    canvas = blank(box.height, box.width, paper)
    height, width = picture.shape[:2]
    top, left = (box.height - height) // 2, (box.width - width) // 2
    canvas[top : top + height, left : left + width] = picture
    return canvas


def blank(height: int, width: int, colour: Colour = PAPER) -> Picture:
    """A picture of one colour."""
    return np.full((height, width, 3), colour, dtype=np.uint8)


def below(pictures: Sequence[Picture], *, gap: int = 0) -> Picture:
    """Pictures below each other, left-aligned on white."""
    width = max(picture.shape[1] for picture in pictures)
    rows: list[Picture] = []
    for picture in pictures:
        if rows and gap:
            rows.append(blank(gap, width))
        rows.append(np.concatenate([picture, blank(picture.shape[0], width - picture.shape[1])], axis=1))
    return np.concatenate(rows)


def beside(pictures: Sequence[Picture], *, gap: int = 0) -> Picture:
    """Pictures side by side, top-aligned on white."""
    height = max(picture.shape[0] for picture in pictures)
    columns: list[Picture] = []
    for picture in pictures:
        if columns and gap:
            columns.append(blank(height, gap))
        columns.append(np.concatenate([picture, blank(height - picture.shape[0], picture.shape[1])]))
    return np.concatenate(columns, axis=1)


def grid(tiles: Sequence[Picture], columns: int, *, gap: int = GAP) -> Picture:
    """Tiles in rows."""
    rows = [beside(tiles[start : start + columns], gap=gap) for start in range(0, len(tiles), columns)]
    return below(rows, gap=gap)


def framed(picture: Picture, margin: int = GAP) -> Picture:
    """The picture with a white margin all round."""
    return np.pad(picture, ((margin, margin), (margin, margin), (0, 0)), constant_values=255)


def legend(scale: Scale, width: int) -> Picture:
    """`0 ▇▇▇▇ 12 px`: what the colours of a picture mean, uint8 [H, width, 3]."""
    size = 12
    height = line_height(size) + 2 * 2
    text = strip([Line(f"{scale.high:g} {scale.unit} or more", size, FAINT)], max(width - BAR.width - 20, 1), padding=2)
    bar = blank(height, BAR.width)
    top = (height - BAR.height) // 2
    chosen = np.linspace(0, len(scale.colours) - 1, BAR.width).astype(int)
    bar[top : top + BAR.height] = scale.colours[chosen]
    return beside([strip([Line("0", size, FAINT)], 18, padding=2), bar, text])[:, :width]


# --- bytes


def jpeg(picture: Picture, *, quality: int = MOST_QUALITY) -> bytes:
    """The picture's bytes as JPEG."""
    from PIL import Image

    stream = io.BytesIO()
    # 4:4:4, since thin coloured lines on grey pictures fade otherwise.
    Image.fromarray(picture).save(stream, "JPEG", quality=quality, subsampling=0, optimize=True)
    return stream.getvalue()


def jpeg_within(picture: Picture, max_bytes: int) -> bytes:
    """The picture's bytes as JPEG, of the quality, and if need be the size, that `max_bytes` leaves."""
    while True:
        for quality in range(MOST_QUALITY, LEAST_QUALITY - 1, -10):
            data = jpeg(picture, quality=quality)
            if len(data) <= max_bytes:
                return data
        height, width = picture.shape[:2]
        if max(height, width) <= 16:
            return data
        picture = resized(picture, Size(max(1, int(height * SMALLER)), max(1, int(width * SMALLER))))


def looping_webp(pictures: Sequence[Picture], *, milliseconds: int, max_bytes: int) -> bytes:
    """An animation that never ends, of pictures of one size. Quality goes down until it fits `max_bytes`, if it can."""
    from PIL import Image

    images = [Image.fromarray(picture) for picture in pictures]
    for quality in (75, 55, 35, 15):
        stream = io.BytesIO()
        images[0].save(
            stream,
            "WEBP",
            save_all=True,
            append_images=images[1:],
            duration=milliseconds,
            loop=0,
            quality=quality,
            method=3,
        )
        if stream.tell() <= max_bytes:
            break
    return stream.getvalue()


def from_png(data: bytes) -> Picture:
    """The picture in a PNG of our own."""
    from PIL import Image

    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
