import pytest

from inout_generators.lora.captions import captions_beside, captions_by_class


def test_one_caption_for_all_or_one_for_each_class():
    assert captions_by_class("skt", ["crack", None]) == ["skt", "skt"]
    by_class = {"crack": "skt cracked", "good": "skt"}
    assert captions_by_class(by_class, ["crack", None, "crack"]) == ["skt cracked", "skt", "skt cracked"]


@pytest.mark.parametrize(
    ("caption", "message"),
    [
        ({"crack": "skt"}, "no caption for good; there are captions for crack"),
        ({"crack": "skt", "good": "skt", "rust": "skt"}, "captions for rust, of which there is no image"),
        ({"crack": " ", "good": "skt"}, "the caption of crack is empty"),
        ("", "is empty"),
    ],
)
def test_captions_that_do_not_fit_the_classes(caption, message):
    with pytest.raises(ValueError, match=message):
        captions_by_class(caption, ["crack", None])


@pytest.fixture
def folder(tmp_path):
    for name in ("a", "b"):
        (tmp_path / f"{name}.png").touch()
        (tmp_path / f"{name}.txt").write_text(f" skt  {name}\n")
    return tmp_path


def test_captions_beside_the_images(folder):
    (folder / "c.png").touch()  # is not asked for
    (folder / "c.txt").touch()
    assert captions_beside([folder / "b.png", folder / "a.png"]) == ["skt b", "skt a"]


def test_captions_without_images_and_images_without_captions(folder):
    (folder / "lost.txt").write_text("skt")
    with pytest.raises(ValueError, match=r"captions without images: .*lost\.txt"):
        captions_beside([folder / "a.png"])
    (folder / "lost.txt").unlink()
    (folder / "a.txt").write_text("\n")
    with pytest.raises(ValueError, match=r"empty captions: .*a\.txt"):
        captions_beside([folder / "a.png"])
    (folder / "a.txt").unlink()
    with pytest.raises(FileNotFoundError, match=r"no caption beside .*a\.png; expected text files such as .*a\.txt"):
        captions_beside([folder / "a.png", folder / "b.png"])
