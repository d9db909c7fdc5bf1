"""Files that fail, processes that die: at every operation on the disk, Python's own and SQLite's alike."""
