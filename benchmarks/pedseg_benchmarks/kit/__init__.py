"""A kit: everything a benchmark needs on a machine without network, packed small.

`archive` is the file format: one compressed tar in parts, and a listing with checksums. `tensors`
finds the weights inside checkpoints and artifacts, `weight_store` keeps each of them once, and
`files` takes the files apart and puts them together again, byte for byte. `wheels` and `fatbin` see
to libraries that the other machine lacks.
"""
