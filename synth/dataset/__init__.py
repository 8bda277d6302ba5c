"""The HDF5 file that samples are kept in: schema, reader, writer, folders of shards, data sets for training."""
