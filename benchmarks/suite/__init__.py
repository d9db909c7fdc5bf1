"""The benchmark suite: one model server, one episode, one driver a system, one table. ``python -m benchmarks suite``.

What peers' interpreters load (``episode``, ``drivers``) needs nothing beyond the standard library and the peer itself.
"""
