"""What is asked of the arms: training, evaluation, comparison, statistics and reports."""
