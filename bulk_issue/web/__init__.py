"""The upload page: a campaign without a terminal. The same ledger, services and words as the command line."""
