"""A folder for `sys.path`, which makes ``import agent`` work where `install` has not been called.

Processes that `multiprocessing` spawns inherit the path of their parent, and nothing else of it.
"""
