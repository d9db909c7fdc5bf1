"""Every commit of a memory, kept: a journal that a commit appends to, and a git object store that is filled from it.

`_journal` is the part of a commit, and `_rows` its format. `_filling` fills the store and `_store` rewrites it, with
`_git`; `_reading` reads it, and `_history` serialises all of them with a lock. `_updater` fills stores in the
background. `_revisions` has the classes of results.
"""
