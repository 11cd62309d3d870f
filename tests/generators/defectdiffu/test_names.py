import pytest

from inout_generators.defectdiffu.names import DefectNames, UnknownName, check_known, check_names, prompts


def test_prompts_are_those_of_the_released_code():
    assert prompts("scratch", "metal nut") == (
        "a photo of scratch",
        "a photo of metal nut",
        "a photo of scratch metal nut",
    )


def test_the_papers_table_unifies_names_across_products():
    table = DefectNames.read("uni_defect")
    assert len(table) == 26
    assert table.unified("leather", "poke") == table.unified("capsule", "poke") == "hole"
    assert table.unified("leather", "glue") == table.unified("tile", "oil") == "liquid"
    # what the table does not have keeps its name
    assert table.unified("tile", "glue_strip") == "glue_strip"
    assert table.unified("carpet", "poke") == "poke"


def test_a_table_of_ones_own(tmp_path):
    path = tmp_path / "names.csv"
    path.write_text(
        "product,defect,uni_defect\nhex nut,worn edge,wear\n,kratzer,scratch\nhex nut,kratzer,deep scratch\n"
    )
    table = DefectNames.read(path)
    assert table.unified("hex nut", "worn edge") == "wear"
    assert table.unified("bolt", "kratzer") == "scratch"
    assert table.unified("hex nut", "kratzer") == "deep scratch"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("product,defect\na,b\n", "expected product,defect,uni_defect"),
        ("product,defect,uni_defect\na,,c\n", "line 2: defect and uni_defect are not empty"),
        ("product,defect,uni_defect\na,b\n", "line 2"),
        ("product,defect,uni_defect\na,b,c\na,b,d\n", "'b' of 'a' is 'c' and 'd'"),
        ("product,defect,uni_defect\na,b,good\n", "'good' names a defect"),
    ],
)
def test_tables_that_are_none_are_refused(tmp_path, text, message):
    path = tmp_path / "names.csv"
    path.write_text(text)
    with pytest.raises(ValueError, match=message):
        DefectNames.read(path)


def test_an_unknown_name_suggests_the_nearest():
    with pytest.raises(
        UnknownName, match=r"no product 'metal_nut'; did you mean 'Metal Nut'\? There are tile, Metal Nut"
    ):
        check_known("metal_nut", ["tile", "Metal Nut"], "product")
    with pytest.raises(UnknownName, match=r"no defect 'rust'\. There are crack, hole"):
        check_known("rust", ["crack", "hole"], "defect")
    assert check_known("hole", iter(["crack", "hole"]), "defect") == "hole"


@pytest.mark.parametrize(
    ("products", "defects", "message"),
    [
        (["industry"], [], "'industry' names a product and is the word for any product"),
        (["tile"], ["good"], "'good' names a defect and is the word for no defect"),
        (["wood"], ["wood"], "'wood' names a defect and is a product"),
        (["tile", "tile"], [], "'tile'"),
        ([""], [], "words with single spaces"),
        ([], ["deep  scratch"], "words with single spaces"),
        ([], [" hole"], "words with single spaces"),
    ],
)
def test_names_that_prompts_could_not_tell_apart_are_refused(products, defects, message):
    with pytest.raises(ValueError, match=message):
        check_names(products, defects)
    check_names(["metal nut", "tile"], ["deep scratch", "hole"])
