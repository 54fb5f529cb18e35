"""The splits: what a row is used for. The number of a split is its place in SPLITS."""

SPLITS = ("train", "val", "test", "golden")
TRAIN, VAL, TEST, GOLDEN = range(4)
