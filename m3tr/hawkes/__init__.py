"""Point processes, usable on their own: the classical and the Mamba-Hawkes process."""
