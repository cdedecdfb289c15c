"""Files are the record, DuckDB is the lens: Parquet files, a ledger, an index that can be rebuilt."""
