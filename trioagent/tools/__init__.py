"""The functions that a block may call: notes as files, links, search. Stdlib only, so that a child can load it by path.

======================================================  ===============================================================
``create_file(file_path, content="") -> bool``          write a note whole (also over an old one); makes its folders;
                                                        a new note gets ``.md`` (:mod:`._names`)
``update_file(file_path, old_content, new_content)``    replace a text that is in the note exactly once; True
``write_to_file(file_path, diff) -> bool``              apply a unified diff, all of it or nothing; makes new notes too
``read_file(file_path) -> str``                         the note's text
``delete_file(file_path) -> bool``                      delete a note
``check_if_file_exists(file_path) -> bool``             is there such a note?
``check_if_dir_exists(dir_path) -> bool``               is there such a folder?
``create_dir(dir_path) -> bool``                        make a folder and its parents
``list_files(dir_path=None) -> list[str]``              all notes (of a folder), sorted, as paths from the memory
``get_size(path="") -> int``                            bytes of a note, or of a folder with all that is in it
``go_to_link(link) -> str``                             the note, section or block that a link means
``search(query, limit=10) -> list[str]``                the best lines, as ``path:line: text``
``backlinks(path) -> list[str]``                        the notes that link to this one
======================================================  ===============================================================

Tools do not raise for bad arguments or missing notes: they return a :class:`ToolError`, a false text that says
what to do next, or, if they return a list, a :class:`NoResults`, an empty list with that text in ``error``. Paths
are relative to the memory (:mod:`._paths`), links follow Obsidian (:mod:`.links`), hidden files are not listed, linked
or searched, and nothing outside the memory can be reached.
"""

from __future__ import annotations

from collections.abc import Callable

from ._disk import Disk as Disk
from ._disk import Folder as Folder
from ._edit import edited as edited
from ._index import Index as Index
from ._index import check_part as check_part
from ._names import is_text as is_text
from ._names import new_name_problem as new_name_problem
from ._names import nfc as nfc
from ._names import suffix_of as suffix_of
from ._names import usual_forms as usual_forms
from ._paths import RESERVED as RESERVED
from ._paths import is_hidden as is_hidden
from ._paths import is_reserved as is_reserved
from ._policy import DEFAULT_RULES as DEFAULT_RULES
from ._policy import NOTE_SUFFIXES as NOTE_SUFFIXES
from ._policy import Access as Access
from ._policy import AccessRules as AccessRules
from ._policy import glob_matches as glob_matches
from ._policy import hidden_part as hidden_part
from ._policy import is_shown as is_shown
from ._policy import read_problem as read_problem
from ._policy import write_problem as write_problem
from ._results import NoResults as NoResults
from ._results import PathList as PathList
from ._results import ToolError as ToolError
from ._results import quiet as quiet
from ._seen import MAX_SEEN as MAX_SEEN
from ._seen import SeenLog as SeenLog
from ._text import NoteText as NoteText
from ._version import Version as Version
from ._version import version_of as version_of
from ._version import version_of_open as version_of_open
from .files import MAX_HITS as MAX_HITS
from .files import NoteTools as NoteTools

NAMES = (
    "create_file",
    "update_file",
    "write_to_file",
    "read_file",
    "delete_file",
    "check_if_file_exists",
    "check_if_dir_exists",
    "create_dir",
    "list_files",
    "get_size",
    "go_to_link",
    "search",
    "backlinks",
)
"""The names available to a block."""


def make_tools(
    root: str | Disk = "/",
    seen: SeenLog | None = None,
    index: Index | None = None,
    access: Access | None = None,
) -> dict[str, Callable[..., object]]:
    """The tools on one memory, by name.

    Args:
        root: the memory's folder, ``/`` in a child that has changed its root to it; or an object that acts as a folder.
        seen: records each note whose content, or absence, is shown, and each that is changed.
        index: may know where in the memory to search; without it, every note is read.
        access: what the block may touch; anything else is refused with the reason. The host is responsible for leaving
            it out of the view, and for refusing it at the commit.
    """
    tools = NoteTools(root, seen, index, access)
    return {name: getattr(tools, name) for name in NAMES}
