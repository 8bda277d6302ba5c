"""Storage of samples: schema, writer and reader of HDF5 files, folders of shards, manifest, merging, training set."""
