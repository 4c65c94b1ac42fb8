"""Hold the AWS JSON doors: calls checked by botocore's models, and the operations behind them."""
