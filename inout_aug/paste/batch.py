"""MemSeg's pasting for a whole batch at once, on the device where the batch is."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from typing import Any, TypeVar, overload

import numpy as np
import torch
from torch import Tensor, nn

from inout_aug._ranks import world
from inout_aug.paste._batch_check import check_batch, check_range
from inout_aug.paste._batch_draws import BatchDraws, Ranges, draw
from inout_aug.paste._batch_field import Canvases, draw_canvases
from inout_aug.paste._batch_mask import BatchForeground, draw_masks
from inout_aug.paste._batch_pixels import Everywhere, Painted
from inout_aug.paste._batch_source import Source, mixed, prepare, texture_bank
from inout_aug.paste._options import as_number, as_range
from inout_aug.paste.memseg import MemSegPaste, as_grid, as_powers
from inout_aug.paste.textures import Textures, TextureSource
from inout_aug.seeding import check_epoch, check_seed

_Tensors = TypeVar("_Tensors", Canvases, Source)

# Of fields that the CPU draws at a time; more would not stay in its caches.
_PIXELS = 1 << 20


class BatchPaste(nn.Module):
    """Turns a share of a batch's normal images into positives: `images, labels = paste(images, labels)`.

    MemSeg's anomaly simulation (Yang et al. 2022, arXiv 2205.00908, section 3.2), as `MemSegPaste`, but for all images
    at once and on their device: a rotated Perlin field above `threshold` is the mask, and a texture, or the host
    mirrored, recoloured and with the cells of a grid shuffled, is mixed in there. Two samples share a field: one has
    its peaks, the other its pits, upside down. No step waits for the device, and the work's shapes do not depend on the
    labels. Outside masks, and in all other samples, every bit stays as it is.

    Random numbers come from `(seed, epoch, step)`, drawn on the CPU, so that one seed gives the same masks on any
    device: before the threshold their fields agree to 1e-5, unless TF32 products are allowed. Each call is the next
    step; ranks of a process group draw differently. `state_dict` holds the step. As dropout, the module does nothing
    after `eval()`.

    `torch.compile(paste)` and CUDA graphs want the random numbers from outside: `paste(images, labels, draws=draws)`
    with `draws = paste.draw(images).to(device)`, copied into the same tensors before each replay of a graph.

    Args:
        textures: A folder of pictures, a list of arrays, or `Textures`; None to paint structure only. They are read
            now, and kept on the device as one uint8 tensor.
        share: How many of the normal images are painted, in [0, 1].
        exact: Paint the rounded share of each batch. Otherwise a fraction of a sample is carried from step to step: in
            an epoch of batches with equally many normals the share is exact to one sample; in others it evens out.
        seed: Base seed.
        cells: Noise cells per axis, a power of two in this range; no more than have 4 pixels each.
        angle: Rotation of the noise in degrees.
        threshold: Of the noise; lower makes larger defects.
        opacity: How much of the source is mixed in.
        p_texture: How often the source is a texture, where there are any.
        grid: Cells of the shuffled structure; the larger number goes along the images' longer side.
        foreground: Where defects may lie: a callable on the device from hosts (K, C, H, W), of the batch's dtype, to
            their masks, bool (K, H, W). A host without any foreground is left normal.
        defect_class: Value of given masks inside a defect: 1, 255 or a class.
        normal_label: Label of images that may be painted.
        positive_label: Label of painted ones.
        inplace: Write into the given images, labels and masks; saves a copy.
        texture_size: Side of the squares that textures are scaled to, in pixels; larger images see them mirrored.
        max_textures: Of more pictures so many are taken, evenly spread.

    Raises:
        FileNotFoundError: No texture was found.
        TypeError: An option is of the wrong kind.
        ValueError: An option is out of range.

    Example:
        >>> paste = BatchPaste(share=0.5, exact=True)
        >>> images, labels = torch.rand(8, 3, 64, 64), torch.zeros(8, dtype=torch.long)
        >>> painted, labels, masks = paste(images, labels, torch.zeros(8, 64, 64))
        >>> int(labels.sum()), bool((masks.amax((1, 2)) == labels).all())
        (4, True)
    """

    def __init__(
        self,
        textures: TextureSource | Textures | None = None,
        *,
        share: float = 0.5,
        exact: bool = False,
        seed: int = 0,
        cells: int | tuple[int, int] = (1, 32),
        angle: float | tuple[float, float] = (-90.0, 90.0),
        threshold: float = 0.5,
        opacity: float | tuple[float, float] = (0.15, 1.0),
        p_texture: float = 0.5,
        grid: tuple[int, int] = (4, 8),
        foreground: BatchForeground | None = None,
        defect_class: int = 1,
        normal_label: int = 0,
        positive_label: int = 1,
        inplace: bool = False,
        texture_size: int = 256,
        max_textures: int = 1024,
    ) -> None:
        super().__init__()
        bank = None
        if textures is not None:
            source = textures if isinstance(textures, Textures) else Textures(textures)
            bank = texture_bank(source, texture_size, max_textures)
        elif p_texture == 1:
            raise ValueError("p_texture=1 paints textures only, but none are given: pass a folder or a list of arrays")
        if foreground is not None and not callable(foreground):
            raise TypeError(f"foreground is a callable from hosts to their masks, or None; got {foreground!r}")
        if normal_label == positive_label:
            raise ValueError(f"normal_label and positive_label are both {normal_label}: painted images would be normal")
        if not 1 <= defect_class <= 255:
            raise ValueError(f"defect_class is the masks' value inside a defect, in [1, 255]; got {defect_class}")
        self.bank: Tensor | None
        self.register_buffer("bank", bank, persistent=False)
        self.ranges = Ranges(
            share=Fraction(as_number("share", share, low=0, high=1)).limit_denominator(10**6),
            exact=exact,
            cells=as_powers(cells),
            angle=as_range("angle", angle, low=-360, high=360),
            opacity=as_range("opacity", opacity, low=0.01, high=1),
            p_texture=as_number("p_texture", p_texture, low=0, high=1),
            textures=0 if bank is None else len(bank),
            grid=as_grid(grid),
        )
        self.seed = check_seed(seed)
        self.threshold = as_number("threshold", threshold, low=-2, high=2)
        self.foreground = foreground
        self.defect_class = defect_class
        self.normal_label, self.positive_label = normal_label, positive_label
        self.inplace = inplace
        self._epoch = self._step = 0
        self._looked = False

    @classmethod
    def like(cls, paster: MemSegPaste, **options: Any) -> BatchPaste:
        """Return one with the settings that a `MemSegPaste` has too; others by keyword."""
        shared = ("textures", "cells", "angle", "threshold", "opacity", "p_texture", "grid", "defect_class")
        return cls(**{name: getattr(paster, name) for name in shared} | options)

    def extra_repr(self) -> str:
        """Return the settings, for `print(paste)`."""
        return f"{self.ranges}, seed={self.seed}, threshold={self.threshold}, defect_class={self.defect_class}"

    def set_epoch(self, epoch: int, *, step: int = 0) -> None:
        """Say which epoch, and which step of it, the next call is; otherwise steps are counted on.

        Raises:
            ValueError: A number is not an integer >= 0.
        """
        self._epoch, self._step = check_epoch(epoch), check_epoch(step)

    def get_extra_state(self) -> dict[str, int]:
        """Return the step, for `state_dict`."""
        return {"epoch": self._epoch, "step": self._step}

    def set_extra_state(self, state: dict[str, int]) -> None:
        """Go on at a saved step."""
        self.set_epoch(state["epoch"], step=state["step"])

    def draw(self, images: Tensor, *, key: tuple[int, int] | None = None) -> BatchDraws:
        """Draw what is random about the next batch, on the CPU.

        Args:
            images: A batch, or any tensor of its shape; only that is used.
            key: (epoch, step) to draw for; None for the next one, which then is over.
        """
        if key is None:
            ranks, rank = world() or (1, 0)
            key = self._epoch, self._step * ranks + rank
            self._step += 1
        height, width = images.shape[2:]
        return draw(self.ranges, (height, width), len(images), (self.seed, *key))

    @overload
    def forward(
        self, images: Tensor, labels: Tensor, masks: None = ..., *, draws: BatchDraws | None = ...
    ) -> tuple[Tensor, Tensor]: ...

    @overload
    def forward(
        self, images: Tensor, labels: Tensor, masks: Tensor, *, draws: BatchDraws | None = ...
    ) -> tuple[Tensor, Tensor, Tensor]: ...

    def forward(
        self, images: Tensor, labels: Tensor, masks: Tensor | None = None, *, draws: BatchDraws | None = None
    ) -> tuple[Tensor, ...]:
        """Paint.

        Args:
            images: (B, C, H, W), C in {1, 3}: float of any precision in [0, 1], or uint8; of any memory format.
            labels: (B,) or (B, 1), of any number type or bool.
            masks: (B, H, W) or (B, 1, H, W), of any type: 0 is background.
            draws: From `draw`, on the images' device; None to draw for the next step.

        Returns:
            Images and labels, and masks if they were given, of the same types and shapes.

        Raises:
            TypeError: A tensor has an unsupported type.
            ValueError: Shapes do not fit, or images are not in [0, 1]. Values are looked at on the CPU at every call,
                on other devices at the first.
        """
        check_batch(images, labels, masks)
        given = (images, labels) if masks is None else (images, labels, masks)
        if not self.training or not len(images) or not self.ranges.share:
            return given
        self._look_once(images)
        if draws is None and torch.compiler.is_compiling():
            raise ValueError("compiled code cannot draw random numbers: give draws=paste.draw(images).to(device)")
        draws = (self.draw(images) if draws is None else draws).to(images.device)
        # autocast would round the products of the field
        with torch.autocast(images.device.type, enabled=False), torch.no_grad():
            return self._paint(*(given if self.inplace else [_copied(part) for part in given]), draws=draws)

    def _look_once(self, images: Tensor) -> None:
        if torch.compiler.is_compiling() or (images.is_cuda and torch.cuda.is_current_stream_capturing()):
            return
        if images.device.type == "cpu" or not self._looked:
            check_range(images)
            self._looked = True

    def _paint(
        self, images: Tensor, labels: Tensor, masks: Tensor | None = None, *, draws: BatchDraws
    ) -> tuple[Tensor, ...]:
        given = (images, labels) if masks is None else (images, labels, masks)
        labels, size = labels.view(-1), (images.shape[2], images.shape[3])
        planes = None if masks is None else masks.view(len(images), 1, *size)
        normal = labels == self.normal_label
        # normals first, in the order drawn
        hosts = torch.argsort(draws.order + len(labels) * ~normal)[: len(draws.table)]
        due = torch.arange(len(hosts), device=hosts.device) < draws.due(normal.sum())
        # elsewhere, to know how many are due and where they are painted would mean to wait
        known = images.device.type == "cpu" and not torch.compiler.is_compiling()
        if known:
            hosts, draws = hosts[due], draws._replace(table=draws.table[due])
        if not len(hosts):
            return given
        slots, finest = draws.slots(), self.ranges.finest(size)
        source = prepare(images, self.bank, slots, hosts, self.ranges.grid_along(size))
        powers = torch.stack([slots.power_y, slots.power_x], 1).long()
        canvases = draw_canvases(powers[::2], slots.angle[::2], slots.seed[::2].long(), size=size, finest=finest)
        at_a_time = max(1, _PIXELS // (size[0] * size[1])) if known else len(hosts)
        for part, canvas in zip(_parts(source, 2 * at_a_time), _parts(canvases, at_a_time), strict=True):
            painted = draw_masks(images, part.host, canvas, self.threshold, self.foreground)
            pixels = Painted(painted) if known else Everywhere(painted & due[:, None, None])
            place = pixels.place(images, part.host, pixels.number)
            pixels.write(images, place, mixed(part, images, self.bank, pixels, pixels.read(images, place)))
            if planes is not None:
                place = pixels.place(planes, part.host, pixels.number)
                pixels.write(planes, place, planes.new_full((1, 1), self.defect_class))
            labels[part.host] = torch.where(pixels.any, labels.new_full((), self.positive_label), labels[part.host])
        return given


def _parts(tensors: _Tensors, length: int) -> Iterator[_Tensors]:
    """Yield so much of each tensor at a time."""
    return map(type(tensors)._make, zip(*(torch.split(values, length) for values in tensors), strict=True))


def _copied(values: Tensor) -> Tensor:
    """Return a copy: on the CPU in memory of numpy, which comes in huge pages, much faster than torch's small ones."""
    if values.device.type != "cpu" or type(values) is not Tensor or torch.compiler.is_compiling():
        return values.clone()
    last = values.ndim == 4 and not values.is_contiguous() and values.is_contiguous(memory_format=torch.channels_last)
    shape = values.movedim(1, -1).shape if last else values.shape
    memory = torch.from_numpy(np.empty(values.nbytes, np.uint8)).view(values.dtype).view(shape)
    return (memory.movedim(-1, 1) if last else memory).copy_(values)
