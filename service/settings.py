"""Settings: environment variables `SECATEUR_<GROUP>__<NAME>`, validated at start.

`REDIS_URL` and `DATABASE_URL` are read too, because every platform sets them. docs/settings.md lists all of these;
a test fails when one is missing there.
"""

from functools import cached_property
from pathlib import Path
from typing import Literal

from pydantic import AliasChoices, BaseModel, Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

__all__ = ["ApiSettings", "JobSettings", "LimitSettings", "LogSettings", "Settings"]

MIB = 1024 * 1024
GIB = 1024 * MIB


class Group(BaseModel):
    model_config = {"extra": "forbid", "frozen": True}


class ApiSettings(Group):
    host: str = Field("127.0.0.1", description="Address to listen on.")
    port: int = Field(8000, ge=0, le=65535, description="Port to listen on.")
    max_wait_seconds: int = Field(60, ge=0, le=600, description="Upper bound of `Prefer: wait=N`.")
    stream_seconds: int = Field(
        600, ge=1, le=86400, description="An event stream is closed after this long; clients reconnect."
    )


class LimitSettings(Group):
    """Bounds on what a client may send and on what its model may use."""

    upload_bytes: int = Field(2 * GIB, ge=1, description="Largest upload.")
    request_bytes: int = Field(1 * MIB, ge=1024, description="Largest JSON body.")
    free_disk_bytes: int = Field(
        512 * MIB, ge=0, description="Uploads are refused (507) when less than this would stay free."
    )
    dataset_bytes: int = Field(4 * GIB, ge=1, description="Largest dataset after decompression.")
    model_nodes: int = Field(50_000, ge=1, description="Largest number of ops in a model.")
    job_memory_bytes: int = Field(16 * GIB, ge=256 * MIB, description="Address space of the process that runs one job.")
    job_cpu_seconds: int = Field(86_400, ge=1, description="CPU time of one job.")
    job_file_bytes: int = Field(8 * GIB, ge=1 * MIB, description="Largest single file a job may write.")
    job_stall_seconds: int = Field(1800, ge=1, description="A job that reports no progress for this long is ended.")


class JobSettings(Group):
    lease_seconds: float = Field(
        30.0, ge=0.5, le=3600, description="A running job whose worker is silent this long is handed on."
    )
    max_attempts: int = Field(3, ge=1, le=100, description="Attempts before a job whose worker keeps dying is failed.")
    concurrency: int = Field(1, ge=1, le=64, description="Jobs a worker runs at a time.")
    threads: int = Field(
        0, ge=0, le=1024, description="Compute threads per job; 0 takes all cores divided by concurrency."
    )
    device: Literal["cpu", "cuda", "auto"] = Field("auto", description="Where networks are trained.")
    reconcile_seconds: float = Field(1.0, ge=0.1, le=60, description="Pause between two rounds of the reconciler.")


class LogSettings(Group):
    level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="Least important level that is printed."
    )
    format: Literal["text", "json"] = Field("text", description="`json` prints one object per line.")


class Settings(BaseSettings):
    """All settings. Secrets are masked when printed."""

    model_config = SettingsConfigDict(
        env_prefix="SECATEUR_", env_nested_delimiter="__", extra="forbid", frozen=True, populate_by_name=True
    )

    data_dir: Path = Field(Path("secateur-data"), description="Database, uploads and artifacts of the embedded mode.")
    database_url: SecretStr | None = Field(
        None,
        validation_alias=AliasChoices("SECATEUR_DATABASE_URL", "DATABASE_URL"),
        description="`postgresql://…`. Default: SQLite in the data folder.",
    )
    redis_url: SecretStr | None = Field(
        None,
        validation_alias=AliasChoices("SECATEUR_REDIS_URL", "REDIS_URL"),
        description="`redis://…`. Default: `secateur up` starts a Valkey server of its own.",
    )
    api: ApiSettings = ApiSettings()
    limits: LimitSettings = LimitSettings()
    jobs: JobSettings = JobSettings()
    log: LogSettings = LogSettings()

    @cached_property
    def sqlalchemy_url(self) -> str:
        """The URL SQLAlchemy connects to; `psycopg` is the one PostgreSQL driver."""
        if self.database_url is None:
            return f"sqlite:///{self.data_dir.absolute() / 'secateur.db'}"
        url = self.database_url.get_secret_value()
        for prefix in ("postgres://", "postgresql://"):
            if url.startswith(prefix):
                return "postgresql+psycopg://" + url.removeprefix(prefix)
        return url

    @cached_property
    def broker_url(self) -> str:
        """The URL Celery connects to: `REDIS_URL`, or the socket of the embedded server."""
        if self.redis_url is not None:
            return self.redis_url.get_secret_value()
        return f"redis+socket://{self.embedded_socket}"

    @cached_property
    def embedded_socket(self) -> Path:
        """Unix socket of the embedded Valkey. A short path: the kernel allows about 100 bytes."""
        import hashlib
        import os
        import tempfile

        digest = hashlib.sha256(str(self.data_dir.absolute()).encode()).hexdigest()[:16]
        return Path(tempfile.gettempdir()) / f"secateur-{os.getuid()}-{digest}" / "valkey.sock"
