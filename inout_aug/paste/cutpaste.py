"""CutPaste: a patch of the host, moved elsewhere on it (Li et al. 2021)."""

from __future__ import annotations

import math
from collections.abc import Sequence

import cv2
import numpy as np
from cv2.typing import MatLike

from inout_aug.paste._colour import colour_matrix
from inout_aug.paste._options import as_defect_class, as_names, as_number, as_range, settings
from inout_aug.plugin import HostRefused
from inout_aug.sample import Image, Mask, Params, check_image

KINDS = ("plain", "scar")


class CutPaste:
    """Cuts a rectangle out of the host, changes its colours a little, and pastes it elsewhere with hard edges.

    "plain" is a large upright patch, "scar" a thin rotated one (Li, Sohn, Yoon and Pfister, "CutPaste: Self-Supervised
    Learning for Anomaly Detection and Localization", CVPR 2021, sections 2.2 and A.2; sizes in pixels there belong to
    images of 256 × 256 and are relative here).

    Args:
        kinds: "plain", "scar" or both, with equal chance.
        area: Of a plain patch, as a share of the image.
        aspect: Height by width of a plain patch; log-uniform.
        width: Of a scar, per shorter image side; at least two pixels.
        length: Of a scar, per shorter image side; at least three pixels.
        angle: Of a scar, in degrees.
        jitter: Largest change of brightness, contrast and saturation (1 = doubled or nothing left) and of hue (1 = once
            round), as in torchvision's ColorJitter. Grey hosts have brightness and contrast only.
        defect_class: Value of the mask inside.

    Raises:
        ValueError: A range is empty or out of bounds, or a name is not known.

    Example:
        >>> paster = CutPaste(kinds="scar")
        >>> host = np.random.default_rng(0).integers(0, 256, (64, 96, 3), np.uint8)
        >>> image, mask = paster.apply(host, paster.make_params(host, np.random.default_rng(1)))
        >>> bool((image == host)[mask == 0].all()), bool((image == host)[mask == 1].all())
        (True, False)
    """

    def __init__(
        self,
        *,
        kinds: str | Sequence[str] = KINDS,
        area: float | tuple[float, float] = (0.02, 0.15),
        aspect: float | tuple[float, float] = (0.3, 3.3),
        width: float | tuple[float, float] = (2 / 256, 16 / 256),
        length: float | tuple[float, float] = (10 / 256, 25 / 256),
        angle: float | tuple[float, float] = (-45.0, 45.0),
        jitter: float = 0.1,
        defect_class: int = 1,
    ) -> None:
        self.kinds = as_names("kinds", kinds, KINDS)
        self.area = as_range("area", area, low=1e-4, high=0.5)
        self.aspect = as_range("aspect", aspect, low=0.05, high=20)
        # a scar fits into the image at any angle
        self.width = as_range("width", width, low=1e-4, high=0.7)
        self.length = as_range("length", length, low=1e-4, high=0.7)
        self.angle = as_range("angle", angle, low=-180, high=180)
        self.jitter = as_number("jitter", jitter, low=0, high=1)
        self.defect_class = as_defect_class(defect_class)

    def __repr__(self) -> str:
        return settings(self)

    def make_params(self, image: Image, rng: np.random.Generator) -> Params:
        """Draw the kind, where the patch comes from and goes to (y, x of its corner), its size, angle and colours."""
        check_image(image)
        rows, columns = image.shape[:2]
        kind = self.kinds[rng.integers(len(self.kinds))]
        if kind == "plain":
            area, angle = rng.uniform(*self.area) * rows * columns, 0.0
            aspect = math.exp(rng.uniform(*np.log(self.aspect)))
            size = np.rint([math.sqrt(area * aspect), math.sqrt(area / aspect)])
        else:
            angle = round(rng.uniform(*self.angle), 2)
            size = np.rint(np.array([rng.uniform(*self.length), rng.uniform(*self.width)]) * min(rows, columns))
        height, width = np.clip(size, (3, 2), (rows - 2, columns - 2)).astype(int).tolist()
        high, wide = _extent(height, width, angle)
        brightness, contrast, saturation = rng.uniform(1 - self.jitter, 1 + self.jitter, 3).round(4).tolist()
        return {
            "kind": kind,
            "size": [height, width],
            "angle": angle,
            "from": rng.integers(0, [rows - height + 1, columns - width + 1]).tolist(),
            "to": rng.integers(0, [rows - high + 1, columns - wide + 1]).tolist(),
            "brightness": brightness,
            "contrast": contrast,
            "saturation": saturation,
            "hue": round(rng.uniform(-self.jitter, self.jitter), 4),
        }

    def apply(self, image: Image, params: Params) -> tuple[Image, Mask]:
        """Paste. The mask is the whole patch."""
        check_image(image)
        (y, x), (height, width), (top, left) = params["from"], params["size"], params["to"]
        patch = _recolour(image[y : y + height, x : x + width], params)
        inside = np.full((height, width), self.defect_class, np.uint8)
        if params["angle"]:
            high, wide = _extent(height, width, params["angle"])
            turn = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), params["angle"], 1)
            turn[:, 2] += (wide - width) / 2, (high - height) / 2
            patch = cv2.warpAffine(patch, turn, (wide, high), borderMode=cv2.BORDER_REPLICATE)
            inside = cv2.warpAffine(inside, turn, (wide, high), flags=cv2.INTER_NEAREST)
        out, mask = image.copy(), np.zeros(image.shape[:2], np.uint8)
        target = np.s_[top : top + inside.shape[0], left : left + inside.shape[1]]
        mask[target] = inside
        np.copyto(out[target], patch.reshape(*inside.shape, -1), where=inside[..., None] > 0)
        if np.array_equal(out[target], image[target]):
            raise HostRefused("the patch looks exactly like what it covers: the host is of one colour, or jitter is 0")
        return out, mask


def _extent(height: int, width: int, angle: float) -> tuple[int, int]:
    """Return height and width of the upright box around a rotated rectangle."""
    cos, sin = abs(math.cos(math.radians(angle))), abs(math.sin(math.radians(angle)))
    return math.ceil(height * cos + width * sin), math.ceil(height * sin + width * cos)


def _recolour(patch: Image, params: Params) -> MatLike:
    """Change brightness, contrast, saturation and hue in one linear map, rounded once."""
    if patch.shape[2] == 1:
        matrix, grey = np.eye(1), patch.mean()
    else:
        matrix = colour_matrix(params["saturation"], 360 * params["hue"])
        grey = cv2.cvtColor(patch, cv2.COLOR_RGB2GRAY).mean()
    gain, contrast = params["brightness"], params["contrast"]
    offset = np.full((len(matrix), 1), gain * (1 - contrast) * grey)
    return cv2.transform(patch, np.hstack([gain * contrast * matrix, offset]))
