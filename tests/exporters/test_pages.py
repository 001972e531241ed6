"""What is answered to which request, without sockets."""

import gzip
from collections.abc import Callable, Sequence
from email.message import Message

import pytest
from prometheus_client import CollectorRegistry, Counter
from prometheus_client.openmetrics.parser import text_string_to_metric_families as read_openmetrics
from prometheus_client.parser import text_string_to_metric_families as read_text

from exporters.exposition import Sheet, counter, gauge
from exporters.pages import (
    TIMEOUT_HEADER,
    BadRequest,
    Pages,
    Reply,
    Row,
    Times,
    UnknownTarget,
    budget,
    form_of,
    landing,
    target_of,
)

METRIC = counter("things_total", "Things.", "thing", source="the test")
ABOUT = gauge("about", "About.", source="the test")
PROMETHEUS_2 = (
    "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,"
    "text/plain;version=0.0.4;q=0.5,*/*;q=0.1"
)
PROMETHEUS_3 = (
    "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,application/openmetrics-text;version=0.0.1;q=0.5,"
    "text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2"
)


def sheet(things: int = 1) -> Sheet:
    """That many samples."""
    found = Sheet()
    for number in range(things):
        found.put(METRIC, number, str(number))
    return found


class OneTarget:
    """A site with san1."""

    def __init__(self, things: int = 1, own: Callable[[], Sheet | CollectorRegistry] = Sheet) -> None:
        self.things, self.make_own = things, own
        self.budgets: list[float] = []

    def probe(self, target: str, *, budget: float) -> Sheet:
        """One."""
        if target == "broken":
            raise RuntimeError("secret\nTraceback")
        if target != "san1":
            raise UnknownTarget(target)
        self.budgets.append(budget)
        return sheet(self.things)

    def own(self) -> Sheet | CollectorRegistry:
        """As wished."""
        return self.make_own()

    def targets(self) -> Sequence[Row]:
        """One."""
        return [Row("san1", "node")]


def headers(*pairs: tuple[str, str]) -> Message:
    """As http.client reads them."""
    found = Message()
    for name, value in pairs:
        found[name] = value
    return found


def get(target: str, *pairs: tuple[str, str], site: OneTarget | None = None, method: str = "GET") -> Reply:
    """An answer."""
    pages = Pages(site or OneTarget(), Times(), probes=4, about=lambda _: None)
    return pages.answer(method, target, headers(*pairs))


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        (None, 9.5),
        ("10", 9.5),
        ("5", 4.5),
        ("0.9", 0.4),
        ("0.5", 0.25),
        ("0.2", 0.1),
        (" 3 ", 2.5),
        ("10.25", 9.75),
        ("60", 10.0),
        ("999999999", 10.0),
    ],
)
def test_a_probe_is_done_before_prometheus_gives_up(header: str | None, expected: float) -> None:
    """And never takes longer than the configuration allows; where the offset is all there is, half is left."""
    assert expected == pytest.approx(budget(header, times=Times(10.0, 0.5)))


@pytest.mark.parametrize("header", ["nan", "inf", "-1", "", "1e3", "1_0", "0x1", "x", "1,5", "0", "0.0", "٣", "1 2"])
def test_a_timeout_that_is_none_is_refused(header: str) -> None:
    """Guessing would make a scrape that Prometheus has long given up."""
    with pytest.raises(BadRequest, match=TIMEOUT_HEADER):
        budget(header, times=Times())


def test_the_budget_reaches_the_site() -> None:
    """What is computed is also used."""
    site = OneTarget()
    assert 200 == get("/probe?target=san1", (TIMEOUT_HEADER, "5"), site=site).status
    assert [4.5] == site.budgets
    assert 400 == get("/probe?target=san1", (TIMEOUT_HEADER, "5"), (TIMEOUT_HEADER, "6")).status


@pytest.mark.parametrize(
    ("accept", "form"),
    [
        ("", "text"),
        ("*/*", "text"),
        (PROMETHEUS_2, "openmetrics"),
        (PROMETHEUS_3, "openmetrics"),
        ("application/openmetrics-text", "openmetrics"),
        ("*/*,application/openmetrics-text", "openmetrics"),
        ('application/openmetrics-text; version="1.0.0"; charset=utf-8', "openmetrics"),
        ("application/openmetrics-text;version=2.0.0", "text"),
        ("application/openmetrics-text;version=0.0.1", "text"),
        ("application/openmetrics-text;q=0.4,text/plain;q=0.5", "text"),
        ("application/openmetrics-text;q=0", "text"),
        ("application/openmetrics-text;q=nan,text/plain;q=1", "text"),
        ("application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;q=0.7,text/plain;q=0.2", "text"),
        ("text/html,application/xhtml+xml,*/*;q=0.8", "text"),
    ],
)
def test_the_form_is_the_one_asked_for(accept: str, form: str) -> None:
    """By quality; OpenMetrics if both are liked as much, as Prometheus lists it first."""
    assert form == form_of(headers(("Accept", accept)))


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("", "no target"),
        ("target=", "no target"),
        ("target", "no target"),
        ("target=san1&target=san1", "more than once"),
        ("target=san1&module=fast", "unknown parameter 'module'"),
        ("target=%ff", "cannot be read"),
        ("&".join(f"target={number}" for number in range(20)), "cannot be read"),
    ],
)
def test_a_probe_has_one_target(query: str, said: str) -> None:
    """Nothing is passed over: a parameter that does nothing would look as if it did."""
    with pytest.raises(BadRequest, match=said):
        target_of(query)
    assert 400 == get(f"/probe?{query}").status


def test_a_name_may_have_any_characters() -> None:
    """Percent-encoded, as Prometheus sends it."""
    assert "a&b=c d/é" == target_of("target=a%26b%3Dc+d%2F%C3%A9")


def test_text_and_openmetrics_are_answered_with_their_types() -> None:
    """Whole answers, in both forms."""
    reply = get("/probe?target=san1")
    assert (200, "text/plain; version=0.0.4; charset=utf-8") == (reply.status, reply.content_type)
    head = "# HELP xvmstore_things_total Things.\n# TYPE xvmstore_things_total counter\n"
    assert f'{head}xvmstore_things_total{{thing="0"}} 0\n' == reply.body.decode()

    reply = get("/probe?target=san1", ("Accept", PROMETHEUS_3))
    assert "application/openmetrics-text; version=1.0.0; charset=utf-8" == reply.content_type
    assert f'{head.replace("_total", "")}xvmstore_things_total{{thing="0"}} 0\n# EOF\n' == reply.body.decode()


def test_a_large_answer_is_packed_for_who_takes_that() -> None:
    """And only then."""
    plain = get("/probe?target=san1", site=OneTarget(1000))
    packed = get("/probe?target=san1", ("Accept-Encoding", "deflate, gzip;q=0.5"), site=OneTarget(1000))
    assert plain.body == gzip.decompress(packed.body)
    assert "gzip" == dict(packed.headers)["Content-Encoding"]
    assert len(packed.body) < len(plain.body) / 4
    for refused in ("gzip;q=0", "deflate", "gzip;q=0, *"):
        assert plain.body == get("/probe?target=san1", ("Accept-Encoding", refused), site=OneTarget(1000)).body
    assert "Content-Encoding" not in dict(get("/probe?target=san1", ("Accept-Encoding", "gzip")).headers)


def test_an_unknown_target_is_refused_without_telling_the_known_ones() -> None:
    """Nor is the name echoed, whatever it may contain."""
    reply = get("/probe?target=<script>192.0.2.1")
    assert 400 == reply.status
    assert b"unknown target: only names in the exporter's configuration can be asked for\n" == reply.body


def test_what_a_site_raises_is_one_line_and_a_line_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    """The client learns nothing of it; the log does."""
    reply = get("/probe?target=broken")
    assert (500, b"internal error: the exporter's log says more\n") == (reply.status, reply.body)
    assert ["GET '/probe?target=broken': RuntimeError: secret; Traceback"] == caplog.messages


def registry() -> CollectorRegistry:
    """One counter, as the official library has it."""
    found = CollectorRegistry()
    Counter("xvmstore_things", "Things.", ["thing"], registry=found).labels("0").inc(0)
    return found


@pytest.mark.parametrize("own", [sheet, registry])
@pytest.mark.parametrize("accept", ["", PROMETHEUS_2])
def test_what_the_exporter_tells_of_itself_is_one_document(
    own: Callable[[], Sheet | CollectorRegistry], accept: str
) -> None:
    """The site's part, of either kind, and ours, in both forms; the official parsers read it."""
    pages = Pages(OneTarget(own=own), Times(), probes=1, about=lambda mine: mine.put(ABOUT, 3))
    for target, status in (("/probe?target=san1", 200), ("/probe", 400), ("/probe", 400), ("/wp-login.php", 404)):
        pages.count(target, status)
    reply = pages.answer("GET", "/metrics", headers(("Accept", accept)))

    read = read_openmetrics if accept else read_text
    samples = [one for family in read(reply.body.decode()) for one in family.samples]
    assert {
        ("xvmstore_things_total", "0"): 0,
        ("xvmstore_http_responses_total", "/probe", "200"): 1,
        ("xvmstore_http_responses_total", "/probe", "400"): 2,
        ("xvmstore_http_responses_total", "other", "404"): 1,
        ("xvmstore_about",): 3,
    } == {(one.name, *one.labels.values()): one.value for one in samples if not one.name.endswith("_created")}
    assert (1 if accept else 0) == reply.body.count(b"# EOF")


@pytest.mark.parametrize("target", ["/", "/metrics", "/-/healthy", "/probe?target=san1"])
def test_only_get_and_head_are_taken(target: str) -> None:
    """HEAD has the length that GET has."""
    for method in ("POST", "PUT", "DELETE", "OPTIONS", "get"):
        reply = get(target, method=method)
        assert (405, "GET, HEAD") == (reply.status, dict(reply.headers)["Allow"])
    assert get(target).body == get(target, method="HEAD").body


@pytest.mark.parametrize("target", ["/metric", "/metrics/", "/probe/", "/../passwd", "*", "/%6detrics", "//metrics"])
def test_there_are_no_other_pages(target: str) -> None:
    """One line says which there are."""
    assert 404 == get(target).status


@pytest.mark.parametrize("target", ["/?x", "/metrics?target=san1", "/-/healthy?x=1", "http://["])
def test_pages_without_parameters_take_none(target: str) -> None:
    """/metrics?target=san1 would look like a probe, and be none."""
    assert 400 == get(target).status


def test_the_landing_page_is_safe_to_look_at() -> None:
    """Names and troubles are text; links are encoded."""
    rows = [
        Row('a"b&c/<i>', "dom0", None, "<script>alert(1)</script>"),
        Row("san1", "node", 1_700_000_000.0, ""),
    ]
    page = landing(rows)
    assert '<a href="/probe?target=a%22b%26c%2F%3Ci%3E">a&quot;b&amp;c/&lt;i&gt;</a></td><td>dom0</td><td>never' in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert "<td>2023-11-14 22:13:20 UTC</td><td></td>" in page
    assert "<script" not in page
    assert "no targets are configured" in landing([])
    assert "script-src" not in dict(get("/").headers)["Content-Security-Policy"]
