"""Own a certificate for localhost that only itself vouches for; its key is known to all, and guards nothing.

The tests enter. From 2020 to 2120: localhost, one name before it, and 127.0.0.1.
"""

from __future__ import annotations

from pathlib import Path

CERTIFICATE = """\
-----BEGIN CERTIFICATE-----
MIIBhDCCASqgAwIBAgIBATAKBggqhkjOPQQDAjAUMRIwEAYDVQQDDAlsb2NhbGhv
c3QwIBcNMjAwMTAxMDAwMDAwWhgPMjEyMDAxMDEwMDAwMDBaMBQxEjAQBgNVBAMM
CWxvY2FsaG9zdDBZMBMGByqGSM49AgEGCCqGSM49AwEHA0IABFFOp4+0/E5SMmPu
/3D5CbHUnRRqLmJeTxk9Brdv9Evv6n54zNAYFJJQK5fkAr2ymSQJyK4pCeZ2eo6Z
lcyabD6jazBpMB0GA1UdDgQWBBQp4YVkB4YCazYXOcCivtVFY4jrEDAPBgNVHRMB
Af8EBTADAQH/MA4GA1UdDwEB/wQEAwIChDAnBgNVHREEIDAegglsb2NhbGhvc3SC
CyoubG9jYWxob3N0hwR/AAABMAoGCCqGSM49BAMCA0gAMEUCIHX5JTUOdBBgefx2
Tt/S45Np8AHI3W+ZGDBzQA6VvIpZAiEAsO3XsVzqZe9dnNrkrxtxpVoYeg5Htk7A
wQ71/on644U=
-----END CERTIFICATE-----
"""
KEY = """\
-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgpxgUyhgvLZurJJLI
QQ59v9KHtFEwvk4Z1e86TdBfSSKhRANCAARRTqePtPxOUjJj7v9w+Qmx1J0Uai5i
Xk8ZPQa3b/RL7+p+eMzQGBSSUCuX5AK9spkkCciuKQnmdnqOmZXMmmw+
-----END PRIVATE KEY-----
"""
OTHER_KEY = """\
-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgsuUf/lupDAnLa1A5
jCHbyC/dTcM2pOgspnj4GDdXGaChRANCAATBep1lnwSAHpfJZxyboJb5yJ3z7e+3
uIPxywlbxth/bXK+jiKTKRjcWtzKR16RybSh4S/F0caMigswNBJruu9Y
-----END PRIVATE KEY-----
"""
LOCKED_KEY = """\
-----BEGIN ENCRYPTED PRIVATE KEY-----
MIHsMFcGCSqGSIb3DQEFDTBKMCkGCSqGSIb3DQEFDDAcBAhaDz61i7GpwQICCAAw
DAYIKoZIhvcNAgkFADAdBglghkgBZQMEASoEECd7RXDUbR5Lkaxt5A24gAcEgZCW
ckgCqd09eTuYMxtR6ZOdGn5mP6EfTXl09u+CWPxFq2s1lV7xK3HN6OLSssvhGKc0
yAbykoOoHVto34gUTdQ/N129a3StGRge9uJfpd8xT0ZeBu+vzswzIRe3+m04Grfc
l5mgc9dkW1u0LOx6QiTIHqR+3JiQW3dY16wMYw/bMLXoP8jZ/3jrOxxIcajHoII=
-----END ENCRYPTED PRIVATE KEY-----
"""


def write_certificate(folder: Path) -> tuple[Path, Path]:
    """Write the certificate and its key, and return where."""
    certificate, key = folder / "certificate.pem", folder / "key.pem"
    certificate.write_text(CERTIFICATE)
    key.write_text(KEY)
    return certificate, key
