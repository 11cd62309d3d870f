"""Generated samples: made once, kept safe, read in microseconds. The format is described in `inout_aug.cache.store`."""

from inout_aug.cache.duplicates import reject_duplicates
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
from inout_aug.cache.export import export_cache
from inout_aug.cache.features import Features
from inout_aug.cache.fill import cache_path, fill_cache
from inout_aug.cache.filters import MaskShare, NotBlank, OnProduct
from inout_aug.cache.fingerprint import fingerprint, weights_digest
from inout_aug.cache.folder import user_cache_dir
from inout_aug.cache.importer import import_dataset, import_folder
from inout_aug.cache.likeness import NotMemorised, Realistic, Visible, calibrate_gates
from inout_aug.cache.plan import Gate, Plan
from inout_aug.cache.prune import prune_cache
from inout_aug.cache.review import Review
from inout_aug.cache.sampler import CachedSampler
from inout_aug.cache.store import SampleCache
from inout_aug.cache.verify import Finding, caches_in, set_aside, verify_cache

__all__ = [
    "CacheChanged",
    "CacheDamaged",
    "CacheError",
    "CacheMismatch",
    "CacheNotWritten",
    "CacheTooNew",
    "CachedSampler",
    "Engine",
    "EngineError",
    "Failure",
    "Features",
    "FillIncomplete",
    "Finding",
    "Gate",
    "LocalEngine",
    "MaskShare",
    "NotBlank",
    "NotMemorised",
    "OnProduct",
    "Plan",
    "ProcessEngine",
    "RayEngine",
    "Realistic",
    "Review",
    "SampleCache",
    "Visible",
    "cache_path",
    "caches_in",
    "calibrate_gates",
    "export_cache",
    "fill_cache",
    "fingerprint",
    "import_dataset",
    "import_folder",
    "prune_cache",
    "reject_duplicates",
    "set_aside",
    "user_cache_dir",
    "verify_cache",
    "weights_digest",
]
