"""A search for networks: what is worth having between few errors and few bytes (`ddnn search`)."""

from ddnn.search.front import chosen, front_of, knee_of
from ddnn.search.report import FRONT_FILE, write_report
from ddnn.search.search import ARCHIVE_FILE, Found, Wishes, look
from ddnn.search.space import Gene, Space
from ddnn.search.trial import Trial
from ddnn.search.workers import crew

__all__ = ["ARCHIVE_FILE", "FRONT_FILE", "Found", "Gene", "Space", "Trial", "Wishes"]
__all__ += ["chosen", "crew", "front_of", "knee_of", "look", "write_report"]
