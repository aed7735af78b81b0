"""Sparsity that leaves the shapes alone: which weights become zero."""
