"""Which addresses a webhook may be posted to: those of the public internet, and what the deployment allows besides.

Pure but for the two settings. Decided about the very address that is connected to, so that no name, no redirect and no
answer of a name server that changes its mind gets around it.
"""

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from django.conf import settings

# What is not, or not surely, somebody's machine on the internet. IANA's registries of special-purpose addresses, with
# multicast and what is reserved; Python's own `is_global` has changed its mind about some of these between releases.
_NOT_PUBLIC_V4 = tuple(
    IPv4Network(network)
    for network in (
        "0.0.0.0/8",  # this network; 0.0.0.0 is the machine itself
        "10.0.0.0/8",
        "100.64.0.0/10",  # behind a provider's NAT, and clouds' own services
        "127.0.0.0/8",
        "169.254.0.0/16",  # link-local: the metadata services of clouds
        "172.16.0.0/12",
        "192.0.0.0/24",
        "192.0.2.0/24",
        "192.31.196.0/24",
        "192.52.193.0/24",
        "192.88.99.0/24",  # relays of 6to4
        "192.168.0.0/16",
        "192.175.48.0/24",
        "198.18.0.0/15",
        "198.51.100.0/24",
        "203.0.113.0/24",
        "224.0.0.0/4",  # multicast
        "240.0.0.0/4",  # reserved, and broadcast
    )
)
# Public is what lies in here, but for the parts below. So IPv4 that is mapped (::ffff:), translated (64:ff9b::) or
# compatible, local, link-local and multicast addresses are out without being named.
_PUBLIC_V6 = IPv6Network("2000::/3")
_NOT_PUBLIC_V6 = tuple(
    IPv6Network(network)
    for network in (
        "2001::/23",  # protocol assignments: Teredo, which carries an IPv4 address, ORCHID, benchmarks
        "2001:db8::/32",
        "2002::/16",  # 6to4: carries an IPv4 address
        "2620:4f:8000::/48",
        "3fff::/20",
    )
)


def may_connect(scheme: str, address: str, port: int) -> bool:
    """Whether a webhook may be posted to this address: by https to a known port of a public one.

    What lies in BURSAR_WEBHOOK_ALLOWED_NETWORKS may be posted to at any port, and without TLS.
    """
    try:
        found = ip_address(address)
    except ValueError:
        return False  # a path of a socket, a zone, whatever it may be
    if any(found in network for network in allowed_networks()):
        return True
    return scheme == "https" and port in settings.WEBHOOK_PORTS and _is_public(found)


def allowed_networks() -> list[IPv4Network | IPv6Network]:
    """The networks that the deployment opens to webhooks. Raises ValueError for what is none."""
    return [ip_network(network) for network in settings.WEBHOOK_ALLOWED_NETWORKS]


def _is_public(address: IPv4Address | IPv6Address) -> bool:
    if isinstance(address, IPv4Address):
        return not any(address in network for network in _NOT_PUBLIC_V4)
    if address.scope_id is not None:
        return False
    return address in _PUBLIC_V6 and not any(address in network for network in _NOT_PUBLIC_V6)
