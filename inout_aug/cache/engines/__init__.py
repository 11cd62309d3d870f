"""Where the generator runs while a cache is filled: here, in processes of this machine, or on a Ray cluster."""

from inout_aug.cache.engines.base import Engine, Source, engine_of
from inout_aug.cache.engines.local import LocalEngine
from inout_aug.cache.engines.process import ProcessEngine
from inout_aug.cache.engines.ray import RayEngine

__all__ = ["Engine", "LocalEngine", "ProcessEngine", "RayEngine", "Source", "engine_of"]
