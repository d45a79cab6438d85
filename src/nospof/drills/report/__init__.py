"""A proof, or a single drill, as one HTML page that needs nothing else: no script, no font, no picture from elsewhere."""

from nospof.drills.report.page import drill_report, report

__all__ = ["drill_report", "report"]
