"""Batches of thousands of agents that can be cancelled, killed and resumed at any instant with nothing lost."""

from ._budget import BudgetExhausted as BudgetExhausted
from ._budget import PriceUnknown as PriceUnknown
from ._jobs import BadJobs as BadJobs
from ._jobs import BadRow as BadRow
from ._jobs import Job as Job
from ._jobs import check_jobs as check_jobs
from ._jobs import job_from_row as job_from_row
from ._jobs import read_jobs as read_jobs
from ._journal import JobChangedError as JobChangedError
from ._journal import JournalError as JournalError
from ._journal import JournalReader as JournalReader
from ._journal import is_running as is_running
from ._outputs import CONVERSATIONS as CONVERSATIONS
from ._outputs import FAILURES as FAILURES
from ._outputs import REPORT as REPORT
from ._outputs import STATUS as STATUS
from ._outputs import read_rows as read_rows
from ._progress import Progress as Progress
from ._progress import Straggler as Straggler
from ._run import BatchReport as BatchReport
from ._run import run_batch as run_batch
