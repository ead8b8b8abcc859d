"""options: the options of RocksDB: little memory, few files, filters for ids that do not exist."""

from __future__ import annotations

from types import ModuleType
from typing import Any

CACHE = 32 << 20  # bytes of uncompressed blocks
MEMTABLE = 2 << 20  # bytes; also the length of a log file, which is reused: see RECYCLED
MEMTABLES = 4  # the maximum in memory while they are flushed to a table
RECYCLED = 4  # log files that are reused: a sync costs half as much when the file does not grow
LEVEL = 16 << 20  # bytes of the first sorted level, a few times the size of one flush
TABLE = 8 << 20  # bytes
LOGS = 3  # number of informational log files


def open_options(library: ModuleType) -> Any:
    """The `rocksdict.Options` of every stepflow store; keys and values are plain bytes."""
    options = library.Options(raw_mode=True)
    options.create_if_missing(True)
    options.set_write_buffer_size(MEMTABLE)
    options.set_max_write_buffer_number(MEMTABLES)
    options.set_recycle_log_file_num(RECYCLED)
    options.set_max_bytes_for_level_base(LEVEL)
    options.set_target_file_size_base(TABLE)
    options.set_max_background_jobs(2)
    options.set_keep_log_file_num(LOGS)
    options.set_max_open_files(512)
    options.set_compression_type(library.DBCompressionType.lz4())
    options.set_level_compaction_dynamic_level_bytes(True)
    table = library.BlockBasedOptions()
    table.set_bloom_filter(10, False)
    table.set_block_cache(library.Cache(CACHE))
    table.set_block_size(16 << 10)
    options.set_block_based_table_factory(table)
    return options
