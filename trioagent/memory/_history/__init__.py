"""Every commit of a memory, kept: a journal that a commit appends to, and a git object store that is filled from it.

`_journal` is the part of a commit, `_git` runs git, `_store` fills and rewrites the store, `_reading` reads it, and
`_history` puts them behind a lock. `_revisions` has what they return.
"""
