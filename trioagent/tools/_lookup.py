"""Finds the note at a path, whatever form its names have on the disk, and the place of a new one.

Reading and writing both use it, so that a note is never written beside the one that would be read. A name is looked up
as given, then in the other forms that are equal to it under NFC, for files and for folders. If the
file system ignores case, the name as stored counts.
"""

from __future__ import annotations

from collections.abc import Iterator

from ._disk import Disk, Kind
from ._index import Index
from ._names import check_new_names, for_new_note, has_rare_forms, nfc, spellings, tidy, usual_forms
from ._paths import relative
from ._results import Refused


class Lookup:
    """Looks names up in one memory. With an index its cost does not depend on the memory's size."""

    def __init__(self, disk: Disk, index: Index) -> None:
        self._disk, self._index = disk, index

    def find(self, path: str) -> tuple[str, Kind]:
        """The entry at *path*, with its path as stored on the disk; *path* itself and ``""`` if there is none."""
        found = self._disk.locate(path)
        if not found[1] and len(usual_forms(path)) > 1:
            return self._in_other_form("", path.split("/")) or found
        return found

    def note(self, path: str) -> tuple[str, Kind]:
        """The file that *path* names in any spelling, or a link or device in its place; ``""`` if there is none."""
        for name in spellings(path):
            found = self.find(name)
            if found[1] in ("file", "other"):
                return found
        return self.said_twice(path) or (path, "")

    def said_twice(self, path: str) -> tuple[str, Kind] | None:
        """The note ``a/b.md`` for ``a/a/b.md``, if no folder ``a/a`` exists: a block joined ``a`` and a listed path."""
        parts = tidy(path).split("/")
        for size in range(1, (len(parts) + 1) // 2):
            if parts[:size] == parts[size : 2 * size] and self.folder("/".join(parts[: 2 * size])) is None:
                for name in spellings("/".join(parts[size:])):
                    found = self.find(name)
                    if found[1] == "file":
                        return found
        return None

    def folder(self, path: str) -> str | None:
        """The folder that *path* means, if there is one."""
        for name in dict.fromkeys((path, tidy(path))):
            found, kind = self.find(name)
            if kind == "folder":
                return found
        return None

    def for_note(self, path: str) -> str:
        """Where a note called *path* is written: over the one that would be read, or to a new one.

        Raises:
            Refused: something else is in the way, or it would be a new note with a name that is not allowed.
        """
        found, kind = self.note(path)
        if kind == "file":
            if self.said_twice(path) == (found, kind):
                folder = path.rpartition("/")[0]
                raise Refused(
                    f"{path!r} would be a new note in a new folder, and {found!r} exists; name that if you mean it, "
                    f"or make the folder first with create_dir({folder!r})"
                )
            return found
        if kind:
            raise Refused(f"{found} is no plain note (a link or device); choose another name")
        if not tidy(path):
            raise Refused("that is the memory's own folder; name a note, such as 'entities/ada.md'")
        folder, names = self._split(relative(path.lstrip()))
        check_new_names(path, folder, names, is_note=True)
        new = folder + for_new_note(names)
        if self.find(new)[1] == "folder":
            raise Refused(f"{new} is a folder; give the note's name as well, such as {new + '/note.md'!r}")
        return new

    def for_folder(self, path: str) -> str:
        """The folder that *path* names, or the place of a new one. Refuses like :meth:`for_note`."""
        found = self.folder(path)
        if found is not None:
            return found
        folder, names = self._split(f"{relative(path.lstrip())}/")
        check_new_names(path, folder, names[:-1], is_note=False)
        return folder + names[:-1]

    def _split(self, path: str) -> tuple[str, str]:
        """*path* as the folder that exists, ``""`` or with a ``/`` at its end, and the rest, which is new."""
        parts = path.split("/")
        for size in range(len(parts) - 1, 0, -1):
            found, kind = self.find("/".join(parts[:size]))
            if kind == "folder":
                return f"{found}/", nfc("/".join(parts[size:]))
            if kind:
                raise Refused(f"{found} is a note, not a folder; choose another path")
        return "", nfc(path)

    def _in_other_form(self, start: str, parts: list[str]) -> tuple[str, Kind] | None:
        name, *rest = parts
        for form in self._forms(start, name):
            found, kind = self._disk.locate(start + form)
            if rest and kind == "folder":
                inside = self._in_other_form(f"{found}/", rest)
                if inside is not None:
                    return inside
            elif kind and not rest:
                return found, kind
        return None

    def _forms(self, start: str, name: str) -> Iterator[str]:
        """The forms of *name* that may exist in the folder *start*."""
        usual = usual_forms(name)
        yield from usual
        if not has_rare_forms(name):
            return
        if self._index.usable:
            paths = self._index.other_forms(self._disk, nfc(start + name))
            names = [path[len(start) :] for path in paths if path.startswith(start)]
        else:
            with self._disk.folder(start.removesuffix("/")) as folder:
                names = [entry.name for entry in folder.scan()]
            self._index.looked_at(len(names))
        same = nfc(name)
        yield from sorted(each for each in names if each not in usual and nfc(each) == same)
