"""One module a system; each is started by the suite in an interpreter of its own, and says its figures as JSON."""
