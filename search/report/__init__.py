"""The page to read after a search: one HTML file that needs no network and runs no script.

`report_data` decides what the page says, purely from the study's records; `write_report` draws the charts and prints.
"""

from search.report.html import write_report
from search.report.page_data import ReportData, report_data

__all__ = ["ReportData", "report_data", "write_report"]
