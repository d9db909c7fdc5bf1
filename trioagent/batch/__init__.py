"""Batches of thousands of agents that can be cancelled, killed and resumed at any instant with nothing lost."""

from typing import TYPE_CHECKING

from .._deprecated import old_names
from ._budget import BudgetExhaustedError as BudgetExhaustedError
from ._budget import PriceUnknownError as PriceUnknownError
from ._descriptors import Concurrency as Concurrency
from ._descriptors import fit_to_descriptors as fit_to_descriptors
from ._jobs import BadJobsError as BadJobsError
from ._jobs import BadRow as BadRow
from ._jobs import Job as Job
from ._jobs import Survey as Survey
from ._jobs import check_jobs as check_jobs
from ._jobs import good_jobs as good_jobs
from ._jobs import job_from_row as job_from_row
from ._jobs import read_jobs as read_jobs
from ._jobs import survey_jobs as survey_jobs
from ._journal import JobChangedError as JobChangedError
from ._journal import JournalError as JournalError
from ._journal_reader import JournalReader as JournalReader
from ._journal_reader import is_running as is_running
from ._outputs import CONVERSATIONS as CONVERSATIONS
from ._outputs import FAILURES as FAILURES
from ._outputs import REPORT as REPORT
from ._outputs import STATUS as STATUS
from ._outputs import RunDirError as RunDirError
from ._outputs import read_rows as read_rows
from ._progress import EndpointUse as EndpointUse
from ._progress import Progress as Progress
from ._progress import Straggler as Straggler
from ._report import BatchReport as BatchReport
from ._report import RunStatus as RunStatus
from ._report import look_at as look_at
from ._run import run_batch as run_batch
from ._spending import Spending as Spending

if not TYPE_CHECKING:
    __getattr__ = old_names(__name__)
