"""The columns that result files add to the input's own: the sink writes them, the source knows them again."""

from __future__ import annotations

#: What every result file holds after the original columns, in this order.
OUR_COLUMNS = (
    "_row",
    "_status",
    "_coupon_code",
    "_valid_till",
    "_discount_type",
    "_discount_value",
    "_customer_id",
    "_error_code",
    "_reason",
    "_remedy",
    "_attempts",
    "_issued_at",
    "_warnings",
    "_request_id",
    "_job",
)

#: With `--columns all`: the other documented fields of a reply follow.
ALL_COLUMNS = (
    *OUR_COLUMNS,
    "_series_id",
    "_valid_till_date_time",
    "_description",
    "_discount_code",
    "_discount_upto",
    "_discount_on",
    "_detailed_info",
    "_coupon_id",
    "_redemption_count",
)

#: By these two a result file is known.
OURS = frozenset({"_job", "_row"})
