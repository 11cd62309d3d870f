import os
import subprocess
import sys
import textwrap

import pytest

from inout_aug import plugin
from support import Shelf, Square


class Model:
    fingerprint = "0" * 16

    def generate(self, requests):
        return []


def test_the_three_protocols_are_told_apart():
    kinds = (plugin.Paster, plugin.SampleSource, plugin.Generator)
    for member, expected in [(Square(), 0), (Shelf(), 1), (Model(), 2)]:
        assert [isinstance(member, kind) for kind in kinds] == [i == expected for i in range(3)]
    assert [plugin.distribution_of(m) for m in (Square(), Shelf(), Model())] == ["out", "in", "in"]


def test_fingerprints_tell_settings_apart_and_know_no_addresses():
    assert plugin.fingerprint_of(Square()) == plugin.fingerprint_of(Square())
    assert plugin.fingerprint_of(Square()) != plugin.fingerprint_of(Square(2))
    assert plugin.fingerprint_of(Model()) == "0" * 16


def test_our_own_are_discovered_and_created():
    assert {"memseg", "cutpaste", "nsa", "stroke"} <= set(plugin.available())
    assert isinstance(plugin.create("cutpaste"), plugin.Paster)
    with pytest.raises(KeyError, match=r"no generator 'memsegg' is installed; there are \["):
        plugin.create("memsegg")


def test_a_third_party_package_is_found_by_its_entry_point(tmp_path):
    (tmp_path / "blots.py").write_text(
        textwrap.dedent("""
        class Blot:
            def __init__(self, size=3): self.size = size
            def make_params(self, image, rng): return {}
            def apply(self, image, params): return image, image[..., 0]
        def nothing(): return 3
        """)
    )
    info = tmp_path / "blots-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: blots\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[inout_aug.generators]\nblot = blots:Blot\nnothing = blots:nothing\n")
    code = """
        from inout_aug.plugin import available, create
        assert "blot" in available() and "memseg" in available()
        print(create("blot", size=5).size)
        try: create("nothing")
        except TypeError as error: print("refused" if "no Paster" in str(error) else error)
    """
    run = [sys.executable, "-c", textwrap.dedent(code)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])}
    result = subprocess.run(run, capture_output=True, text=True, check=True, env=environment)
    assert result.stdout.split() == ["5", "refused"]
