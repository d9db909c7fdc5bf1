"""The included suites, a module each; registered by entry points like all others."""
