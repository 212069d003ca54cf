"""A loopback object store of the project's own, with a request log and scripted faults. See ``server``."""

from faultserver.auth import Bearer, Keys
from faultserver.faults import (
    Excess,
    Fault,
    IgnoreRange,
    IgnoreVersion,
    Latency,
    Rate,
    Reset,
    Stall,
    Status,
    TotalRate,
    Truncate,
    WrongLength,
    WrongRange,
)
from faultserver.log import Kind, Record
from faultserver.objects import StoredObject
from faultserver.server import DialectName, FaultServer
from faultserver.stamps import Stamped, stamped, write_stamped

__all__ = [
    "Bearer",
    "DialectName",
    "Excess",
    "Fault",
    "FaultServer",
    "IgnoreRange",
    "IgnoreVersion",
    "Keys",
    "Kind",
    "Latency",
    "Rate",
    "Record",
    "Reset",
    "Stall",
    "Stamped",
    "Status",
    "StoredObject",
    "TotalRate",
    "Truncate",
    "WrongLength",
    "WrongRange",
    "stamped",
    "write_stamped",
]
