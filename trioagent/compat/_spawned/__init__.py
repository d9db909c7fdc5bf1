"""A folder for `sys.path`: what is in it makes ``import agent`` work where `install` has not been called.

Processes that `multiprocessing` starts anew get the path of the one that starts them, and nothing else of it.
"""
