"""Memory agents as tasks in Trio nurseries."""
