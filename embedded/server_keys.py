"""The node's two ed25519 key pairs, made on first start. Everything asyncssh beyond the server itself is here."""

import os
from pathlib import Path

import asyncssh


def _private_file(path: Path, data: bytes) -> None:
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        file.write(data)


def ensure_key(path: Path, comment: str) -> str:
    """Make the key pair unless it is there, and give its public half as one line."""
    public = path.with_name(path.name + ".pub")
    if not (path.exists() and public.exists()):
        key = asyncssh.generate_private_key("ssh-ed25519", comment=comment)
        public.write_bytes(key.export_public_key())
        _private_file(path, key.export_private_key())
    return public.read_text().strip()
