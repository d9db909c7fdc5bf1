"""The vault on the host: leases, transactional commits and their recovery, limits, lost updates, receipts, links."""

from .._config import VaultPolicy as VaultPolicy
from ._changes import ChangeSet as ChangeSet
from ._changes import NoteChange as NoteChange
from ._commit import Receipt as Receipt
from ._knowledge import NOTHING_SEEN as NOTHING_SEEN
from ._knowledge import Knowledge as Knowledge
from ._knowledge import SeenNotes as SeenNotes
from ._memory import Lease as Lease
from ._memory import Memory as Memory
from ._paths import Folders as Folders
from ._paths import is_inside as is_inside
from ._root import check_memory_path as check_memory_path
from ._undo import UndoLog as UndoLog
from ._undo import UndoStep as UndoStep
from ._vault import OutLink as OutLink
from ._vault import Problem as Problem
from ._vault import Vault as Vault
