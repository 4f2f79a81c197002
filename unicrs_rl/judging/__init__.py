"""What a dialogue was worth: the judge, the rewards and the metrics."""
