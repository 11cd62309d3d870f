"""Training pictures of several products at once, evenly over products and defects."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np

from inout_aug.datasets._files import read_image, read_mask
from inout_aug.sample import Image, Mask, Sample
from inout_generators.common.pictures import Pictures, Windows
from inout_generators.defectdiffu.names import GOOD, DefectNames, check_names

_COLUMNS = ("image", "mask", "product", "defect")


class Named(NamedTuple):
    """A sample, and the names of what it shows.

    Attributes:
        sample: The mask is non-zero where the defect is; that of a good sample is empty or None.
        product: Its product.
        defect: Its defect; "good" for none.
    """

    sample: Sample
    product: str
    defect: str


class Batch(NamedTuple):
    """Training pictures.

    Attributes:
        images: (B, H, W, C).
        masks: uint8, (B, H, W), 1 where the defect is.
        products: B names.
        defects: B names; "good" for none.
    """

    images: Image
    masks: Mask
    products: list[str]
    defects: list[str]


class Products:
    """What several products and their defects look like.

    A share of the pictures, `windows.background`, are good ones, evenly over the products; the others show defects,
    evenly over all pairs of product and defect that there are. Grey images are shown in colour among coloured ones.

    Args:
        named: Samples of all products. One with several defects comes once for each of them.
        windows: How pictures are cut.

    Raises:
        ValueError: A product has no good image; there is no defective image at all; a good sample has a mask that is
            not empty, or a defective one has none; names are not told apart by prompts; dtypes differ; or an image is
            too small.

    Example:
        >>> image, mask = np.full((32, 48, 1), 90, np.uint8), np.zeros((32, 48), np.uint8)
        >>> mask[10:14, 20:30] = 1
        >>> good = [Named(Sample(image), product, "good") for product in ("tile", "wood")]
        >>> products = Products([Named(Sample(image, mask), "tile", "crack"), *good], Windows(size=(16, 16)))
        >>> products.names, products.defects, products.good_only
        (('tile', 'wood'), ('crack',), ('wood',))
        >>> products.draw(4, np.random.default_rng(0)).images.shape
        (4, 16, 16, 1)
    """

    def __init__(self, named: Iterable[Named], windows: Windows) -> None:
        self.windows = windows
        good: dict[str, list[Sample]] = {}
        defective: dict[str, dict[str, list[Sample]]] = {}
        for sample, product, defect in named:
            shown = defective.setdefault(product, {})
            if defect != GOOD:
                shown.setdefault(defect, []).append(sample)
                continue
            if sample.mask is not None and sample.mask.any():
                raise ValueError(f"a good image of {product!r} has a mask that is not empty: name its defect")
            good.setdefault(product, []).append(sample)
        self.names = tuple(sorted(defective))
        self.defects = tuple(sorted({defect for shown in defective.values() for defect in shown}))
        check_names(self.names, self.defects)
        if bare := [product for product in self.names if product not in good]:
            raise ValueError(
                f"{', '.join(bare)}: no good image. What a defect changes is learned against good images of the same "
                "product; add some, or leave the product out"
            )
        if not self.defects:
            raise ValueError("no defective image: there is no defect to learn from. Give some of one product at least")
        self._pictures = {
            product: _pictures(product, defective[product], good[product], windows) for product in self.names
        }
        self._pairs = [(product, k) for product in self.names for k in range(1, len(defective[product]) + 1)]
        if len(dtypes := sorted({str(pictures.dtype) for pictures in self._pictures.values()})) > 1:
            raise ValueError(f"all images have one dtype; got {' and '.join(dtypes)}. Convert some")

    @property
    def good_only(self) -> tuple[str, ...]:
        """The products of which there is no defective image."""
        return tuple(product for product in self.names if not self._pictures[product].classes)

    @property
    def pairs(self) -> list[tuple[str, str]]:
        """The pairs of product and defect that there are."""
        return [(product, self._pictures[product].classes[k - 1]) for product, k in self._pairs]

    @property
    def channels(self) -> int:
        """Of the pictures: 1 if all products are grey, else 3."""
        return max(pictures.channels for pictures in self._pictures.values())

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of the pictures: uint8 or uint16."""
        return self._pictures[self.names[0]].dtype

    def describe(self) -> dict[str, Any]:
        """Return what there is of each product, as JSON-able values."""
        return {product: pictures.describe() for product, pictures in self._pictures.items()}

    def draw(self, count: int, rng: np.random.Generator) -> Batch:
        """Return `count` training pictures.

        Args:
            count: At least 1.
            rng: The only source of randomness.
        """
        images, masks, products, defects = zip(*(self._draw_one(rng) for _ in range(count)), strict=True)
        return Batch(np.stack(images), np.stack(masks), list(products), list(defects))

    def _draw_one(self, rng: np.random.Generator) -> tuple[Image, Mask, str, str]:
        if rng.random() < self.windows.background:
            product, k = self.names[rng.integers(len(self.names))], 0
        else:
            product, k = self._pairs[rng.integers(len(self._pairs))]
        pictures = self._pictures[product]
        image, mask = pictures.show(k, rng)
        if image.shape[2] != self.channels:
            image = cast(Image, np.repeat(image, self.channels, 2))
        return image, ((mask == k) & (mask > 0)).astype(np.uint8), product, pictures.classes[k - 1] if k else GOOD


def name_samples(
    product: str, samples: Iterable[Sample], classes: Sequence[str], names: DefectNames | None = None
) -> Iterator[Named]:
    """Yield the samples of one product, defective ones once for each defect that their masks show.

    Args:
        product: What to call it.
        samples: Label 0 is a good one; masks have the ids 1, 2, …
        classes: Names of these ids.
        names: What to call the defects instead.

    Raises:
        ValueError: A mask has an id without a name.

    Example:
        >>> image, mask = np.full((32, 48, 1), 90, np.uint8), np.arange(32 * 48, dtype=np.int64).reshape(32, 48)
        >>> sample = Sample(image, (mask % 3).astype(np.uint8), 1)
        >>> [each.defect for each in name_samples("tile", [sample], ("crack", "hole"))]
        ['crack', 'hole']
    """
    names = names or DefectNames()
    for number, sample in enumerate(samples):
        if not sample.label:
            yield Named(sample, product, GOOD)
            continue
        mask = np.zeros(sample.size, np.uint8) if sample.mask is None else sample.mask
        # one without a mask goes on too, to be refused like an empty one
        for k in np.unique(mask[mask > 0]).tolist() or [sample.label]:
            if k > len(classes):
                raise ValueError(
                    f"{product}, image {number}: the mask has {k}; the classes {', '.join(classes) or '(none)'} have "
                    f"the ids 1 to {len(classes)}"
                )
            shown = Sample(sample.image, (mask == k).astype(np.uint8), 1)
            yield Named(shown, product, names.unified(product, classes[k - 1]))


def read_manifest(path: Path, names: DefectNames | None = None) -> Iterator[Named]:
    r"""Yield the samples that a CSV file lists, with the columns image, mask, product and defect.

    Paths are relative to the file. A good image has the defect "good" or none, and needs no mask, or an
    empty one; in other masks any value but 0 is the defect. An image with several defects has a line for each.

    Args:
        path: The file.
        names: What to call the defects instead.

    Raises:
        FileNotFoundError: The file, or one that it lists, is missing.
        ValueError: It has other columns, or a line lacks what it must have; the message has the line.

    Example:
        >>> import tempfile, cv2
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     _ = cv2.imwrite(f"{folder}/1.png", np.full((32, 32), 90, np.uint8))
        ...     _ = Path(folder, "parts.csv").write_text("image,mask,product,defect\n1.png,,hex nut,good\n")
        ...     [(each.product, each.defect) for each in read_manifest(Path(folder, "parts.csv"))]
        [('hex nut', 'good')]
    """
    names = names or DefectNames()
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.DictReader(file)
        if set(reader.fieldnames or ()) != set(_COLUMNS):
            raise ValueError(f"{path} has the columns {reader.fieldnames}; expected {','.join(_COLUMNS)}")
        for row in reader:
            image, mask, product, defect = ((row[column] or "").strip() for column in _COLUMNS)
            where = f"{path}, line {reader.line_num}"
            if not image or not product:
                raise ValueError(f"{where}: image and product are not empty")
            picture = read_image(path.parent / image)
            inside = (read_mask(path.parent / mask) != 0).astype(np.uint8) if mask else None
            if inside is not None and inside.shape != picture.shape[:2]:
                raise ValueError(f"{where}: the mask is {inside.shape}, its image {picture.shape[:2]}")
            if defect in ("", GOOD):
                yield Named(Sample(picture, inside), product, GOOD)
            elif inside is None:
                raise ValueError(f"{where}: {defect!r} needs a mask: where the defect is, is learned too")
            else:
                yield Named(Sample(picture, inside, 1), product, names.unified(product, defect))


def _pictures(product: str, defective: dict[str, list[Sample]], good: list[Sample], windows: Windows) -> Pictures:
    """Return one product's pictures, with the defects numbered from 1 in the order of their names."""
    classes = sorted(defective)
    samples = [
        Sample(sample.image, None if sample.mask is None else (sample.mask > 0) * np.uint8(k), 1)
        for k, defect in enumerate(classes, start=1)
        for sample in defective[defect]
    ]
    try:
        return Pictures(samples, classes, windows, normal=good)
    except ValueError as error:
        raise ValueError(f"{product}: {error}") from None
