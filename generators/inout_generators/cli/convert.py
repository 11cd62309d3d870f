"""`inout-aug convert`: checkpoints of the official Defect-Gen code to a generator."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from typer import Argument, Option, echo

from inout_aug.cli._options import parse_names, parse_size

# the official code reads images as RGB, whatever they are
_IMAGE_CHANNELS = 3


def convert(
    large: Annotated[Path, Argument(help="Checkpoint of the large net: .pt or .safetensors.", metavar="LARGE.pt")],
    local: Annotated[Path, Argument(help="Checkpoint of the net with a small receptive field.", metavar="LOCAL.pt")],
    config: Annotated[
        list[Path],
        Option(help="YAML or JSON of the large net, then of the other; or one file with `large` and `small`."),
    ],
    classes: Annotated[str, Option(help="Names of the defect classes 1, 2, ..., divided by commas.")],
    size: Annotated[str, Option(help="Height x width in pixels that the nets were trained at.")],
    to: Annotated[Path, Option(help="New folder; DefectGen.from_pretrained reads it.")],
    ema: Annotated[bool, Option("--ema", help="Take the moving averages of the weights.")] = False,
) -> None:
    """Convert a pair of checkpoints of the official Defect-Gen code, without running anything in them."""
    # at the top it would be a circle: inout_aug.cli loads this module when it is imported
    from inout_aug.cli._errors import one_line_errors

    with one_line_errors():
        from inout_generators.defect_gen.encoding import Encoding
        from inout_generators.defect_gen.generator import DefectGen
        from inout_generators.defect_gen.official import load_official_unet

        if to.exists() and any(to.iterdir()):
            raise FileExistsError(f"{to} is not empty; name a new folder")
        large_config, local_config = _read_configs(config)
        weights: Literal["model", "ema"] = "ema" if ema else "model"
        generator = DefectGen(
            load_official_unet(large, large_config, weights=weights),
            load_official_unet(local, local_config, weights=weights),
            Encoding(_IMAGE_CHANNELS, parse_names(classes)),
            size=parse_size(size),
            device="cpu",
            provenance={"converted from": {"large": large.name, "local": local.name, "weights": weights}},
        )
        generator.save_pretrained(to)
    echo(f"{to}: ready for DefectGen.from_pretrained, or --generator defect-gen")


def _read_configs(paths: list[Path]) -> list[dict[str, Any]]:
    """Return the configurations of the large and of the local net."""
    read = [_read_config(path) for path in paths]
    if len(read) == 1 and read[0].keys() >= {"large", "small"}:
        read = [read[0]["large"], read[0]["small"]]
    if len(read) != 2 or not all(isinstance(config, dict) for config in read):
        raise ValueError(
            "give --config for the large net, then for the local one; or one file with `large` and `small`"
        )
    return read


def _read_config(path: Path) -> dict[str, Any]:
    # comes with accelerate; JSON is YAML
    import yaml

    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (UnicodeDecodeError, yaml.YAMLError) as error:
        raise ValueError(f"{path} is neither YAML nor JSON: {error}") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path} holds no names and values")
    return content
