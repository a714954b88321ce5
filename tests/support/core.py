"""Tests in both ways: with the compiled part, and with Python alone."""

from collections.abc import Iterator

import pytest

from parquedb import compiled


def python_only(patch: pytest.MonkeyPatch) -> None:
    """Have Python do everything."""
    patch.setattr(compiled, "copy_document", lambda _document: None)
    patch.setattr(compiled, "encode_document", lambda _document: None)
    patch.setattr(compiled, "restore_document", lambda _parsed: None)
    patch.setattr(compiled, "RowReader", None)


@pytest.fixture(
    autouse=True,
    scope="module",
    params=[
        pytest.param(
            "compiled",
            marks=pytest.mark.skipif(not compiled.is_compiled, reason="nothing is compiled here"),
        ),
        "python",
    ],
)
def both_ways(request: pytest.FixtureRequest) -> Iterator[None]:
    """Run all tests of the module that imports this with and without the compiled part."""
    with pytest.MonkeyPatch.context() as patch:
        if request.param == "python":
            python_only(patch)
        yield
