"""DefectGen with nets that know their data by heart, so that what comes out can be foretold."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from inout_aug import InOutAugment
from inout_aug.plugin import Generator, Request
from inout_aug.sample import Sample
from inout_generators import DefectGen
from inout_generators.common.checkpoints import CheckpointError
from inout_generators.common.schedule import CosineSchedule
from inout_generators.defect_gen.encoding import Encoding
from inout_generators.defect_gen.generator import NoDefectDrawn
from inout_generators.defect_gen.unet import DefectGenUNet

ENCODING = Encoding(1, ("crack", "dent"))
SIZE = (32, 48)
SCHEDULE = CosineSchedule()


def training_set() -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Images, one bright or dark rectangle each, with the masks: cracks above, dents below."""
    images = np.full((6, *SIZE, 1), 128, np.uint8)
    masks = np.zeros((6, *SIZE), np.uint8)
    for k in range(6):
        defect_class = 1 + k % 2
        rows, columns = slice(4, 9) if defect_class == 1 else slice(20, 28), slice(6 * k + 2, 6 * k + 9)
        images[k, rows, columns] = 250 if defect_class == 1 else 10
        masks[k, rows, columns] = defect_class
    return images, masks


class Memory(nn.Module):
    """The best denoiser of the training set: the average of its images, weighted by how well they explain x_t."""

    def __init__(self, told: bool = True) -> None:
        super().__init__()
        images, masks = training_set()
        self.register_buffer("data", ENCODING.encode(images, masks))
        self.classes = torch.tensor([int(mask.max()) for mask in masks])
        self.config = {"channels": ENCODING.channels, "classes": 2 if told else 0}

    def forward(self, x: Tensor, t: Tensor, defect_class: Tensor | None = None) -> Tensor:
        data = self.data[..., : x.shape[2], : x.shape[3]]
        image, noise = (factor.float().reshape(-1, 1, 1, 1, 1) for factor in SCHEDULE.coefficients(t))
        fit = -((x[:, None] - image * data) ** 2 / (2 * noise**2)).sum((2, 3, 4))
        if defect_class is not None:
            fit = fit.masked_fill(self.classes != defect_class[:, None], -torch.inf)
        return torch.einsum("bk,kchw->bchw", fit.softmax(1), data)


def generator(net: Callable[[], nn.Module] = Memory, **settings: Any) -> DefectGen:
    return DefectGen(net(), net(), ENCODING, **{"size": SIZE, "steps": 6, "device": "cpu", **settings})


def requests(count: int, **fields: Any) -> list[Request]:
    plain = {"height": SIZE[0], "width": SIZE[1], "channels": 1}
    return [Request(seed=seed, defect_class=1 + seed % 2, **{**plain, **fields}) for seed in range(count)]


def same(a: Sample, b: Sample) -> bool:
    return np.array_equal(a.image, b.image) and np.array_equal(a.mask, b.mask) and a.origin == b.origin


def unet(**settings: Any) -> DefectGenUNet:
    torch.manual_seed(1)
    net: DefectGenUNet = DefectGenUNet(
        channels=4, width=32, multipliers=(1, 2), blocks=1, attention_levels=(1,), classes=2, **settings
    )
    for parameter in net.parameters():
        parameter.data += 0.03 * torch.randn_like(parameter)
    return net


@pytest.mark.parametrize("told", [True, False])
@pytest.mark.parametrize("sampler", ["dpm++", "ddim", "ddpm"])
def test_samples_are_of_the_data_and_of_the_class_asked_for(sampler: Any, told: bool) -> None:
    images, masks = training_set()
    made = generator(lambda: Memory(told), sampler=sampler, steps=12).generate(requests(10))
    drawn = set()
    for k, sample in enumerate(made):
        assert sample.label == 1 + k % 2 == sample.mask.max()  # type: ignore[union-attr]
        (match,) = [n for n in range(6) if np.array_equal(masks[n], sample.mask)]  # type: ignore[arg-type]
        np.testing.assert_allclose(sample.image, images[match], atol=1)
        drawn.add(match)
    assert len(drawn) > 2


class Wobbly(Memory):
    """A real net's arithmetic on top."""

    def __init__(self) -> None:
        super().__init__()
        self.net = unet()

    def forward(self, x: Tensor, t: Tensor, defect_class: Tensor | None = None) -> Tensor:
        return super().forward(x, t, defect_class) + 0.3 * self.net(x, t, defect_class).tanh()


class Seen(Memory):
    """Takes what it sees for the clean image, so that what was noise stays."""

    def forward(self, x: Tensor, t: Tensor, defect_class: Tensor | None = None) -> Tensor:
        return x


@pytest.mark.parametrize("size", [SIZE, (31, 45)])
def test_a_batch_gives_exactly_what_single_requests_give(size: tuple[int, int]) -> None:
    model = generator(Wobbly, steps=3)
    asked = requests(5, height=size[0], width=size[1])
    together = model.generate(asked)
    alone = [model.generate([request])[0] for request in asked]
    shuffled = model.generate(asked[::-1])[::-1]
    assert all(same(a, b) and same(a, c) for a, b, c in zip(together, alone, shuffled, strict=True))
    assert not np.array_equal(together[0].image, together[2].image)


def test_requests_of_all_kinds_come_back_in_order() -> None:
    model = generator()
    host = np.full((*SIZE, 1), 128, np.uint16)
    region = np.zeros(SIZE, np.uint8)
    region[3:8, 3:8] = 1
    asked = requests(6)
    asked[1] = replace(asked[1], host=host)
    asked[2] = replace(asked[2], height=20)
    asked[4] = replace(asked[4], host=host, region=region, strength=0.8)
    together = model.generate(asked)
    assert [sample.label for sample in together] == [1, 2, 1, 2, 1, 2]
    assert [sample.size[0] for sample in together] == [32, 32, 20, 32, 32, 32]
    assert all(same(sample, model.generate([request])[0]) for sample, request in zip(together, asked, strict=True))


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("regions", ["generated", "perlin"])
@pytest.mark.parametrize("strength", [1.0, 0.4])
def test_editing_changes_nothing_outside_the_mask(dtype: Any, regions: Any, strength: float) -> None:
    host = np.random.default_rng(0).integers(0, np.iinfo(dtype).max, (101, 77, 1), dtype)
    before = host.copy()
    model = generator(Wobbly, crop=True, regions=regions, steps=3, batch_size=1)
    places = set()
    for seed in range(3):
        edited = model.edit(host, strength=strength, seed=seed, defect_class=2)
        assert edited.mask is not None
        assert edited.image.dtype == dtype
        assert set(np.unique(edited.mask)) == {0, 2}
        np.testing.assert_array_equal(edited.image[edited.mask == 0], host[edited.mask == 0])
        assert (edited.image != host).any()
        places.add(tuple(edited.origin.params["window"]))
        assert same(edited, model.edit(host, strength=strength, seed=seed, defect_class=2))
    assert len(places) == 3
    np.testing.assert_array_equal(host, before)


def test_a_region_of_the_users_is_the_mask_and_gets_the_defect() -> None:
    host = np.full((200, 150, 1), 128, np.uint8)
    region = np.zeros((200, 150), bool)
    # in the window that is cut out for it, this is where one of the training images has its crack
    region[4:9, 14:21] = True
    sample = generator(crop=True, steps=12).edit(host, region, defect_class=1)
    np.testing.assert_array_equal(sample.mask, region)
    assert sample.origin.params["window"] == [0, 0, *SIZE]
    assert sample.image[6, 16:19, 0].tolist() == [250, 250, 250]
    # fading in over the outermost pixels
    assert 128 < sample.image[4, 17, 0] < sample.image[5, 17, 0] < 250


def test_less_strength_keeps_more_of_the_host() -> None:
    rng = np.random.default_rng(3)
    host = rng.integers(0, 255, (*SIZE, 1), np.uint8)
    region = np.zeros(SIZE, np.uint8)
    region[8:24, 10:40] = 1
    model = generator(Seen, batch_size=1)

    def change(strength: float) -> float:
        edited = model.edit(host, region, strength=strength)
        return float(np.abs(edited.image.astype(int) - host)[region > 0].mean())

    assert change(0.02) < change(1.0)


def test_images_without_the_defect_are_drawn_anew_and_given_up_at_last() -> None:
    class Careless(Memory):
        """Knows no class, and forgets the mask of dark images."""

        def __init__(self) -> None:
            super().__init__(told=False)
            self.data[self.classes == 2, 2:] = 0
            self.data[self.classes == 2, 1] = 1

    model = generator(Careless, steps=12)
    cracks = [replace(request, defect_class=1) for request in requests(8)]
    attempts = [sample.origin.params["attempt"] for sample in model.generate(cracks)]
    assert max(attempts) > 0
    assert all(sample.mask.any() for sample in model.generate(cracks))  # type: ignore[union-attr]
    with pytest.raises(NoDefectDrawn, match=r"seed 3 at \(32, 48\) shows 'dent' \(defect class 2\)"):
        model.generate([*cracks, requests(4)[3]])


def test_when_memory_runs_out_the_batch_is_halved() -> None:
    class Narrow(Memory):
        def forward(self, x: Tensor, t: Tensor, defect_class: Tensor | None = None) -> Tensor:
            sizes.append(len(x))
            if len(x) > 2:
                raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
            return super().forward(x, t, defect_class)

    sizes: list[int] = []
    made = generator(Narrow, batch_size=8).generate(requests(5))
    assert sizes[:3] == [8, 4, 2]
    assert set(sizes[2:]) == {2}
    assert all(np.array_equal(a.image, b.image) for a, b in zip(made, generator().generate(requests(5)), strict=True))

    class Broken(Memory):
        def forward(self, x: Tensor, t: Tensor, defect_class: Tensor | None = None) -> Tensor:
            raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    with pytest.raises(RuntimeError, match="mat1"):
        generator(Broken, batch_size=8).generate(requests(5))


@pytest.mark.parametrize("half", [False, True])
def test_a_saved_generator_is_the_same_again(tmp_path: Path, half: bool) -> None:
    model = DefectGen(
        unet(),
        unet(middle=False),
        ENCODING,
        size=SIZE,
        crop=True,
        steps=3,
        batch_size=1,
        device="cpu",
        provenance={"images": 29},
    )
    model.save_pretrained(tmp_path, half=half)
    files = sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file())
    nets = [f"{n}/{f}" for n in ("large", "local") for f in ("config.json", "diffusion_pytorch_model.safetensors")]
    assert files == ["defect_gen.json", *nets]
    again = DefectGen.from_pretrained(tmp_path, device="cpu", batch_size=1)
    assert (again.size, again.crop, again.steps, again.encoding) == (SIZE, True, 3, ENCODING)
    assert again.provenance == {"images": 29}
    assert (again.fingerprint == model.fingerprint) is not half
    assert next(again.large.parameters()).dtype == torch.float32
    host = np.random.default_rng(0).integers(0, 255, (64, 64, 1), np.uint8)
    region = np.zeros((64, 64), np.uint8)
    region[20:30, 20:30] = 1
    one, other = model.edit(host, region), again.edit(host, region)
    np.testing.assert_allclose(one.image.astype(int), other.image, atol=3 if half else 0)
    assert DefectGen.from_pretrained(tmp_path, device="cpu", steps=9, sampler="ddim").steps == 9


def test_the_fingerprint_tells_what_changes_a_pixel_and_nothing_else() -> None:
    base = generator().fingerprint
    assert base == generator().fingerprint
    assert base == generator(batch_size=2, provenance={"by": "me"}).fingerprint
    changed = [{"steps": 7}, {"sampler": "dpm++"}, {"switch_t": 900}, {"min_area": 9}, {"feather": 0}, {"crop": True}]
    prints = {generator(**change).fingerprint for change in changed} | {generator(Wobbly).fingerprint, base}
    assert len(prints) == len(changed) + 2


def test_a_generator_pickles() -> None:
    model = generator()
    again = pickle.loads(pickle.dumps(model))
    assert isinstance(again, Generator)
    assert same(model.generate(requests(1))[0], again.generate(requests(1))[0])


def damage(folder: Path, what: str) -> None:
    weights, config, description = (
        folder / "local" / "diffusion_pytorch_model.safetensors",
        folder / "large" / "config.json",
        folder / "defect_gen.json",
    )
    if what == "truncated":
        weights.write_bytes(weights.read_bytes()[:-100])
    elif what == "pickle":
        torch.save({"model": {}}, weights)
    elif what == "architecture":
        config.write_text(config.read_text().replace('"width": 32', '"width": 64'))
    elif what == "class":
        config.write_text(config.read_text().replace("DefectGenUNet", "UNet2DModel"))
    elif what == "version":
        description.write_text(json.dumps({**json.loads(description.read_text()), "format": 2}))
    elif what == "description":
        description.write_text(json.dumps({"format": 1, "size": [32, 48]}))


@pytest.mark.parametrize(
    ("what", "message"),
    [
        ("truncated", "no whole safetensors"),
        ("pickle", "is a pickle"),
        ("architecture", "does not fit|shape differs"),
        ("class", "describes a UNet2DModel"),
        ("version", "format 2"),
        ("description", "save_pretrained"),
    ],
)
def test_damaged_and_foreign_folders_are_refused(tmp_path: Path, what: str, message: str) -> None:
    DefectGen(unet(), unet(), ENCODING, size=SIZE, device="cpu").save_pretrained(tmp_path)
    damage(tmp_path, what)
    with pytest.raises(CheckpointError, match=message):
        DefectGen.from_pretrained(tmp_path)


def test_what_is_no_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no folder"):
        DefectGen.from_pretrained(tmp_path / "nowhere")
    with pytest.raises(FileNotFoundError, match="train defect-gen"):
        DefectGen.from_pretrained(tmp_path)
    with pytest.raises(TypeError, match="Memory"):
        generator().save_pretrained(tmp_path)


HOST = np.zeros((*SIZE, 1), np.uint8)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"channels": 3}, "with 1 channels; 3 were asked for"),
        ({"defect_class": 3}, "1 to 2, crack, dent; got 3"),
        ({"defect_class": 0}, "1 to 2"),
        ({"height": 65}, "65x48, but the nets were trained at 32x48.*CachedSampler"),
        ({"width": 23}, "32x23"),
        ({"strength": 0.5}, "for requests with a host"),
        ({"region": HOST[..., 0]}, "for requests with a host"),
        ({"host": HOST[1:]}, "shape that is asked for"),
        ({"host": HOST, "region": HOST[..., 0]}, "not empty"),
        ({"host": HOST, "strength": 1.5}, r"\(0, 1\]; got 1.5"),
        ({"host": HOST, "strength": 0.0}, r"\(0, 1\]"),
    ],
)
def test_requests_that_cannot_be_met_are_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        generator().generate([replace(requests(1)[0], **fields)])


def test_crops_do_not_stretch_to_any_region() -> None:
    model = generator(crop=True)
    host = np.zeros((300, 300, 1), np.uint8)
    scratch = np.zeros((300, 300), np.uint8)
    scratch[20, 10:290] = 1
    with pytest.raises(ValueError, match="regions that fit"):
        model.edit(host, scratch)
    with pytest.raises(TypeError, match="float32"):
        model.edit(host.astype(np.float32))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"switch_t": 1001}, r"\[0, 1000\]"),
        ({"sampler": "euler"}, "dpm"),
        ({"regions": "anywhere"}, "generated or perlin"),
        ({"size": (8, 32)}, "16x16"),
        ({"steps": 0}, "at least 1"),
        ({"feather": -1.0}, "not negative"),
    ],
)
def test_settings_out_of_range_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        generator(**settings)


def test_nets_that_do_not_belong_to_the_encoding_are_refused() -> None:
    with pytest.raises(ValueError, match="large net has 4 channels"):
        DefectGen(unet(), unet(), Encoding(3, ("crack", "dent")), size=SIZE)
    with pytest.raises(ValueError, match="2 defect classes, the local one for 0"):
        DefectGen(Memory(), Memory(told=False), ENCODING, size=SIZE)


def test_a_wrapped_dataset_gets_its_own_images_back_with_defects(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("INOUT_CACHE", str(tmp_path))
    hosts = [np.random.default_rng(k).integers(0, 255, (60, 80, 1), np.uint8) for k in range(5)]
    items = [(host, np.zeros((60, 80), np.uint8), 0) for host in hosts]
    train = InOutAugment(generators=[generator(crop=True)], n_aug=4)(items, mask_value=1)
    for k in range(5, 9):
        image, mask, label = train[k]
        assert label == 1
        assert mask.any()
        assert any(np.array_equal(image[mask == 0], host[mask == 0]) for host in hosts)


def test_whole_images_are_cached_for_a_loop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INOUT_CACHE", str(tmp_path))
    items = [(np.full((*SIZE, 1), 90 + k, np.uint8), np.zeros(SIZE, np.uint8), 0) for k in range(3)]
    train = InOutAugment(generators=[generator()], n_aug=2)(items, mask_value=1)
    for k in (3, 4):
        image, mask, _ = train[k]
        assert (image.shape, image.dtype) == ((*SIZE, 1), np.uint8)
        assert mask.any()
