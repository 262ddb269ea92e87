"""Runs a study: hands out jobs, records reports, and watches budget, disk and failures. Executors do the training."""
