"""Bodies of any size, taken in as they arrive."""
