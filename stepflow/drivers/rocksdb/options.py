"""How RocksDB is set up: little memory, few files, filters for ids that do not exist."""

from __future__ import annotations

from types import ModuleType
from typing import Any

CACHE = 32 << 20  # bytes of uncompressed blocks
MEMTABLE = 2 << 20  # bytes; a log is as long, and the next but one begins in its place: see RECYCLED
MEMTABLES = 4  # that may be in memory, while they are written to a table
RECYCLED = 4  # logs that are written again from the start: syncing costs half as much where the file need not grow
LEVEL = 16 << 20  # bytes of the first sorted level, a few times what is written to it at once
TABLE = 8 << 20  # bytes
LOGS = 3  # informational log files that are kept


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
