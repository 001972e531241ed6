"""exporter-toolkit's web configuration file: TLS, client certificates, passwords, headers, a rate limit. Reads files.

It is the file that other exporters take too. A key that is unknown, or that asks for what Python's ssl cannot do, is an
error that names file and key. ``WebConfig`` reads it again when it or a certificate changed; while the new one is
wrong the last good one counts, and ``problem`` says so.
"""

import ipaddress
import logging
import os
import re
import socket
import ssl
import stat
import threading
import time
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
import yaml

from remote.errors import ConfigError

log = logging.getLogger("xvmstore.exporter")

_HEADERS: Mapping[str, tuple[str, ...]] = {
    "Content-Security-Policy": (),
    "Strict-Transport-Security": (),
    "X-Content-Type-Options": ("nosniff",),
    "X-Frame-Options": ("deny", "sameorigin"),
    "X-XSS-Protection": (),
}
_HASH = re.compile(r"\$2[aby]\$(0[4-9]|[12]\d|3[01])\$[./A-Za-z0-9]{21}[.Oeu][./A-Za-z0-9]{31}\Z")
_DURATION = re.compile(r"(?:\d+(?:\.\d+)?(?:ns|us|µs|ms|s|m|h))+\Z")
_UNITS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_VERSIONS = {"TLS12": ssl.TLSVersion.TLSv1_2, "TLS13": ssl.TLSVersion.TLSv1_3}
# What of the toolkit's file is not done here, and what to write instead.
_NOT_HERE = {
    "cert": "put it into a file: cert_file",
    "key": "put it into a file: key_file",
    "client_ca": "put it into a file: client_ca_file",
    "cipher_suites": "Python's ssl does not know these names; leave it out (min_version: TLS13 is the strict choice)",
    "curve_preferences": "Python's ssl takes no list of curves; leave it out",
}
_CLIENT_AUTH = {
    "NoClientCert": ssl.CERT_NONE,
    "VerifyClientCertIfGiven": ssl.CERT_OPTIONAL,
    "RequireAndVerifyClientCert": ssl.CERT_REQUIRED,
}
_UNVERIFIED = ("RequestClientCert", "RequireAnyClientCert", "RequireClientCert")


class _Tls(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    cert_file: str = ""
    key_file: str = ""
    client_ca_file: str = ""
    client_auth_type: str = "NoClientCert"
    client_allowed_sans: Annotated[tuple[str, ...], msgspec.Meta(min_length=1)] | None = None
    min_version: str = "TLS12"
    max_version: str = "TLS13"
    prefer_server_cipher_suites: bool = True
    cert: Any = None
    key: Any = None
    client_ca: Any = None
    cipher_suites: Any = None
    curve_preferences: Any = None


class _Http(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    # Only an offer in TLS, which is not made here: clients then speak HTTP/1.1.
    http2: bool = True
    headers: dict[str, str] = {}


class _Rate(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    interval: str | Literal[0]
    burst: Annotated[int, msgspec.Meta(ge=1)]


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    tls_server_config: _Tls | msgspec.UnsetType = msgspec.UNSET
    http_server_config: _Http = _Http()
    basic_auth_users: Annotated[dict[str, str], msgspec.Meta(min_length=1)] | msgspec.UnsetType = msgspec.UNSET
    rate_limit: _Rate | msgspec.UnsetType = msgspec.UNSET


class Bucket:
    """A token bucket: one request an ``interval`` (s), and ``burst`` of them at once."""

    def __init__(self, interval: float, burst: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._interval, self._burst, self._clock = interval, burst, clock
        self._tokens, self._at = float(burst), clock()
        self._lock = threading.Lock()

    def take(self) -> bool:
        """Whether this request may be answered."""
        with self._lock:
            now = self._clock()
            self._tokens = min(self._burst, self._tokens + (now - self._at) / self._interval)
            self._at = now
            if self._tokens < 1:
                return False
            self._tokens -= 1
            return True


@dataclass(frozen=True, slots=True)
class Version:
    """One version of the file, with all that it names read. Without a file: plain HTTP for everybody who gets through.

    ``sans`` are the names of which a client's certificate must have one, if there are any; ``users`` are bcrypt hashes;
    ``files`` are the certificates' files; ``warnings`` what is allowed, and not wise.
    """

    context: ssl.SSLContext | None = None
    sans: frozenset[str] = frozenset()
    headers: Mapping[str, str] = field(default_factory=dict)
    users: Mapping[str, str] = field(default_factory=dict)
    bucket: Bucket | None = None
    files: tuple[Path, ...] = ()
    warnings: tuple[str, ...] = ()

    def wrapped(self, connection: socket.socket) -> socket.socket:
        """The connection with TLS around it, before the handshake; itself without TLS. Raises OSError."""
        if self.context is None:
            return connection
        return self.context.wrap_socket(connection, server_side=True, do_handshake_on_connect=False)

    def shake_hands(self, connection: socket.socket) -> None:
        """The handshake of a wrapped connection, within its timeout. Raises OSError, also for a client not let in."""
        if isinstance(connection, ssl.SSLSocket):
            connection.do_handshake()
            if self.sans and not self.sans & _sans(connection):
                raise ssl.SSLError("the client's certificate has none of client_allowed_sans")


def _sans(connection: ssl.SSLSocket) -> set[str]:
    names: Any = (connection.getpeercert() or {}).get("subjectAltName", ())
    return {_san(value) for _, value in names}


def _san(name: str) -> str:
    # OpenSSL and people write IPv6 addresses in different ways.
    try:
        return str(ipaddress.ip_address(name.strip()))
    except ValueError:
        return name


class _Loader(yaml.SafeLoader):
    """SafeLoader, which takes the last of two equal keys, made to complain of them."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:  # noqa: FBT001, FBT002
        seen: set[str] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.value in seen:
                raise yaml.constructor.ConstructorError(None, None, f"{key.value} is there twice", key.start_mark)
            seen.add(str(key.value))
        return super().construct_mapping(node, deep)


def load(path: Path) -> Version:
    """The file and the certificates that it names, relative to where it is. Raises ConfigError."""
    file = _parsed(path)
    tls = file.tls_server_config
    context = None if isinstance(tls, msgspec.UnsetType) else _context(path, tls)
    files: tuple[Path, ...] = ()
    warnings: tuple[str, ...] = ()
    sans: frozenset[str] = frozenset()
    if context and not isinstance(tls, msgspec.UnsetType):
        files = tuple(path.parent / name for name in (tls.cert_file, tls.key_file, tls.client_ca_file) if name)
        warnings = _open_key(files[1])
        sans = frozenset(_san(name) for name in tls.client_allowed_sans or ())
    headers = file.http_server_config.headers
    _check_headers(path, headers)
    users = {} if isinstance(file.basic_auth_users, msgspec.UnsetType) else file.basic_auth_users
    _check_users(path, users)
    return Version(context, sans, headers, users, _bucket(path, file.rate_limit), files, warnings)


def _parsed(path: Path) -> _File:
    try:
        found = _Loader(path.read_text(encoding="utf-8")).get_single_data()
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from error
    except yaml.MarkedYAMLError as error:
        # Its own text quotes the line, which may be a secret.
        line = f" in line {error.problem_mark.line + 1}" if error.problem_mark else ""
        raise ConfigError(f"{path}: no valid YAML{line}: {error.problem}") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ConfigError(f"{path}: no valid YAML, or no text: {type(error).__name__}") from None
    try:
        return msgspec.convert({} if found is None else found, _File)
    except msgspec.ValidationError as error:
        raise ConfigError(f"{path}: {error}") from error


def _context(path: Path, tls: _Tls) -> ssl.SSLContext:
    where = f"{path}: tls_server_config"
    for key, instead in _NOT_HERE.items():
        if getattr(tls, key) is not None:
            raise ConfigError(f"{where}: {key} is not supported here: {instead}")
    for key in ("cert_file", "key_file"):
        if not getattr(tls, key):
            raise ConfigError(f"{where}: {key} is missing")
    for key in ("min_version", "max_version"):
        if getattr(tls, key) not in _VERSIONS:
            raise ConfigError(f"{where}: {key}: {getattr(tls, key)!r} is not supported here: TLS12 or TLS13")
    if tls.min_version > tls.max_version:
        raise ConfigError(f"{where}: min_version is above max_version")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version, context.maximum_version = _VERSIONS[tls.min_version], _VERSIONS[tls.max_version]
    context.set_alpn_protocols(["http/1.1"])
    if not tls.prefer_server_cipher_suites:
        context.options &= ~ssl.OP_CIPHER_SERVER_PREFERENCE
    _load_certificate(where, context, path.parent / tls.cert_file, key=path.parent / tls.key_file)
    _ask_clients(where, context, path.parent / tls.client_ca_file if tls.client_ca_file else None, tls=tls)
    return context


def _load_certificate(where: str, context: ssl.SSLContext, cert: Path, *, key: Path) -> None:
    def password() -> str:
        raise ConfigError(f"{where}: key_file: {key} is encrypted; there is nobody to type its password")

    _check_readable(f"{where}: cert_file", cert)
    _check_readable(f"{where}: key_file", key)
    try:
        context.load_cert_chain(cert, key, password)
    except OSError as error:
        raise ConfigError(f"{where}: {cert} and {key}: {_reason(error)}") from error


def _ask_clients(where: str, context: ssl.SSLContext, ca: Path | None, *, tls: _Tls) -> None:
    kind = tls.client_auth_type
    if kind in _UNVERIFIED:
        raise ConfigError(
            f"{where}: client_auth_type: {kind} is not supported here: Python's ssl takes no certificate without "
            "verifying it: RequireAndVerifyClientCert, VerifyClientCertIfGiven or NoClientCert"
        )
    if kind not in _CLIENT_AUTH:
        raise ConfigError(f"{where}: client_auth_type: {kind!r} is none of {', '.join(_CLIENT_AUTH)}")
    if (ca is None) != (kind == "NoClientCert"):
        raise ConfigError(
            f"{where}: client_auth_type: {kind} {'needs' if ca is None else 'makes no use of'} client_ca_file"
        )
    if tls.client_allowed_sans and kind != "RequireAndVerifyClientCert":
        raise ConfigError(f"{where}: client_allowed_sans needs client_auth_type: RequireAndVerifyClientCert")
    if ca is not None:
        _check_readable(f"{where}: client_ca_file", ca)
        try:
            context.load_verify_locations(ca)
        except OSError as error:
            raise ConfigError(f"{where}: client_ca_file: {ca}: {_reason(error)}") from error
    context.verify_mode = _CLIENT_AUTH[kind]


def _check_readable(where: str, path: Path) -> None:
    try:
        path.open("rb").close()
    except OSError as error:
        raise ConfigError(f"{where}: {path}: {error.strerror}") from error


def _reason(error: OSError) -> str:
    if isinstance(error, ssl.SSLError):
        return (error.reason or "no certificate or key in PEM").lower().replace("_", " ")
    return error.strerror or str(error)


def _open_key(key: Path) -> tuple[str, ...]:
    try:
        mode = stat.S_IMODE(key.stat().st_mode)
    except OSError:
        return ()
    return (f"{key}: everybody can read this key: chmod o= it",) if mode & 0o004 else ()


def _check_headers(path: Path, headers: Mapping[str, str]) -> None:
    where = f"{path}: http_server_config: headers"
    for name, value in headers.items():
        if name not in _HEADERS:
            raise ConfigError(f"{where}: {name} cannot be set: only {', '.join(_HEADERS)}")
        if _HEADERS[name] and value not in _HEADERS[name]:
            raise ConfigError(f"{where}: {name}: {value!r} is none of {', '.join(_HEADERS[name])}")
        if not value.isascii() or not value.isprintable():
            raise ConfigError(f"{where}: {name}: only printable ASCII can be in a header")


def _check_users(path: Path, users: Mapping[str, str]) -> None:
    for name, hashed in users.items():
        where = f"{path}: basic_auth_users: {name!r}"
        if ":" in name or not name:
            raise ConfigError(f"{where}: a user's name is not empty and has no colon")
        if not _HASH.match(hashed):
            raise ConfigError(f"{where}: no bcrypt hash; make one with: htpasswd -nBC 10 ''")


def _bucket(path: Path, rate: _Rate | msgspec.UnsetType) -> Bucket | None:
    if isinstance(rate, msgspec.UnsetType):
        return None
    text = str(rate.interval)
    if text != "0" and not _DURATION.match(text):
        raise ConfigError(f"{path}: rate_limit: interval: {text!r} is no duration as 1s or 100ms")
    seconds = sum(float(number) * _UNITS[unit] for number, unit in re.findall(r"([\d.]+)([a-zµ]+)", text))
    return Bucket(seconds, rate.burst) if seconds > 0 else None


_Stamp = tuple[int, int, int] | None


def _stamp(path: Path) -> _Stamp:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino


class WebConfig:
    """The file as it is now, or as it was when it was last right. Raises ConfigError if it is wrong at the start."""

    def __init__(self, path: Path | None) -> None:
        self.path, self.problem = path, ""
        self._lock = threading.Lock()
        self._stamps: dict[Path, _Stamp] = {}
        self._now = Version()
        if path is not None:
            self._take(path)

    def current(self) -> Version:
        """What counts for a connection that begins now."""
        if self.path is None:
            return self._now
        with self._lock:
            # A wrong file is tried each time: what mends it may be a certificate which it alone names.
            if self.problem or self._stamps != {path: _stamp(path) for path in self._stamps}:
                self._read_again(self.path)
            return self._now

    def _read_again(self, path: Path) -> None:
        before = self.problem
        try:
            self._take(path)
        except ConfigError as error:
            self.problem = str(error)
            if self.problem != before:
                log.error("%s; the version before this one counts until it is mended", error)
        else:
            self.problem = ""
            log.info("%s: read again", path)

    def _take(self, path: Path) -> None:
        """Read it. Stamps are taken before what they stand for, so what is written meanwhile is seen as a change."""
        watched = set(self._stamps) | {path}
        while True:
            stamps = {file: _stamp(file) for file in watched}
            config = load(path)
            if watched == {path, *config.files}:
                break
            watched = {path, *config.files}
        self._now, self._stamps = config, stamps
        for warning in config.warnings:
            log.warning("%s", warning)
