"""What a dataset is: tables, observation windows, labels, splits, quality."""
