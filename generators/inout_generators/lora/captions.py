"""Captions of training images: one for all, one for each class, or one beside each image."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from inout_aug.datasets._files import SUFFIXES
from inout_generators.common.checkpoints import some

NORMAL = "good"


def captions_by_class(caption: str | Mapping[str, str], classes: Sequence[str | None]) -> list[str]:
    """Return the caption of each image.

    Args:
        caption: One for all, or by the name of the class, that of normal images being "good".
        classes: Name of each image's defect class; None for a normal image.

    Raises:
        ValueError: A class has no caption, or a caption is of a class that no image has, or it is empty.

    Example:
        >>> captions_by_class({"good": "skt background", "crack": "skt background cracked"}, ["crack", None])
        ['skt background cracked', 'skt background']
    """
    names = [name or NORMAL for name in classes]
    if isinstance(caption, str):
        caption = dict.fromkeys(names, caption)
    if missing := sorted(set(names) - set(caption)):
        raise ValueError(f"no caption for {', '.join(missing)}; there are captions for {', '.join(caption) or 'none'}")
    if unknown := sorted(set(caption) - set(names)):
        raise ValueError(
            f"captions for {', '.join(unknown)}, of which there is no image; the images show "
            f"{', '.join(sorted(set(names)))}"
        )
    if empty := sorted(name for name, text in caption.items() if not text.strip()):
        raise ValueError(f"the caption of {', '.join(empty)} is empty")
    return [caption[name] for name in names]


def captions_beside(paths: Sequence[Path]) -> list[str]:
    """Return the caption of each image from the text file beside it, 7.txt beside 7.png.

    Raises:
        FileNotFoundError: An image has no caption.
        ValueError: A caption is empty, or has no image.
    """
    files = [path.with_suffix(".txt") for path in paths]
    if missing := [str(path) for path, file in zip(paths, files, strict=True) if not file.is_file()]:
        raise FileNotFoundError(f"no caption beside {some(missing)}; expected text files such as {files[0]}")
    for folder in sorted({path.parent for path in paths}):
        stems = {entry.stem for entry in folder.iterdir() if entry.suffix.lower() in SUFFIXES}
        if alone := sorted(str(file) for file in folder.glob("*.txt") if file.stem not in stems):
            raise ValueError(f"captions without images: {some(alone)}. Restore the images, or take the captions away")
    captions = [" ".join(file.read_text(encoding="utf-8").split()) for file in files]
    if empty := [str(file) for file, text in zip(files, captions, strict=True) if not text]:
        raise ValueError(f"empty captions: {some(empty)}")
    return captions
