"""stages: what may be done with the bytes of a value before they are stored: compress, encrypt, keep elsewhere, or a class of the user."""

from __future__ import annotations

import hashlib
import hmac
import zlib
from abc import ABC, abstractmethod
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable, Sequence

from stepflow.errors import CodecError, StepflowError
from stepflow.model.keywords import keywords


class Stage(ABC):
    """One stage of `Engine(payload=[...])`. `tag` is a text of letters and digits that names it in what is stored: never change it."""

    tag: str
    secret: bool = False
    """Whether what it makes tells nothing about the value: then the texts of errors go through the stages as well."""

    @abstractmethod
    def pack(self, data: bytes) -> bytes | None:
        """What to store instead of the data; None to leave it as it is. Called by the thread that commits."""

    @abstractmethod
    def unpack(self, data: bytes) -> bytes:
        """The data again. Raises any exception if that cannot be: the run is blocked then, and nothing is lost."""

    def seal_hash(self, digest: str) -> str:
        """What is stored of the digest of an input, by which a second start is compared with the first."""
        return digest

    def is_hash(self, stored: str, digest: str) -> bool | None:
        """Whether `seal_hash` made `stored` of this digest; None if another stage made it, or none."""
        return stored == digest or None

    def hashes(self, digest: str) -> Sequence[str]:  # noqa: ARG002
        """What `seal_hash` would store, or has stored, with each key that is here: a run that a caller's transaction starts may be known by one of them."""
        return ()


@keywords()
class Zlib(Stage):
    """Compresses values that have more than `over` bytes."""

    tag = "zlib"

    def __init__(self, over: int = 4096, level: int = 6) -> None:
        if over < 0 or not -1 <= level <= 9:
            raise StepflowError(
                f"Zlib(over={over!r}, level={level!r}): give a number of bytes, and a level from 0 to 9"
            )
        self._over, self._level = over, level

    def pack(self, data: bytes) -> bytes | None:
        """The compressed data, if that is shorter."""
        packed = zlib.compress(data, self._level) if len(data) > self._over else data
        return packed if len(packed) < len(data) else None

    def unpack(self, data: bytes) -> bytes:
        """The data again."""
        return zlib.decompress(data)


@keywords()
class Fernet(Stage):
    """Encrypts and signs values with AES and HMAC (`cryptography.fernet`), with the first of the keys; any of them can decrypt.

    A key is made by `Fernet.generate_key()`. To rotate: put the new key before the old one in all processes, and take the old one away
    when no open run and no history that you read is older than that. Needs `pip install 'stepflow[encryption]'`.
    """

    tag = "fernet"
    secret = True

    def __init__(self, keys: Sequence[str | bytes]) -> None:
        try:
            from cryptography import fernet  # noqa: PLC0415 - an optional extra
        except ImportError as error:
            raise StepflowError(f"Fernet needs cryptography: pip install 'stepflow[encryption]' ({error})") from error
        if isinstance(keys, str | bytes) or not keys:
            raise StepflowError("Fernet(keys): give a list of keys, the one to encrypt with first")
        texts = [key.encode() if isinstance(key, str) else key for key in keys]
        try:
            self._fernet = fernet.MultiFernet([fernet.Fernet(key) for key in texts])
        except ValueError:
            raise StepflowError(
                "Fernet(keys): a key is 32 bytes as URL-safe base64: make one with Fernet.generate_key()"
            ) from None
        self._keys = {hashlib.sha256(key).hexdigest()[:12]: key for key in texts}

    @staticmethod
    def generate_key() -> str:
        """A new key: keep it where only the processes that need it can read it."""
        from cryptography import fernet  # noqa: PLC0415 - an optional extra

        return fernet.Fernet.generate_key().decode()

    def pack(self, data: bytes) -> bytes | None:
        """The token, as bytes."""
        return urlsafe_b64decode(self._fernet.encrypt(data))

    def unpack(self, data: bytes) -> bytes:
        """The data of a token."""
        return self._fernet.decrypt(urlsafe_b64encode(data))

    def seal_hash(self, digest: str) -> str:
        """`<key id>:<HMAC of the digest>`: the digest alone would tell whether an input is one of a few."""
        name = next(iter(self._keys))
        return f"{name}:{self._hmac(name, digest)}"

    def is_hash(self, stored: str, digest: str) -> bool | None:
        """Compares with the key that made it; CodecError if that key is not there."""
        name, colon, found = stored.partition(":")
        if not colon:
            return None
        if name not in self._keys:
            raise CodecError(
                f"the input of the run was encrypted with the key {name}, which is not among Fernet(keys): no run was made; give that"
                " key as well, behind the others"
            )
        return hmac.compare_digest(found, self._hmac(name, digest))

    def hashes(self, digest: str) -> Sequence[str]:
        """One for each key."""
        return [f"{name}:{self._hmac(name, digest)}" for name in self._keys]

    def _hmac(self, name: str, digest: str) -> str:
        return hmac.new(b"stepflow.input:" + self._keys[name], digest.encode(), hashlib.sha256).hexdigest()


@keywords()
class Offload(Stage):
    """Keeps values that have more than `over` bytes elsewhere, under the SHA-256 (hex) of their bytes.

    `put(name, data)` must have stored the data durably when it returns, `get(name)` returns it; both may be called by several threads. The same data has
    the same name. Nothing is deleted there: let objects expire later than the runs that name them.
    """

    tag = "offload"

    def __init__(
        self, put: Callable[[str, bytes], object], get: Callable[[str], bytes], over: int = 256 * 1024
    ) -> None:
        if not callable(put) or not callable(get) or over < 0:
            raise StepflowError("Offload(put, get, over): give two functions and a number of bytes")
        self._put, self._get, self._over = put, get, over

    def pack(self, data: bytes) -> bytes | None:
        """The name of the data, which is elsewhere then."""
        if len(data) <= self._over:
            return None
        name = hashlib.sha256(data).hexdigest()
        self._put(name, data)
        return name.encode()

    def unpack(self, data: bytes) -> bytes:
        """The data of that name; CodecError if it is another one."""
        name = data.decode()
        found = self._get(name)
        if hashlib.sha256(found).hexdigest() != name:
            raise CodecError(f"what was kept elsewhere under {name} is not what was put there")
        return found
