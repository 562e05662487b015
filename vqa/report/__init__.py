"""HTML pages that open from disk: report.html on one prediction file, comparison.html on two.

Everything that comes from data is escaped by the templates; a page forbids itself any network access and
any script but its own (Content-Security-Policy), so that hostile text stays text.
"""

from vqa.report.comparison import write_comparison
from vqa.report.formatting import percent, shown
from vqa.report.gallery import choose_failures
from vqa.report.page import write_report

__all__ = ["choose_failures", "percent", "shown", "write_comparison", "write_report"]
