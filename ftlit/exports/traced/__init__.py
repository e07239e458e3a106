"""What exports of traced models have in common, whatever runs them."""
