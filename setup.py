"""What pyproject.toml cannot say: the compiled part, which is left out where it cannot be made."""

import sys

from setuptools import Extension, setup

SOURCES = ("module", "common", "copy", "encode", "restore", "rows")
IS_WINDOWS = sys.platform == "win32"

setup(
    ext_modules=[
        Extension(
            "parquedb._core",
            [f"src/core/{name}.c" for name in SOURCES],
            depends=["src/core/core.h"],
            libraries=[] if IS_WINDOWS else ["m"],
            # No debugger's information: it would be most of what is installed.
            extra_compile_args=[] if IS_WINDOWS else ["-O2", "-g0", "-fno-strict-aliasing"],
            optional=True,
        )
    ]
)
