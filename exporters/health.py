"""What a scrape says of itself: who answered, what failed, what was left out. Pure."""

from exporters.exposition import Metric, Sheet, gauge
from exporters.reading import Part

UP = gauge(
    "up",
    "1 if the machine answered this scrape; collectors may have failed all the same. Prometheus' own `up` only says "
    "that the exporter runs.",
    source="exporter",
)
SUCCESS = gauge(
    "collector_success",
    "1 if this collector ended in time and was understood; if not, its series are missing from this scrape. Of the "
    "slow ones: how the last attempt went.",
    "collector",
    source="exporter",
)
SUPPORTED = gauge(
    "collector_supported",
    "0 if this machine's release cannot tell: there will be no such series, and nothing has failed.",
    "collector",
    source="exporter",
)
DURATION = gauge(
    "collector_duration_seconds",
    "How long the machine took to answer, from the first to the last word of the answer as they came in here.",
    "collector",
    source="exporter",
)
LAST_SUCCESS = gauge(
    "collector_last_success_timestamp_seconds",
    "When the samples of this collector were taken. Only slow ones (snapshots) are ever older than the scrape.",
    "collector",
    source="exporter",
)
PARSE_ERRORS = gauge(
    "parse_errors",
    "Objects of this collector that were left out of this scrape because what was said of them could not be read.",
    "collector",
    source="exporter",
)
DROPPED = gauge(
    "series_dropped",
    "Series left out of this scrape because it has more than the configured max_series; whole metrics go, not parts.",
    "metric",
    source="exporter",
)
SSH_ROUND_TRIP = gauge(
    "ssh_round_trip_seconds",
    "From sending the script to the first word back: the network, the SSH server and the shell, no command.",
    source="exporter",
)
RECEIVED = gauge("received_bytes", "Bytes that the machine sent for this scrape.", source="exporter")
METRICS: tuple[Metric, ...] = (
    UP,
    SUCCESS,
    SUPPORTED,
    DURATION,
    LAST_SUCCESS,
    PARSE_ERRORS,
    DROPPED,
    SSH_ROUND_TRIP,
    RECEIVED,
)


def put(sheet: Sheet, part: Part, at: float | None) -> None:
    """A collector's own metrics; ``at`` is when its samples were taken, None where it has none."""
    sheet.put(SUPPORTED, float(part.supported), part.collector)
    if part.took is not None:
        sheet.put(DURATION, round(part.took, 6), part.collector)
    if not part.supported:
        return
    sheet.put(SUCCESS, float(not part.trouble), part.collector)
    if at is not None:
        sheet.put(LAST_SUCCESS, round(at, 3), part.collector)
        sheet.put(PARSE_ERRORS, len(part.sheet.complaints), part.collector)
