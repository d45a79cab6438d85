"""A cache of shards on real hosts, with an application and a client that both use a real library's cluster client."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from cache_site import APP, COMMON, CacheSite, Write

from nospof.onhost.cache_cluster_plan import Node, nodes_of

APPLICATION = """\
import os
import redis
from redis.cluster import ClusterNode, RedisCluster

cache = None


def visits():
    global cache
    if cache is None:
        servers = [ClusterNode(*server.split(":")) for server in os.environ["CACHE_SERVERS"].split(",")]
        cache = RedisCluster(
            startup_nodes=servers,
            username=os.environ["CACHE_USER"],
            password=os.environ["CACHE_PASSWORD"],
            ssl=True,
            ssl_ca_certs=os.environ["CACHE_SSL_CA"],
            socket_connect_timeout=0.5,
            socket_timeout=1,
        )
    return cache.incr("visits")


def app(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    if environ["PATH_INFO"] == "/health":
        return [b"well"]
    try:
        return [b"visit %d" % visits()]
    except (redis.RedisError, OSError) as error:
        return [b"without the cache: " + repr(error).encode()]
"""


class ClusterSite(CacheSite):
    """Its hosts are c1, c2 and w1 in three zones; app1, where the application is, may be one more."""

    application = APPLICATION

    def __init__(self, folder: Path, product: str = "redis-cluster", more: str = "") -> None:
        super().__init__(folder, product, hosts="c1, c2, w1", more=more)
        self.writing = WRITE
        self.server = product.partition("-")[0]

    def nodes(self, host: str) -> tuple[Node, ...]:
        """As the home on `host` sees them."""
        return nodes_of(self.on(host, "python3", "-c", NODES))

    def slots(self, host: str) -> dict[str, int]:
        """By host, how many slots its servers have, as `host` sees it."""
        topology = self.deployment.topology
        names = {one.address: one.name for one in topology.hosts}
        found: Counter[str] = Counter()
        for node in self.nodes(host):
            if not node.primary and node.slots:
                found[names[node.address]] += len(node.slots)
        return dict(found)

    def is_well(self, hosts: Iterable[str]) -> bool:
        """Whether the agents of all these hosts find nothing lacking."""
        ask = ("python3", "/usr/lib/nospof/onhost", "cache_cluster", "--config", "/etc/nospof/cache/agent.json", "health")
        return all(self.run(host, *ask).exit_code == 0 for host in hosts)

    def unit_of(self, number: int) -> str:
        return f"nospof-cache-copy-{number}.service" if number else f"{self.server}-server.service"

    def missing(self, writes: Iterable[Write]) -> list[int]:
        """Of the acknowledged writes those whose entries are in no server, asked through the client."""
        numbers = [write.number for write in writes if not write.error]
        held: list[int] = json.loads(self.on(APP, "python3", "-c", HELD, stdin=json.dumps(numbers).encode()))
        return [number for number in numbers if number not in set(held)]


CLIENT = (
    COMMON
    + """
sys.path.insert(0, "/srv/nospof/app/current/site-packages")
from redis.cluster import ClusterNode, RedisCluster
def client():
    told = variables("cache")
    return RedisCluster(
        startup_nodes=[ClusterNode(*server.split(":")) for server in told["CACHE_SERVERS"].split(",")],
        username=told["CACHE_USER"], password=told["CACHE_PASSWORD"],
        ssl=True, ssl_ca_certs=told["CACHE_SSL_CA"], socket_connect_timeout=0.5, socket_timeout=1,
    )
"""
)
WRITE = (
    CLIENT
    + """
stop = sys.argv[2]
cache, number = None, 0
while not os.path.exists(stop):
    number += 1
    begun, error, server = time.monotonic(), "", ""
    try:
        cache = cache or client()
        cache.set(f"number:{number}", number)
        server = cache.get_node_from_key(f"number:{number}").name
    except Exception as problem:
        error = f"{type(problem).__name__}: {problem}"
    print(json.dumps([number, begun, time.monotonic(), server, error]))
    time.sleep(0.005)
"""
)
HELD = (
    CLIENT
    + """
cache = client()
print(json.dumps([number for number in json.load(sys.stdin) if cache.exists(f"number:{number}")]))
"""
)
NODES = """
import sys
sys.path.insert(0, "/usr/lib/nospof/onhost")
from pathlib import Path
from nospof.onhost.cache_cluster import read_config
from nospof.onhost.resp import Connection
config = read_config(Path("/etc/nospof/cache/agent.json"))
print(Connection(config.own(0), None, 2.0).ask("CLUSTER", "NODES"))
"""
