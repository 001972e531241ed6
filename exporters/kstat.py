"""The reader of ``kstat -p``. Pure."""

from collections.abc import Iterator, Mapping

Name = tuple[str, str, str]


def parse(text: str) -> dict[Name, dict[str, str]]:
    """Values by module, instance and name of the kstat, then by statistic."""
    found: dict[Name, dict[str, str]] = {}
    for name, values in each(text):
        found.setdefault(name, {}).update(values)
    return found


def each(text: str) -> Iterator[tuple[Name, dict[str, str]]]:
    """One kstat after the other, for who has tens of thousands: kstat prints what belongs together together.

    stmf:0:stmf_lu_ffffff04d5a3c1b8:lun-guid	600144f00c2a6d0000006a27e7400001
    zfs:0:arcstats:hits	9876543210
    """
    before, values = "", dict[str, str]()
    for line in text.split("\n"):
        path, tab, value = line.partition("\t")
        name, _, statistic = path.rpartition(":")
        if name != before:
            if values:
                yield _name(before), values
            before, values = name, {}
        if tab and name:
            values[statistic] = value
    if values:
        yield _name(before), values


def _name(text: str) -> Name:
    module, _, rest = text.partition(":")
    instance, _, name = rest.partition(":")
    return module, instance, name


def time_scale(values: Mapping[str, str]) -> float:
    """What the times of a KSTAT_IO are divided by to be seconds: nanoseconds since 2013, seconds before.

    No queue changed after it was looked at. Raises KeyError, ValueError for what is no KSTAT_IO.
    """
    last = max(float(values["rlastupdate"]), float(values["wlastupdate"]))
    return 1e9 if last > float(values["snaptime"]) + 1 else 1.0
