"""The RocksDB driver: an embedded store for one process, made for many small synced writes."""

from stepflow.drivers.rocksdb.driver import RocksdbDriver

__all__ = ["RocksdbDriver"]
