"""The compiled part: to a type checker it is its twin, where everything is described."""

from realtime_svc.transports.kernel_twin import Group as Group
from realtime_svc.transports.kernel_twin import Outlet as Outlet
from realtime_svc.transports.kernel_twin import Poll as Poll
from realtime_svc.transports.kernel_twin import parse_frames as parse_frames
