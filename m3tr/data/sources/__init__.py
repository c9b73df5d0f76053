"""One module a source: each turns what a platform gives into the two tables."""
