"""A wheel or source archive of bbh_bench says of which commit it was built: records of an installed suite name it."""

import subprocess
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

FILE = "bbh_bench/build_commit.txt"


class BuildCommit(BuildHookInterface):
    """Adds a file with the commit, and the word ``dirty`` if the working tree had changes. Nothing outside of a clone."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Called by hatchling before it builds."""
        text = self._text()
        if version == "editable" or not text:
            return
        with tempfile.NamedTemporaryFile("w", suffix=".txt", delete=False) as file:
            file.write(text)
        self._file = Path(file.name)
        build_data["force_include"][file.name] = FILE

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        """Called after it."""
        if hasattr(self, "_file"):
            self._file.unlink(missing_ok=True)

    def _text(self) -> str:
        def git(*arguments: str) -> str:
            return subprocess.run(["git", "-C", self.root, *arguments], capture_output=True, check=True).stdout.decode()

        try:
            if git("ls-files", "pyproject.toml").strip() != "pyproject.toml":
                return ""  # it lies inside a repository of another project
            return git("rev-parse", "HEAD").strip() + (" dirty" if git("status", "--porcelain") else "") + "\n"
        except (OSError, subprocess.CalledProcessError):
            return ""
