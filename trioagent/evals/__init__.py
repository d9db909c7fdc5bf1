"""Evaluations of an agent's memory on suites of samples, journaled like a batch.

A suite is data: samples, how a memory is set up for them, the messages, and how it is graded. Packages offer suites of
their own by an entry point of the group ``trioagent.evals``.
"""

from __future__ import annotations

from ._answer_words import normalise as normalise
from ._baselines import BASELINES as BASELINES
from ._baselines import Baseline as Baseline
from ._graders import All as All
from ._graders import Asks as Asks
from ._graders import Contains as Contains
from ._graders import LocomoF1 as LocomoF1
from ._graders import NotesChanged as NotesChanged
from ._graders import NotesSay as NotesSay
from ._graders import NotesUntouched as NotesUntouched
from ._graders import Withholds as Withholds
from ._graders import multi_answer_f1 as multi_answer_f1
from ._graders import token_f1 as token_f1
from ._memories import copy_notes as copy_notes
from ._memories import read_notes as read_notes
from ._memories import write_notes as write_notes
from ._report import SAMPLES as SAMPLES
from ._report import CategoryScore as CategoryScore
from ._report import EvalReport as EvalReport
from ._report import EvalScores as EvalScores
from ._report import compare_runs as compare_runs
from ._report import read_scores as read_scores
from ._report import samples_apart as samples_apart
from ._run import SampleMemoryGoneError as SampleMemoryGoneError
from ._run import SetUpFailedError as SetUpFailedError
from ._run import check_baseline as check_baseline
from ._run import run_eval as run_eval
from ._statistics import Comparison as Comparison
from ._statistics import compare_scores as compare_scores
from ._statistics import confidence_interval as confidence_interval
from ._suite import ENTRY_POINTS as ENTRY_POINTS
from ._suite import Grade as Grade
from ._suite import Grader as Grader
from ._suite import Sample as Sample
from ._suite import SampleAnswer as SampleAnswer
from ._suite import SetUp as SetUp
from ._suite import Suite as Suite
from ._suite import find_suite as find_suite
from ._suite import load_samples as load_samples
from ._suite import need_data as need_data
from ._suite import suite_names as suite_names
