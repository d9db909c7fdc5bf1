"""On a system that is not Linux: simulated, by hiding what only Linux has."""
