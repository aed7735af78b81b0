"""The one form that every graph is brought into, whatever it was read from. `clean` says what it ensures."""

from worker.graph.cleaning.clean import clean
from worker.graph.cleaning.lookups import lookups_to_views
from worker.graph.cleaning.parameters import fold_parameters
from worker.graph.cleaning.recurrent import split_recurrent

__all__ = ["clean", "fold_parameters", "lookups_to_views", "split_recurrent"]
