"""Names of products and defects: what prompts are made of, and one name for the same defect of several products."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Mapping
from difflib import get_close_matches
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

GOOD = "good"
NULL_PRODUCT = "industry"

# the paper's table for MVTec AD, by the name that --names takes
UNI_DEFECT = "uni_defect"
_SHIPPED = Path(__file__).with_name("uni_defect.csv")
_COLUMNS = ("product", "defect", "uni_defect")


class UnknownName(ValueError):
    """A product or a defect that a model has not learned."""


class Prompts(NamedTuple):
    """What the three parts of the model are told.

    Attributes:
        defect: "a photo of {defect}".
        product: "a photo of {product}".
        fusion: "a photo of {defect} {product}".
    """

    defect: str
    product: str
    fusion: str


def prompts(defect: str, product: str) -> Prompts:
    """Return the prompts of a defect, "good" for none, on a product, "industry" for any.

    Liu et al., "DefectDiffu" (2024), section 3.2; lower case, as in the released code.

    Example:
        >>> prompts("scratch", "metal nut").fusion
        'a photo of scratch metal nut'
    """
    return Prompts(f"a photo of {defect}", f"a photo of {product}", f"a photo of {defect} {product}")


def check_known(name: str, known: Iterable[str], what: str) -> str:
    """Return a name that is one of the known ones.

    Args:
        name: As the user gave it.
        known: All there are.
        what: What it names, for the message: "product" or "defect".

    Raises:
        UnknownName: It is none of them; the message has the nearest.

    Example:
        >>> check_known("crak", ["crack", "hole"], "defect")
        Traceback (most recent call last):
        ...
        inout_generators.defectdiffu.names.UnknownName: no defect 'crak'; did you mean 'crack'? There are crack, hole
    """
    names = list(known)
    if name in names:
        return name
    near = get_close_matches(name.lower(), {other.lower(): other for other in names}, n=1)
    meant = next((other for other in names if near and other.lower() == near[0]), None)
    hint = "" if meant is None else f"; did you mean {meant!r}?"
    raise UnknownName(f"no {what} {name!r}{hint or '.'} There are {', '.join(names)}")


def check_names(products: Iterable[str], defects: Iterable[str]) -> None:
    """Raise ValueError if names would make prompts that mean two things.

    Args:
        products: Without the null product.
        defects: Without "good".
    """
    kinds: dict[str, str] = {GOOD: "the word for no defect", NULL_PRODUCT: "the word for any product"}
    for what, names in (("product", products), ("defect", defects)):
        for name in names:
            if not name or name != " ".join(name.split()):
                raise ValueError(f"a {what}'s name is words with single spaces between them; got {name!r}")
            if name in kinds:
                raise ValueError(f"{name!r} names a {what} and is {kinds[name]} too: prompts could not tell them apart")
            kinds[name] = f"a {what}"


class DefectNames(Mapping[tuple[str, str], str]):
    """One name for the same defect of several products, so that what one teaches the others can show.

    The paper's appendix unifies MVTec AD's names in this way; pairs that are not in the table keep their names.

    Args:
        table: (product, defect) -> the name to learn it by; the product "" stands for all of them.

    Raises:
        ValueError: A name is no name.

    Example:
        >>> DefectNames.read("uni_defect").unified("screw", "scratch_neck")
        'scratch'
        >>> DefectNames().unified("screw", "scratch_neck")
        'scratch_neck'
    """

    def __init__(self, table: Mapping[tuple[str, str], str] = MappingProxyType({})) -> None:
        self._table = dict(table)
        check_names((), dict.fromkeys(self._table.values()))

    def __getitem__(self, pair: tuple[str, str]) -> str:
        return self._table[pair]

    def __iter__(self) -> Iterator[tuple[str, str]]:
        return iter(self._table)

    def __len__(self) -> int:
        return len(self._table)

    def unified(self, product: str, defect: str) -> str:
        """Return the name to learn a defect by: of this product, else of all products, else its own."""
        return self._table.get((product, defect), self._table.get(("", defect), defect))

    @classmethod
    def read(cls, source: str | Path) -> DefectNames:
        """Read a table.

        Args:
            source: "uni_defect", the paper's table for MVTec AD; or a CSV file with the columns product, defect and
                uni_defect. An empty product stands for all.

        Raises:
            FileNotFoundError: There is no such file.
            ValueError: It has other columns, an empty name, or two names for one defect.
        """
        path = _SHIPPED if source == UNI_DEFECT else Path(source)
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file)
            if tuple(reader.fieldnames or ()) != _COLUMNS:
                raise ValueError(f"{path} has the columns {reader.fieldnames}; expected {','.join(_COLUMNS)}")
            table: dict[tuple[str, str], str] = {}
            for row in reader:
                product, defect, unified = ((row[column] or "").strip() for column in _COLUMNS)
                if not defect or not unified:
                    raise ValueError(f"{path}, line {reader.line_num}: defect and uni_defect are not empty")
                if table.setdefault((product, defect), unified) != unified:
                    raise ValueError(
                        f"{path}, line {reader.line_num}: {defect!r} of {product!r} is {table[product, defect]!r} "
                        f"and {unified!r}"
                    )
        return cls(table)
