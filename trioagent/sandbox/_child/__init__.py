"""The child side of the kernel tiers: what runs in the zygote and in the confined children that it forks.

Standard library only, and never imported as part of trioagent: ``__main__.py`` is run by path in a bare interpreter and
loads this folder as a package of its own, so that no child carries trio, httpx or the host's objects. Read in this
order: ``zygote`` (serve forks), ``ground`` (with namespaces or without), ``confine`` (make one child harmless),
``run_block`` (run the code and answer).
"""
