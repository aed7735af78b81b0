"""What a network is, what can be removed from it, and how far: the description shown after an upload."""

from worker.profile.describe import profile

__all__ = ["profile"]
