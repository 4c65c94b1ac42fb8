"""Sign as ES256 of RFC 7518 does, with the arithmetic of P-256 and the same bytes each time; for tests alone.

tests/schema1_images.py enters. Nothing here is constant in time, and its keys are no secrets.
"""

from __future__ import annotations

import hashlib
from base64 import b32encode, urlsafe_b64encode
from dataclasses import dataclass

# NIST SP 800-186, 3.2.1.3: P-256.
_P = 0xFFFFFFFF00000001000000000000000000000000FFFFFFFFFFFFFFFFFFFFFFFF
_N = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
_G = (
    0x6B17D1F2E12C4247F8BCE6E563A440F277037D812DEB33A0F4A13945D898C296,
    0x4FE342E2FE1A7F9B8EE7EB4A7C0F9E162BCE33576B315ECECBB6406837BF51F5,
)
# SubjectPublicKeyInfo of such a key up to its point: RFC 5480.
_KEY_INFO = bytes.fromhex("3059301306072a8648ce3d020106082a8648ce3d03010703420004")

Point = tuple[int, int]


def base64url(data: bytes) -> str:
    """Encode as JOSE does: RFC 7515, section 2."""
    return urlsafe_b64encode(data).rstrip(b"=").decode()


@dataclass(frozen=True)
class Key:
    """A private key: a number."""

    secret: int

    @property
    def jwk(self) -> dict[str, str]:
        """Write the public key as libtrust does, which checks kid where there is one: key.go, ec_key.go."""
        x, y = (part.to_bytes(32, "big") for part in _times(self.secret, _G))
        name = b32encode(hashlib.sha256(_KEY_INFO + x + y).digest()[:30]).decode()
        kid = ":".join(name[start : start + 4] for start in range(0, len(name), 4))
        return {"crv": "P-256", "kid": kid, "kty": "EC", "x": base64url(x), "y": base64url(y)}

    def sign(self, message: bytes) -> bytes:
        """Give r and s: FIPS 186-5, 6.4.1, with a nonce made of key and message."""
        hashed = hashlib.sha256(message).digest()
        nonce = int.from_bytes(hashlib.sha512(self.secret.to_bytes(32, "big") + hashed).digest(), "big") % _N
        r = _times(nonce, _G)[0] % _N
        s = pow(nonce, -1, _N) * (int.from_bytes(hashed, "big") + r * self.secret) % _N
        return r.to_bytes(32, "big") + s.to_bytes(32, "big")


def _times(factor: int, point: Point) -> Point:
    total: Point | None = None
    while factor:
        if factor & 1:
            total = _sum(total, point) if total else point
        point, factor = _sum(point, point), factor >> 1
    assert total
    return total


def _sum(one: Point, other: Point) -> Point:
    """Add two points that are no opposites; -3 is the curve's a."""
    (x, y), (u, v) = one, other
    slope = (3 * x * x - 3) * pow(2 * y, -1, _P) if one == other else (v - y) * pow(u - x, -1, _P)
    third = (slope * slope - x - u) % _P
    return third, (slope * (x - third) - y) % _P
