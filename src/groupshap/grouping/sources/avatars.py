"""DiceBear avatars: faces drawn by pip packages in eleven styles; the contributors are the styles' designers.

Designers are those named in the styles' own metadata; styles of one designer are one contributor, whose images are
shared equally among their styles. ``avataaars`` is left out because its licence is not a standard one.

Every image's skin colour is drawn here and handed to the renderer, so ``skin_color`` is the exact label. Its tone is
the individual typology angle ITA = arctan((L* - 50) / b*) of that colour: light above 41 degrees, mid 10 to 41, dark
below 10. With ``skin_palette_skew`` above 0 contributors draw from a third of tones that *we* assigned: such a
set is for experiments on diversity and says nothing about the designers. A style whose palette has no colour of the
assigned tone draws the one closest to it.

Transparent ground is white (two styles bring coloured grounds of their own).
"""

from __future__ import annotations

import io
import json
import math
from collections.abc import Iterator
from functools import cache as remembered
from importlib import metadata
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image

from groupshap.grouping.cache import Record, Rendered, rendered_once
from groupshap.grouping.config import DataGroupingConfig
from groupshap.grouping.data import SourceData
from groupshap.images import ImageArray
from groupshap.plain import plain
from groupshap.seeds import generator_for, seed_for

__all__ = ["DEFAULT_N_IMAGES", "STYLES", "designers", "load_avatars", "rasterised", "skin_tone"]

STYLES = (
    "adventurer", "big-ears", "big-smile", "dylan", "micah", "miniavs", "open-peeps", "personas", "pixel-art",
    "toon-head", "voxel-art",
)  # fmt: skip
DEFAULT_N_IMAGES = 240
"""Images per contributor when ``n_images_per_contributor`` is None."""

_SKIN_COLOUR = {"micah": "base"}  # the other styles call it "skin"
_ITA_DEGREES = {"light": (41.0, math.inf), "mid": (10.0, 41.0), "dark": (-math.inf, 10.0)}
_PACKAGES = ("dicebear-core", "dicebear-styles", "resvg-py", "pillow")


def load_avatars(config: DataGroupingConfig, cache: Path) -> SourceData:
    """Render the avatars, or read them from ``cache``.

    The table has the label columns ``style``, ``skin_color`` ("#rrggbb") and ``skin_tone`` (light, mid, dark);
    ``source_item`` is "style/seed": DiceBear draws the same face from that seed and ``skin_color``.
    """
    recipe = {
        "format": 1,
        "packages": {package: metadata.version(package) for package in _PACKAGES},
        "styles": list(STYLES),
        "config": {name: value for name, value in plain(config).items() if name in _RECIPE_FIELDS},
        "n_images": _n_images(config),
    }
    images, records = rendered_once(cache, "avatars", recipe, lambda: _render_all(config))
    table = pd.DataFrame.from_records(records)
    table.insert(0, "image_id", np.arange(len(table)))
    return SourceData(images, table, _credits_table(), _credits_text(config), label_column="skin_tone")


_RECIPE_FIELDS = ("image_size", "channels", "seed", "skin_palette_skew", "skin_palette_tones")


def _n_images(config: DataGroupingConfig) -> int:
    return config.n_images_per_contributor or DEFAULT_N_IMAGES


@remembered
def _definition(style: str) -> dict[str, Any]:
    return json.loads((files("dicebear_styles") / f"{style}.json").read_text(encoding="utf-8"))


def designers() -> dict[str, list[str]]:
    """Designer's name to their styles, both sorted."""
    by_name: dict[str, list[str]] = {}
    for style in sorted(STYLES):
        by_name.setdefault(_definition(style)["meta"]["creator"]["name"], []).append(style)
    return dict(sorted(by_name.items()))


# --- drawing ----------------------------------------------------------------------------------------------------------


def _render_all(config: DataGroupingConfig) -> Rendered:
    tones = config.skin_palette_tones
    pairs = [
        _draw(contributor, style, number, tones[index % len(tones)], config)
        for index, (contributor, styles) in enumerate(designers().items())
        for style, number in _shared(_n_images(config), styles)
    ]
    return np.stack([image for image, _ in pairs]), [record for _, record in pairs]


def _shared(n_images: int, styles: list[str]) -> Iterator[tuple[str, int]]:
    """(style, number within the style) of each image; the first styles get the images that do not divide."""
    share, rest = divmod(n_images, len(styles))
    for index, style in enumerate(styles):
        yield from ((style, number) for number in range(share + (index < rest)))


def _draw(
    contributor: str, style: str, number: int, tone: str, config: DataGroupingConfig
) -> tuple[ImageArray, Record]:
    from dicebear import Avatar  # noqa: PLC0415  (only needed when nothing is cached)

    seed = str(seed_for(config.seed, "avatar", style, number))
    colour = _draw_skin(style, number, tone, config)
    avatar = Avatar(_style(style), {"seed": seed, f"{_SKIN_COLOUR.get(style, 'skin')}Color": [colour]})
    record = {
        "contributor": contributor,
        "source_item": f"{style}/{seed}",
        "style": style,
        "skin_color": colour,
        "skin_tone": skin_tone(colour),
    }
    return rasterised(avatar.to_string(), config), record


@remembered
def _style(style: str) -> Any:
    from dicebear import Style  # noqa: PLC0415

    return Style(_definition(style))


def rasterised(svg: str, config: DataGroupingConfig) -> ImageArray:
    """An SVG as (channels, image_size, image_size) uint8 on white.

    It is drawn up to four times as large and averaged over areas: resvg's own anti-aliasing at 16 px leaves hard edges,
    and lines thinner than a pixel come and go.
    """
    import resvg_py  # noqa: PLC0415

    factor = max(1, min(4, 128 // config.image_size))
    side = factor * config.image_size
    png = resvg_py.svg_to_bytes(svg_string=svg, width=side, height=side, background="white", skip_system_fonts=True)
    with Image.open(io.BytesIO(png)) as image:
        small = image.convert("RGB" if config.channels == 3 else "L").reduce(factor)
    array = np.asarray(small)
    return array[None] if config.channels == 1 else np.ascontiguousarray(array.transpose(2, 0, 1))


# --- skin -------------------------------------------------------------------------------------------------------------


def _draw_skin(style: str, number: int, tone: str, config: DataGroupingConfig) -> str:
    # Two draws in any case, so that raising the skew changes only the images it must.
    skewed, position = generator_for(config.seed, "avatar-skin", style, number).random(2)
    palette = _palette(style)
    if skewed < config.skin_palette_skew:
        palette = _nearest_tone(palette, tone)
    return palette[int(position * len(palette))]


@remembered
def _palette(style: str) -> tuple[str, ...]:
    return tuple(sorted(_definition(style)["colors"][_SKIN_COLOUR.get(style, "skin")]["values"]))


def _nearest_tone(palette: tuple[str, ...], tone: str) -> tuple[str, ...]:
    low, high = _ITA_DEGREES[tone]
    distance = {colour: max(low - _ita(colour), _ita(colour) - high, 0.0) for colour in palette}
    return tuple(colour for colour in palette if distance[colour] == min(distance.values()))


def skin_tone(colour: str) -> str:
    """light, mid or dark, by the individual typology angle of a "#rrggbb" colour."""
    angle = _ita(colour)
    if angle > _ITA_DEGREES["mid"][1]:
        return "light"
    return "mid" if angle >= _ITA_DEGREES["mid"][0] else "dark"


def _ita(colour: str) -> float:
    """Individual typology angle in degrees: arctan((L* - 50) / b*), from sRGB through CIE Lab (D65)."""
    srgb = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    linear = np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)
    _, y, z = (
        np.array(
            [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]]
        )
        @ linear
    )
    f_y, f_z = _lab_f(y), _lab_f(z / 1.08883)
    return math.degrees(math.atan2(116 * f_y - 16 - 50, 200 * (f_y - f_z)))


def _lab_f(t: float) -> float:
    return t ** (1 / 3) if t > (6 / 29) ** 3 else t / (3 * (6 / 29) ** 2) + 4 / 29


# --- credits ----------------------------------------------------------------------------------------------------------


def _credits_table() -> pd.DataFrame:
    rows = [
        {
            "contributor": name,
            "licence": "; ".join(sorted({_definition(style)["meta"]["license"]["name"] for style in styles})),
            "credit": "; ".join(_definition(style)["meta"]["license"]["text"] for style in styles),
        }
        for name, styles in designers().items()
    ]
    return pd.DataFrame(rows)


def _credits_text(config: DataGroupingConfig) -> str:
    versions = ", ".join(f"{package} {metadata.version(package)}" for package in _PACKAGES[:3])
    lines = [
        "# Credits of the avatar images",
        "",
        f"Drawn by {versions}. Changes to the designs: parts and colours were chosen at random, skin colours were "
        f"drawn by this project (skin_palette_skew = {config.skin_palette_skew:g}, skin_palette_tones = "
        f"{', '.join(config.skin_palette_tones)}), transparent ground was made white, and the drawings were scaled "
        f"down to {config.image_size} x {config.image_size} pixels.",
        "",
    ]
    for name, styles in designers().items():
        lines += [f"## {name}", ""]
        lines += [f"- {style}: {_credit_line(_definition(style)['meta'])}" for style in styles]
        lines.append("")
    return "\n".join(lines)


def _credit_line(meta: dict[str, Any]) -> str:
    creator, licence = meta["creator"], meta["license"]
    designer = f"Designer: {creator['name']} ({creator['url']})"
    return f"{licence['text']}. {designer}. Licence: {licence['name']}, {licence['url']}."
