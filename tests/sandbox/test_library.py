"""The archive from which a child's imports come."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from trioagent.sandbox import Sandbox
from trioagent.sandbox._guest.library import Archive, ArchiveImporter, archive_packages


@pytest.fixture
def package(tmp_path: Path) -> Path:
    folder = tmp_path / "source"
    (folder / "deep").mkdir(parents=True)
    (folder / "__init__.py").write_text("from .word import WORD\n")
    (folder / "word.py").write_text("WORD = 'ä'\nBAD = lambda: 1 / 0\n", encoding="utf-8")
    (folder / "deep" / "__init__.py").write_text("from ..word import WORD as again\n")
    (folder / "notes.txt").write_text("no module")
    return folder


@pytest.fixture
def importing() -> Iterator[None]:
    finders, modules = sys.meta_path[:], set(sys.modules)
    yield
    sys.meta_path[:] = finders
    for name in set(sys.modules) - modules:
        del sys.modules[name]


def test_a_package_is_imported_from_the_shelf_and_not_from_disk(package: Path, importing: None) -> None:
    archive = Archive()
    archive_packages(archive, {"shelved_words": str(package)})
    archive.close()
    for path in package.rglob("*.py"):
        path.unlink()
    sys.meta_path.append(ArchiveImporter(archive))
    import shelved_words  # type: ignore[import-not-found]
    import shelved_words.deep  # type: ignore[import-not-found]

    assert (shelved_words.WORD, shelved_words.deep.again) == ("ä", "ä")
    assert shelved_words.word.BAD.__code__.co_filename == "<library>/shelved_words/word.py"
    assert "shelved_words/notes.txt" not in archive
    with pytest.raises(ImportError, match=r"shelved_words\.gone"):
        import shelved_words.gone  # type: ignore[import-not-found]


def test_a_folder_that_is_no_package_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no package 'missing'"):
        archive_packages(Archive(), {"missing": str(tmp_path / "missing")})


@pytest.mark.real
async def test_a_module_that_nothing_offers_is_named(sandbox: Sandbox) -> None:
    result = await sandbox.run("import no_such_module")
    assert result.error.startswith("ModuleNotFoundError: No module named 'no_such_module' (line 1")
