"""The HTML report, as a phone and a desk show it."""

import pytest

SCROLLS_SIDEWAYS = """[...document.querySelectorAll(".table, pre")]
    .filter((block) => block.scrollWidth > block.clientWidth + 1)
    .map((block) => block.innerText.slice(0, 60))"""


@pytest.fixture(scope="module")
def report(project) -> str:
    return (project / "data" / "smoke" / "08_reporting" / "report.html").as_uri()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1200])
def test_the_report_opens_and_nothing_is_cut_off_at_its_side(scheme, width, visit, report):
    seen = visit(report, width=width, scheme=scheme)
    seen.page.get_by_role("heading", level=1).wait_for()
    seen.page.wait_for_load_state("networkidle")
    assert seen.page.evaluate("document.scrollingElement.scrollWidth") <= width
    assert seen.page.evaluate(SCROLLS_SIDEWAYS) == []
    assert seen.errors == []
    assert seen.outside == []


def test_the_report_is_dark_where_the_reader_wants_it_dark(visit, report):
    paper = "getComputedStyle(document.body).backgroundColor"
    light, dark = (
        brightness(visit(report, scheme=scheme).page.evaluate(paper))
        for scheme in ("light", "dark")
    )
    assert light > 200
    assert dark < 60


def brightness(colour: str) -> float:
    return sum(int(part) for part in colour.strip("rgb()").split(",")) / 3
