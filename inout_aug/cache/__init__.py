"""Generated samples: made once, kept safe, read in microseconds. The format is described in `inout_aug.cache.store`."""

from inout_aug.cache.engines import Engine, LocalEngine, ProcessEngine, RayEngine
from inout_aug.cache.errors import (
    CacheChanged,
    CacheDamaged,
    CacheError,
    CacheMismatch,
    CacheNotWritten,
    CacheTooNew,
    EngineError,
    Failure,
    FillIncomplete,
)
from inout_aug.cache.fill import cache_path, fill_cache
from inout_aug.cache.fingerprint import fingerprint, weights_digest
from inout_aug.cache.folder import user_cache_dir
from inout_aug.cache.plan import Gate, Plan
from inout_aug.cache.store import SampleCache
from inout_aug.cache.verify import Finding, caches_in, set_aside, verify_cache

__all__ = [
    "CacheChanged",
    "CacheDamaged",
    "CacheError",
    "CacheMismatch",
    "CacheNotWritten",
    "CacheTooNew",
    "Engine",
    "EngineError",
    "Failure",
    "FillIncomplete",
    "Finding",
    "Gate",
    "LocalEngine",
    "Plan",
    "ProcessEngine",
    "RayEngine",
    "SampleCache",
    "cache_path",
    "caches_in",
    "fill_cache",
    "fingerprint",
    "set_aside",
    "user_cache_dir",
    "verify_cache",
    "weights_digest",
]
