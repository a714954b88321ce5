"""Arguments and options that several commands share."""

from __future__ import annotations

import re
from enum import StrEnum
from typing import Annotated, Any

import typer

from parquedb.errors import InvalidInputError, did_you_mean


class FormatName(StrEnum):
    """The formats."""

    NATIVE = "native"
    ICEBERG = "iceberg"
    DELTA = "delta"


class FileFormName(StrEnum):
    """The forms of files that documents are exchanged by."""

    NDJSON = "ndjson"
    JSON = "json"
    CSV = "csv"
    PARQUET = "parquet"


class OnExistingName(StrEnum):
    """What an import does with a document whose id is taken."""

    ERROR = "error"
    SKIP = "skip"
    REPLACE = "replace"


def name_option(option: str, names: type[StrEnum], text: str) -> Any:
    """Return an option that takes one of some names.

    Args:
        option: What it is called, ``--to``.
        names: The names.
        text: Its help.
    """

    def parse(given: str) -> StrEnum:
        try:
            return names(given)
        except ValueError:
            known = ", ".join(repr(name.value) for name in names)
            raise typer.BadParameter(
                f"{given!r} is not one of {known}{did_you_mean(given, names)}"
            ) from None

    return typer.Option(option, metavar=f"<{'|'.join(names)}>", parser=parse, help=text)


def number_option(option: str, least: int, text: str, metavar: str = "N") -> Any:
    """Return an option that takes a whole number.

    Args:
        option: What it is called, ``--limit``.
        least: The smallest number that it takes.
        text: Its help.
        metavar: What stands for the number in it.
    """

    def parse(given: str | int) -> int:
        try:
            number = int(given)
        except ValueError:
            number = least - 1
        if number < least:
            raise typer.BadParameter(f"{str(given)!r} is no whole number from {least} on")
        return number

    return typer.Option(option, metavar=metavar, parser=parse, help=text)


StorageOption = Annotated[
    str | None,
    typer.Option("--storage", metavar="URI", help="Where the data is. [default: this directory]"),
]
WarehouseOption = Annotated[
    str, typer.Option("--warehouse", metavar="PREFIX", help="Folder of the Iceberg tables.")
]
LocationOption = Annotated[
    str, typer.Option("--location", metavar="PREFIX", help="Folder of the Delta tables.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]
NamespacesOption = Annotated[
    str | None,
    typer.Option("--namespaces", metavar="A,B", help="Only these, with commas between."),
]
DryRunOption = Annotated[bool, typer.Option("--dry-run", help="Only say what would be done.")]
NamespaceArgument = Annotated[str, typer.Argument(metavar="NS", help="The namespace.")]
OptionalNamespaceArgument = Annotated[
    str | None, typer.Argument(metavar="[NS]", help="The namespace. [default: all]")
]
AsOfOption = Annotated[
    str | None,
    typer.Option("--as-of", metavar="T", help="A version, or a time such as 2026-01-31T12:00:00Z."),
]
IncludeDeletedOption = Annotated[
    bool, typer.Option("--include-deleted", help="Deleted documents count too.")
]
FileFormOption = Annotated[
    FileFormName | None,
    name_option("--format", FileFormName, "The file's form. [default: its ending]"),
]

_SECONDS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*([smhdw]?)")


def parse_duration(text: str) -> float:
    """Return a time span such as ``7d``, ``12h``, ``30m``, ``90s`` or ``0`` in seconds.

    Raises:
        InvalidInputError: It is none.
    """
    match = _DURATION.fullmatch(text.strip())
    if match is None:
        raise InvalidInputError(f"{text!r} is no time span; write it like 7d, 12h, 30m or 90s")
    return float(match[1]) * _SECONDS[match[2]]
