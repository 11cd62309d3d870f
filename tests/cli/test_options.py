import pytest

from inout_aug.cli._options import parse_names, parse_size


@pytest.mark.parametrize("text", ["64", "x64", "64x", "64x-2", "axb", ""])
def test_what_is_no_size_is_refused(text):
    with pytest.raises(ValueError, match="--size is HEIGHTxWIDTH"):
        parse_size(text)


def test_no_name_is_empty():
    with pytest.raises(ValueError, match="divided by commas"):
        parse_names("crack,,hole")
