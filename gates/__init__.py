"""Checks of the source that no ready-made command makes alone; `make lint` and `make test` run them."""
