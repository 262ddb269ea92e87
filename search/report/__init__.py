"""The report of a search: one HTML file that needs no network; its scripts are our own.

`report_data` derives the page's content from the study's records; `write_report` draws the charts and writes the page.
"""

from search.report.html import write_report
from search.report.page_data import ReportData, report_data

__all__ = ["ReportData", "report_data", "write_report"]
