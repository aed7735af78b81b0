import re
from dataclasses import replace
from functools import cache
from html.parser import HTMLParser

import pytest

from service.contract.report import Report
from service.contract.resources import Notice
from tests.worker.audit.synthetic import audit_of, inputs, structure
from tests.worker.audit.test_audit import regression, without_labels
from tests.worker.report.examples import report_of
from worker.report.html import headline, render_html
from worker.report.model_card import render_model_card

EVIL = "</title></style><script>alert(1)</script><img src=x onerror=alert(1)>"


class Page(HTMLParser):
    """Tags with their attributes, and the text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in {"meta", "img", "br", "link", "input"}:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag, tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)


def skewed() -> Report:
    lost = [0.01] * 10
    lost[3] = 0.2
    return report_of(audit_of([200] * 10, lost))


KINDS = ("skewed", "passing", "few samples", "unlabelled", "no data", "regression")


@cache
def reports() -> dict[str, Report]:
    return {
        "skewed": skewed(),
        "passing": report_of(audit_of([400] * 10, [0.005] * 10, gained=0.005)),
        "few samples": report_of(audit_of([200] * 3 + [12, 0], [0.01] * 5)),
        "unlabelled": report_of(without_labels(audit_of([50] * 10, [0.1] * 10))),
        "no data": report_of(inputs(None), dataset=None),
        "regression": report_of(regression(1.0)),
    }


@pytest.mark.parametrize("name", KINDS)
def test_every_kind_of_report_is_a_well_formed_page_with_its_verdict_first(name: str) -> None:
    page = Page(render_html(reports()[name]))
    assert page.open == []
    said = " ".join(" ".join(page.words).split())
    assert headline(reports()[name]) in said
    assert said.index(headline(reports()[name])) < said.index("What pruning gained") < said.index("How to repeat this")


@pytest.mark.parametrize("name", KINDS)
def test_the_page_loads_nothing_and_runs_nothing(name: str) -> None:
    text = render_html(reports()[name])
    assert not re.search(r"https?://|//[a-z]|@import|url\(", text, re.IGNORECASE)
    for tag, attributes in Page(text).tags:
        assert tag not in {"script", "link", "iframe", "object", "embed", "base", "form"}
        assert not any(key.startswith("on") for key in attributes)
        assert attributes.get("src", "data:").startswith("data:")  # type: ignore[union-attr]  # src has a value


def test_hostile_names_stay_text() -> None:
    given = audit_of([200] * 10, [0.2] + [0.01] * 9)
    layers = [layer.model_copy(update={"name": EVIL}) for layer in structure().layers]
    hostile = replace(
        given,
        class_names=(EVIL,) * 10,
        structure=structure(layers=layers, blocked=[EVIL], empty_layers=[EVIL]),
    )
    report = report_of(
        hostile,
        model={"id": "mdl_1", "name": EVIL, "sha256": EVIL},
        dataset={EVIL: EVIL},
        warnings=[Notice(code=EVIL, detail=EVIL)],
    )
    shown = [sample.model_copy(update={"image": f'data:image/png;base64,"{EVIL}'}) for sample in report.exemplars]
    page = Page(render_html(report.model_copy(update={"exemplars": shown})))
    assert page.open == []
    assert "script" not in {tag for tag, _ in page.tags}
    assert not any("onerror" in attributes for _, attributes in page.tags)
    assert EVIL in " ".join(page.words)


def test_an_image_that_is_no_png_of_ours_is_not_shown() -> None:
    report = skewed()
    shown = [sample.model_copy(update={"image": "javascript:alert(1)"}) for sample in report.exemplars]
    page = Page(render_html(report.model_copy(update={"exemplars": shown})))
    assert "img" not in {tag for tag, _ in page.tags}


def test_tables_have_headers_and_pictures_have_words() -> None:
    text = render_html(reports()["skewed"])
    for table in re.findall(r"<table.*?</table>", text, re.DOTALL):
        assert 'scope="col"' in table
        assert 'scope="row"' in table
    for figure in re.findall(r"<svg[^>]*role=\"img\".*?</svg>", text, re.DOTALL):
        assert "aria-label=" in figure or "<title>" in figure


def test_a_failing_class_is_named_in_the_headline() -> None:
    assert headline(skewed()) == "Pruning harmed one class: cat."


def test_a_model_that_hardly_worked_before_is_said_before_any_other_reason() -> None:
    notice = Notice(code="baseline-near-chance", detail="The dense model is right on 10.6 % of the confirm split.")
    page = Page(render_html(skewed().model_copy(update={"warnings": [notice]})))
    said = " ".join(" ".join(page.words).split())
    assert said.count(notice.detail) == 1
    assert said.index(notice.detail) < said.index("Overall accuracy.")


def test_a_thousand_classes_do_not_make_a_thousand_rows() -> None:
    text = render_html(report_of(replace(audit_of([3] * 200, [0.0] * 200), class_names=None)))
    assert "160 more classes are in report.json" in text


@pytest.mark.parametrize("name", KINDS)
def test_the_model_card_is_short_and_states_the_verdict(name: str) -> None:
    card = render_model_card(reports()[name])
    assert f"**{reports()[name].verdict}.**" in card
    assert card.count("\n") < 70


def test_the_model_card_escapes_markup_in_names() -> None:
    card = render_model_card(report_of(inputs(None), model={"name": "<script>x</script>\n# [a](b)"}))
    assert "<script>" not in card.replace("\\<", "")
    assert card.startswith("# \\<script\\>x\\</script\\> \\# \\[a\\](b), pruned\n")
