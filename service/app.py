"""The API, put together."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import Depends, FastAPI
from starlette.middleware import Middleware

from service import __version__
from service.error_handlers import install_error_handlers
from service.metrics import Metrics
from service.middleware import RequestContext
from service.openapi import DESCRIPTION, TAGS, install_openapi
from service.queue import Doorbell
from service.routes import artifacts, catalogue, datasets, events, health, jobs, models
from service.routes.parameters import refuse_unknown_parameters
from service.services import Ringer, Services
from service.settings import Settings
from service.store.blobs import Blobs
from service.store.database import Database

__all__ = ["create_app"]


def create_app(settings: Settings | None = None) -> FastAPI:
    """An application of its own, with nothing global: two of them in one process do not meet.

    The database is expected to be migrated (`service.store.migrate`).
    """
    settings = settings or Settings()
    services = _open(settings)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        services.blobs.prepare()
        yield
        services.ringer.close()
        services.database.close()

    app = FastAPI(
        title="Secateur",
        version=__version__,
        description=DESCRIPTION,
        openapi_tags=TAGS,
        lifespan=lifespan,
        middleware=[Middleware(RequestContext)],
        dependencies=[Depends(refuse_unknown_parameters)],
        redirect_slashes=False,
        separate_input_output_schemas=False,
        docs_url="/docs",
        redoc_url=None,
    )
    app.state.services = services
    install_error_handlers(app)
    install_openapi(app)
    for room in (jobs, events, artifacts, models, datasets, catalogue, health):  # most asked for first
        app.include_router(room.router)
    return app


def _open(settings: Settings) -> Services:
    """Connections are made when they are first used."""
    database = Database(settings.sqlalchemy_url)
    doorbell = Doorbell(settings)
    return Services(
        settings=settings,
        database=database,
        blobs=Blobs(settings.data_dir),
        doorbell=doorbell,
        ringer=Ringer(database, doorbell),
        metrics=Metrics(database, doorbell),
    )
