import sys

import cv2
import pytest
from typer.testing import CliRunner

from inout_aug.cli import app, demo
from inout_aug.datasets import Surfaces

runner = CliRunner()


def run(*arguments):
    return runner.invoke(app, ["demo", *map(str, arguments)])


@pytest.fixture(scope="module")
def parts(tmp_path_factory):
    """Grey surfaces in the layout of KSDD2: 14 good and 6 defective ones to train with, as many to test."""
    root = tmp_path_factory.mktemp("parts")
    for part, start in (("train", 0), ("test", 20)):
        (root / part).mkdir()
        surfaces = Surfaces(20, start=start, size=(56, 40), channels=1, defect_share=0.3)
        for k, item in enumerate(surfaces):
            cv2.imwrite(str(root / part / f"{k}.png"), item["image"])
            cv2.imwrite(str(root / part / f"{k}_GT.png"), 255 * (item["mask"] > 0).astype("uint8"))
    return root


@pytest.fixture
def quick(parts, tmp_path):
    """Options of a demo of seconds."""
    return ["--data", parts, "--format", "ksdd2", "--steps", 3, "--seeds", 2, "--out", tmp_path / "out"]


def table(out):
    return [line for line in (out / "report.md").read_text(encoding="utf-8").splitlines() if line.startswith("| ")]


def test_it_writes_a_report_and_prints_the_table(quick, tmp_path):
    result = run(*quick)
    assert result.exit_code == 0, result.output
    out = tmp_path / "out"
    assert sorted(path.name for path in out.iterdir()) == ["average_precision.png", "report.md", "sheet-memseg.png"]
    assert len(table(out)) == 5
    for words in ("few-shot: 5 of 6 real defects", "no synthetic data", "oversampled real", "with memseg", "Report:"):
        assert words in result.stdout
    assert "reading training images" in result.stderr
    assert "reading training images" not in result.stdout


def test_the_same_command_gives_the_same_figures_and_another_seed_others(quick, tmp_path):
    tables = []
    for seed in (0, 0, 5):
        assert run(*quick, "--generator", "stroke", "--seed", seed).exit_code == 0
        tables.append([line.split("|")[2:] for line in table(tmp_path / "out")])
    assert tables[0] == tables[1]
    assert tables[0] != tables[2]


def test_the_command_in_the_report_gives_the_report_again(quick, tmp_path):
    assert run(*quick, "--generator", "stroke", "--generator", "cutpaste", "--shots", "all").exit_code == 0
    first = table(tmp_path / "out")
    page = (tmp_path / "out" / "report.md").read_text(encoding="utf-8")
    command = next(line for line in page.splitlines() if line.startswith("`inout-aug demo")).strip("`").split()
    assert runner.invoke(app, command[1:]).exit_code == 0
    assert table(tmp_path / "out") == first
    assert "full-shot: all 6" in page
    assert {path.name for path in (tmp_path / "out").iterdir()} > {"sheet-stroke.png", "sheet-cutpaste.png"}


def test_zero_shot_is_told(quick, tmp_path):
    result = run(*quick, "--shots", 0)
    assert result.exit_code == 0, result.output
    assert "zero-shot" in result.stdout
    # what was not given is not in the command
    assert "--generator" not in (tmp_path / "out" / "report.md").read_text(encoding="utf-8")
    assert result.stdout.count("chance") >= 2
    assert "no synthetic data" not in result.stderr


def test_procedural_surfaces_need_no_data(tmp_path):
    result = run("--steps", 2, "--seeds", 1, "--pixels", 1024, "--material", "cast", "--out", tmp_path)
    assert result.exit_code == 0, result.output
    assert "procedural cast surfaces, few-shot: 5 of 60" in result.stdout


def test_the_procedural_metal_shows_the_whole_mix(tmp_path, monkeypatch):
    monkeypatch.setattr(sys.modules["inout_aug.cli.demo"], "_CACHED", 3)
    monkeypatch.setenv("INOUT_CACHE", str(tmp_path / "cache"))
    result = run("--steps", 2, "--seeds", 1, "--out", tmp_path / "out")
    assert result.exit_code == 0, result.output
    page = (tmp_path / "out" / "report.md").read_text(encoding="utf-8")
    for arm in ("no synthetic data", "oversampled real", "with memseg", "with defect-gen", "In&Out"):
        assert f"| {arm} |" in page
    assert "It learned from 20 defective images of scratch, spot, crack, dent." in page
    assert (tmp_path / "out" / "sheet-defect-gen.png").exists()


def test_textures_go_to_memseg(quick, parts):
    assert run(*quick, "--textures", parts / "test").exit_code == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--data", "nowhere"], "nowhere/train is not a folder"),
        (["--shots", "7"], "--shots is a number from 0 to 6, the real defects there are, or all; got 7"),
        (["--shots", "some"], "or all; got some"),
        (["--generator", "gan"], "no generator 'gan' is installed"),
        (["--generator", "nsa", "--generator", "nsa"], "give each --generator once"),
        (["--generator", "nsa", "--textures", "."], "--textures is for --generator memseg"),
        (["--textures", "nowhere"], "nowhere"),
        (["--material", "cast"], "--material is for procedural surfaces"),
        (["--category", "screw"], "--category is for --format mvtec"),
        (["--out", __file__], "is a file"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(quick, tmp_path, arguments, message):
    result = run(*quick, *arguments)
    assert result.exit_code == 2
    last = result.stderr.strip().splitlines()[-1]
    assert last.startswith("error: ")
    assert message in last
    assert not (tmp_path / "out" / "report.md").exists()


def test_a_strangers_report_stays_as_it_is(quick, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "report.md").write_text("mine")
    result = run(*quick)
    assert result.exit_code == 2
    assert "Choose another --out" in result.stderr
    assert (tmp_path / "out" / "report.md").read_text() == "mine"


def test_a_missing_part_is_named(quick, parts, tmp_path):
    good = tmp_path / "good"
    for part in ("train", "test"):
        (good / part).mkdir(parents=True)
        for name in ("0.png", "0_GT.png"):
            cv2.imwrite(str(good / part / name), 0 * cv2.imread(str(parts / "train" / "0.png")))
    result = run(*quick, "--data", good)
    assert result.exit_code == 2
    assert "none of the 1 test images is defective" in result.stderr


def test_without_the_extra_it_says_how_to_get_it(quick, monkeypatch):
    monkeypatch.setattr(demo, "find_spec", lambda package: None)
    result = run(*quick)
    assert result.exit_code == 2
    assert "error: the demo needs matplotlib and torchmetrics: pip install 'inout-aug[demo]'" in result.stderr


@pytest.mark.real_data
@pytest.mark.parametrize(("folder", "layout"), [("ksdd1", "ksdd2"), ("magnetic_tile", "mvtec")])
@pytest.mark.filterwarnings("ignore:.*is empty, but its image has label:UserWarning")
def test_real_images(real_data, tmp_path, folder, layout):
    result = run(
        *("--data", real_data / folder, "--format", layout, "--steps", 2, "--seeds", 1, "--out", tmp_path / "out")
    )
    assert result.exit_code == 0, result.output
    assert (tmp_path / "out" / "sheet-memseg.png").exists()
