"""Batches of thousands of agents that can be cancelled, killed and resumed at any instant with nothing lost."""

from typing import TYPE_CHECKING

from .._config import Shard as Shard
from .._deprecated import old_names
from .._descriptors import Concurrency as Concurrency
from .._descriptors import fit_to_descriptors as fit_to_descriptors
from .._runs import CONVERSATIONS as CONVERSATIONS
from .._runs import FAILURES as FAILURES
from .._runs import REPORT as REPORT
from .._runs import STATUS as STATUS
from .._runs import BadJobsError as BadJobsError
from .._runs import BadRow as BadRow
from .._runs import BatchReport as BatchReport
from .._runs import BudgetExhaustedError as BudgetExhaustedError
from .._runs import Dropped as Dropped
from .._runs import EndpointUse as EndpointUse
from .._runs import FailureCause as FailureCause
from .._runs import JobChangedError as JobChangedError
from .._runs import JournalError as JournalError
from .._runs import JournalReader as JournalReader
from .._runs import KnownJob as KnownJob
from .._runs import MergeReport as MergeReport
from .._runs import PriceUnknownError as PriceUnknownError
from .._runs import Progress as Progress
from .._runs import RunChangedError as RunChangedError
from .._runs import RunDirError as RunDirError
from .._runs import RunStatus as RunStatus
from .._runs import RunTotals as RunTotals
from .._runs import ShardsDifferError as ShardsDifferError
from .._runs import ShardSummary as ShardSummary
from .._runs import Spending as Spending
from .._runs import Straggler as Straggler
from .._runs import drop_failed as drop_failed
from .._runs import is_running as is_running
from .._runs import merge_shards as merge_shards
from .._runs import read_rows as read_rows
from .._runs import read_run_status as read_run_status
from ._jobs import Job as Job
from ._jobs import Survey as Survey
from ._jobs import good_jobs as good_jobs
from ._jobs import job_from_row as job_from_row
from ._jobs import read_jobs as read_jobs
from ._jobs import survey_jobs as survey_jobs
from ._run import check_batch_pins as check_batch_pins
from ._run import run_batch as run_batch

if not TYPE_CHECKING:
    __getattr__ = old_names(__name__)
