"""HTTP basic authentication against bcrypt hashes. bcrypt takes 70 ms and more, so what was right is remembered."""

import base64
import binascii
import hashlib
import hmac
import os
import threading
from collections import OrderedDict
from collections.abc import Mapping

import bcrypt


class Passwords:
    """Who may come in. What is remembered are MACs of name, hash and password, so a changed hash needs no clearing."""

    KEPT = 100

    def __init__(self) -> None:
        self._key = os.urandom(32)
        self._right: OrderedDict[bytes, None] = OrderedDict()
        self._lock = threading.Lock()
        # One at a time: else a few guessers take all of the machine.
        self._hashing = threading.Lock()

    def admit(self, users: Mapping[str, str], authorization: str) -> bool:
        """Whether the value of an Authorization header is that of one of ``users``. An unknown one takes as long."""
        said = _credentials(authorization)
        if said is None or not users:
            return False
        name, password = said
        hashed = users.get(name)
        # The cost is the two digits after the kind: the dearest hash, so that no unknown name is told by haste.
        tried = hashed if hashed is not None else max(users.values(), key=lambda text: text[4:6])
        mac = hmac.new(self._key, f"{name}\0{tried}\0".encode() + password, hashlib.sha256).digest()
        if hashed is not None and self._remembered(mac):
            return True
        with self._hashing:
            # bcrypt never looked further than 72 bytes; the module now refuses to be given more.
            right = bcrypt.checkpw(password[:72], tried.encode()) and hashed is not None
        if right:
            self._remember(mac)
        return right

    def _remembered(self, mac: bytes) -> bool:
        with self._lock:
            return any(hmac.compare_digest(mac, other) for other in self._right)

    def _remember(self, mac: bytes) -> None:
        with self._lock:
            self._right[mac] = None
            if len(self._right) > self.KEPT:
                self._right.popitem(last=False)


def _credentials(authorization: str) -> tuple[str, bytes] | None:
    kind, _, coded = authorization.strip().partition(" ")
    try:
        name, colon, password = base64.b64decode(coded.strip(), validate=True).partition(b":")
        return (name.decode(), password) if kind.lower() == "basic" and colon else None
    except (binascii.Error, UnicodeDecodeError, ValueError):
        return None
