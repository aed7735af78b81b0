"""The service: HTTP, rows, queue, processes. The engine is the package `worker`, which nothing here imports."""

__version__ = "0.1.0"
