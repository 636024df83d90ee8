"""Objects in buckets and local folders."""
