"""What is fit to train on, and the ledger of every row."""
