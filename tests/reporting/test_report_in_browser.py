from __future__ import annotations

import json
from itertools import pairwise

import pandas as pd
import pytest
from toy_report import DIRECTIONS, HOSTILE_NAMES

pytestmark = pytest.mark.filterwarnings("ignore:The 'float_precision'")  # pandas 2 needs it, pandas 3.1 deprecates it
N = len(HOSTILE_NAMES)
VISIBLE_PLOTS = "[...document.querySelectorAll('figure[data-chart]')].filter(one => !one.hidden)"


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (1280, "dark"), (390, "light"), (360, "dark")])
def test_nothing_complains_nothing_is_fetched_and_nothing_overflows(browser, hostile_page, width, scheme):
    browser.open(hostile_page[0], width, scheme)
    browser.draw_all()
    assert browser.complaints() == []
    assert browser.run("document.documentElement.scrollWidth") <= width
    assert browser.run("innerWidth") == width, "a wide element would have widened the page of a phone"


def test_hostile_names_are_text_wherever_they_appear(browser, hostile_page):
    browser.open(hostile_page[0])
    browser.draw_all()
    assert browser.run("[...document.querySelectorAll('.person h3 bdi')].map(one => one.textContent).sort()") == sorted(
        HOSTILE_NAMES
    )
    scripts = browser.run("[...document.scripts].map(one => one.type)")
    assert scripts == ["application/json", ""], "ours and nobody else's"
    # The browser's own attributes: nobody's onerror, no link out of the page, no picture from elsewhere.
    names = browser.run("[...document.querySelectorAll('*')].flatMap(one => one.getAttributeNames())")
    assert not [name for name in names if name.startswith("on")]
    assert browser.run("[...document.links].every(one => one.getAttribute('href').startsWith('#'))")
    assert browser.run("[...document.images].every(one => one.src.startsWith('data:image/'))")
    assert browser.run("[...document.links].every(one => document.getElementById(one.hash.slice(1)))"), "no dead anchor"
    assert browser.run("document.querySelectorAll('svg text').length") > 0
    assert "49" not in browser.run("document.querySelector('#c6 h3').textContent"), "a name is no template"


def test_even_a_script_that_got_in_would_not_run(browser, hostile_page, tmp_path):
    page = hostile_page[0].read_text(encoding="utf-8")
    broken = tmp_path / "broken.html"
    broken.write_text(page.replace("<main id", "<script>window.hacked = 1</script><main id"), encoding="utf-8")
    browser.open(broken)
    assert browser.run("window.hacked === undefined")
    assert any("Content Security Policy" in one for one in browser.complaints())


def test_every_plot_draws_what_the_tables_say(browser, hostile_page):
    file, inputs = hostile_page
    browser.open(file)
    browser.draw_all()
    # Per property: values, payment, convergence, size; and one plot of marginal contributions per contributor.
    assert browser.run(f"{VISIBLE_PLOTS}.length") == len(DIRECTIONS) * (4 + N)
    assert browser.run(f"{VISIBLE_PLOTS}.every(one => one.querySelector('svg rect.bar, svg path.line'))")
    for number, name in enumerate(inputs.properties):
        drawn = browser.run(
            f"[...document.querySelectorAll('[data-chart=values][data-property=\"{number}\"] rect.bar')]"
            ".map(one => [Number(one.dataset.value), one.getAttribute('width') > 0, one.classList.contains('helped')])"
        )
        values = sorted(inputs.values_of(name)["shapley_value"], reverse=inputs.directions[name])
        assert [value for value, _, _ in drawn] == values, "best first, all digits"
        assert all(wide for _, wide, _ in drawn)
        assert [helped for _, _, helped in drawn] == [(value >= 0) == inputs.directions[name] for value in values]


def test_the_table_holds_the_digits_of_the_csv_and_payments_sum_to_100(browser, hostile_page, tmp_path):
    file, inputs = hostile_page
    inputs.shapley_values.to_csv(tmp_path / "shapley_values.csv", index=False)
    read = {"dtype": {"contributor": str}, "keep_default_na": False, "float_precision": "round_trip"}
    csv = pd.read_csv(tmp_path / "shapley_values.csv", **read)
    browser.open(file)
    cells = browser.run(
        "[...document.querySelectorAll('#values-table td[data-property]')].map(one => [one.dataset.property, "
        "Number(one.dataset.player), one.dataset.sort, one.dataset.low, one.dataset.high])"
    )
    shown = {(name, inputs.names[player]): tuple(map(float, rest)) for name, player, *rest in cells}
    numbers = csv[["shapley_value", "ci_low", "ci_high"]].itertuples(index=False, name=None)
    assert shown == dict(zip(zip(csv["property"], csv["contributor"], strict=True), numbers, strict=True))
    for column in (3, 5):
        rows = "[...document.querySelectorAll('#values-table tbody tr')]"
        percents = browser.run(f"{rows}.map(row => row.cells[{column}].innerText)")
        assert sum(round(100 * float(text.removesuffix("%"))) for text in percents) == 100 * 100


def test_pressing_a_heading_sorts_up_and_down_and_says_so(browser, hostile_page):
    browser.open(hostile_page[0])
    column = "[...document.querySelectorAll('#values-table tbody tr')].map(row => Number(row.cells[2].dataset.sort))"
    heading = "[...document.querySelectorAll('#values-table th[aria-sort]')][2]"
    browser.run(f"{heading}.querySelector('button').focus()")
    seen = []
    for _ in range(2):
        browser.press("Enter")
        seen.append((browser.run(f"{heading}.getAttribute('aria-sort')"), browser.run(column)))
    (first, down), (second, up) = seen
    assert (first, second) == ("descending", "ascending")
    assert down == sorted(down, reverse=True)
    assert up == sorted(up)
    assert browser.run("document.querySelectorAll('[aria-sort=ascending], [aria-sort=descending]').length") == 1


def test_a_keyboard_alone_reads_every_number_of_a_plot(browser, hostile_page):
    file, inputs = hostile_page
    browser.open(file)
    figure = "document.querySelector('[data-chart=values]')"
    browser.wait(f"{figure}.querySelector('svg') !== null")
    browser.run(f"{figure}.querySelector('svg').focus()")
    said = [browser.run(f"{figure}.querySelector('.readout').textContent")]
    for _ in range(N - 1):
        browser.press("ArrowDown")
        said.append(browser.run(f"{figure}.querySelector('.readout').textContent"))
    assert len(set(said)) == N
    assert all("95 % interval" in one for one in said)
    browser.press("Enter")
    last = inputs.ranks_of(inputs.properties[0]).idxmax()
    assert browser.run("location.hash") == f"#c{inputs.names.index(last)}"


def test_another_order_of_the_bars(browser, hostile_page):
    browser.open(hostile_page[0])
    rows = "[...document.querySelectorAll('[data-chart=values][data-property=\"{}\"] .row text')]"
    labels = rows + ".map(one => one.textContent)"
    browser.draw_all()
    choose = "const s = document.getElementById('order'); s.value = 'rank'; s.dispatchEvent(new Event('change'))"
    browser.run(f"(() => {{ {choose} }})()")
    assert browser.run(labels.format(0)) == browser.run(labels.format(1))
    assert len(browser.run(labels.format(0))) == N


def contrast(first, second):
    def luminance(colour):
        parts = [value / 255 for value in colour]
        linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    low, high = sorted(map(luminance, (first, second)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_colours_have_the_contrast_of_wcag_aa_in_light_and_dark(browser, hostile_page, scheme):
    browser.open(hostile_page[0], scheme=scheme)
    names = ["paper", "ink", "muted", "panel", "link", "helped", "harmed", "focus", "good", "good-ink"]
    names += ["open", "open-ink"]
    read = "getComputedStyle(document.documentElement).getPropertyValue('--' + name).trim()"
    found = browser.run(f"{json.dumps(names)}.map(name => {read})")
    colour = {name: [int(text[i : i + 2], 16) for i in (1, 3, 5)] for name, text in zip(names, found, strict=True)}
    assert (sum(colour["paper"]) < 200) == (scheme == "dark")
    for text in ("ink", "muted", "link"):
        assert min(contrast(colour[text], colour[ground]) for ground in ("paper", "panel")) >= 4.5, text
    for tag in ("good", "open"):
        assert contrast(colour[tag], colour[f"{tag}-ink"]) >= 4.5
    for graphic in ("helped", "harmed", "focus"):
        assert contrast(colour[graphic], colour["paper"]) >= 3, graphic


def test_it_is_built_for_screen_readers(browser, hostile_page):
    browser.open(hostile_page[0])
    browser.draw_all()
    levels = browser.run("[...document.querySelectorAll('h1,h2,h3,h4')].map(one => Number(one.tagName[1]))")
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after - before <= 1 for before, after in pairwise(levels))
    assert browser.run("[...document.images].every(one => one.alt)")
    assert browser.run("[...document.querySelectorAll('th')].every(one => one.scope)")
    assert browser.run("[...document.querySelectorAll('.plot > svg')].every(one => one.getAttribute('aria-label'))")
    ids = browser.run("[...document.querySelectorAll('[id]')].map(one => one.id)")
    assert len(set(ids)) == len(ids)
    assert browser.run("document.documentElement.lang") == "en"


def test_it_prints_with_everything_open(browser, hostile_page, tmp_path):
    browser.open(hostile_page[0])
    browser.print_to_pdf(tmp_path / "report.pdf")
    assert (tmp_path / "report.pdf").read_bytes().startswith(b"%PDF")
    assert browser.run("[...document.querySelectorAll('details')].every(one => one.open)")


def test_without_javascript_all_numbers_are_still_there(browser, hostile_page):
    browser.open(hostile_page[0], scripts=False)
    text = browser.run("document.body.innerText")
    assert "The plots need JavaScript" in text
    assert "Press a column" not in text


def test_of_many_contributors_the_ends_are_drawn_and_all_on_request(browser, crowded_page):
    browser.open(crowded_page)
    rows = "document.querySelectorAll('[data-chart=values][data-property=\"0\"] .row').length"
    browser.wait(f"{rows} > 0")
    assert browser.run(rows) == 40
    assert "5 not drawn" in browser.run("document.querySelector('[data-chart=values]').textContent")
    assert browser.run("document.querySelectorAll('[data-chart=marginal] svg').length") < 45, "drawn when looked at"
    browser.run("document.getElementById('show-all').click()")
    assert browser.run(rows) == 45
    assert browser.complaints() == []
