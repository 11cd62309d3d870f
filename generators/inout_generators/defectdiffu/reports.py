"""What a DefectDiffu has learned, as pictures: the dial of strength, transfer to other products, where it looks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from inout_aug._panels import FAINT, PAPER, Canvas, fit, to_rgb, wrap, write
from inout_aug.sample import Image
from inout_generators.common.checkpoints import replacing
from inout_generators.defectdiffu.drawing import Drawn
from inout_generators.defectdiffu.generator import STRENGTHS, DefectDiffu
from inout_generators.defectdiffu.names import GOOD, prompts

_GAP, _SEAM, _TEXT = 10, 2, 11
_LABEL = 110
_LABEL_LINES = 3
_JPEG_QUALITY = 85
# nearly clean: the net sees the defect, and masks are read from here
_ATTENTION_T = 50

Row = Sequence[Drawn]


def strength_grid(
    generator: DefectDiffu,
    *,
    pairs: Sequence[tuple[str, str]] | None = None,
    strengths: Sequence[float] = (0.0, *STRENGTHS),
    seed: int = 0,
    tile: int = 96,
) -> Canvas:
    """Draw pairs of product and defect at several strengths, from the same noise in each row, with their masks.

    Args:
        generator: What draws.
        pairs: Of product and defect; by default all that it saw together.
        strengths: Each a `w_defect`.
        seed: Of the noise.
        tile: Side of a picture.

    Returns:
        uint8, (H, W, 3), RGB.
    """
    chosen = pairs or _seen(generator)
    rows = {
        f"{defect} {product}": generator.series(product, defect, strengths=strengths, seed=seed)
        for product, defect in chosen
    }
    return grid(rows, [f"w = {w:g}" for w in strengths], tile=tile)


def zero_shot_grid(
    generator: DefectDiffu,
    *,
    products: Sequence[str] | None = None,
    strength: float = 1.5,
    seeds: Sequence[int] = (0, 1, 2),
    tile: int = 96,
) -> Canvas:
    """Draw every defect on products that were never seen with it, beside the same noise without one.

    Args:
        generator: What draws.
        products: By default those that some defect was never seen on.
        strength: `w_defect`.
        seeds: Of the noise, a row for each.
        tile: Side of a picture.

    Returns:
        uint8, (H, W, 3), RGB.

    Raises:
        ValueError: Every defect was seen on every product.
    """
    unseen = {
        product: [defect for defect in generator.defects if defect not in known]
        for product, known in generator.products.items()
        if (products is None or product in products)
    }
    unseen = {product: defects for product, defects in unseen.items() if defects}
    if not unseen:
        raise ValueError("every defect was seen on every product: there is nothing to transfer")
    columns = [GOOD, *generator.defects]
    rows: dict[str, list[Drawn | None]] = {}
    for product, defects in unseen.items():
        for seed in seeds:
            (plain,) = generator.series(product, defects[0], strengths=[0.0], seed=seed)
            drawn = {d: generator.series(product, d, strengths=[strength], seed=seed)[0] for d in defects}
            rows[f"{product}, seed {seed}"] = [plain, *(drawn.get(defect) for defect in generator.defects)]
    return grid(rows, columns, tile=tile)


def attention_grid(
    generator: DefectDiffu,
    *,
    pairs: Sequence[tuple[str, str]] | None = None,
    strength: float = 1.5,
    seed: int = 0,
    tile: int = 96,
) -> Canvas:
    """Draw where each block that is told the defect looks, in mean over its heads, on pictures of its own.

    Args:
        generator: What draws.
        pairs: Of product and defect; by default all that it saw together.
        strength: `w_defect` of the pictures.
        seed: Of the noise.
        tile: Side of a picture.

    Returns:
        uint8, (H, W, 3), RGB; each map is shown from 0 to its largest value.
    """
    chosen = pairs or _seen(generator)
    panels, labels = [], []
    blocks = len(generator.net.cross_defect)
    for product, defect in chosen:
        (drawn,) = generator.series(product, defect, strengths=[strength], seed=seed)
        maps = attention_by_block(generator, drawn.image, defect, seed=seed)
        heat = [fit(_heat(each, drawn.image.shape[:2]), (tile, tile)) for each in maps]
        panels.append([_picture(drawn, tile), _mask(drawn, tile), *heat])
        labels.append(f"{defect} {product}")
    return _lay_out(panels, labels, ["image", "mask", *(f"block {k + 1}" for k in range(blocks))])


def attention_by_block(
    generator: DefectDiffu, image: Image, defect: str, *, t: int = _ATTENTION_T, seed: int = 0
) -> NDArray[np.float32]:
    """Return where each block that is told the defect looks in an image, in mean over its heads.

    Args:
        generator: Its net is asked.
        image: uint8, (H, W, C), as the generator draws.
        defect: Name; the product stays untold.
        t: Timestep to which the image is noised.
        seed: Of that noise.

    Returns:
        float32, (blocks, h, w), one value per patch; each map sums to 1.
    """
    net, space = generator.net, generator.space
    device = net.y_embedders.weight.device
    noise = torch.Generator().manual_seed(seed)
    x0 = space.encode(image[None])
    times = torch.tensor([t])
    z = generator.schedule.add_noise(x0, torch.randn(x0.shape, generator=noise), times)
    told = prompts(defect, generator.null_product)
    maps: list[Tensor] = []
    with torch.inference_mode(), ExitStack() as hooks:
        for block in net.cross_defect:
            hook = block.register_forward_hook(lambda _, __, output: maps.append(output[1].float().mean(1)[0].cpu()))
            hooks.callback(hook.remove)
        texts = [generator.text.encode([text]).to(device, net.dtype) for text in told]
        net(z.to(device, net.dtype), times.to(device), *texts)
    patch = net.config["patch"]
    size = z.shape[2] // patch, z.shape[3] // patch
    return torch.stack(maps).reshape(-1, *size).numpy()


def grid(rows: Mapping[str, Sequence[Drawn | None]], columns: Sequence[str], *, tile: int = 96) -> Canvas:
    """Draw images over their masks, row by row.

    Args:
        rows: What was drawn, by the label of the row; None leaves a gap.
        columns: Their headings.
        tile: Side of a picture; others than squares are fitted in.

    Returns:
        uint8, (H, W, 3), RGB.
    """
    blank = np.full((tile, tile, 3), PAPER, np.uint8)
    seam = np.full((_SEAM, tile, 3), PAPER, np.uint8)
    panels = [
        [
            np.concatenate([_picture(drawn, tile), seam, _mask(drawn, tile)])
            if drawn is not None
            else np.concatenate([blank, seam, blank])
            for drawn in row
        ]
        for row in rows.values()
    ]
    return _lay_out(panels, list(rows), columns)


def write_picture(path: Path, canvas: Canvas) -> None:
    """Write a picture, as JPEG or PNG by its suffix."""
    options = [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY] if path.suffix in (".jpg", ".jpeg") else []
    with replacing(path) as unfinished:
        unfinished.write_bytes(cv2.imencode(path.suffix, canvas[..., ::-1], options)[1].tobytes())


def _lay_out(panels: Sequence[Sequence[Canvas]], labels: Sequence[str], columns: Sequence[str]) -> Canvas:
    """Put panels of one size into rows under headings, each row behind its label."""
    height, width = panels[0][0].shape[:2]
    top = _GAP + 2 * _TEXT
    canvas = np.full(
        (top + len(panels) * (height + _GAP), _LABEL + len(columns) * (width + _SEAM) + _GAP, 3), PAPER, np.uint8
    )
    for k, heading in enumerate(columns):
        (short,) = wrap(heading, width, lines=1, size=_TEXT)
        write(canvas, short, _LABEL + k * (width + _SEAM), _GAP, size=_TEXT, colour=FAINT)
    for row, (label, pictures) in enumerate(zip(labels, panels, strict=True)):
        y = top + row * (height + _GAP)
        for line, text in enumerate(wrap(label, _LABEL - 2 * _GAP, lines=_LABEL_LINES, size=_TEXT)):
            write(canvas, text, _GAP, y + line * 2 * _TEXT, size=_TEXT)
        for k, picture in enumerate(pictures):
            x = _LABEL + k * (width + _SEAM)
            canvas[y : y + height, x : x + width] = picture
    return canvas


def _picture(drawn: Drawn, tile: int) -> Canvas:
    return fit(to_rgb(drawn.image, (0, 255)), (tile, tile))


def _mask(drawn: Drawn, tile: int) -> Canvas:
    return fit(to_rgb((drawn.mask * np.uint8(255))[..., None], (0, 255)), (tile, tile))


def _heat(attention: NDArray[np.float32], size: tuple[int, int]) -> Canvas:
    """Return a map in colours, a block of pixels for each of its values."""
    level = (255 * attention / attention.max()).astype(np.uint8)
    large = cv2.resize(level, size[::-1], interpolation=cv2.INTER_NEAREST)
    return np.asarray(cv2.applyColorMap(large, cv2.COLORMAP_VIRIDIS)[..., ::-1], np.uint8)


def _seen(generator: DefectDiffu) -> list[tuple[str, str]]:
    """Return the pairs of product and defect that were seen together."""
    return [(product, defect) for product, known in generator.products.items() for defect in known]
