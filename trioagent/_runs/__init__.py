"""The engine of journaled runs: whatever the jobs are, one run directory, and nothing lost.

Batches and training conversations stand beside each other on it, and take from it what is named here.
"""

from ._budget import Budget as Budget
from ._budget import BudgetedModel as BudgetedModel
from ._budget import BudgetExhaustedError as BudgetExhaustedError
from ._budget import PriceUnknownError as PriceUnknownError
from ._drop import Dropped as Dropped
from ._drop import drop_failed as drop_failed
from ._engine import Run as Run
from ._engine import run_journaled as run_journaled
from ._episode import drop_receipt as drop_receipt
from ._episode import run_episode as run_episode
from ._events import AnswerEvent as AnswerEvent
from ._events import Event as Event
from ._events import NoteImage as NoteImage
from ._events import ResultEvent as ResultEvent
from ._events import WorkEvent as WorkEvent
from ._images import take_back as take_back
from ._journal import JobChangedError as JobChangedError
from ._journal import JobRecord as JobRecord
from ._journal import Journal as Journal
from ._journal import JournalError as JournalError
from ._journal import KnownJob as KnownJob
from ._lock import is_running as is_running
from ._outputs import CONVERSATIONS as CONVERSATIONS
from ._outputs import FAILURES as FAILURES
from ._outputs import REPORT as REPORT
from ._outputs import STATUS as STATUS
from ._outputs import OutputFiles as OutputFiles
from ._outputs import RunDirError as RunDirError
from ._outputs import failure as failure
from ._outputs import read_rows as read_rows
from ._pins import RunChangedError as RunChangedError
from ._pins import check_pins as check_pins
from ._pins import memory_folder as memory_folder
from ._pins import pins_of as pins_of
from ._pins import prompt_hash as prompt_hash
from ._progress import EndpointUse as EndpointUse
from ._progress import Progress as Progress
from ._progress import Straggler as Straggler
from ._reader import JournalReader as JournalReader
from ._reader import look_up_jobs as look_up_jobs
from ._report import BatchReport as BatchReport
from ._report import FailureCause as FailureCause
from ._report import RunStatus as RunStatus
from ._report import RunTotals as RunTotals
from ._report import read_run_status as read_run_status
from ._rows import BadJobsError as BadJobsError
from ._rows import BadRow as BadRow
from ._rows import checked_rows as checked_rows
from ._spending import Spending as Spending
from ._work import JobEnd as JobEnd
