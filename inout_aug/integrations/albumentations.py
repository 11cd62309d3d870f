"""Pasters as an albumentations transform: masks, boxes and labels follow."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inout_aug import containers
from inout_aug.boxes import append, boxes_of, pieces
from inout_aug.outlines import Instance
from inout_aug.plugin import HostRefused, Paster, create
from inout_aug.sample import Mask

try:
    from albumentations import DualTransform
    from albumentations.core.type_definitions import Targets
except ImportError as error:
    raise ImportError("this module needs albumentations: pip install 'inout-aug[albumentations]'") from error


class PasteDefect(DualTransform):  # type: ignore[misc]  # albumentations publishes no types that mypy can follow
    """Paints a synthetic defect on `image`, in any `A.Compose`; masks, boxes and labels follow.

    `mask` gets the defect's class where the image changed; `masks` get an instance mask and `bboxes` a box for each
    piece of the defect, after those that are there, with their label fields; keypoints stay. All randomness is
    albumentations' own, so that `A.Compose(seed=...)` and `set_random_seed` hold. `A.ReplayCompose` paints the same
    defect on the same image bit for bit, and the defect of the same parameters on another. A host that the paster
    refuses, as one of a single colour may be, is left as it is.

    Args:
        paster: A `Paster`, or the name of an installed one, as "memseg": only then can `A.to_dict` and `A.save` write
            the transform down.
        options: Of the paster, if it is named.
        labels: What labels become: image-level ones that are passed by these names, and label fields of new boxes. A
            single label field that is not named gets the defect's class.
        mask_value: What stands for a defect in `mask`: 1 for the defect's class, else the one value, as 255.
        min_pixels: Smaller pieces of a defect get no box and instance mask of their own; the largest always does.
        p: How often a defect is painted.

    Raises:
        TypeError: `paster` is none.
        ValueError: Options are given without a name, or `mask_value` or `p` is out of range.

    Example:
        >>> import albumentations as A
        >>> from inout_aug import MemSegPaste
        >>> boxes = A.BboxParams("pascal_voc", label_fields=["classes"])
        >>> transform = A.Compose([PasteDefect(MemSegPaste(), p=1), A.HorizontalFlip()], bbox_params=boxes, seed=0)
        >>> image = np.random.default_rng(0).integers(0, 256, (64, 96, 3), np.uint8)
        >>> out = transform(image=image, mask=np.zeros((64, 96), np.uint8), bboxes=[], classes=[], label=0)
        >>> bool(out["mask"].any()), len(out["bboxes"]) == len(out["classes"]) > 0, out["label"]
        (True, True, 1)
    """

    _targets = (Targets.IMAGE, Targets.MASK, Targets.BBOXES, Targets.KEYPOINTS)

    def __init__(
        self,
        paster: Paster | str,
        *,
        options: Mapping[str, Any] | None = None,
        labels: Mapping[str, Any] | None = None,
        mask_value: int = 1,
        min_pixels: int = 1,
        p: float = 0.5,
    ) -> None:
        if options and not isinstance(paster, str):
            raise ValueError("options= belong to a paster given by its name; give them to the paster itself")
        made = create(paster, **(options or {})) if isinstance(paster, str) else paster
        if isinstance(made, type) or not isinstance(made, Paster):
            raise TypeError(f"paster has make_params and apply, as MemSegPaste(), or is a name; got {paster!r}")
        if mask_value not in range(1, 256):
            raise ValueError(f"mask_value is 1 (class ids) or the one value of defects; got {mask_value!r}")
        if not 0 <= p <= 1:
            raise ValueError(f"p is a probability; got {p!r}")
        super().__init__(p=p)
        self.paster, self.options, self._made = paster, dict(options or {}), made
        self.labels = {"label": 1} if labels is None else dict(labels)
        self.mask_value, self.min_pixels = mask_value, min_pixels
        self._available_keys.update({"masks"}, self.labels)

    @property
    def targets(self) -> dict[str, Callable[..., Any]]:
        """What is transformed each on its own; `masks` and labels are seen to with them."""
        return {
            "image": self.apply,
            "mask": self.apply_to_mask,
            "bboxes": self.apply_to_bboxes,
            "keypoints": self.apply_to_keypoints,
        }

    def add_targets(self, additional_targets: dict[str, str]) -> None:
        """Let further masks follow; further images have no defect, and further boxes stay."""
        super().add_targets({name: kind for name, kind in additional_targets.items() if kind == "mask"})

    def get_params_dependent_on_data(self, params: dict[str, Any], data: dict[str, Any]) -> dict[str, Any]:
        """Draw the paster's parameters, None for a host that it refuses.

        Raises:
            ValueError: There is no single image.
        """
        if "image" not in data:
            raise ValueError(f"a defect is painted on image=; got {sorted(data)}. Call the transform for each image")
        try:
            return {"paste": self._made.make_params(containers.decode_image(data["image"]), self.random_generator)}
        except HostRefused:
            return {"paste": None}

    def apply_with_params(self, params: dict[str, Any], *args: Any, **kwargs: Any) -> dict[str, Any]:
        """Paint, and let everything follow: all of it needs the mask, and the mask needs the image."""
        if params["paste"] is None:
            return kwargs
        try:
            painted, defect = self._made.apply(containers.decode_image(kwargs["image"]), params["paste"])
        except HostRefused:
            return kwargs
        boxed = kwargs.keys() & {"bboxes", "masks"}
        found = pieces(defect, self.min_pixels) if boxed else []
        fields = self._label_fields()
        local = {"painted": painted, "defect": defect, "found": found, "given": kwargs}
        result: dict[str, Any] = super().apply_with_params({**params, **local}, **kwargs)
        if kwargs.get("masks") is not None:
            new = np.stack([piece.whole(painted.shape[:2]) for piece in found])
            result["masks"] = append(kwargs["masks"], new.view(np.uint8))
        for name, value in self.labels.items():
            if name in kwargs and name not in fields:
                result[name] = containers.encode_label(value, kwargs[name]) if isinstance(value, int) else value
        return result

    def apply(self, img: NDArray[Any], *args: Any, **params: Any) -> Any:
        """Return the painted image in the type of the host."""
        return containers.encode_image(params["painted"], img, None, params["defect"])

    def apply_to_mask(self, mask: NDArray[Any], *args: Any, **params: Any) -> NDArray[Any]:
        """Return the mask with the defect in it.

        Raises:
            ValueError: It has several values per pixel.
        """
        defect: Mask = params["defect"]
        if mask.ndim == 3 and mask.shape[2] > 1:
            raise ValueError(f"mask has one value per pixel; got {mask.shape}. Make it one-hot after the pipeline")
        value = defect if self.mask_value == 1 else np.full_like(defect, self.mask_value)
        out: NDArray[Any] = np.where(defect > 0, value, mask.reshape(defect.shape)).astype(mask.dtype)
        return out.reshape(mask.shape)

    def apply_to_keypoints(self, keypoints: NDArray[Any], *args: Any, **params: Any) -> NDArray[Any]:
        """Return the keypoints as they are."""
        return keypoints

    def apply_to_bboxes(self, bboxes: NDArray[Any], *args: Any, **params: Any) -> NDArray[Any]:
        """Return boxes, in shares of the image's sides, with those of the defect after them.

        Raises:
            ValueError: Boxes have several labels, and `labels` does not name them.
        """
        found: Sequence[Instance] = params["found"]
        height, width = params["defect"].shape
        corners = boxes_of(found, "xyxy", (height, width)) / (width, height, width, height)
        fields = self._label_fields()
        # empty boxes may come without the columns of their label fields, which then stay beside them
        apart = [name for name in fields if name in params["given"]]
        old = bboxes if bboxes.ndim == 2 else np.zeros((0, 4), np.float32)
        inline = old.shape[1] + len(apart) - 4 - len(fields)
        if inline > 1:
            raise ValueError(
                f"boxes have {inline} values after their corners: make them label_fields=, named in labels="
            )
        columns = [[piece.defect_class for piece in found]] * inline
        columns += [self._encoded(name, found, params["given"].get(name)) for name in fields]
        new = np.column_stack([corners, *columns]).astype(old.dtype)
        return np.concatenate([old.reshape(len(old), -1) if len(old) else new[:0], new])

    def to_dict_private(self) -> dict[str, Any]:
        """Describe the transform in plain values, if its paster is named.

        Raises:
            NotImplementedError: It is an object.
        """
        if not isinstance(self.paster, str):
            raise NotImplementedError(
                "a paster that is an object cannot be written down. Name it: PasteDefect('memseg', options={...})"
            )
        description: dict[str, Any] = super().to_dict_private()
        return description

    def get_dict_with_id(self) -> dict[str, Any]:
        """Describe the transform for a replay in this process."""
        return {**super().to_dict_private(), "id": id(self)}

    def _label_fields(self) -> list[str]:
        processor = self.get_processor("bboxes")
        return [] if processor is None else list(processor.params.label_fields or ())

    def _encoded(self, name: str, found: Sequence[Instance], given: Any) -> list[Any]:
        """Return a label field's values for new boxes, as Compose's own label encoder tells them.

        Raises:
            ValueError: What they are cannot be told.
        """
        manager = self.get_processor("bboxes").label_manager
        known = manager.metadata["bboxes"].get(name)
        if name in self.labels:
            values = [self.labels[name]] * len(found)
        elif len(self._label_fields()) == 1 and (known is None or known.is_numerical):
            values = [piece.defect_class for piece in found]
        else:
            raise ValueError(f"what is {name!r} of a new box? Pass labels={{{name!r}: ...}} to PasteDefect")
        encoded = manager.process_field("bboxes", name, np.array(values) if isinstance(given, np.ndarray) else values)
        told = manager.metadata["bboxes"][name]
        if told.dtype is not None and told.dtype.kind == "U":  # else a longer name would be cut off
            told.dtype = np.result_type(told.dtype, np.array(values))
        return list(encoded.ravel().tolist())
