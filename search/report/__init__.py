"""The page to read after a search: one HTML file that needs no network and runs no script.

`report_data` decides what the page says, purely from the study's records; `write_report` draws the charts and prints.
"""

from search.report.data import ReportData, report_data
from search.report.html import write_report

__all__ = ["ReportData", "report_data", "write_report"]
