"""What runs outside of the host: loaded by path, standard library and Monty's client only."""
