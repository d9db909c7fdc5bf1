"""All that runs in sandbox processes: the kernel tiers' zygote and its children, and Monty's processes (`monty`).

Standard library only. ``__main__.py`` is run by path in a bare interpreter and imports these modules under the names
that they have in the host, which imports some of them too; no child contains trio, httpx or the host's objects. Read in
this
order: ``zygote`` (serves forks), ``isolation`` (with namespaces or without), ``confine`` (confines one child),
``run_block`` (runs the code and replies).
"""
