"""The documentation cannot rot: what the code has and a page lacks, or the other way round, fails here."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from service.contract.recipe import LayerRule, Recipe
from service.errors import problem_types
from service.failures import FAILURES
from service.settings import Settings
from worker.errors import JobFailed

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = [*sorted(ROOT.glob("*.md")), *sorted(DOCS.rglob("*.md"))]
FILLED = "filled"


def rows(page: str) -> dict[str, str]:
    """The tables of a page: first cell to second cell, both without backticks."""
    cells = re.findall(r"^\| (`.+?) \| (.+?) \|", (DOCS / page).read_text(), flags=re.MULTILINE)
    return {name.replace("`", ""): default.strip("`") for name, default in cells}


def headings(page: str, level: int = 2) -> list[str]:
    return re.findall(rf"^{'#' * level} (.+)$", (DOCS / page).read_text(), flags=re.MULTILINE)


def written(value: Any) -> str:
    return "none" if value is None else str(value) if isinstance(value, str | Path) else json.dumps(value)


def settings_fields() -> Iterator[tuple[str, FieldInfo]]:
    """Environment variable (with its alias) and field, in the order of the settings."""
    for name, info in Settings.model_fields.items():
        group = info.annotation
        if isinstance(group, type) and issubclass(group, BaseModel):
            for inner, inner_info in group.model_fields.items():
                yield f"SECATEUR_{name}__{inner}".upper(), inner_info
        elif info.validation_alias is not None:
            yield " or ".join(str(choice) for choice in info.validation_alias.choices), info  # type: ignore[union-attr]
        else:
            yield f"SECATEUR_{name}".upper(), info


def recipe_fields(model: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Dotted path and default as the page writes it, of every leaf of the recipe."""
    for name, info in model.model_fields.items():
        path = f"{prefix}{name}"
        nested = nested_model(info)
        if nested is not None:
            yield from recipe_fields(nested, f"{path}.")
        else:
            yield path, "required" if info.is_required() else written(info.default)
        if name == "layers":
            yield from recipe_fields(LayerRule, f"{path}.*.")


def nested_model(info: FieldInfo) -> type[BaseModel] | None:
    """The model that a field holds, also where it may be null."""
    choices = [info.annotation, *getattr(info.annotation, "__args__", ())]
    if getattr(info.annotation, "__origin__", None) is not None:
        return None
    return next((choice for choice in choices if isinstance(choice, type) and issubclass(choice, BaseModel)), None)


def test_every_setting_has_its_row_and_its_default() -> None:
    expected = {name: written(info.default) for name, info in settings_fields()}
    assert rows("settings.md") == expected


def test_every_recipe_field_has_its_row_and_its_default() -> None:
    expected = dict(recipe_fields(Recipe))
    documented = rows("recipe.md")
    assert list(documented) == list(expected) or set(documented) == set(expected)
    wrong = {
        path: (documented[path], default)
        for path, default in expected.items()
        if documented[path] != default and not (documented[path] == FILLED and default == "none")
    }
    assert wrong == {}


def test_every_problem_type_has_a_heading_with_its_status() -> None:
    requests, _, jobs = (DOCS / "problems.md").read_text().partition("## Jobs and uploads that fail")
    assert sorted(re.findall(r"^### `(.+)` (\d+)$", requests, flags=re.MULTILINE)) == sorted(
        {(problem.slug, str(problem.status)) for problem in problem_types()}
    )
    assert re.findall(r"^### `(.+)`$", jobs, flags=re.MULTILINE) == list(FAILURES)


def test_every_failure_of_a_job_is_explained() -> None:
    assert {failure.code for failure in subclasses(JobFailed)} <= set(FAILURES)


def subclasses(root: type[JobFailed]) -> Iterator[type[JobFailed]]:
    for child in root.__subclasses__():
        yield child
        yield from subclasses(child)


def test_every_route_has_a_heading(tmp_path: Path) -> None:
    from service.app import create_app

    operations = {
        f"{method.upper()} {path}"
        for path, item in create_app(Settings(data_dir=tmp_path)).openapi()["paths"].items()
        for method in item
        if method != "head"  # a HEAD is the headers of the GET beside it
    }
    documented = {heading.strip("`") for heading in headings("http.md")}
    assert {name for name in documented if name.split()[0].isupper()} == operations


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_between_pages_lead_somewhere(page: Path) -> None:
    targets = re.findall(r"\]\(([^)#:]+?)(?:#[^)]*)?\)", page.read_text())
    assert [target for target in targets if not (page.parent / target).exists()] == []


def test_pages_named_in_the_code_exist() -> None:
    modules = [path for folder in ("service", "worker") for path in (ROOT / folder).rglob("*.py")]
    named = {(path, page) for path in modules for page in re.findall(r"docs/[\w/.-]+\.md", path.read_text())}
    assert {str(path.relative_to(ROOT)): page for path, page in named if not (ROOT / page).exists()} == {}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_paths_named_on_a_page_exist(page: Path) -> None:
    named = re.findall(
        r"`((?:service|worker|tests|docs|docker|openapi|examples|benchmarks)/[\w./-]*)`", page.read_text()
    )
    assert [path for path in named if not (ROOT / path).exists()] == []


def test_decisions_are_numbered_without_gaps() -> None:
    numbers = [int(page.name[:4]) for page in sorted((DOCS / "decisions").glob("*.md"))]
    assert numbers == list(range(1, len(numbers) + 1))


@pytest.mark.parametrize("page", sorted((DOCS / "decisions").glob("*.md")), ids=lambda page: page.stem)
def test_a_decision_says_context_decision_and_consequences(page: Path) -> None:
    assert re.findall(r"^## (.+)$", page.read_text(), flags=re.MULTILINE) == ["Context", "Decision", "Consequences"]
