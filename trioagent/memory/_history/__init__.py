"""Every commit of a memory, kept: a journal that a commit appends to, and a git object store that is filled from it.

`_journal` is the part of a commit, and `_rows` what it writes. `_filling` fills the store and `_store` rewrites it, by
`_git`; `_reading` reads it, and `_history` puts them behind a lock. `_updater` fills stores behind the agents.
`_revisions` has what is returned.
"""
