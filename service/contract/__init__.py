"""What a job asks (`recipe`), what it answers (`report`), and the resources of the API (`resources`).

Pydantic models only, shared with the worker. Nothing here may import torch, onnx or a database.
"""
