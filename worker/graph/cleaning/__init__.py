"""The one form that every graph is brought into, whatever it was read from. `clean` says what it ensures."""

from worker.graph.cleaning.clean import clean

__all__ = ["clean"]
