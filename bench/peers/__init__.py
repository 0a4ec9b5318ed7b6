"""The peers, each in a separate environment and configured as its documentation shows."""

from bench.peers.base import Peer
from bench.peers.bentoml import BENTOML
from bench.peers.litserve import LITSERVE
from bench.peers.mlserver import MLSERVER
from bench.peers.triton import TRITON

__all__ = ["PEERS"]

PEERS: dict[str, Peer] = {peer.name: peer for peer in (TRITON, MLSERVER, LITSERVE, BENTOML)}
