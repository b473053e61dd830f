"""Renders ``glyphs100`` and the disjoint characters its backbone is pretrained on.

A hundred characters of several scripts are drawn with the fonts that come with matplotlib, in random sizes, slants,
rotations, positions, colours and noise: an image classification problem of any size in a second or two, with nothing
to download. :data:`PRETRAINING_GLYPHS` holds other characters, so that a backbone pretrained on them meets new classes.

    >>> images, labels = render(GLYPHS100, per_class=50, split="train", seed=0)
    >>> images.shape, images.dtype, labels.shape
    ((5000, 3, 32, 32), dtype('uint8'), (5000,))
"""

import unicodedata
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.ft2font import FT2Font
from PIL import Image, ImageDraw, ImageFont

from trainables.errors import InputError

GLYPHS100: tuple[str, ...] = tuple(
    "0123456789ABCDEFGHKLMNPQRSTUVWXYZabdefgjmnqrtæþΔΞΣΦΨΩβεζλμπςσωЂЉЊДЖЛЦЧШЪЫЭЮЯђ!#$%&*+=?@~£§©¶¿†€№∇√∞∫"
)
"""The 100 classes; of characters that look alike at this size, such as O and 0 or s and S, one at most is in."""

PRETRAINING_GLYPHS: tuple[str, ...] = tuple(
    "¢¤«»ÆŊƋƏƖƢƱƸǂȜɐɔɕɚɝɞɟɠɤɦɨɬɭɮɱɲɶɹɺɻɽɿʁʂʇʉʎʐʑʕʖʗʘʚʛʡʣʤʦʧʨʩʪʫʬʭѫҐҘҺԲԴԵԶԷԸԹԻԽԾԿՀՁՃՆՇՉՊՌՎՔՖբդէըթլխկձճմնչպ"
    "ջվփքֆაგდეზთკლჟრსტუფქყჩწჭჯჰჱჲჳჴჵჶ…‰₧₯™←↑→↓↖↗↘↙↩↪↭↯↰↱↲↳↶↷↺↻⇄⇅⇇⇉⇐⇑⇒⇓⇚⇶∠∧⊃⊄⊆⊎⊏⊐⊓⊕⊗⊞⊠⊢⊣⋄⌂⌘⌥⌨⏏╬╱╲╳▖■□▣▤▥▧▰"
    "▲▶▷▼◀◁◆◇◉◊○◐◑◒◖◗◘◛◠◡◢◣◤◥◧◬◻☀☸☹☼☿♀♁♂♃♄♅♆♇♡♢♣♤♥♧♩♪♫♬♭♮"
)
"""Phonetic letters, Armenian, Georgian, arrows and symbols: no character of, and none shaped like one of, GLYPHS100."""

SPLITS: tuple[str, ...] = ("train", "test")

_DEJAVU = [f"DejaVu{family}{style}" for family in ("Sans", "SansMono") for style in ("", "-Bold", "-Oblique")]
_DEJAVU += [f"DejaVu{family}-BoldOblique" for family in ("Sans", "SansMono")]
_DEJAVU += [f"DejaVuSerif{style}" for style in ("", "-Bold", "-Italic", "-BoldItalic")]
_STIX = [f"STIXGeneral{style}" for style in ("", "Bol", "Italic", "BolIta")]
_TEX = ["cmr10", "cmb10", "cmss10", "cmti10", "cmtt10"]

EXTENT = (0.50, 0.85)  # longer side of the glyph's bounding box / image side
SHIFT = 0.15  # of its centre from the centre of the image, either way along each axis / image side
ROTATION = 20.0  # degrees, either way
SHEAR = 0.30  # horizontal displacement per unit of height, either way, on top of a font's own slant
CONTRAST = (0.30, 0.90)  # luminance difference between glyph and background, of a full scale of 1
TINT = 0.18  # largest departure of a colour channel from that luminance
GRADIENT = 0.25  # largest luminance change from the centre to an edge, along each axis
NOISE = (0.02, 0.18)  # standard deviation of the pixel noise, of a full scale of 1
_DRAWS = 18  # uniform numbers per image: fixed, so that an image does not depend on how many are asked for


@cache
def fonts_with(character: str) -> tuple[str, ...]:
    """Paths of matplotlib's fonts that have ``character`` (their character maps say so), in a fixed order.

    Raises:
        InputError: not one character, or no font has it.
    """
    if len(character) != 1:
        raise InputError(f"characters: {character!r} has {len(character)} code points, must be exactly 1")
    folder = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
    names = _DEJAVU + _STIX
    if character.isascii() and character.isalnum():  # elsewhere the TeX fonts map code points to other glyphs
        names = names + _TEX
    paths = tuple(str(folder / f"{name}.ttf") for name in names)
    found = tuple(path for path in paths if ord(character) in _character_map(path))
    if not found or unicodedata.category(character)[0] in "CZ":
        raise InputError(f"characters: no font draws {character!r} (U+{ord(character):04X}), see PRETRAINING_GLYPHS")
    return found


@cache
def _character_map(path: str) -> frozenset[int]:
    return frozenset(FT2Font(path).get_charmap())


@cache
def _font(path: str, pixels: int) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(path, pixels, layout_engine=ImageFont.Layout.BASIC)


@cache
def clean_mask(character: str, path: str, size: int) -> Image.Image:
    """Coverage 0-255 of the upright glyph, cropped to its bounding box, whose longer side measures ``size`` pixels."""
    font = _font(path, 3 * size)
    left, top, right, bottom = (round(edge) for edge in font.getbbox(character))  # whole pixels, typed as float
    mask = Image.new("L", (right - left + 2, bottom - top + 2))
    ImageDraw.Draw(mask).text((1 - left, 1 - top), character, font=font, fill=255)
    mask = mask.crop(mask.getbbox())
    scale = size / max(mask.size)
    return mask.resize([max(1, round(side * scale)) for side in mask.size], Image.Resampling.BOX)


def _placed_mask(mask: Image.Image, size: int, draws: np.ndarray) -> np.ndarray:
    """``mask`` scaled, sheared, rotated and moved by 5 ``draws`` in [-1, 1): coverage 0-255, uint8 (size, size)."""
    extent = (EXTENT[0] + EXTENT[1] + (EXTENT[1] - EXTENT[0]) * draws[0]) / 2
    angle, shear = np.radians(ROTATION) * draws[1], SHEAR * draws[2]
    cos, sin = np.cos(angle), np.sin(angle)
    forward = extent * np.array([[cos, -sin], [sin, cos]]) @ np.array([[1.0, -shear], [0.0, 1.0]])
    centre = size * (0.5 + SHIFT * draws[3:5])
    inverse = np.linalg.inv(forward)  # PIL asks where in the source each output pixel comes from
    offset = np.array(mask.size) / 2 - inverse @ centre
    coefficients = (*inverse[0], offset[0], *inverse[1], offset[1])
    return np.asarray(mask.transform((size, size), Image.Transform.AFFINE, coefficients, Image.Resampling.BICUBIC))


def _coloured(coverage: np.ndarray, draws: np.ndarray, noise: np.ndarray, jitter: float, dark: float) -> np.ndarray:
    """Glyph and background colours, a luminance gradient and pixel noise, for all the images of a class at once.

    Args:
        coverage: 0 background to 1 glyph, float32 (n, size, size).
        draws: uniform in [0, 1), float32 (n, 12).
        noise: standard normal, float32 (n, 3, size, size); overwritten.
        jitter: factor on tint, gradient and noise.
        dark: share of the images whose glyph is darker than its background.

    Returns:
        RGB, uint8 (n, 3, size, size).
    """
    size = coverage.shape[-1]
    contrast = CONTRAST[0] + (CONTRAST[1] - CONTRAST[0]) * draws[:, 0]
    darker = draws[:, 1] * (1 - contrast)
    swapped = draws[:, 11] < dark
    ground = (darker + swapped * contrast)[:, None] + jitter * TINT * (2 * draws[:, 2:5] - 1)
    glyph = (darker + ~swapped * contrast)[:, None] + jitter * TINT * (2 * draws[:, 5:8] - 1)
    ramp = np.linspace(-1, 1, size, dtype=np.float32)
    slope = jitter * GRADIENT * (2 * draws[:, 8:10] - 1)
    gradient = slope[:, 0, None, None] * ramp[:, None] + slope[:, 1, None, None] * ramp  # (n, size, size)
    level = jitter * (NOISE[0] + (NOISE[1] - NOISE[0]) * draws[:, 10])
    noise *= level[:, None, None, None]
    # The gradient covers the glyph as well: the contrast between the two stays what was drawn.
    noise += (ground[:, :, None, None] + gradient[:, None]) + coverage[:, None] * (glyph - ground)[:, :, None, None]
    return np.rint(np.clip(noise, 0, 1) * 255).astype(np.uint8)


def render(
    characters: Sequence[str],
    per_class: int,
    split: str,
    size: int = 32,
    seed: int = 0,
    jitter: float = 0.5,
    dark: float = 0.5,
) -> tuple[np.ndarray, np.ndarray]:
    """Draw ``per_class`` images of every character, class after class.

    Image j of a character is the same whatever ``per_class`` is and whichever other characters are asked for: its
    random numbers come from (``seed``, ``split``, code point). Another Pillow or FreeType may round pixels differently.

    Args:
        characters: one character per class; class c is ``characters[c]``.
        per_class: images per class, at least 1.
        split: "train" or "test": separate random streams, hence other images.
        size: height and width in pixels, at least 16.
        seed: non-negative; another seed is another data set.
        jitter: in [0, 1], factor on every disturbance; 0 is upright, centred, grey and noiseless, in any font.
        dark: in [0, 1], share of the images whose glyph is darker than its background.

    Returns:
        images, RGB uint8 (N, 3, size, size), and labels, int64 (N,), where N = len(characters) * per_class.

    Raises:
        InputError: an argument out of its range, a character twice, or one that no font has.
    """
    if split not in SPLITS:
        raise InputError(f"split: {split!r}, must be one of {', '.join(SPLITS)}")
    for name, value, lowest in (("per_class", per_class, 1), ("size", size, 16), ("seed", seed, 0)):
        if value < lowest:
            raise InputError(f"{name}: {value}, must be at least {lowest}")
    for name, fraction in (("jitter", jitter), ("dark", dark)):
        if not 0 <= fraction <= 1:
            raise InputError(f"{name}: {fraction}, must be between 0 and 1")
    if not characters or len(set(characters)) != len(characters):
        raise InputError(f"characters: {len(set(characters))} different of {len(characters)}, must be >= 1, each once")

    images = np.empty((len(characters), per_class, 3, size, size), dtype=np.uint8)
    for c, character in enumerate(characters):
        fonts = fonts_with(character)
        entropy = np.random.SeedSequence([seed, SPLITS.index(split), ord(character)])
        layout, pixels = (np.random.default_rng(stream) for stream in entropy.spawn(2))
        draws = layout.random((per_class, _DRAWS))  # filled image by image: a longer array begins with the shorter one
        noise = pixels.standard_normal((per_class, 3, size, size), dtype=np.float32)
        coverage = np.empty((per_class, size, size), dtype=np.float32)
        for j, draw in enumerate(draws):
            mask = clean_mask(character, fonts[int(draw[0] * len(fonts))], size)
            coverage[j] = _placed_mask(mask, size, jitter * (2 * draw[1:6] - 1))
        images[c] = _coloured(coverage / 255, draws[:, 6:].astype(np.float32), noise, jitter, dark)
    return images.reshape(-1, 3, size, size), np.repeat(np.arange(len(characters), dtype=np.int64), per_class)
