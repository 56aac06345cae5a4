"""The HTML report, as a phone and a desk show it."""

import pytest

SCROLLS_SIDEWAYS = """[...document.querySelectorAll(".table, pre")]
    .filter((block) => block.scrollWidth > block.clientWidth + 1)
    .map((block) => block.innerText.slice(0, 60))"""

# Their letters are dark on a light page and light on a dark one.
CHARTS_ARE_DRAWN_FOR = """scheme => [...document.querySelectorAll(".xtick text")].every((text) => {
    const [red, green, blue] = getComputedStyle(text).fill.match(/[0-9.]+/g).map(Number);
    return (red + green + blue) / 3 < 128 === (scheme === "light");
})"""

OVERLAPS = """texts => {
    const boxes = texts.map((text) => text.getBoundingClientRect());
    const meet = (a, b) =>
        a.left < b.right && b.left < a.right && a.top < b.bottom && b.top < a.bottom;
    return texts.filter((_, i) => boxes.slice(0, i).some((box) => meet(box, boxes[i])))
        .map((text) => text.textContent);
}"""


@pytest.fixture(scope="module")
def report(project) -> str:
    return (project / "data" / "smoke" / "08_reporting" / "report.html").as_uri()


@pytest.mark.parametrize(
    ("width", "schemes"), [(360, ("dark", "light")), (1200, ("light", "dark"))]
)
def test_the_report_opens_in_the_readers_colours_and_nothing_is_cut_off_at_its_side(
    width, schemes, visit, report
):
    seen = visit(report, width=width, scheme=schemes[0])
    for scheme in schemes:
        seen.page.emulate_media(color_scheme=scheme)
        seen.page.get_by_role("heading", level=1).wait_for()
        seen.page.wait_for_load_state("networkidle")
        seen.page.wait_for_function(CHARTS_ARE_DRAWN_FOR, arg=scheme)
        assert seen.page.evaluate("document.scrollingElement.scrollWidth") <= width
        assert seen.page.evaluate(SCROLLS_SIDEWAYS) == []
        paper = brightness(seen.page.evaluate("getComputedStyle(document.body).backgroundColor"))
        assert paper > 200 if scheme == "light" else paper < 60
    assert seen.errors == []
    assert seen.outside == []


def test_paper_has_the_numbers_of_every_heat_map(visit, report):
    seen = visit(report)
    seen.page.wait_for_load_state("networkidle")
    on_screen = seen.page.locator(".heatmap-label").count()
    assert on_screen > 4 * 10
    seen.page.evaluate("dispatchEvent(new Event('beforeprint'))")
    labels = seen.page.locator(".heatmap-label")
    assert labels.count() == on_screen
    assert labels.evaluate_all(OVERLAPS) == []


def brightness(colour: str) -> float:
    return sum(int(part) for part in colour.strip("rgb()").split(",")) / 3
