"""The command line. The only code of the package that prints, or reads ``sys.argv``."""

from __future__ import annotations

from ._main import main as main
