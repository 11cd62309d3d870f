from collections import Counter

import cv2
import numpy as np
import pytest

from inout_aug.sample import Sample
from inout_aug.seeding import stream
from inout_generators.common.pictures import Windows
from inout_generators.defectdiffu.data import Named, Products, name_samples, read_manifest
from inout_generators.defectdiffu.names import DefectNames

SIZE = (24, 32)


def image(level, channels=1, dtype=np.uint8, size=SIZE):
    return np.full((*size, channels), level, dtype)


def mask(rows=(8, 12), columns=(10, 20), size=SIZE, value=1):
    drawn = np.zeros(size, np.uint8)
    drawn[slice(*rows), slice(*columns)] = value
    return drawn


def good(product, level=50, **options):
    return Named(Sample(image(level, **options)), product, "good")


def defective(product, defect, level=90, drawn=None, **options):
    return Named(Sample(image(level, **options), mask() if drawn is None else drawn, 1), product, defect)


def windows(**options):
    return Windows(size=SIZE, crop=False, **{"symmetry": "none", "shift": 0.0, "background": 0.25, **options})


# tile has many cracks and one hole; wood has one crack; steel is known by good images only
MANY = [
    *[defective("tile", "crack", 90)] * 9,
    defective("tile", "hole", 120),
    defective("wood", "crack", 150),
    good("tile", 10),
    good("wood", 20),
    good("steel", 30),
]


def test_pairs_and_good_products_are_drawn_evenly_however_many_samples_they_have():
    products = Products(MANY, windows())
    assert products.names == ("steel", "tile", "wood")
    assert products.defects == ("crack", "hole")
    assert products.good_only == ("steel",)
    assert products.pairs == [("tile", "crack"), ("tile", "hole"), ("wood", "crack")]
    drawn = products.draw(6000, stream(0))
    found = Counter(zip(drawn.products, drawn.defects, strict=True))
    for pair in products.pairs:
        assert found[pair] / 6000 == pytest.approx(0.25, abs=0.02)
    for product in products.names:
        assert found[product, "good"] / 6000 == pytest.approx(0.25 / 3, abs=0.015)


def test_image_mask_and_names_belong_together():
    drawn = Products(MANY, windows()).draw(300, stream(1))
    level = {
        ("tile", "crack"): 90,
        ("tile", "hole"): 120,
        ("wood", "crack"): 150,
        ("tile", "good"): 10,
        ("wood", "good"): 20,
        ("steel", "good"): 30,
    }
    for picture, inside, *names in zip(*drawn, strict=True):
        assert (picture == level[tuple(names)]).all()
        assert (inside == (mask() if names[1] != "good" else 0)).all()


def test_the_same_stream_gives_the_same_pictures():
    products = Products(MANY, windows(symmetry="flips", shift=0.1))
    first, again = products.draw(20, stream(4)), products.draw(20, stream(4))
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))


def test_grey_products_are_shown_in_colour_among_coloured_ones():
    grey, coloured = good("grid"), [good("tile", channels=3), defective("tile", "crack", channels=3)]
    products = Products([grey, *coloured], windows(background=0.9))
    assert products.channels == 3
    drawn = products.draw(50, stream(0))
    assert "grid" in drawn.products
    assert drawn.images.shape == (50, *SIZE, 3)


def test_crops_and_other_proportions():
    wide = Sample(image(9, size=(40, 120)), mask((20, 24), (100, 104), size=(40, 120)), 1)
    products = Products(
        [Named(wide, "rail", "crack"), Named(Sample(wide.image), "rail", "good")], Windows(size=SIZE, crop=True)
    )
    drawn = products.draw(20, stream(0))
    assert drawn.images.shape == (20, *SIZE, 1)
    assert all(inside.any() == (defect != "good") for inside, defect in zip(drawn.masks, drawn.defects, strict=True))


@pytest.mark.parametrize(
    ("named", "message"),
    [
        ([defective("tile", "crack")], "tile: no good image"),
        ([good("tile")], "no defective image"),
        ([], "no defective image"),
        ([good("tile"), defective("tile", "crack"), Named(Sample(image(1), mask()), "tile", "good")], "not empty"),
        ([good("tile"), defective("tile", "crack", drawn=mask(value=0))], "tile: defective image 0 has an empty mask"),
        ([good("tile"), Named(Sample(image(1)), "tile", "crack")], "tile: defective image 0 has no mask"),
        ([good("tile"), defective("tile", "tile")], "'tile' names a defect and is a product"),
        ([good("industry"), defective("industry", "crack")], "the word for any product"),
        ([good("tile"), defective("tile", "crack"), good("wood", dtype=np.uint16)], "one dtype; got uint16 and uint8"),
        ([good("tile"), defective("tile", "crack", channels=3)], "tile: all images have one dtype and number of"),
    ],
)
def test_what_cannot_be_learnt_from_is_refused(named, message):
    with pytest.raises(ValueError, match=message):
        Products(named, windows())


def test_images_that_are_too_small_are_named_with_their_product():
    with pytest.raises(ValueError, match="tile: defective image 0 is 24x32 and would be enlarged"):
        Products([good("tile"), defective("tile", "crack")], Windows(size=(64, 96), crop=False))


def test_samples_with_several_defects_come_once_for_each():
    both = Sample(image(7), mask((2, 4), (2, 4)) + mask((10, 14), (20, 24), value=2), 2)
    names = DefectNames({("leather", "poke"): "hole"})
    plain, crack, hole = name_samples("leather", [Sample(image(5)), both], ("crack", "poke"), names)
    assert (plain.defect, crack.defect, hole.defect) == ("good", "crack", "hole")
    assert (crack.sample.mask == mask((2, 4), (2, 4))).all()
    assert (hole.sample.mask == mask((10, 14), (20, 24))).all()
    with pytest.raises(ValueError, match=r"leather, image 0: the mask has 2; the classes crack have the ids 1 to 1"):
        list(name_samples("leather", [both], ("crack",)))


@pytest.fixture
def folder(tmp_path):
    """Images in colour and in grey, and masks of one channel and of three."""
    cv2.imwrite(str(tmp_path / "grey.png"), image(40))
    cv2.imwrite(str(tmp_path / "mask1.png"), mask(value=255))
    cv2.imwrite(str(tmp_path / "mask3.png"), np.repeat(mask(value=255)[..., None], 3, 2))
    cv2.imwrite(str(tmp_path / "black.png"), mask(value=0))
    cv2.imwrite(str(tmp_path / "small.png"), np.zeros((16, 16), np.uint8))
    return tmp_path


def manifest(folder, *lines):
    path = folder / "parts.csv"
    path.write_text("\n".join(["image,mask,product,defect", *lines]) + "\n")
    return path


def test_a_manifest_of_several_products(folder):
    path = manifest(
        folder,
        "grey.png,,hex nut,good",
        "grey.png,,hex nut,",
        "grey.png,black.png,hex nut,good",
        "grey.png,mask1.png,hex nut,worn edge",
        "grey.png,mask3.png,leather,poke",
    )
    named = list(read_manifest(path, DefectNames.read("uni_defect")))
    assert [(each.product, each.defect) for each in named] == [
        ("hex nut", "good"),
        ("hex nut", "good"),
        ("hex nut", "good"),
        ("hex nut", "worn edge"),
        ("leather", "hole"),
    ]
    assert named[0].sample.mask is None
    for each in named[3:]:
        assert (each.sample.mask == mask()).all()
        assert (each.sample.image == 40).all()


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("grey.png,,tile,crack", "line 2: 'crack' needs a mask"),
        ("grey.png,small.png,tile,crack", r"line 2: the mask is \(16, 16\), its image \(24, 32\)"),
        (",,tile,good", "line 2: image and product"),
        ("grey.png,,,good", "line 2: image and product"),
    ],
)
def test_lines_that_lack_something(folder, line, message):
    with pytest.raises(ValueError, match=message):
        list(read_manifest(manifest(folder, line)))


def test_files_that_are_missing_and_other_columns(folder):
    with pytest.raises(FileNotFoundError):
        list(read_manifest(manifest(folder, "gone.png,,tile,good")))
    (folder / "other.csv").write_text("file,label\n")
    with pytest.raises(ValueError, match="expected image,mask,product,defect"):
        list(read_manifest(folder / "other.csv"))
